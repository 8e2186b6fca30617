"""One test for both stores: written for the async one, and run again with the sync one behind the same coroutines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from typing import Any, cast

import psycopg
import psycopg_pool
import pytest
from psycopg.conninfo import make_conninfo

from flow_signal import AsyncFlowSignalStore, FlowSignalStore
from flow_signal.embedded import EmbeddedServer
from tests_py.wrapper.pgbouncer import pgbouncer
from tools.server import TEMPLATE


class Coroutines:
    """The methods of a sync object as coroutines."""

    def __init__(self, target: Any) -> None:
        self.target = target

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.target, name)
        if not callable(method):
            return method

        async def call(*args: Any, **kwargs: Any) -> Any:
            return method(*args, **kwargs)

        return call


class Entered(AbstractAsyncContextManager[Any, Any]):
    """A sync context manager as an async one."""

    def __init__(self, target: AbstractContextManager[Any, Any]) -> None:
        self.target = target

    async def __aenter__(self) -> Any:
        return self.target.__enter__()

    async def __aexit__(self, *error: Any) -> Any:
        return self.target.__exit__(*error)


class Connecting:
    """The least that a pool can be: it connects for each call."""

    def __init__(self, conninfo: str) -> None:
        self.conninfo = conninfo

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection]:
        with psycopg.connect(self.conninfo) as connection:
            yield connection


class AsyncConnecting:
    def __init__(self, conninfo: str) -> None:
        self.conninfo = conninfo

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[psycopg.AsyncConnection]:
        async with await psycopg.AsyncConnection.connect(self.conninfo) as connection:
            yield connection


class Client:
    """Makes connections, pools and stores of one kind; closes them after the test."""

    def __init__(self, conninfo: str, stack: AsyncExitStack, *, is_async: bool, is_pooled: bool) -> None:
        self.conninfo = conninfo
        self.is_async = is_async
        self._stack = stack
        # A statement that is prepared in one session is not in the next, which a pooler may take.
        self._options = {"prepare_threshold": None} if is_pooled else {}

    async def connect(self, **options: Any) -> psycopg.AsyncConnection[Any]:
        connection: Any
        options = {**self._options, **options}
        if self.is_async:
            connection = await psycopg.AsyncConnection.connect(self.conninfo, **options)
        else:
            connection = Coroutines(psycopg.Connection.connect(self.conninfo, **options))
        self._stack.push_async_callback(connection.close)
        return cast("psycopg.AsyncConnection[Any]", connection)

    async def pool(self, **options: Any) -> psycopg_pool.AsyncConnectionPool[Any]:
        pool: Any
        options["kwargs"] = {**self._options, **options.get("kwargs", {})}
        if self.is_async:
            pool = psycopg_pool.AsyncConnectionPool(self.conninfo, open=False, **options)
            await pool.open()
        else:
            pool = Coroutines(psycopg_pool.ConnectionPool(self.conninfo, open=True, **options))
        self._stack.push_async_callback(pool.close)
        return cast("psycopg_pool.AsyncConnectionPool[Any]", pool)

    def store(self, conn_or_pool: Any, **options: Any) -> AsyncFlowSignalStore:
        if self.is_async:
            return AsyncFlowSignalStore(conn_or_pool, **options)
        return cast(AsyncFlowSignalStore, Coroutines(FlowSignalStore(conn_or_pool.target, **options)))

    async def rows(self, connection: Any, query: str) -> list[Any]:
        cursor = await connection.execute(query, prepare=False)
        return list(await cursor.fetchall() if self.is_async else cursor.fetchall())

    def pipeline(self, connection: Any) -> AbstractAsyncContextManager[Any]:
        return connection.pipeline() if self.is_async else Entered(connection.target.pipeline())

    def transaction(self, connection: Any) -> AbstractAsyncContextManager[Any, bool]:
        block: AbstractAsyncContextManager[Any, bool]
        block = connection.transaction() if self.is_async else Entered(connection.target.transaction())
        return block


@pytest.fixture(scope="session")
def database(server: EmbeddedServer) -> Iterator[str]:
    """One database for all these tests, each of which takes run ids of its own."""
    with psycopg.connect(server.conninfo(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE test_wrapper TEMPLATE {TEMPLATE}")
        yield server.conninfo("test_wrapper")
        admin.execute("DROP DATABASE test_wrapper WITH (FORCE)")


@pytest.fixture(scope="session")
def pooled_database(server: EmbeddedServer, database: str) -> Iterator[str]:
    """The same database through pgbouncer in transaction mode."""
    with pgbouncer(server) as folder:
        yield make_conninfo(database, host=folder)


one_session = pytest.mark.parametrize("client", ["async", "sync"], indirect=True)
"""For tests that need the same session from call to call, which a transaction pooler does not give."""


@pytest.fixture(params=["async", "sync", "async_pgbouncer", "sync_pgbouncer"])
async def client(request: pytest.FixtureRequest, database: str) -> AsyncIterator[Client]:
    is_async, is_pooled = request.param.startswith("async"), request.param.endswith("pgbouncer")
    conninfo = request.getfixturevalue("pooled_database") if is_pooled else database
    async with AsyncExitStack() as stack:
        yield Client(conninfo, stack, is_async=is_async, is_pooled=is_pooled)


@pytest.fixture
async def store(client: Client) -> AsyncFlowSignalStore:
    """A store whose connection commits each call."""
    return client.store(await client.connect(autocommit=True))
