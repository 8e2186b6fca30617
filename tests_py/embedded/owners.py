"""Processes that own a server and can be killed, and a look at what is left of them."""

from __future__ import annotations

import functools
import json
import os
import pwd
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

DEADLINE_SECONDS = 60

# Starts a server, tells what a test needs to know, and runs the test's own lines.
PROGRAM = """\
import json, os, signal, sys
from pathlib import Path
import psycopg
from flow_signal.embedded import EmbeddedServer

sys.stdout.reconfigure(line_buffering=True)
options = json.loads(sys.argv[1])
for name in {"bin_dir", "data_dir"} & options.keys():
    options[name] = Path(options[name])
with EmbeddedServer(**options) as server:
    facts = {
        "postmaster": server._postmaster,
        "supervisor": server._supervisor.pid,
        "folder": str(server.socket_dir),
        "conninfo": server.conninfo(),
    }
    print(json.dumps(facts))
    exec(sys.argv[2])
"""
UNTIL_END_OF_INPUT = "sys.stdin.read()"


@dataclass
class Owner:
    process: subprocess.Popen[str]
    postmaster: int = 0
    supervisor: int = 0
    folder: Path = Path()
    conninfo: str = ""

    def read_line(self) -> str:
        """Return the next line that the process prints, "" if it has ended."""
        assert self.process.stdout
        with deadline(self.process):
            return self.process.stdout.readline()

    def wait(self) -> int:
        return self.process.wait(DEADLINE_SECONDS)

    def read_facts(self) -> None:
        facts = json.loads(self.read_line())
        self.postmaster = facts["postmaster"]
        self.supervisor = facts["supervisor"]
        self.folder = Path(facts["folder"])
        self.conninfo = facts["conninfo"]

    def left_nothing(self) -> bool:
        return not (runs(self.postmaster) or runs(self.supervisor) or self.folder.exists())


class StartOwner(Protocol):
    def __call__(self, body: str = ..., *, ready: bool = ..., plain: bool = ..., **options: object) -> Owner: ...


@contextmanager
def start_owner(
    body: str = UNTIL_END_OF_INPUT, *, ready: bool = True, plain: bool = False, **options: object
) -> Iterator[Owner]:
    """Run a process that owns a server and ends at the latest with the test.

    ready: wait until the server runs. plain: if this is root, run as an unprivileged user.
    """
    interpreter = plain_interpreter() if plain else Interpreter(sys.executable)
    process = subprocess.Popen(
        [interpreter.program, "-c", PROGRAM, json.dumps(options, default=str), body],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        user=interpreter.user,
        group=interpreter.group,
        extra_groups=None if interpreter.user is None else [],
        env=environment(),
    )
    with process:
        owner = Owner(process)
        try:
            if ready:
                owner.read_facts()
            yield owner
        finally:
            process.kill()


@dataclass(frozen=True)
class Interpreter:
    program: str
    user: int | None = None
    group: int | None = None


@functools.cache
def plain_interpreter() -> Interpreter:
    """A Python that can import psycopg as a plain user, also if root's own is in a closed folder."""
    if os.geteuid() != 0:
        return Interpreter(sys.executable)
    nobody = pwd.getpwnam("nobody")
    for program in (sys.executable, "/usr/bin/python3"):
        try:
            subprocess.run(
                [program, "-c", "import psycopg, flow_signal.embedded"],
                check=True,
                user=nobody.pw_uid,
                group=nobody.pw_gid,
                extra_groups=[],
                env=environment(),
                stderr=subprocess.DEVNULL,
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return Interpreter(program, nobody.pw_uid, nobody.pw_gid)
    pytest.skip("no Python with psycopg that a plain user can run")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def runs(pid: int) -> bool:
    """Whether there is such a process, other than one that only waits to be reaped."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return sys.platform != "linux"
    return status.rpartition(")")[2].split()[0] != "Z"


@contextmanager
def deadline(process: subprocess.Popen[Any]) -> Iterator[None]:
    """Kill the process if the block lasts too long, so that what reads its output comes to an end; then fail."""
    timer = threading.Timer(DEADLINE_SECONDS, process.kill)
    timer.start()
    try:
        yield
    finally:
        in_time = timer.is_alive()
        timer.cancel()
    assert in_time, f"the process did not print in {DEADLINE_SECONDS} s what the test waits for"


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < end, "what the test waits for did not come"
        time.sleep(0.02)
