"""A pgbouncer in transaction mode, in front of a server of the tests."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from flow_signal.embedded import EmbeddedServer
from tools.server import ROOT

PATIENCE_SECONDS = 60
UNPACKED = ROOT / ".tools/pgbouncer"
PACKAGES = ("pgbouncer", "libc-ares2")
SETTINGS = """
[databases]
* = host={server.socket_dir} port={server.port} user=postgres

[pgbouncer]
listen_addr = {address}
listen_port = {port}
unix_socket_dir = {folder}
auth_type = any
pool_mode = transaction
# A client seldom gets the session that it had in its last transaction.
default_pool_size = 4
server_round_robin = 1
"""


@contextmanager
def pgbouncer(server: EmbeddedServer, port: int | None = None) -> Iterator[str]:
    """The folder of its socket, whose port is that of the server's; gone with the server at the latest.

    With a port of its own, it also listens there on 127.0.0.1.
    """
    program = find_program()
    address = "127.0.0.1" if port else ""
    folder = Path(tempfile.mkdtemp(dir=server.socket_dir))
    # The account of the server may not be able to enter this checkout.
    files = [shutil.copy(file, folder) for file in [program, *UNPACKED.rglob("libcares.so.2")]]
    settings = folder / "pgbouncer.ini"
    settings.write_text(SETTINGS.format(server=server, folder=folder, address=address, port=port or server.port))
    owner = server.socket_dir.stat()
    is_root = os.geteuid() == 0
    if is_root:
        for path in (folder, settings, *files):
            os.chown(path, owner.st_uid, owner.st_gid)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [files[0], settings],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"LD_LIBRARY_PATH": str(folder)},
            user=owner.st_uid if is_root else None,
            group=owner.st_gid if is_root else None,
            extra_groups=[] if is_root else None,
            preexec_fn=end_with_parent,
        )
    try:
        wait_until_it_serves(process, folder, port or server.port)
        yield str(folder)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def end_with_parent() -> None:
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def wait_until_it_serves(process: subprocess.Popen[bytes], folder: Path, port: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            psycopg.connect(host=str(folder), port=port, user="postgres", dbname="postgres").close()
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((folder / "log").read_text()) from None
            time.sleep(0.01)
        else:
            return


def find_program() -> Path:
    """The installed program, else that of the Debian package, unpacked; else the test is skipped, or fails in CI."""
    installed = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if installed:
        return Path(installed)
    UNPACKED.parent.mkdir(exist_ok=True)
    with (UNPACKED.parent / "pgbouncer.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not UNPACKED.exists():
            unpack()
    return UNPACKED / "usr/sbin/pgbouncer"


def unpack() -> None:
    folder = Path(tempfile.mkdtemp(dir=UNPACKED.parent))
    try:
        for package in PACKAGES:
            command = [str(ROOT / "tools/unpack_deb"), package, str(folder)]
            if subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode:
                say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
                say("pgbouncer is missing: install the Debian package pgbouncer")
        folder.chmod(0o755)
        folder.rename(UNPACKED)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
