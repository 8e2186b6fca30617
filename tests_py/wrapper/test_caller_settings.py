"""Whatever the caller has configured on the connection, arguments and rows are the same."""

from __future__ import annotations

import subprocess
import sys
from contextvars import ContextVar
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.rows import dict_row, namedtuple_row, scalar_row
from psycopg.types.json import set_json_loads

from flow_signal import (
    AsyncFlowSignalStore,
    BufferedSignal,
    BufferedSignalState,
    FlowSignalWaiter,
    NewSignal,
    NewWaiter,
    SignalDeliveryResult,
    SignalDeliveryStatus,
    WaiterState,
    migrate,
)
from sql.build import ROOT

from . import hostile_adapters
from .conftest import Client, one_session

DEADLINE = datetime.max.replace(tzinfo=timezone.utc)
PAST = datetime(2026, 1, 1, tzinfo=timezone.utc)
PAYLOAD = '{"größe": "5 €",  "a": 1, "a": 1e400}'


async def check(client: Client, connection: Any) -> None:
    """Make every call, the values being such that a wrong conversion shows."""
    store = client.store(connection)
    run_id = uuid4()
    parked = await store.register_waiter(run_id, "étape", "approved", expires_at=DEADLINE)
    result = await store.deliver_signal(run_id, "approved", payload_json=PAYLOAD, buffer_until=DEADLINE)
    waiter = await store.get_waiter(run_id, "étape")
    removed = await store.remove_waiter(run_id, "étape")

    await store.register_waiter(run_id, "late", "paid", expires_at=PAST, queue=f"queue {run_id}")
    claimed = await store.claim_waiters(f"queue {run_id}", limit=2, lease=timedelta(minutes=1, seconds=2))
    late = await store.await_waiter(run_id, "late", max_wait=timedelta(minutes=1, seconds=2))

    assert parked == FlowSignalWaiter(
        run_id=run_id,
        step_key="étape",
        signal_name="approved",
        state=WaiterState.WAITING,
        created_at=parked.created_at,
        expires_at=DEADLINE,
        delivered_at=None,
        payload_json=None,
    )
    assert result == SignalDeliveryResult(
        status=SignalDeliveryStatus.DELIVERED,
        run_id=run_id,
        step_key="étape",
        delivered_at=result.delivered_at,
        replayed=False,
    )
    assert type(parked.created_at) is type(result.delivered_at) is datetime
    assert waiter == removed
    assert waiter is not None
    assert (waiter.state, waiter.payload_json) == (WaiterState.DELIVERED, PAYLOAD)
    assert [waiter.created_at for waiter in claimed] == [late and late.created_at]
    assert [waiter.attempt for waiter in claimed] == [1]
    assert type(await store.version()) is str
    await check_many(store)


