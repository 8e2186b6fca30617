"""Sessions on the database of the test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests_py.concurrency.calls import Run
from tests_py.concurrency.stage import Session, Stage


@pytest.fixture
def stage(database: str) -> Iterator[Stage]:
    stage = Stage(database)
    yield stage
    stage.reset()
    stage.close()


@pytest.fixture
def run(stage: Stage) -> Iterator[Run]:
    """A fresh run; what must never be true of one is checked at the end."""
    run = Run()
    yield run
    stage.reset()
    assert stage.broken_invariants(run) == []


@pytest.fixture
def a(stage: Stage) -> Session:
    return stage.sessions(2)[0]


@pytest.fixture
def b(stage: Stage) -> Session:
    return stage.sessions(2)[1]


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection
