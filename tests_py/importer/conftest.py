"""A live FlowOrchestrator table beside flow-signal."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests_py.importer.origin import TABLE, Connection


@pytest.fixture
def connection(database: str) -> Iterator[Connection]:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(TABLE)
        yield connection
