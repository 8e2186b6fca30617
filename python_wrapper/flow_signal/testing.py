"""Fixtures of pytest for the tests of an application: a database with flow-signal, clean for each test.

    pytest_plugins = ["flow_signal.testing"]  # in the conftest.py at the root of the tests

Each fixture may be overridden: `flow_signal_server` to use a server that is there already, `flow_signal_database` to
use the test database of a framework.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from . import migrate
from ._sync_store import FlowSignalStore

_MEMORY = Path("/dev/shm")
_LOCK_SECONDS = 10


@pytest.fixture(scope="session")
def flow_signal_server(pytestconfig: pytest.Config) -> Iterator[str]:
    """The connection string of a server of the session's own, from the extra `embedded` or any installation.

    Its role makes a database there, and the roles of flow-signal. What initdb makes is kept in the cache of pytest,
    where later sessions find it.
    """
    from .embedded import EmbeddedServer

    cache = None
    with suppress(AttributeError, OSError):  # there may be no cache, or none that can be written to
        cache = pytestconfig.cache.mkdir("flow_signal")
    server = EmbeddedServer(initdb_cache=cache)
    with pytest.MonkeyPatch.context() as patch:
        if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > 2**30:
            patch.setenv("TMPDIR", str(_MEMORY))  # where its files are made in half the time
        server.start()
    try:
        yield server.conninfo()
    finally:
        server.stop()


@pytest.fixture(scope="session")
def flow_signal_database(flow_signal_server: str) -> Iterator[str]:
    """The connection string of a database of the session's own, in which flow-signal is installed."""
    name = f"flow_signal_test_{uuid4().hex}"
    with psycopg.connect(flow_signal_server, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        try:
            conninfo = make_conninfo(flow_signal_server, dbname=name)
            migrate.migrate(conninfo)
            yield conninfo
        finally:
            connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@pytest.fixture
def flow_signal_dsn(flow_signal_database: str) -> str:
    """The connection string of that database, which has no waiter and no signal when the test begins."""
    with psycopg.connect(flow_signal_database) as connection:
        forget_everything(connection)
    return flow_signal_database


@pytest.fixture
def flow_signal_store(flow_signal_dsn: str) -> Iterator[FlowSignalStore]:
    """A store over a connection of its own, which commits each call."""
    with psycopg.connect(flow_signal_dsn, autocommit=True) as connection:
        yield FlowSignalStore(connection)


def forget_everything(connection: psycopg.Connection) -> None:
    """Delete all waiters, signals and receipts of a test database. The role needs flow_signal_owner.

    :raises psycopg.errors.LockNotAvailable: a transaction that a test has left open holds rows of them.
    """
    with connection.transaction():
        connection.execute(f"SET LOCAL lock_timeout TO '{_LOCK_SECONDS}s'")
        tables = connection.execute(_TABLES).fetchall()
        for (name,) in tables:
            connection.execute(SQL("DELETE FROM flow_signal.{}").format(Identifier(name)))


_TABLES = """
SELECT c.relname
FROM pg_catalog.pg_class AS c
WHERE c.relnamespace = 'flow_signal'::regnamespace AND c.relkind = 'r'
    AND c.relname NOT IN ('ledger', 'flow_signal_settings')
ORDER BY c.relname
"""
