"""A database without flow-signal, and a copy of the sources to be changed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from flow_signal.embedded import EmbeddedServer
from sql.build import ROOT
from tests_py.build.scripts import new_database


@pytest.fixture
def empty_database(server: EmbeddedServer) -> Iterator[str]:
    with new_database(server) as conninfo:
        yield conninfo


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "sql", tmp_path / "sql")
    return tmp_path
