"""A database without flow-signal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flow_signal.embedded import EmbeddedServer
from tests_py.build.scripts import new_database


@pytest.fixture
def empty_database(server: EmbeddedServer) -> Iterator[str]:
    with new_database(server) as conninfo:
        yield conninfo
