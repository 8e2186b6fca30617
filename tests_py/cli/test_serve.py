"""`serve`: a server with flow-signal until it is told to end, and nothing of it afterwards."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from tests_py.cli.commands import Command, read_until, started
from tests_py.embedded.owners import runs, wait_until


@dataclass(frozen=True)
class Served:
    process: subprocess.Popen[str]
    dsn: str
    data_dir: Path
    kept: bool

    @property
    def postmaster(self) -> int:
        return int((self.data_dir / "postmaster.pid").read_text().split()[0])

    def end(self, number: signal.Signals) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@contextmanager
def served(*arguments: str) -> Iterator[Served]:
    with started("serve", "--json", *arguments, start_new_session=True) as process:
        document = json.loads(read_until(process, "{"))
        yield Served(process, document["dsn"], Path(document["data_dir"]), document["kept"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_end(temporary_folder: Path, bare: Command, run: str, number: signal.Signals) -> None:
    with served() as server:
        assert not server.kept
        assert bare("register", run, "ask", "approval", "--dsn", server.dsn).code == 0
        postmaster = server.postmaster
        assert server.end(number) == (0, "", "")
        assert not runs(postmaster)
        assert list(temporary_folder.iterdir()) == []


def test_clients_do_not_hold_up_the_end(temporary_folder: Path) -> None:
    with served() as server:
        client = psycopg.connect(server.dsn)
        client.execute("SELECT 1")
        assert server.end(signal.SIGINT) == (0, "", "")
        assert list(temporary_folder.iterdir()) == []
        client.close()


def test_interrupt_from_the_terminal_reaches_the_whole_group(temporary_folder: Path) -> None:
    with served() as server:
        os.killpg(server.process.pid, signal.SIGINT)
        assert server.process.wait(60) == 0
        assert list(temporary_folder.iterdir()) == []


def test_killed(temporary_folder: Path) -> None:
    with served() as server:
        postmaster = server.postmaster
        server.process.kill()
        wait_until(lambda: not runs(postmaster) and not any(temporary_folder.iterdir()))


OTHERS = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


def test_server_that_ends_by_itself(temporary_folder: Path) -> None:
    with served() as server:
        with psycopg.connect(server.dsn, autocommit=True) as client:
            wait_until(lambda: client.execute(OTHERS).fetchall())
        os.kill(server.postmaster, signal.SIGKILL)
        out, err = server.process.communicate(timeout=60)
        assert (server.process.returncode, out) == (1, "")
        assert json.loads(err)["message"] == "the server has ended"
        assert list(temporary_folder.iterdir()) == []


def test_client_that_cuts_connections_does_not_end_it(temporary_folder: Path) -> None:
    with served() as server:
        client = psycopg.connect(server.dsn, autocommit=True)
        wait_until(lambda: client.execute(OTHERS).fetchall())
        [(own,)] = client.execute(OTHERS).fetchall()
        client.execute("SELECT pg_terminate_backend(%s)", [own])
        wait_until(lambda: client.execute(OTHERS).fetchall() not in ([], [(own,)]))
        client.close()
        assert server.end(signal.SIGTERM) == (0, "", "")


def test_folder_is_kept(temporary_folder: Path, bare: Command, run: str) -> None:
    folder = temporary_folder / "kept"
    for register in (True, False):
        with served("--data-dir", str(folder)) as server:
            assert server.kept
            assert server.data_dir == folder
            if register:
                bare("register", run, "ask", "approval", "--dsn", server.dsn)
            assert bare("get", run, "ask", "--dsn", server.dsn, "--json").document["state"] == "waiting"
            assert server.end(signal.SIGTERM) == (0, "", "")
            assert list(temporary_folder.iterdir()) == [folder]


def test_twice_on_the_same_folder(temporary_folder: Path, bare: Command) -> None:
    folder = temporary_folder / "kept"
    with served("--data-dir", str(folder)) as server:
        outcome = bare("serve", "--json", "--data-dir", str(folder))
        assert outcome.code == 1
        assert str(folder) in outcome.problem["message"]
        assert bare("version", "--dsn", server.dsn).code == 0


def test_folder_of_something_else(temporary_folder: Path, bare: Command) -> None:
    (temporary_folder / "notes.txt").touch()
    outcome = bare("serve", "--data-dir", str(temporary_folder))
    assert outcome.code == 1
    assert outcome.err.startswith("error: ")
    assert "Traceback" not in outcome.err


def test_port(temporary_folder: Path, bare: Command) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with served("--port", str(port)) as server:
        with psycopg.connect(server.dsn) as client:
            assert (client.info.host, client.info.port) == ("127.0.0.1", port)
        outcome = bare("serve", "--json", "--port", str(port))
        assert outcome.code == 1
        assert str(port) in outcome.problem["detail"]


def test_what_it_says_to_try_works(temporary_folder: Path) -> None:
    with started("serve") as process:
        text = read_until(process, "Any other language")
        commands = text.partition("Try it in another terminal:")[2].partition("Any other language")[0]
        outcome = subprocess.run(["sh", "-ec", commands], capture_output=True, text=True, check=False)
        assert outcome.returncode == 0, outcome.stderr
        assert 'waiting for signal "confirmation"' in outcome.stdout
        assert "| confirm " in outcome.stdout
        assert "{'from': 'psql'}" in outcome.stdout
