"""A time from now is counted by the clock of the database, whatever the clock of the caller and its session say."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest

from flow_signal import AsyncFlowSignalStore, NewSignal, NewWaiter, SignalDeliveryStatus, WaiterState

from .conftest import Client, one_session

HOUR = timedelta(hours=1)
TINY = timedelta(microseconds=1)
SLACK = timedelta(minutes=5)
FAR = datetime(9000, 1, 1, tzinfo=timezone.utc)


async def test_a_deadline_from_now(store: AsyncFlowSignalStore) -> None:
    waiter = await store.register_waiter(uuid4(), "step", "approved", expires_in=HOUR)
    assert waiter.expires_at is not None
    assert abs(waiter.expires_at - waiter.created_at - HOUR) < SLACK
    for past in (timedelta(0), -HOUR, TINY):
        late = await store.register_waiter(uuid4(), "step", "approved", expires_in=past)
        assert await store.await_waiter(late.run_id, "step") == await store.get_waiter(late.run_id, "step")
        assert (await store.deliver_signal(late.run_id, "approved")).status is SignalDeliveryStatus.EXPIRED


async def test_deadlines_of_a_batch(store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    waiters = await store.register_waiters(
        [
            NewWaiter(run_id, "a", "approved", expires_in=HOUR),
            NewWaiter(run_id, "b", "approved"),
            NewWaiter(run_id, "c", "approved", expires_at=FAR),
            NewWaiter(run_id, "d", "approved", expires_in=-HOUR),
        ]
    )
    assert [waiter.step_key for waiter in waiters] == ["a", "b", "c", "d"]
    [hour, never, far, late] = [waiter.expires_at for waiter in waiters]
    assert hour is not None
    assert abs(hour - waiters[0].created_at - HOUR) < SLACK
    assert (never, far) == (None, FAR)
    assert late is not None
    assert waiters[3].state is WaiterState.EXPIRED
    [alone] = await store.register_waiters([NewWaiter(uuid4(), "a", "approved", expires_in=HOUR)], queue="q")
    assert alone.expires_at is not None


async def test_a_signal_that_is_kept_for_a_while(store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    assert (await store.deliver_signal(run_id, "a", 1, buffer_for=HOUR)).status is SignalDeliveryStatus.BUFFERED
    [result] = await store.deliver_signals([NewSignal(run_id, "a", 2)], buffer_for=HOUR)
    assert result.status is SignalDeliveryStatus.BUFFERED
    for signal in await store.list_buffered_signals(run_id=run_id):
        assert abs(signal.buffered_until - signal.buffered_at - HOUR) < SLACK
    gone = await store.deliver_signal(uuid4(), "a", 1, buffer_for=timedelta(0))
    assert gone.status is SignalDeliveryStatus.NOT_FOUND


async def test_a_purge_of_what_is_old(client: Client) -> None:
    connection = await client.connect()
    store = client.store(connection)
    run_id = uuid4()
    await store.register_waiter(run_id, "step", "approved", expires_in=-HOUR)
    await store.purge(older_than=2 * HOUR)
    assert await store.get_waiter(run_id, "step") is not None
    await store.purge(older_than=HOUR / 2)
    assert await store.get_waiter(run_id, "step") is None
    await connection.rollback()


@one_session
async def test_a_day_has_24_hours(client: Client) -> None:
    """Not 23 or 25, as in a time zone whose clocks change meanwhile."""
    connection = await client.connect()
    await connection.execute("SET timezone = 'Europe/Berlin'")
    store = client.store(connection)
    days = timedelta(days=365 * 2 // 4, microseconds=1)
    for n in range(4):
        waiter = await store.register_waiter(uuid4(), "step", "approved", expires_in=n * days)
        assert waiter.expires_at is not None
        assert abs(waiter.expires_at - waiter.created_at - n * days) < SLACK
    await connection.rollback()


@one_session
@pytest.mark.parametrize(
    ("method", "args", "options", "sent"),
    [
        (
            "register_waiter",
            (uuid4(), "step", "approved"),
            {"expires_in": HOUR, "queue": "q"},
            "register_waiter(p_run_id => $1, p_step_key => $2, p_signal_name => $3, "
            "p_expires_at => clock_timestamp() + $4, p_queue => $5)",
        ),
        (
            "deliver_signal",
            (uuid4(), "approved"),
            {"buffer_for": HOUR},
            "deliver_signal(p_run_id => $1, p_signal_name => $2, p_buffer_until => clock_timestamp() + $3)",
        ),
        ("purge", (), {"older_than": 1000 * HOUR}, "purge(p_settled_before => clock_timestamp() + $1)"),
    ],
)
async def test_it_is_still_one_call(
    client: Client, method: str, args: tuple[Any, ...], options: dict[str, Any], sent: str
) -> None:
    connection = await client.connect(autocommit=True, prepare_threshold=0)
    await getattr(client.store(connection), method)(*args, **options)
    [[statement]] = await client.rows(connection, "SELECT statement FROM pg_prepared_statements")
    assert statement.endswith(f"FROM flow_signal_v1.{sent}")
