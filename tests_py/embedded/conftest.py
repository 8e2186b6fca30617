"""Folders that every account may enter, unlike pytest's own, and processes that own a server."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from flow_signal.embedded import EmbeddedServer
from tests_py.embedded.owners import UNTIL_END_OF_INPUT, Owner, StartOwner, start_owner


@pytest.fixture
def open_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="open-", dir="/tmp"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def temporary_folder(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where servers make their own, with nothing else in it."""
    folder = open_folder / "tmp"
    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture(scope="package")
def server() -> Iterator[EmbeddedServer]:
    """A temporary server with a port and a talkative log, for tests that leave it as it is."""
    with EmbeddedServer(port=0, settings={"log_statement": "all"}) as server:
        yield server


@pytest.fixture
def owned_server() -> Iterator[StartOwner]:
    """Starts a process that owns a server."""
    with ExitStack() as cleanup:

        def start(
            body: str = UNTIL_END_OF_INPUT, *, ready: bool = True, plain: bool = False, **options: object
        ) -> Owner:
            return cleanup.enter_context(start_owner(body, ready=ready, plain=plain, **options))

        yield start
