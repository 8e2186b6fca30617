"""Each method makes its one call with the arguments that it was given, and returns what the function returned."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from importlib import metadata
from uuid import UUID, uuid4

import pytest

from flow_signal import (
    AsyncFlowSignalStore,
    BufferedSignalState,
    FlowSignalWaiter,
    NewSignal,
    NewWaiter,
    SignalDeliveryResult,
    SignalDeliveryStatus,
    WaiterState,
)

from .conftest import Client, one_session

NOW = datetime.now(timezone.utc)
HOUR = timedelta(hours=1)


async def test_a_new_waiter(store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    waiter = await store.register_waiter(run_id, "step", "approved")
    assert waiter == FlowSignalWaiter(
        run_id=run_id,
        step_key="step",
        signal_name="approved",
        state=WaiterState.WAITING,
        created_at=waiter.created_at,
        expires_at=None,
        delivered_at=None,
        payload_json=None,
    )
    assert abs(waiter.created_at - NOW) < HOUR
    assert waiter.created_at.utcoffset() == timedelta(0)
    assert type(waiter.run_id) is UUID
    assert type(waiter.state) is WaiterState


async def test_a_delivery(store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    await store.register_waiter(run_id, "step", "approved")
    result = await store.deliver_signal(run_id, "approved", {"by": "finance"})
    assert result == SignalDeliveryResult(
        status=SignalDeliveryStatus.DELIVERED,
        run_id=run_id,
        step_key="step",
        delivered_at=result.delivered_at,
        replayed=False,
    )
    assert type(result.status) is SignalDeliveryStatus
    assert type(result.replayed) is bool
    waiter = await store.get_waiter(run_id, "step")
    assert waiter is not None
    assert waiter.state is WaiterState.DELIVERED
    assert waiter.delivered_at == result.delivered_at
    assert waiter.payload == {"by": "finance"}


async def test_an_expired_waiter(store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    deadline = NOW.astimezone(timezone(-HOUR)) - HOUR
    waiter = await store.register_waiter(run_id, "step", "approved", expires_at=deadline)
    assert (waiter.state, waiter.expires_at) == (WaiterState.EXPIRED, deadline)
    result = await store.deliver_signal(run_id, "approved")
    assert (result.status, result.step_key, result.delivered_at) == (SignalDeliveryStatus.EXPIRED, "step", None)


async def test_no_waiter(store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    assert await store.get_waiter(run_id, "step") is None
    assert await store.remove_waiter(run_id, "step") is None
    result = await store.deliver_signal(run_id, "approved")
    assert (result.status, result.step_key, result.delivered_at) == (SignalDeliveryStatus.NOT_FOUND, None, None)


async def test_a_second_signal(store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    await store.register_waiter(run_id, "step", "approved")
    first = await store.deliver_signal(run_id, "approved", 1)
    second = await store.deliver_signal(run_id, "approved", 2)
    assert second.status is SignalDeliveryStatus.ALREADY_DELIVERED
    assert (second.step_key, second.delivered_at) == ("step", first.delivered_at)


async def test_a_removed_waiter_comes_back_with_its_payload(store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    await store.register_waiter(run_id, "step", "approved")
    await store.deliver_signal(run_id, "approved", "at the last moment")
    waiter = await store.remove_waiter(run_id, "step")
    assert waiter is not None
    assert waiter.payload == "at the last moment"
    assert await store.get_waiter(run_id, "step") is None


async def test_a_buffered_signal_is_taken_by_the_next_waiter(store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    result = await store.deliver_signal(run_id, "approved", [1], buffer_until=NOW + HOUR)
    assert (result.status, result.step_key) == (SignalDeliveryStatus.BUFFERED, None)
    waiter = await store.register_waiter(run_id, "step", "approved")
    assert (waiter.state, waiter.payload) == (WaiterState.DELIVERED, [1])


async def test_a_retry_with_the_same_delivery_id(store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    await store.register_waiter(run_id, "first", "approved")
    await store.register_waiter(run_id, "second", "approved")
    first = await store.deliver_signal(run_id, "approved", {"n": 1}, delivery_id="id")
    retry = await store.deliver_signal(run_id, "approved", {"n": 1}, delivery_id="id")
    assert (first.replayed, retry.replayed) == (False, True)
    assert (retry.step_key, retry.delivered_at) == ("first", first.delivered_at)


async def test_wake_channel_and_queue_reach_the_database(client: Client) -> None:
    connection = await client.connect(autocommit=True)
    run_id = uuid4()
    await client.store(connection).register_waiter(run_id, "step", "approved", wake_channel="worker 1", queue="orders")
    kept = await client.rows(
        connection, f"SELECT wake_channel, queue FROM flow_signal.flow_signal_waiters WHERE run_id = '{run_id}'"
    )
    assert kept == [("worker 1", "orders")]


async def test_a_wait_that_is_over_is_claimed_by_one_caller(client: Client) -> None:
    store = client.store(await client.connect(autocommit=True))
    others = client.store(await client.connect(autocommit=True))
    run_id, queue = uuid4(), f"orders {uuid4()}"
    await store.register_waiter(run_id, "late", "paid", expires_at=NOW - HOUR, queue=queue)
    await store.register_waiter(run_id, "step", "approved", queue=queue)
    await store.register_waiter(run_id, "waiting", "cancelled", queue=queue)
    await store.deliver_signal(run_id, "approved", 1)

    [late] = await store.claim_waiters(queue, limit=1, lease=HOUR)
    [delivered] = await others.claim_waiters(queue)
    assert (late.step_key, late.state) == ("late", WaiterState.EXPIRED)
    assert (delivered.step_key, delivered.payload) == ("step", 1)
    assert await store.claim_waiters(queue) == []


async def test_a_claimed_waiter_comes_back_after_its_lease(store: AsyncFlowSignalStore) -> None:
    run_id, queue = uuid4(), f"orders {uuid4()}"
    await store.register_waiter(run_id, "step", "approved", expires_at=NOW - HOUR, queue=queue)
    shortest = timedelta(microseconds=1)
    for attempt in (1, 2):
        [claimed] = await store.claim_waiters(queue, lease=shortest)
        assert (claimed.step_key, claimed.attempt) == ("step", attempt)
    await store.remove_waiter(run_id, "step")
    assert await store.claim_waiters(queue) == []


async def test_a_long_poll_ends_with_the_waiter_as_it_is(store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    assert await store.await_waiter(run_id, "step") is None
    waiter = await store.register_waiter(run_id, "step", "approved")
    assert await store.await_waiter(run_id, "step", max_wait=timedelta(milliseconds=1)) == waiter
    await store.deliver_signal(run_id, "approved", 1)
    assert await store.await_waiter(run_id, "step") == await store.get_waiter(run_id, "step")


async def test_the_version_is_that_of_this_distribution(store: AsyncFlowSignalStore) -> None:
    assert await store.version() == metadata.version("flow-signal")


WAITER = "SELECT run_id, step_key, signal_name, state, created_at, expires_at, delivered_at, payload_json"
CLAIMED = f"{WAITER}, claim_id, attempt"
DELIVERY = "SELECT status, run_id, step_key, delivered_at, replayed"
BUFFERED = "SELECT run_id, signal_name, position, state, buffered_at, buffered_until, delivery_id, payload_json"
NEW_WAITERS = [NewWaiter(UUID(int=1), "step", "approved"), NewWaiter(UUID(int=1), "other", "approved")]


@one_session
@pytest.mark.parametrize(
    ("method", "args", "kwargs", "sent", "types"),
    [
        (
            "register_waiter",
            (UUID(int=1), "step", "approved"),
            {},
            f"{WAITER} FROM flow_signal_v1.register_waiter(p_run_id => $1, p_step_key => $2, p_signal_name => $3)",
            ["uuid", "text", "text"],
        ),
        (
            "register_waiter",
            (UUID(int=1), "step", "approved"),
            {"expires_at": NOW, "wake_channel": "channel", "queue": "queue"},
            f"{WAITER} FROM flow_signal_v1.register_waiter(p_run_id => $1, p_step_key => $2, p_signal_name => $3, "
            "p_expires_at => $4, p_wake_channel => $5, p_queue => $6)",
            ["uuid", "text", "text", "timestamp with time zone", "text", "text"],
        ),
        (
            "deliver_signal",
            (UUID(int=1), "approved"),
            {},
            f"{DELIVERY} FROM flow_signal_v1.deliver_signal(p_run_id => $1, p_signal_name => $2)",
            ["uuid", "text"],
        ),
        (
            "deliver_signal",
            (UUID(int=1), "approved", None),
            {"delivery_id": "id", "buffer_until": NOW},
            f"{DELIVERY} FROM flow_signal_v1.deliver_signal(p_run_id => $1, p_signal_name => $2, "
            "p_payload_json => $3, p_delivery_id => $4, p_buffer_until => $5)",
            ["uuid", "text", "text", "text", "timestamp with time zone"],
        ),
        (
            "get_waiter",
            (UUID(int=1), "step"),
            {},
            f"{WAITER} FROM flow_signal_v1.get_waiter(p_run_id => $1, p_step_key => $2)",
            ["uuid", "text"],
        ),
        (
            "remove_waiter",
            (UUID(int=1), "step"),
            {},
            f"{WAITER} FROM flow_signal_v1.remove_waiter(p_run_id => $1, p_step_key => $2)",
            ["uuid", "text"],
        ),
        (
            "claim_waiters",
            ("queue",),
            {},
            f"{CLAIMED} FROM flow_signal_v1.claim_waiters(p_queue => $1)",
            ["text"],
        ),
        (
            "claim_waiters",
            ("queue",),
            {"limit": 1, "lease": HOUR},
            f"{CLAIMED} FROM flow_signal_v1.claim_waiters(p_queue => $1, p_limit => $2, p_lease => $3)",
            ["text", "integer", "interval"],
        ),
        (
            "await_waiter",
            (UUID(int=1), "step"),
            {},
            f"{WAITER} FROM flow_signal_v1.await_waiter(p_run_id => $1, p_step_key => $2)",
            ["uuid", "text"],
        ),
        (
            "await_waiter",
            (UUID(int=1), "step"),
            {"max_wait": timedelta(seconds=1)},
            f"{WAITER} FROM flow_signal_v1.await_waiter(p_run_id => $1, p_step_key => $2, p_max_wait => $3)",
            ["uuid", "text", "interval"],
        ),
        (
            "register_waiters",
            (NEW_WAITERS,),
            {},
            f"{WAITER} FROM flow_signal_v1.register_waiters(p_run_ids => $1, p_step_keys => $2, p_signal_names => $3)",
            ["uuid[]", "text[]", "text[]"],
        ),
        (
            "register_waiters",
            ([*NEW_WAITERS, NewWaiter(UUID(int=1), "late", "approved", expires_at=NOW)],),
            {"wake_channel": "channel", "queue": "queue"},
            f"{WAITER} FROM flow_signal_v1.register_waiters(p_run_ids => $1, p_step_keys => $2, "
            "p_signal_names => $3, p_expires_at => $4, p_wake_channel => $5, p_queue => $6)",
            ["uuid[]", "text[]", "text[]", "timestamp with time zone[]", "text", "text"],
        ),
        (
            "deliver_signals",
            ([NewSignal(UUID(int=1), "approved")],),
            {},
            f"{DELIVERY} FROM flow_signal_v1.deliver_signals(p_run_ids => $1, p_signal_names => $2, "
            "p_payloads_json => $3)",
            ["uuid[]", "text[]", "text[]"],
        ),
        (
            "deliver_signals",
            ([NewSignal(UUID(int=1), "approved", None), NewSignal(UUID(int=1), "approved", delivery_id="id")],),
            {"buffer_until": NOW},
            f"{DELIVERY} FROM flow_signal_v1.deliver_signals(p_run_ids => $1, p_signal_names => $2, "
            "p_payloads_json => $3, p_delivery_ids => $4, p_buffer_until => $5)",
            ["uuid[]", "text[]", "text[]", "text[]", "timestamp with time zone"],
        ),
        (
            "broadcast_signal",
            ("approved",),
            {},
            f"{DELIVERY} FROM flow_signal_v1.broadcast_signal(p_signal_name => $1)",
            ["text"],
        ),
        (
            "broadcast_signal",
            ("approved", None),
            {},
            f"{DELIVERY} FROM flow_signal_v1.broadcast_signal(p_signal_name => $1, p_payload_json => $2)",
            ["text", "text"],
        ),
        (
            "remove_run",
            (UUID(int=1),),
            {},
            "SELECT remove_run FROM flow_signal_v1.remove_run(p_run_id => $1)",
            ["uuid"],
        ),
        ("list_waiters", (), {}, f"{WAITER} FROM flow_signal_v1.list_waiters()", []),
        (
            "list_waiters",
            (),
            {
                "run_id": UUID(int=1),
                "signal_name": "approved",
                "state": WaiterState.EXPIRED,
                "after": (UUID(int=1), "step"),
                "limit": 1,
            },
            f"{WAITER} FROM flow_signal_v1.list_waiters(p_run_id => $1, p_signal_name => $2, p_state => $3, "
            "p_after_run_id => $4, p_after_step_key => $5, p_limit => $6)",
            ["uuid", "text", "text", "uuid", "text", "integer"],
        ),
        ("list_buffered_signals", (), {}, f"{BUFFERED} FROM flow_signal_v1.list_buffered_signals()", []),
        (
            "list_buffered_signals",
            (),
            {
                "run_id": UUID(int=1),
                "signal_name": "approved",
                "state": BufferedSignalState.DEAD,
                "after": (UUID(int=1), "approved", 2**40),
                "limit": 1,
            },
            f"{BUFFERED} FROM flow_signal_v1.list_buffered_signals(p_run_id => $1, p_signal_name => $2, "
            "p_state => $3, p_after_run_id => $4, p_after_signal_name => $5, p_after_position => $6, p_limit => $7)",
            ["uuid", "text", "text", "uuid", "text", "bigint", "integer"],
        ),
        (
            "purge",
            (datetime.min.replace(tzinfo=timezone.utc),),
            {},
            "SELECT purge FROM flow_signal_v1.purge(p_settled_before => $1)",
            ["timestamp with time zone"],
        ),
        (
            "purge",
            (datetime.min.replace(tzinfo=timezone.utc),),
            {"limit": 1},
            "SELECT purge FROM flow_signal_v1.purge(p_settled_before => $1, p_limit => $2)",
            ["timestamp with time zone", "integer"],
        ),
        (
            "signal_stats",
            (),
            {},
            "SELECT signal_name, waiting, overdue, delivered, buffered, dead, oldest_waiting_since, wait_p50, wait_p95 "
            "FROM flow_signal_v1.version() AS installed, flow_signal_v1.signal_stats ORDER BY signal_name",
            [],
        ),
        (
            "health",
            (),
            {},
            "SELECT checked_at, version, waiters_estimate, buffered_signals_estimate, total_bytes, "
            "dead_rows_estimate, oldest_due_at, oldest_dead_at, oldest_snapshot_xids, notify_queue_usage, "
            "receipts_estimate, tokens_estimate, lock_rows_estimate, toast_bytes, dead_bytes_estimate, "
            "overdue_estimate, oldest_overdue_at, oldest_buffered_at, oldest_settled_at, oldest_snapshot_holder, "
            "problems FROM flow_signal_v1.version() AS installed, flow_signal_v1.health",
            [],
        ),
        ("version", (), {}, "SELECT version FROM flow_signal_v1.version()", []),
    ],
)
async def test_a_call_names_its_columns_and_sends_only_what_was_given(
    client: Client, method: str, args: tuple[object, ...], kwargs: dict[str, object], sent: str, types: list[str]
) -> None:
    connection = await client.connect(autocommit=True, prepare_threshold=0)
    await getattr(client.store(connection), method)(*args, **kwargs)
    prepared = await client.rows(connection, "SELECT statement, parameter_types::text[] FROM pg_prepared_statements")
    assert prepared == [(sent, types)]
