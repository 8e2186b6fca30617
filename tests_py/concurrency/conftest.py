"""The stage of the races: one database and its sessions for all tests, fresh runs for each."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest

from flow_signal.embedded import EmbeddedServer
from tests_py.concurrency.calls import Run
from tests_py.concurrency.stage import Session, Stage
from tools.server import TEMPLATE


@pytest.fixture(scope="session")
def shared_stage(server: EmbeddedServer) -> Iterator[Stage]:
    name = f"concurrency_{uuid4().hex}"
    with psycopg.connect(server.conninfo(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        stage = Stage(server.conninfo(name))
        yield stage
        stage.close()
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def stage(shared_stage: Stage) -> Iterator[Stage]:
    yield shared_stage
    shared_stage.reset()


@pytest.fixture
def run(stage: Stage) -> Iterator[Run]:
    """A fresh run; what must never be true of one is checked at the end."""
    run = Run()
    yield run
    stage.reset()
    assert stage.broken_invariants(run) == []


@pytest.fixture
def a(stage: Stage) -> Session:
    return stage.sessions(4)[0]


@pytest.fixture
def b(stage: Stage) -> Session:
    return stage.sessions(4)[1]


@pytest.fixture
def c(stage: Stage) -> Session:
    return stage.sessions(4)[2]


@pytest.fixture
def d(stage: Stage) -> Session:
    return stage.sessions(4)[3]
