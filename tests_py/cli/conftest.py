"""Commands run in this process, as `flow-signal` would run them; most tests need no more."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests_py.cli.commands import Command, Outcome, run_here
from tests_py.embedded.owners import wait_until


@pytest.fixture(autouse=True)
def _no_database_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("PG") or name == "FLOW_SIGNAL_DSN":
            monkeypatch.delenv(name)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Command:
    """Runs a command."""

    def command(*arguments: str, stdin: bytes = b"") -> Outcome:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        return run_here(arguments, monkeypatch, capsysbinary)

    return command


@pytest.fixture
def cli(bare: Command, database: str) -> Command:
    """Runs a command on the database of the test."""

    def command(*arguments: str, stdin: bytes = b"") -> Outcome:
        name, *rest = arguments
        return bare(name, "--dsn", database, *rest, stdin=stdin)

    return command


@pytest.fixture
def run() -> str:
    return str(uuid4())


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def temporary_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder where servers make their own; every account may enter it, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="cli-", dir="/tmp"))
    folder.chmod(0o777)
    (folder / "tmp").mkdir()
    (folder / "tmp").chmod(0o777)
    monkeypatch.setenv("TMPDIR", str(folder / "tmp"))
    yield folder / "tmp"
    wait_until(lambda: not any(folder.glob("tmp/flow-signal-*")))
    shutil.rmtree(folder)
