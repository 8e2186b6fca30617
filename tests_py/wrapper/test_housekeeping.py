"""Lists, purge and the views: what they return as Python values."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from importlib import metadata
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from flow_signal import (
    AsyncFlowSignalStore,
    BufferedSignal,
    BufferedSignalState,
    NewSignal,
    NewWaiter,
    SignalStats,
    WaiterState,
)

from .conftest import Client

NOW = datetime.now(timezone.utc)
HOUR = timedelta(hours=1)
LONG_AGO = datetime(1000, 1, 1, tzinfo=timezone.utc)


async def test_waiters_page_by_page(store: AsyncFlowSignalStore) -> None:
    runs, name = sorted([uuid4(), uuid4()]), f"approved {uuid4()}"
    keys = [(run_id, step_key) for run_id in runs for step_key in ("B", "a", "ä")]
    await store.register_waiters(NewWaiter(run_id, step_key, name) for run_id, step_key in reversed(keys))
    listed: list[tuple[UUID, str]] = []
    after = None
    while page := await store.list_waiters(signal_name=name, after=after, limit=4):
        listed += [(waiter.run_id, waiter.step_key) for waiter in page]
        after = listed[-1]
    assert listed == keys
    assert await store.list_waiters(signal_name=name) == [
        waiter for run_id, step_key in keys if (waiter := await store.get_waiter(run_id, step_key))
    ]


@pytest.mark.parametrize(
    ("state", "steps"),
    [
        (None, ["delivered", "late", "waiting"]),
        (WaiterState.WAITING, ["waiting"]),
        (WaiterState.DELIVERED, ["delivered"]),
        (WaiterState.EXPIRED, ["late"]),
    ],
)
async def test_waiters_of_a_state(store: AsyncFlowSignalStore, state: WaiterState | None, steps: list[str]) -> None:
    run_id = uuid4()
    await store.register_waiter(run_id, "late", "approved", expires_at=NOW - HOUR)
    await store.register_waiter(run_id, "delivered", "paid")
    await store.register_waiter(run_id, "waiting", "approved", expires_at=NOW + HOUR)
    await store.deliver_signal(run_id, "paid")
    listed = await store.list_waiters(run_id=run_id, state=state)
    assert [waiter.step_key for waiter in listed] == steps
    assert await store.list_waiters(run_id=run_id, signal_name="refused", state=state) == []


async def test_buffered_signals(store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    await store.deliver_signals(
        [
            NewSignal(run_id, "b", payload_json="[1 ]", delivery_id="one"),
            NewSignal(run_id, "b"),
            NewSignal(run_id, "a"),
        ],
        buffer_until=NOW + HOUR,
    )
    third, first, second = listed = await store.list_buffered_signals(run_id=run_id)
    assert first == BufferedSignal(
        run_id=run_id,
        signal_name="b",
        position=first.position,
        state=BufferedSignalState.BUFFERED,
        buffered_at=first.buffered_at,
        buffered_until=NOW + HOUR,
        delivery_id="one",
        payload_json="[1 ]",
    )
    assert type(first.state) is BufferedSignalState
    assert abs(first.buffered_at - NOW) < HOUR
    assert first.payload == [1]
    assert first.position < second.position
    assert (second.delivery_id, second.payload_json, second.payload) == (None, None, None)
    assert third.signal_name == "a"

    assert await store.list_buffered_signals(run_id=run_id, signal_name="a") == [third]
    assert await store.list_buffered_signals(run_id=run_id, state=BufferedSignalState.DEAD) == []
    assert await store.list_buffered_signals(run_id=run_id, state=BufferedSignalState.BUFFERED) == listed
    assert await store.list_buffered_signals(run_id=run_id, limit=1) == [third]
    after = (run_id, "b", first.position)
    assert await store.list_buffered_signals(run_id=run_id, after=after) == [second]


async def test_a_dead_letter_stays_until_it_is_purged(client: Client) -> None:
    connection = await client.connect(autocommit=True)
    store = client.store(connection)
    run_id = uuid4()
    await store.deliver_signal(run_id, "approved", 1, buffer_until=NOW + HOUR)
    await connection.execute(
        "UPDATE flow_signal.flow_signal_buffered_signals SET buffered_until = %s WHERE run_id = %s", [LONG_AGO, run_id]
    )
    [dead] = await store.list_buffered_signals(run_id=run_id, state=BufferedSignalState.DEAD)
    assert (dead.state, dead.buffered_until, dead.payload) == (BufferedSignalState.DEAD, LONG_AGO, 1)
    assert await store.purge(LONG_AGO + HOUR) >= 1  # and what other tests have left
    assert await store.list_buffered_signals(run_id=run_id) == []


async def test_purge(store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    await store.register_waiters(
        [
            NewWaiter(run_id, "waiting", "approved"),
            *(NewWaiter(run_id, f"late {n}", "paid", expires_at=LONG_AGO) for n in range(3)),
        ]
    )
    before = LONG_AGO + HOUR
    while await store.purge(LONG_AGO - HOUR):  # what other tests have left
        pass
    assert len(await store.list_waiters(run_id=run_id)) == 4
    assert await store.purge(before, limit=2) == 2
    while await store.purge(before):
        pass
    assert [waiter.step_key for waiter in await store.list_waiters(run_id=run_id)] == ["waiting"]


async def test_signal_stats(client: Client) -> None:
    connection = await client.connect(autocommit=True)
    store = client.store(connection)
    run_id, name, other = uuid4(), f"approved {uuid4()}", f"paid {uuid4()}"
    [waiting, *_] = await store.register_waiters(
        [
            NewWaiter(run_id, "waiting", other),
            NewWaiter(run_id, "late", other, expires_at=NOW - HOUR),
            NewWaiter(run_id, "delivered", name),
        ]
    )
    await store.deliver_signals([NewSignal(run_id, name)] * 3, buffer_until=NOW + HOUR)
    stats = {stats.signal_name: stats for stats in await store.signal_stats()}
    assert [*stats] == sorted(stats)
    wait = stats[name].wait_p50
    assert stats[name] == SignalStats(
        signal_name=name,
        waiting=0,
        overdue=0,
        delivered=1,
        buffered=2,
        dead=0,
        oldest_waiting_since=None,
        wait_p50=wait,
        wait_p95=wait,
    )
    assert wait is not None
    assert timedelta() <= wait < HOUR
    assert stats[other] == SignalStats(
        signal_name=other,
        waiting=1,
        overdue=1,
        delivered=0,
        buffered=0,
        dead=0,
        oldest_waiting_since=waiting.created_at,
        wait_p50=None,
        wait_p95=None,
    )


async def test_health(store: AsyncFlowSignalStore) -> None:
    health = await store.health()
    assert abs(health.checked_at - NOW) < HOUR
    assert health.checked_at.utcoffset() == timedelta(0)
    assert health.version == metadata.version("flow-signal")
    assert health.total_bytes > 0
    assert 0 <= health.notify_queue_usage <= 1
    assert type(health.problems) is tuple


@pytest.mark.parametrize(
    ("method", "args", "kwargs", "named"),
    [
        ("list_waiters", (), {"limit": 0}, "limit"),
        ("list_waiters", (), {"limit": 10001}, "limit"),
        ("list_buffered_signals", (), {"limit": 0}, "limit"),
        ("purge", (LONG_AGO,), {"limit": 0}, "limit"),
        ("purge", (LONG_AGO,), {"limit": 100001}, "limit"),
        ("broadcast_signal", (" ",), {}, "signal name"),
    ],
)
async def test_what_is_refused(
    store: AsyncFlowSignalStore, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], named: str
) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=named):
        await getattr(store, method)(*args, **kwargs)


async def test_a_naive_datetime_is_refused(store: AsyncFlowSignalStore) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        await store.purge(datetime(2040, 1, 1))
