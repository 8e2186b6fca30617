"""wait keeps its timeout, and ends when it is cancelled, whatever the network does."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from flow_signal import FlowSignalWaiter, _async_store
from tests_py.wait.links import Link, link_to

from .conftest import Client, one_session
from .test_wait import WAITING

PATIENCE_SECONDS = 30
"""Less than a wait took that hung; the timeouts of the waits are a thirtieth of it."""
TIMEOUT = 1.0
CHANNELS = pytest.mark.parametrize("channel", [None, "worker 1"])


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flow_signal._waiting.GRACE_SECONDS", 0.5, raising=False)


@pytest.fixture
def link(database: str) -> Iterator[Link]:
    with link_to(database) as link:
        yield link


@pytest.fixture
async def observer(database: str) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        yield connection


YOUNGER = "AND backend_start > (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid())"
"""Than the observer: not a session of the test before, whose link has just been closed."""

Wait = asyncio.Future[FlowSignalWaiter]


def start_wait(client: Client, conn_or_pool: Any, run_id: UUID, **options: Any) -> Wait:
    store: Any = client.store(conn_or_pool)
    if client.is_async:
        return asyncio.create_task(store.wait(run_id, "step", **options))
    call: partial[FlowSignalWaiter] = partial(store.target.wait, run_id, "step", **options)
    return asyncio.get_running_loop().run_in_executor(None, call)


async def begin_wait(
    client: Client, conn_or_pool: Any, observer: psycopg.AsyncConnection, run_id: UUID, **options: Any
) -> Wait:
    """Begin to wait for a step; return when the session waits for the signal."""
    wait = start_wait(client, conn_or_pool, run_id, **options)
    while not await waits(observer):
        await asyncio.sleep(0.001)
        assert not wait.done()
    return wait


async def waits(observer: psycopg.AsyncConnection) -> bool:
    row = await (await observer.execute(WAITING + YOUNGER)).fetchone()
    return row is not None and row[0] > 0


async def ends(wait: Wait) -> BaseException | None:
    done, _ = await asyncio.wait([wait], timeout=PATIENCE_SECONDS)
    assert done, "the wait hangs"
    return asyncio.CancelledError() if wait.cancelled() else wait.exception()


async def register(client: Client, database: str, channel: str | None) -> UUID:
    client.conninfo, conninfo = database, client.conninfo
    store = client.store(await client.connect(autocommit=True))
    client.conninfo = conninfo
    return (await store.register_waiter(uuid4(), "step", "approved", wake_channel=channel)).run_id


@one_session
@CHANNELS
@pytest.mark.parametrize("autocommit", [True, False])
async def test_a_link_that_forwards_nothing_any_more(
    client: Client, database: str, link: Link, observer: psycopg.AsyncConnection, channel: str | None, autocommit: bool
) -> None:
    run_id = await register(client, database, channel)
    client.conninfo = link.conninfo
    connection = await client.connect(autocommit=autocommit)
    wait = await begin_wait(client, connection, observer, run_id, wake_channel=channel, timeout=TIMEOUT)
    link.cut(for_good=True)
    error = await ends(wait)
    assert isinstance(error, TimeoutError)
    assert "the database did not answer" in str(error)
    assert connection.closed


@one_session
@CHANNELS
async def test_a_link_that_was_cut_before(client: Client, database: str, link: Link, channel: str | None) -> None:
    run_id = await register(client, database, channel)
    client.conninfo = link.conninfo
    connection = await client.connect(autocommit=True)
    link.cut(for_good=True)
    wait = start_wait(client, connection, run_id, wake_channel=channel, timeout=0)
    assert isinstance(await ends(wait), TimeoutError)
    assert connection.closed


@one_session
@CHANNELS
async def test_without_a_timeout_the_connection_counts_as_lost(
    client: Client,
    database: str,
    link: Link,
    observer: psycopg.AsyncConnection,
    channel: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flow_signal._waiting.LONG_POLL_SECONDS", 0.5)
    monkeypatch.setattr("flow_signal._waiting.ANSWER_SECONDS", 0.5)
    run_id = await register(client, database, channel)
    client.conninfo = link.conninfo
    connection = await client.connect(autocommit=True)
    wait = await begin_wait(client, connection, observer, run_id, wake_channel=channel)
    link.cut(for_good=True)
    error = await ends(wait)
    assert isinstance(error, psycopg.OperationalError)
    assert "did not answer" in str(error)
    assert connection.closed


@one_session
@CHANNELS
async def test_a_frozen_session(
    client: Client, database: str, observer: psycopg.AsyncConnection, channel: str | None
) -> None:
    """A pool lends another connection after it."""
    run_id = await register(client, database, channel)
    pool = await client.pool(min_size=1, max_size=1)
    store = client.store(pool)
    wait = await begin_wait(client, pool, observer, run_id, wake_channel=channel, timeout=TIMEOUT)
    sessions = (WAITING + YOUNGER).replace("count(*)", "pid")
    while (row := await (await observer.execute(sessions)).fetchone()) is None:  # between two polls it does not sleep
        assert not wait.done()
    try:
        os.kill(row[0], signal.SIGSTOP)
        assert isinstance(await ends(wait), TimeoutError)
        await store.deliver_signal(run_id, "approved", 1)
    finally:
        os.kill(row[0], signal.SIGCONT)
    assert (await store.wait(run_id, "step", wake_channel=channel)).payload == 1


@pytest.mark.parametrize("client", ["async"], indirect=True)
@CHANNELS
@pytest.mark.parametrize("is_pooled", [False, True])
async def test_a_cancelled_wait_sends_nothing(
    client: Client, database: str, link: Link, observer: psycopg.AsyncConnection, channel: str | None, is_pooled: bool
) -> None:
    """Not the message either by which psycopg cancels a query, over a connection of its own."""
    run_id = await register(client, database, channel)
    client.conninfo = link.conninfo
    lender: Any = await (client.pool(min_size=1, max_size=1) if is_pooled else client.connect(autocommit=True))
    wait = await begin_wait(client, lender, observer, run_id, wake_channel=channel, timeout=3600)
    link.cut(for_good=True)
    accepted = link.connections
    wait.cancel()
    assert isinstance(await ends(wait), asyncio.CancelledError)
    if is_pooled:
        assert lender.get_stats().get("connections_lost", 0) == 0
    else:
        assert lender.closed
        assert link.connections == accepted == 1


@pytest.mark.parametrize("client", ["async"], indirect=True)
async def test_a_wait_that_is_cancelled_when_it_begins_to_listen(
    client: Client, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection does not go on listening: a pool would lend it to somebody else."""
    run_id = await register(client, database, "worker 1")
    connection = await client.connect(autocommit=True)
    execute = _async_store._execute

    async def execute_and_cancel(connection: Any, statement: Any) -> None:
        await execute(connection, statement)
        wait.cancel()

    monkeypatch.setattr(_async_store, "_execute", execute_and_cancel)
    wait = start_wait(client, connection, run_id, wake_channel="worker 1")
    assert isinstance(await ends(wait), asyncio.CancelledError)
    assert connection.closed


