"""A server whose extensions are the test's."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from flow_signal.embedded import EmbeddedServer, find_bin_dir
from sql.build import build_extension
from tests_py.build.scripts import copy_sources, new_database, run
from tests_py.extension.servers import extensible_server


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A folder that stands for / and that every account may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="extension-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def extensible(root: Path) -> Iterator[EmbeddedServer]:
    """A server with the extension's files."""
    with extensible_server(find_bin_dir(), root, build_extension()) as server:
        yield server


@pytest.fixture
def plain_database(extensible: EmbeddedServer) -> Iterator[str]:
    with new_database(extensible) as conninfo:
        yield conninfo


@pytest.fixture
def extended(plain_database: str) -> str:
    """A database with the extension."""
    run("CREATE EXTENSION flow_signal", plain_database)
    return plain_database


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    return copy_sources(tmp_path)
