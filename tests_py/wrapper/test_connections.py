"""A store takes a connection of its own kind, or a pool of them, and says what to pass instead of anything else."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import psycopg
import psycopg_pool
import pytest

from flow_signal import AsyncFlowSignalStore, FlowSignalStore

from .conftest import AsyncConnecting, Connecting


def like(module: str, name: str, **attributes: object) -> Any:
    """An object of a class of that name, for a library that the tests do not install."""
    return type(name, (), {"__module__": module, **attributes})()


def refusing(self: object) -> object:
    raise LookupError("use another method")


SQLALCHEMY = like("sqlalchemy.orm.session", "Session", connection=lambda self: None)
SQLALCHEMY_CONNECTION = like("sqlalchemy.ext.asyncio.engine", "AsyncConnection", connection=property(refusing))
DJANGO = like("django.utils.connection", "ConnectionProxy", connection=None)
OTHERS = [
    (None, "got None$"),
    (7, "got int$"),
    ("dbname=test", r"got str: pass what psycopg\..*connect returns for it"),
    (
        SQLALCHEMY,
        r"got Session: pass the connection of psycopg below it, .*driver_connection.* session\.connection\(\)",
    ),
    (SQLALCHEMY_CONNECTION, "got AsyncConnection: pass the connection of psycopg below it"),
    (DJANGO, r"got ConnectionProxy: pass connection\.connection, after connection\.ensure_connection\(\)"),
    (like("psycopg2.extensions", "connection"), "got connection: with other drivers call the SQL functions"),
    (like("asyncpg.connection", "Connection"), "got Connection: with other drivers call the SQL functions"),
]


@pytest.mark.parametrize(("other", "named"), OTHERS)
def test_what_is_neither_connection_nor_pool_is_refused(other: Any, named: str) -> None:
    with pytest.raises(TypeError, match=rf"^expected a Connection of psycopg 3 or a pool of such, {named}"):
        FlowSignalStore(other)
    with pytest.raises(TypeError, match=rf"^expected an AsyncConnection of psycopg 3 or a pool of such, {named}"):
        AsyncFlowSignalStore(other)


async def test_the_other_kind_is_refused(database: str) -> None:
    with (
        psycopg.connect(database) as connection,
        psycopg_pool.ConnectionPool(database, open=False) as pool,
        psycopg_pool.NullConnectionPool(database, open=False) as null_pool,
    ):
        for wrong in (connection, pool, null_pool, Connecting(database)):
            with pytest.raises(TypeError, match=f"got {type(wrong).__name__}: use FlowSignalStore"):
                AsyncFlowSignalStore(wrong)  # type: ignore[arg-type]
        for store in (FlowSignalStore, AsyncFlowSignalStore):
            with pytest.raises(TypeError, match="got Cursor: pass its connection"):
                store(connection.cursor())  # type: ignore[arg-type]
    connecting = psycopg.AsyncConnection.connect(database)
    with pytest.raises(TypeError, match="got coroutine: await it first"):
        AsyncFlowSignalStore(connecting)  # type: ignore[arg-type]
    async with await connecting as async_connection:
        async_pools = [
            psycopg_pool.AsyncConnectionPool(database, open=False),
            psycopg_pool.AsyncNullConnectionPool(database, open=False),
            AsyncConnecting(database),
        ]
        for other in (async_connection, *async_pools):
            with pytest.raises(TypeError, match=f"got {type(other).__name__}: use AsyncFlowSignalStore"):
                FlowSignalStore(other)  # type: ignore[arg-type]


async def test_a_pool_may_be_wrapped(database: str) -> None:
    run_id = uuid4()
    store = FlowSignalStore(Connecting(database))
    store.register_waiter(run_id, "step", "approved")
    store.deliver_signal(run_id, "approved", 1)
    assert store.wait(run_id, "step", timeout=60).payload == 1
    async_store = AsyncFlowSignalStore(AsyncConnecting(database))
    assert (await async_store.wait(run_id, "step", timeout=60)).payload == 1
    assert (await async_store.wait(run_id, "step", timeout=60, wake_channel="worker 1")).payload == 1
