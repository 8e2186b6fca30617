"""A database without flow-signal, and a copy of the sources to be changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flow_signal.embedded import EmbeddedServer
from tests_py.build.scripts import copy_sources, new_database


@pytest.fixture
def empty_database(server: EmbeddedServer) -> Iterator[str]:
    with new_database(server) as conninfo:
        yield conninfo


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    return copy_sources(tmp_path)
