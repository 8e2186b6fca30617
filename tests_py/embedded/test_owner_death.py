"""However the owner of a server ends, the server and all that is temporary end with it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from flow_signal.embedded import EmbeddedServer
from flow_signal.embedded._supervisor import processes
from tests_py.embedded.owners import DEADLINE_SECONDS, Owner, StartOwner, deadline, runs, wait_until

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs the parent-death signal")


def kill_owner(owner: Owner) -> None:
    owner.process.kill()


def kill_process_group(owner: Owner) -> None:
    os.killpg(owner.process.pid, signal.SIGKILL)


def terminate_supervisor(owner: Owner) -> None:
    os.kill(owner.supervisor, signal.SIGTERM)


@pytest.mark.parametrize("end", [kill_owner, kill_process_group, terminate_supervisor])
def test_nothing_is_left(end: Callable[[Owner], None], owned_server: StartOwner, temporary_folder: Path) -> None:
    owner = owned_server()
    with psycopg.connect(owner.conninfo):
        end(owner)
        wait_until(owner.left_nothing)
    assert list(temporary_folder.iterdir()) == []


def test_kept_data_is_left_in_order(owned_server: StartOwner, open_folder: Path) -> None:
    owner = owned_server(data_dir=open_folder / "data")
    with psycopg.connect(owner.conninfo) as connection:
        connection.execute("CREATE TABLE kept ()")
    owner.process.kill()
    with EmbeddedServer(data_dir=open_folder / "data") as server:
        assert owner.left_nothing()
        assert b"was not properly shut down" not in server.log_file.read_bytes()
        with psycopg.connect(server.conninfo()) as connection:
            connection.execute("TABLE kept")


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_owner_ended_during_the_start(end: signal.Signals, owned_server: StartOwner, temporary_folder: Path) -> None:
    owner = owned_server(ready=False)
    wait_until(lambda: any(temporary_folder.glob("*/data/PG_VERSION")))
    os.killpg(owner.process.pid, end)
    assert owner.read_line() == ""
    wait_until(lambda: not any(temporary_folder.iterdir()))


FORK = """
fork = os.fork()
if fork == 0:
    {fork}
    print(os.getpid())
    signal.pause()
sys.stdin.read()
"""


@pytest.mark.parametrize("in_fork", ["pass", "server.stop()"])
def test_fork_of_the_owner_neither_holds_nor_stops_the_server(in_fork: str, owned_server: StartOwner) -> None:
    owner = owned_server(FORK.format(fork=in_fork))
    fork = int(owner.read_line())
    try:
        with psycopg.connect(owner.conninfo) as connection:
            connection.execute("SELECT 1")
        owner.process.kill()
        wait_until(owner.left_nothing)
        assert runs(fork)
    finally:
        os.kill(fork, signal.SIGKILL)


def test_interrupt_from_the_terminal_leaves_the_server_to_its_owner(owned_server: StartOwner) -> None:
    owner = owned_server(
        """
try:
    print("ready")
    signal.pause()
except KeyboardInterrupt:
    with psycopg.connect(server.conninfo()) as connection:
        print(*connection.execute("SELECT 'still here'").fetchone())
"""
    )
    owner.read_line()
    os.killpg(owner.process.pid, signal.SIGINT)
    assert owner.read_line() == "still here\n"
    assert owner.wait() == 0
    assert owner.left_nothing()


@on_linux
def test_supervisor_killed(owned_server: StartOwner) -> None:
    owner = owned_server("sys.stdin.readline()")
    os.kill(owner.supervisor, signal.SIGKILL)
    wait_until(lambda: not runs(owner.postmaster))

    assert owner.process.poll() is None
    owner.process.communicate("stop\n", DEADLINE_SECONDS)
    assert owner.process.returncode == 0
    assert owner.left_nothing()


@on_linux
def test_owner_and_supervisor_killed(owned_server: StartOwner) -> None:
    owner = owned_server()
    os.kill(owner.supervisor, signal.SIGSTOP)
    owner.process.kill()
    os.kill(owner.supervisor, signal.SIGKILL)
    wait_until(lambda: not runs(owner.postmaster))
    shutil.rmtree(owner.folder)


def test_server_that_died_is_no_obstacle(temporary_folder: Path) -> None:
    with EmbeddedServer() as server:
        os.kill(server._postmaster, signal.SIGKILL)
        wait_until(lambda: not runs(server._postmaster))
    assert list(temporary_folder.iterdir()) == []


def test_server_that_does_not_stop_is_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = ((signal.SIGINT, 0.05), (signal.SIGQUIT, 0.05), (signal.SIGKILL, 60))
    monkeypatch.setattr(processes, "STOP_STEPS", steps)
    command = ["sh", "-c", "trap '' INT QUIT; echo ready; exec sleep 600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as stubborn:
        assert stubborn.stdout
        try:
            with deadline(stubborn):
                stubborn.stdout.readline()
            processes.stop_process(stubborn)
            assert stubborn.returncode == -signal.SIGKILL
        finally:
            stubborn.kill()
