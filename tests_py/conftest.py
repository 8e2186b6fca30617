"""The database of a test: cloned for it, dropped after it, on a server of the session's own."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest

from flow_signal.embedded import EmbeddedServer
from tests_py.time_limit import pytest_runtest_protocol, pytest_unconfigure
from tools.server import TEMPLATE, template_server

__all__ = ["database", "pytest_runtest_protocol", "pytest_unconfigure", "server"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts its background jobs so; what the tests start must not inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    with template_server() as server:
        yield server


@pytest.fixture
def database(server: EmbeddedServer) -> Iterator[str]:
    """The conninfo of a fresh database with the schema installed."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(server.conninfo(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        yield server.conninfo(name)
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
