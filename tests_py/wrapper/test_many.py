"""Many waiters or signals in one call: the same verdicts as one after another, in the same order, all or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from flow_signal import (
    AsyncFlowSignalStore,
    DeliveryIdReusedError,
    NewSignal,
    NewWaiter,
    PayloadTooLargeError,
    SignalDeliveryStatus,
    SignalMismatchError,
    WaiterState,
)

from .conftest import Client, one_session

NOW = datetime.now(timezone.utc)
HOUR = timedelta(hours=1)


async def test_waiters_come_back_in_the_order_of_the_input(store: AsyncFlowSignalStore) -> None:
    runs = [uuid4() for _ in range(3)]
    keys = [(run_id, step_key) for step_key in ("b", "ä", "a") for run_id in runs]
    waiters = await store.register_waiters(NewWaiter(run_id, step_key, "approved") for run_id, step_key in keys)
    assert [(waiter.run_id, waiter.step_key) for waiter in waiters] == keys
    assert {waiter.state for waiter in waiters} == {WaiterState.WAITING}
    assert waiters[0] == await store.get_waiter(runs[0], "b")


async def test_each_waiter_has_its_own_deadline(store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    deadlines = [None, NOW + HOUR, NOW - HOUR, None]
    waiters = await store.register_waiters(
        NewWaiter(run_id, str(n), "approved", expires_at=deadline) for n, deadline in enumerate(deadlines)
    )
    assert [waiter.expires_at for waiter in waiters] == deadlines
    assert waiters[2].state is WaiterState.EXPIRED


async def test_wake_channel_and_queue_are_those_of_all(client: Client) -> None:
    connection = await client.connect(autocommit=True)
    run_id = uuid4()
    await client.store(connection).register_waiters(
        [NewWaiter(run_id, "a", "approved"), NewWaiter(run_id, "b", "approved")], wake_channel="worker 1", queue="q"
    )
    kept = await client.rows(
        connection, f"SELECT wake_channel, queue FROM flow_signal.flow_signal_waiters WHERE run_id = '{run_id}'"
    )
    assert kept == [("worker 1", "q")] * 2


async def test_signals_are_told_apart_in_the_order_of_the_input(store: AsyncFlowSignalStore) -> None:
    run_id, other_id = uuid4(), uuid4()
    await store.register_waiters([NewWaiter(run_id, "first", "approved"), NewWaiter(run_id, "second", "approved")])
    await store.register_waiter(run_id, "late", "paid", expires_at=NOW - HOUR)
    results = await store.deliver_signals(
        [
            NewSignal(run_id, "approved", 1, delivery_id="one"),
            NewSignal(other_id, "approved", 2),
            NewSignal(run_id, "approved", 3),
            NewSignal(run_id, "approved", 1, delivery_id="one"),
            NewSignal(run_id, "paid"),
            NewSignal(run_id, "approved"),
        ]
    )
    assert [(result.status, result.run_id, result.step_key, result.replayed) for result in results] == [
        (SignalDeliveryStatus.DELIVERED, run_id, "first", False),
        (SignalDeliveryStatus.NOT_FOUND, other_id, None, False),
        (SignalDeliveryStatus.DELIVERED, run_id, "second", False),
        (SignalDeliveryStatus.DELIVERED, run_id, "first", True),
        (SignalDeliveryStatus.EXPIRED, run_id, "late", False),
        (SignalDeliveryStatus.ALREADY_DELIVERED, run_id, "first", False),
    ]


async def test_signals_are_buffered_first_in_first_out(store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    results = await store.deliver_signals([NewSignal(run_id, "approved", n) for n in range(3)], buffer_until=NOW + HOUR)
    assert {result.status for result in results} == {SignalDeliveryStatus.BUFFERED}
    waiters = await store.register_waiters(NewWaiter(run_id, f"step {n}", "approved") for n in range(4))
    assert [waiter.payload for waiter in waiters] == [0, 1, 2, None]


@pytest.mark.parametrize(
    "texts",
    [
        [None, None],
        [None, "null", '""', "NULL", '"NULL"', None],
        [
            '{"a, b": "\\\\\\""}',
            ' {\t\n"größe":1 ,\r\n "a": [ ] }  ',
            '"%s %(run_id)s $1"',
            '"\\u0000\\ud800😀"',
            "1e400",
        ],
    ],
)
async def test_each_payload_is_kept_to_the_byte(store: AsyncFlowSignalStore, texts: list[str | None]) -> None:
    valid = [text for text in texts if text != "NULL"]
    run_id = uuid4()
    await store.register_waiters(NewWaiter(run_id, f"{n:02}", f"signal {n}") for n in range(len(valid)))
    await store.deliver_signals(NewSignal(run_id, f"signal {n}", payload_json=text) for n, text in enumerate(valid))
    waiters = await store.list_waiters(run_id=run_id)
    assert [waiter.payload_json for waiter in waiters] == valid
    assert {waiter.state for waiter in waiters} == {WaiterState.DELIVERED}
    if "NULL" in texts:
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            await store.deliver_signals([NewSignal(run_id, "signal", payload_json="NULL")])


async def test_nothing_is_nothing(store: AsyncFlowSignalStore) -> None:
    assert await store.register_waiters([]) == []
    assert await store.register_waiters(iter(()), wake_channel="channel", queue="queue") == []
    assert await store.deliver_signals([]) == []
    assert await store.deliver_signals(iter(()), buffer_until=NOW + HOUR) == []


async def test_a_thousand_in_one_call(store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    steps = [f"{n:04}" for n in range(1000)]
    waiters = await store.register_waiters(NewWaiter(run_id, step, step) for step in steps)
    assert [waiter.step_key for waiter in waiters] == steps
    results = await store.deliver_signals(NewSignal(run_id, step, {"step": step}) for step in reversed(steps))
    assert [result.step_key for result in results] == steps[::-1]
    assert await store.remove_run(run_id) == 1000


@pytest.mark.parametrize(
    ("error", "bad", "named"),
    [
        (SignalMismatchError, NewWaiter(UUID(int=7), "used", "other"), "used"),
        (psycopg.errors.InvalidParameterValue, NewWaiter(UUID(int=7), "step", " "), "signal name"),
        (psycopg.errors.InvalidParameterValue, NewWaiter(UUID(int=7), "x" * 257, "approved"), "step key"),
        (DeliveryIdReusedError, NewSignal(UUID(int=7), "used", 2, delivery_id="id"), "id"),
        (PayloadTooLargeError, NewSignal(UUID(int=7), "used", "x" * 1048576), "1048578"),
        (psycopg.errors.InvalidTextRepresentation, NewSignal(UUID(int=7), "used", payload_json="{"), "payload"),
        (psycopg.errors.InvalidParameterValue, NewSignal(UUID(int=7), "used", delivery_id=""), "delivery id"),
    ],
)
async def test_one_refusal_refuses_all(
    store: AsyncFlowSignalStore, error: type[psycopg.Error], bad: Any, named: str
) -> None:
    used, run_id = UUID(int=7), uuid4()
    await store.remove_run(used)
    await store.register_waiter(used, "used", "used")
    await store.deliver_signal(used, "used", 1, delivery_id="id")
    await store.register_waiter(run_id, "step", "approved")
    good: Any = NewWaiter(run_id, "new", "approved") if isinstance(bad, NewWaiter) else NewSignal(run_id, "approved", 1)
    call: Any = store.register_waiters if isinstance(bad, NewWaiter) else store.deliver_signals
    with pytest.raises(error, match=named) as refused:
        await call([good, bad])
    assert type(refused.value) is error
    [waiter] = await store.list_waiters(run_id=run_id)
    assert (waiter.step_key, waiter.state) == ("step", WaiterState.WAITING)


async def test_a_nul_character_never_reaches_the_database(store: AsyncFlowSignalStore) -> None:
    for signal in (NewSignal(uuid4(), "a\x00"), NewSignal(uuid4(), "a", payload_json="1\x00")):
        with pytest.raises(psycopg.DataError, match="NUL") as refused:
            await store.deliver_signals([NewSignal(uuid4(), "approved"), signal])
        assert refused.value.sqlstate is None


class Broken:
    def __iter__(self) -> Iterator[NewSignal]:
        yield NewSignal(uuid4(), "approved")
        raise LookupError


@pytest.mark.parametrize(
    ("error", "method", "batch"),
    [
        (ValueError, "deliver_signals", [NewSignal(UUID(int=1), "approved", float("nan"))]),
        (TypeError, "deliver_signals", [NewSignal(UUID(int=1), "approved", None, payload_json="null")]),
        (TypeError, "deliver_signals", [NewSignal(UUID(int=1), "approved", b"bytes")]),
        (LookupError, "deliver_signals", Broken()),
        (ValueError, "register_waiters", [NewWaiter(UUID(int=1), "a", "b", expires_at=datetime(2040, 1, 1))]),
    ],
)
async def test_what_python_cannot_write_is_refused_before_anything_is_sent(
    client: Client, error: type[Exception], method: str, batch: Any
) -> None:
    connection = await client.connect()
    with pytest.raises(error):
        await getattr(client.store(connection), method)(batch)
    assert connection.info.transaction_status == TransactionStatus.IDLE


async def test_the_caller_commits(client: Client) -> None:
    run_id = uuid4()
    connection = await client.connect()
    store = client.store(connection)
    await store.register_waiters([NewWaiter(run_id, "step", "approved")])
    await store.deliver_signals([NewSignal(run_id, "approved", 1)])
    await connection.rollback()
    assert await store.list_waiters(run_id=run_id) == []


@one_session
async def test_pipeline_mode(client: Client) -> None:
    run_id = uuid4()
    connection = await client.connect()
    store = client.store(connection)
    async with client.pipeline(connection):
        await connection.execute("SELECT 1")
        await store.register_waiters([NewWaiter(run_id, "step", "approved")])
        [result] = await store.deliver_signals([NewSignal(run_id, "approved", 1)])
        assert result.step_key == "step"


async def test_broadcast(store: AsyncFlowSignalStore) -> None:
    runs, name = [uuid4(), uuid4()], f"closing {uuid4()}"
    await store.register_waiters(
        [NewWaiter(run_id, step, name) for run_id in runs for step in ("a", "b")]
        + [NewWaiter(runs[0], "late", name, expires_at=NOW - HOUR)]
    )
    results = await store.broadcast_signal(name, {"n": 1})
    assert {(result.run_id, result.step_key) for result in results} == {(run, s) for run in runs for s in "ab"}
    assert {result.status for result in results} == {SignalDeliveryStatus.DELIVERED}
    payloads = {waiter.payload_json for waiter in await store.list_waiters(signal_name=name)}
    assert payloads == {'{"n": 1}', None}
    assert await store.broadcast_signal(name, payload_json="2") == []


async def test_a_broadcast_takes_a_payload_as_a_delivery_does(store: AsyncFlowSignalStore) -> None:
    with pytest.raises(TypeError, match="one of them"):
        await store.broadcast_signal("closing", 1, payload_json="1")
    with pytest.raises(ValueError, match="JSON"):
        await store.broadcast_signal("closing", float("nan"))
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        await store.broadcast_signal("closing", payload_json="{")


async def test_remove_run(store: AsyncFlowSignalStore) -> None:
    run_id, other_id = uuid4(), uuid4()
    await store.register_waiters(
        [NewWaiter(run_id, "a", "approved"), NewWaiter(run_id, "b", "paid"), NewWaiter(other_id, "a", "approved")]
    )
    await store.deliver_signal(run_id, "early", buffer_until=NOW + HOUR)
    assert await store.remove_run(run_id) == 2
    assert await store.remove_run(run_id) == 0
    assert await store.list_buffered_signals(run_id=run_id) == []
    assert await store.get_waiter(other_id, "a") is not None