INTERRUPTED = """
import signal, sys
import psycopg
from flow_signal import FlowSignalStore

signal.signal(signal.SIGINT, signal.default_int_handler)
conninfo, run_id, channel = sys.argv[1:]
connection = psycopg.connect(conninfo, autocommit=True)
try:
    FlowSignalStore(connection).wait(run_id, "step", wake_channel=channel or None)
except KeyboardInterrupt:
    print("interrupted", connection.closed, flush=True)
"""


@CHANNELS
@pytest.mark.parametrize("client", ["sync"], indirect=True)
async def test_an_interrupted_wait_sends_nothing(
    client: Client, database: str, link: Link, observer: psycopg.AsyncConnection, channel: str | None
) -> None:
    """By Ctrl-C, where psycopg would cancel the query, over a connection of its own, and wait for its end."""
    run_id = await register(client, database, channel)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", INTERRUPTED, link.conninfo, str(run_id), channel or ""),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    try:
        while not await waits(observer):
            await asyncio.sleep(0.001)
            assert process.returncode is None
        link.cut(for_good=True)
        process.send_signal(signal.SIGINT)
        said = await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS)
        assert said == b"interrupted True\n"
        assert link.connections == 1
    finally:
        process.kill()
        await process.wait()


@one_session
@CHANNELS
async def test_a_pool_that_lends_nothing(client: Client, database: str, channel: str | None) -> None:
    """The timeout of the wait holds for the pool too."""
    run_id = await register(client, database, channel)
    pool = await client.pool(min_size=1, max_size=1, timeout=PATIENCE_SECONDS)
    connection = await pool.getconn()
    try:
        wait = start_wait(client, pool, run_id, wake_channel=channel, timeout=TIMEOUT)
        done, _ = await asyncio.wait([wait], timeout=PATIENCE_SECONDS / 2)
        assert done, "the wait hangs"
        assert isinstance(wait.exception(), TimeoutError)
    finally:
        await pool.putconn(connection)
