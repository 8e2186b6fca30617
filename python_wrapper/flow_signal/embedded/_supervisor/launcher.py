"""The start of initdb and postgres."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .data_folder import is_ready, recorded_pid
from .processes import Account, Owner, start_process, stop_process
from .protocol import LOCALHOST, EmbeddedServerError

SOCKET_PORT = 5432  # names the socket when no TCP port is asked for
START_SECONDS = 120
PORT_ATTEMPTS = 5
LOG_TAIL_BYTES = 4000


@dataclass(frozen=True, kw_only=True)
class Launcher:
    """Runs the programs of a bin folder on a data folder; `cleanup` will stop them."""

    bin_dir: Path
    data_dir: Path
    account: Account | None
    log: BinaryIO
    owner: Owner
    cleanup: ExitStack

    def create_cluster(self, *, sync: bool) -> None:
        initdb = self._start(
            "initdb",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C",
            "--auth-local=peer",
            "--auth-host=scram-sha-256",
            "--no-instructions",
            *(() if sync else ("--no-sync",)),
        )
        while initdb.poll() is None:
            self.owner.pause()
        if initdb.returncode != 0:
            raise self._failure("initdb failed")

    def start_server(self, port: int | None, settings: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], int]:
        """Start postgres and wait until it accepts connections; return it and its port."""
        if port != 0:
            return self._start_on(port or SOCKET_PORT, settings), port or SOCKET_PORT
        for _ in range(PORT_ATTEMPTS):
            free = _unbound_port()
            try:
                return self._start_on(free, settings), free
            except EmbeddedServerError:
                if not _is_bound(free):
                    raise
        raise EmbeddedServerError(f"no free port on {LOCALHOST}")

    def _start_on(self, port: int, settings: Mapping[str, str]) -> subprocess.Popen[bytes]:
        arguments = [f"--{name}={value}" for name, value in {**settings, "port": str(port)}.items()]
        postmaster = self._start("postgres", *arguments)
        deadline = time.monotonic() + START_SECONDS
        while not is_ready(postmaster.pid, self.data_dir):
            if postmaster.poll() is not None:
                raise self._failure("postgres did not start")
            if time.monotonic() > deadline:
                raise self._failure(f"postgres was not ready within {START_SECONDS} seconds")
            self.owner.pause()
        return postmaster

    def _start(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        with self._open_data_dir() as (path, descriptors):
            process = start_process(
                (self.bin_dir / program, "-D", path, *arguments),
                self.account,
                cwd="/",
                env=self._environment(),
                stdout=self.log,
                stderr=self.log,
                pass_fds=descriptors,
            )
        self.cleanup.callback(stop_process, process)
        return process

    @contextmanager
    def _open_data_dir(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """The data folder as a path that the account can follow, and the descriptors for that.

        On Linux a folder below a closed one is handed over open: no mode has to change.
        """
        if self.account is None or sys.platform != "linux" or self.account.can_enter(self.data_dir):
            yield str(self.data_dir), ()
            return
        descriptor = os.open(self.data_dir, os.O_RDONLY)
        try:
            yield f"/proc/self/fd/{descriptor}", (descriptor,)
        finally:
            os.close(descriptor)

    def _environment(self) -> dict[str, str]:
        """Nothing of the caller's locale, time zone or PostgreSQL variables."""
        environment = {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}
        libraries = self.bin_dir.parent / "lib"
        if any(libraries.glob("libpq.*")):  # a bundle whose modules may look for it elsewhere
            variable = "DYLD_LIBRARY_PATH" if sys.platform == "darwin" else "LD_LIBRARY_PATH"
            environment[variable] = str(libraries)
        if stale := recorded_pid(self.data_dir):
            # Makes postgres take this process for an ancestor, not for the server of the folder.
            environment["PG_GRANDPARENT_PID"] = str(stale)
        return environment

    def _failure(self, what: str) -> EmbeddedServerError:
        size = os.fstat(self.log.fileno()).st_size
        tail = os.pread(self.log.fileno(), LOG_TAIL_BYTES, max(0, size - LOG_TAIL_BYTES))
        summary = f"{what}: {self.bin_dir}, data folder {self.data_dir}"
        return EmbeddedServerError(f"{summary}\n{tail.decode(errors='replace').strip()}")


def _is_bound(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOCALHOST, port))
        except OSError:
            return True
        return False


def _unbound_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOCALHOST, 0))
        return int(probe.getsockname()[1])