async def check_many(store: AsyncFlowSignalStore) -> None:
    run_id, name = uuid4(), f"größe {uuid4()}"
    empty, waiting, late = await store.register_waiters(
        [
            NewWaiter(run_id, "étape", name),
            NewWaiter(run_id, "null", name, expires_at=DEADLINE),
            NewWaiter(run_id, '{"\\,', name, expires_at=PAST),
        ]
    )
    assert (empty.expires_at, waiting.expires_at, late.expires_at) == (None, DEADLINE, PAST)
    assert late.step_key == '{"\\,'
    results = await store.deliver_signals(
        [
            NewSignal(run_id, name),
            NewSignal(run_id, name, payload_json=PAYLOAD, delivery_id="é"),
            NewSignal(run_id, name, None, delivery_id="NULL"),
        ],
        buffer_until=DEADLINE,
    )
    assert [result.step_key for result in results] == ["étape", "null", None]
    waiters = await store.list_waiters(run_id=run_id, state=WaiterState.DELIVERED)
    assert [waiter.payload_json for waiter in waiters] == [PAYLOAD, None]
    assert await store.list_waiters(run_id=run_id, after=(run_id, "{z"), limit=1) == waiters[1:]
    [buffered] = await store.list_buffered_signals(signal_name=name, after=(run_id, name, 0), limit=1)
    assert buffered == BufferedSignal(
        run_id=run_id,
        signal_name=name,
        position=buffered.position,
        state=BufferedSignalState.BUFFERED,
        buffered_at=buffered.buffered_at,
        buffered_until=DEADLINE,
        delivery_id="NULL",
        payload_json="null",
    )
    assert await store.broadcast_signal(name, payload_json=PAYLOAD) == []
    [stats] = [stats for stats in await store.signal_stats() if stats.signal_name == name]
    assert (stats.delivered, stats.overdue, stats.buffered) == (2, 1, 1)
    assert type(stats.wait_p50) is timedelta
    assert await store.remove_run(run_id) == 3
    assert await store.purge(datetime.min.replace(tzinfo=timezone.utc), limit=1) in (0, 1)  # a lock row
    health = await store.health()
    assert abs(health.checked_at - buffered.buffered_at) < timedelta(hours=1)
    assert type(health.total_bytes) is int
    assert type(health.notify_queue_usage) is float
    assert all(type(problem) is str for problem in health.problems)


async def test_adapters_of_the_connection(client: Client) -> None:
    connection = await client.connect(autocommit=True)
    hostile_adapters.register(connection.adapters)
    await check(client, connection)


def test_adapters_of_the_process(database: str) -> None:
    code = """if True:
        import datetime, sys, uuid, psycopg
        from tests_py.wrapper import hostile_adapters
        hostile_adapters.register(psycopg.adapters)
        from flow_signal import FlowSignalStore, NewSignal, NewWaiter

        with psycopg.connect(sys.argv[1]) as connection:
            store = FlowSignalStore(connection)
            run_id = uuid.uuid4()
            deadline = datetime.datetime(9999, 1, 1, tzinfo=datetime.timezone.utc)
            waiter = store.register_waiter(run_id, "step", "approved", expires_at=deadline)
            result = store.deliver_signal(run_id, "approved", 1)
            store.register_waiters([NewWaiter(run_id, "é", "a", expires_at=deadline), NewWaiter(run_id, "z", "a")])
            results = store.deliver_signals([NewSignal(run_id, "a", 1, delivery_id="1"), NewSignal(run_id, "a")])
            assert [result.step_key for result in results] == ["é", "z"]
            assert [waiter.payload for waiter in store.list_waiters(run_id=run_id)] == [1, None, 1]
            assert [type(stats.wait_p50) for stats in store.signal_stats() if stats.signal_name == "a"] != []
            assert store.list_buffered_signals(after=(run_id, "a", 0), limit=1) is not None
            assert store.remove_run(run_id) == 3
            assert store.health().total_bytes > 0
            print(waiter.run_id == run_id, waiter.expires_at == deadline, result.step_key, result.replayed)
    """
    output = subprocess.check_output([sys.executable, "-c", code, database], cwd=ROOT, text=True)
    assert output == "True True step False\n"


async def test_json_loads(client: Client) -> None:
    connection = await client.connect(autocommit=True)
    set_json_loads(lambda data: None, getattr(connection, "target", connection))
    await check(client, connection)


@pytest.mark.parametrize("row_factory", [dict_row, namedtuple_row, scalar_row])
async def test_row_factory(client: Client, row_factory: object) -> None:
    await check(client, await client.connect(autocommit=True, row_factory=row_factory))


@pytest.mark.parametrize(
    ("sync_factory", "async_factory"),
    [
        (psycopg.ClientCursor, psycopg.AsyncClientCursor),
        (psycopg.RawCursor, psycopg.AsyncRawCursor),
    ],
)
async def test_cursor_factory(client: Client, sync_factory: object, async_factory: object) -> None:
    factory = async_factory if client.is_async else sync_factory
    await check(client, await client.connect(autocommit=True, cursor_factory=factory))


