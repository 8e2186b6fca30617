"""Whom this process works for, whom its children run as, and that they end with it."""

from __future__ import annotations

import ctypes
import os
import pwd
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from .protocol import EmbeddedServerError

POLL_SECONDS = 0.01
# PostgreSQL's fast shutdown, its immediate shutdown, and the end of patience.
STOP_STEPS = ((signal.SIGINT, 30), (signal.SIGQUIT, 10), (signal.SIGKILL, 10))

if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    prctl = ctypes.CDLL(None).prctl


class Owner(NamedTuple):
    """The process that asked for the server."""

    pid: int

    def is_gone(self, within: float) -> bool:
        """Wait for the owner's end, at most that many seconds.

        A process forked from the owner may hold the pipe open, so the owner's pid counts too.
        """
        at_end, _, _ = select.select([sys.stdin], [], [], within)
        return bool(at_end) or os.getppid() != self.pid

    def pause(self) -> None:
        """Let a moment pass between two looks at a condition; exit if the owner is gone."""
        if self.is_gone(POLL_SECONDS):
            sys.exit()


class Account(NamedTuple):
    """The account that PostgreSQL runs as when root asks for it."""

    uid: int
    gid: int

    @classmethod
    def unprivileged(cls) -> Account:
        for name in ("postgres", "nobody"):
            with suppress(KeyError):
                entry = pwd.getpwnam(name)
                return cls(entry.pw_uid, entry.pw_gid)
        raise EmbeddedServerError("PostgreSQL refuses to run as root, and there is no account postgres or nobody")

    def own(self, path: Path) -> None:
        """Make that file, or that folder and all below it, the account's own."""
        for each in (path, *path.rglob("*")):
            os.chown(each, self.uid, self.gid, follow_symlinks=False)

    def can_enter(self, folder: Path) -> bool:
        return self._succeeds("/bin/sh", "-c", 'cd -- "$0"', folder)

    def can_run(self, program: Path) -> bool:
        return self._succeeds(program, "--version")

    def _succeeds(self, *command: str | Path) -> bool:
        nowhere = subprocess.DEVNULL
        try:
            return start_process(command, self, stdout=nowhere, stderr=nowhere).wait() == 0
        except PermissionError:
            return False


def start_process(command: Sequence[str | Path], account: Account | None, **options: Any) -> subprocess.Popen[bytes]:
    """Start a program that, on Linux, does not even outlive a SIGKILL of this process."""
    if account:
        options.update(user=account.uid, group=account.gid, extra_groups=[])
    supervisor = os.getpid()

    def end_with_supervisor() -> None:
        if sys.platform == "linux":
            prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)
        if os.getppid() != supervisor:
            os._exit(1)

    # A preexec_fn is safe as long as this process has a single thread.
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=end_with_supervisor, **options)


def stop_process(process: subprocess.Popen[bytes]) -> None:
    for step, seconds in STOP_STEPS:
        process.send_signal(step)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            return
