"""What a data folder tells, and who may use it."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from .processes import Account, Owner
from .protocol import EmbeddedServerError

HANDOVER_SECONDS = 5


def recorded_pid(data_dir: Path) -> int | None:
    """The server on that folder, or the last one if it had no time to clean up."""
    lines = _lock_file_lines(data_dir)
    return int(lines[0]) if lines and lines[0].isdecimal() else None


def is_ready(pid: int, data_dir: Path) -> bool:
    lines = _lock_file_lines(data_dir)
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _lock_file_lines(data_dir: Path) -> list[str]:
    with suppress(OSError):
        return (data_dir / "postmaster.pid").read_text().splitlines()
    return []


def serves(pid: int, data_dir: Path) -> bool:
    """Whether that process is a server on that folder; off Linux, whether there is one."""
    with suppress(OSError):
        if sys.platform != "linux":
            os.kill(pid, 0)
            return True
        process = Path("/proc", str(pid))
        try:
            return (process / "cwd").samefile(data_dir)
        except PermissionError:  # root in a container may lack the right to look
            return (process / "comm").read_text() == "postgres\n"
    return False


def lock(data_dir: Path, owner: Owner) -> int:
    """Wait for the last server on the folder to end; return the descriptor that holds the lock."""
    descriptor = os.open(data_dir, os.O_RDONLY)
    deadline = time.monotonic() + HANDOVER_SECONDS
    while not _take(descriptor, data_dir):
        if time.monotonic() > deadline:
            pid = recorded_pid(data_dir)
            server = f"another server, process {pid}" if pid else "a server that is starting"
            raise EmbeddedServerError(f"the data folder {data_dir} is in use by {server}")
        owner.pause()
    return descriptor


def _take(descriptor: int, data_dir: Path) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        pid = recorded_pid(data_dir)
        return pid is None or not serves(pid, data_dir)
    return False


def has_cluster(data_dir: Path) -> bool:
    return (data_dir / "PG_VERSION").exists()


def cached_cluster(cache: Path, bin_dir: Path) -> Path:
    """Where the cache has, or will have, the cluster that the initdb of these programs makes."""
    postgres = (bin_dir / "postgres").stat()
    return cache / f"{postgres.st_size:x}-{postgres.st_mtime_ns:x}"


def keep_cluster(data_dir: Path, cached: Path) -> None:
    """Put a copy of a new cluster into the cache, if that can be written to; whole, or not at all."""
    with suppress(OSError):
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent, ignore_cleanup_errors=True) as folder:
            # Of two that start at once, the second finds the name taken.
            shutil.copytree(data_dir, Path(folder, "data")).rename(cached)


def check_content(data_dir: Path, bin_dir: Path) -> None:
    """Raise EmbeddedServerError unless the folder is empty or fits these programs."""
    if not has_cluster(data_dir):
        if any(data_dir.iterdir()):
            raise EmbeddedServerError(f"the data folder {data_dir} is not empty and holds no PostgreSQL cluster")
        return
    version = subprocess.check_output([bin_dir / "postgres", "--version"], text=True)
    found = re.search(r"\) (\d+)", version)
    made_by = (data_dir / "PG_VERSION").read_text().strip()
    if found and made_by != found[1]:
        raise EmbeddedServerError(
            f"the data folder {data_dir} was made by PostgreSQL {made_by}, but {bin_dir} is PostgreSQL {found[1]}"
        )


def choose_account(data_dir: Path) -> Account:
    """The account to run a server on that folder, when the caller is root."""
    status = data_dir.stat()
    if status.st_uid != 0:
        return Account(status.st_uid, status.st_gid)
    if has_cluster(data_dir):
        raise EmbeddedServerError(f"the data folder {data_dir} belongs to root, as whom PostgreSQL refuses to run")
    account = Account.unprivileged()
    account.own(data_dir)
    return account