async def test_a_cursor_that_traces_sees_each_call(client: Client) -> None:
    seen: list[str] = []

    class Traced(psycopg.Cursor[Any]):
        def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append(query)
            return super().execute(query, *args, **kwargs)

    class AsyncTraced(psycopg.AsyncCursor[Any]):
        async def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append(query)
            return await super().execute(query, *args, **kwargs)

    connection = await client.connect(autocommit=True, cursor_factory=AsyncTraced if client.is_async else Traced)
    await check(client, connection)
    assert sum("flow_signal_v1.register_waiter(" in query for query in seen) >= 1
    assert not any(PAYLOAD in query for query in seen)


@one_session
@pytest.mark.parametrize("channel", [None, "worker 1"])
async def test_what_traces_a_wait_finds_its_context(client: Client, channel: str | None) -> None:
    """The span of the caller, for example, to which those of the wait belong."""
    span: ContextVar[str] = ContextVar("span", default="none")
    seen: set[str] = set()

    class Traced(psycopg.Cursor[Any]):
        def execute(self, *args: Any, **kwargs: Any) -> Any:
            seen.add(span.get())
            return super().execute(*args, **kwargs)

    class AsyncTraced(psycopg.AsyncCursor[Any]):
        async def execute(self, *args: Any, **kwargs: Any) -> Any:
            seen.add(span.get())
            return await super().execute(*args, **kwargs)

    connection = await client.connect(autocommit=True, cursor_factory=AsyncTraced if client.is_async else Traced)
    store = client.store(connection)
    span.set("the caller's")
    waiter = await store.register_waiter(uuid4(), "step", "approved")
    await store.deliver_signal(waiter.run_id, "approved")
    await store.wait(waiter.run_id, "step", wake_channel=channel)
    assert seen == {"the caller's"}


async def test_a_function_that_makes_cursors(client: Client) -> None:
    async_factory, factory = psycopg.AsyncCursor, psycopg.Cursor
    make = (
        (lambda *args, **kwargs: async_factory(*args, **kwargs))
        if client.is_async
        else (lambda *args, **kwargs: factory(*args, **kwargs))
    )
    await check(client, await client.connect(autocommit=True, cursor_factory=make))


@one_session
@pytest.mark.parametrize("autocommit", [True, False])
@pytest.mark.parametrize("prepare_threshold", [None, 0, 5])
async def test_prepared_statements_and_autocommit(
    client: Client, prepare_threshold: int | None, autocommit: bool
) -> None:
    connection = await client.connect(autocommit=autocommit, prepare_threshold=prepare_threshold)
    for _ in range(7):
        await check(client, connection)


@one_session
@pytest.mark.parametrize(
    "setting",
    [
        "timezone = 'Pacific/Kiritimati'",
        "timezone = 'Etc/GMT+12'",
        "timezone = 'Asia/Kathmandu'",
        "datestyle = 'SQL, DMY'",
        "datestyle = 'German'",
        "datestyle = 'Postgres, MDY'",
        "intervalstyle = 'sql_standard'",
        "standard_conforming_strings = off",
        "search_path = ''",
        "role = flow_signal_admin",
        "plan_cache_mode = force_generic_plan",
        "client_encoding = 'WIN1252'",
    ],
)
async def test_session_settings(client: Client, setting: str) -> None:
    connection = await client.connect(autocommit=True)
    await connection.execute(f"SET {setting}")
    await check(client, connection)


async def test_a_database_of_encoding_sql_ascii(client: Client, database: str) -> None:
    name = f"test_{uuid4().hex}"
    admin = psycopg.conninfo.make_conninfo(database, dbname="postgres")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
        try:
            client.conninfo = psycopg.conninfo.make_conninfo(database, dbname=name)
            migrate.migrate(client.conninfo)
            await check(client, await client.connect(autocommit=True))
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
