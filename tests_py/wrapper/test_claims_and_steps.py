"""A claim is its worker's; a signal for one step reaches it; a buffered signal can be taken back."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from flow_signal import (
    AsyncFlowSignalStore,
    BufferedSignalState,
    ClaimedWaiter,
    DeliveryIdReusedError,
    ForeignWaiter,
    ImportedWaiter,
    ImportOutcome,
    SignalDeliveryResult,
    SignalDeliveryStatus,
    TooManyBufferedError,
    WaiterState,
)

from .conftest import Client, one_session

NOW = datetime.now(timezone.utc)
HOUR = timedelta(hours=1)
SHORTEST = timedelta(microseconds=1)


async def claim_one(store: AsyncFlowSignalStore, queue: str, lease: timedelta = HOUR) -> ClaimedWaiter:
    [claimed] = await store.claim_waiters(queue, lease=lease)
    return claimed


async def test_a_claim(store: AsyncFlowSignalStore) -> None:
    run_id, queue = uuid4(), f"orders {uuid4()}"
    await store.register_waiter(run_id, "step", "approved", queue=queue)
    await store.deliver_signal(run_id, "approved", {"n": 1})
    claimed = await claim_one(store, queue)
    waiter = await store.get_waiter(run_id, "step")
    assert waiter is not None
    assert claimed == ClaimedWaiter(
        run_id=run_id,
        step_key="step",
        signal_name="approved",
        state=WaiterState.DELIVERED,
        created_at=waiter.created_at,
        expires_at=None,
        delivered_at=waiter.delivered_at,
        payload_json='{"n": 1}',
        claim_id=claimed.claim_id,
        attempt=1,
    )
    assert type(claimed.claim_id) is UUID
    assert type(claimed.attempt) is int
    assert "payload" not in repr(claimed)
    assert claimed.payload == {"n": 1}


async def test_a_worker_that_is_too_late_removes_nothing(store: AsyncFlowSignalStore) -> None:
    run_id, queue = uuid4(), f"orders {uuid4()}"
    await store.register_waiter(run_id, "step", "approved", queue=queue)
    await store.deliver_signal(run_id, "approved", 1)
    late = await claim_one(store, queue, SHORTEST)
    other = await claim_one(store, queue)
    assert (late.attempt, other.attempt) == (1, 2)
    assert late.claim_id != other.claim_id
    assert await store.remove_waiter(run_id, "step", claim_id=late.claim_id) is None
    removed = await store.remove_waiter(run_id, "step", claim_id=str(other.claim_id))
    assert removed is not None
    assert removed.payload == 1
    assert await store.remove_waiter(run_id, "step") is None


async def test_a_claim_can_be_kept_for_longer_and_given_back(store: AsyncFlowSignalStore) -> None:
    run_id, queue = uuid4(), f"orders {uuid4()}"
    await store.register_waiter(run_id, "step", "approved", queue=queue)
    await store.deliver_signal(run_id, "approved", 1)
    claimed = await claim_one(store, queue, SHORTEST)
    assert await store.extend_claim(run_id, "step", claimed.claim_id, HOUR) is True
    assert await store.claim_waiters(queue) == []
    assert await store.extend_claim(run_id, "step", uuid4(), HOUR) is False
    assert await store.extend_claim(str(run_id), "step", str(claimed.claim_id), timedelta(0)) is True
    assert await store.extend_claim(run_id, "step", claimed.claim_id, HOUR) is False
    again = await claim_one(store, queue)
    assert again.attempt == 2
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="lease"):
        await store.extend_claim(run_id, "step", again.claim_id, timedelta(days=2))


async def test_a_signal_for_one_step(store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    for step in ("first", "second"):
        await store.register_waiter(run_id, step, "approved")
    result = await store.deliver_to_step(run_id, "second", {"n": 2}, delivery_id="id")
    assert result == SignalDeliveryResult(
        status=SignalDeliveryStatus.DELIVERED,
        run_id=run_id,
        step_key="second",
        delivered_at=result.delivered_at,
        replayed=False,
    )
    replayed = await store.deliver_to_step(run_id, "second", payload_json=b'{"n": 2}', delivery_id="id")
    assert (replayed.status, replayed.replayed) == (SignalDeliveryStatus.DELIVERED, True)
    with pytest.raises(DeliveryIdReusedError):
        await store.deliver_to_step(run_id, "second", 3, delivery_id="id")
    again = await store.deliver_to_step(run_id, "second")
    assert (again.status, again.delivered_at) == (SignalDeliveryStatus.ALREADY_DELIVERED, result.delivered_at)
    assert (await store.deliver_to_step(run_id, "third", None)).status is SignalDeliveryStatus.NOT_FOUND
    await store.register_waiter(run_id, "late", "approved", expires_at=NOW - HOUR)
    assert (await store.deliver_to_step(str(run_id), "late")).status is SignalDeliveryStatus.EXPIRED
    first = await store.get_waiter(run_id, "first")
    assert first is not None
    assert first.state is WaiterState.WAITING


async def test_a_buffered_signal_is_withdrawn(store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    await store.deliver_signal(run_id, "approved", 1, delivery_id="id", buffer_for=HOUR)
    [buffered] = await store.list_buffered_signals(run_id=run_id)
    assert await store.withdraw_signal(run_id, "approved", buffered.position + 1) is None
    withdrawn = await store.withdraw_signal(run_id, "approved", buffered.position)
    assert withdrawn == buffered
    assert withdrawn.state is BufferedSignalState.BUFFERED
    assert await store.withdraw_signal(run_id, "approved", buffered.position) is None
    again = await store.deliver_signal(run_id, "approved", 2, delivery_id="id", buffer_for=HOUR)
    assert (again.status, again.replayed) == (SignalDeliveryStatus.BUFFERED, False)


async def test_buffered_signals_are_purged(client: Client) -> None:
    connection = await client.connect()
    store = client.store(connection)
    run_id = uuid4()
    await store.deliver_signal(run_id, "approved", 1, buffer_for=HOUR)
    assert await store.purge_buffered(older_than=HOUR) >= 0
    assert len(await store.list_buffered_signals(run_id=run_id)) == 1
    assert await store.purge_buffered(datetime.now(timezone.utc) + HOUR, limit=1000) >= 1
    assert await store.list_buffered_signals(run_id=run_id) == []
    await connection.rollback()


async def test_too_many_buffered_signals(client: Client) -> None:
    run_id = uuid4()
    store = client.store(await client.connect(autocommit=True))
    for n in range(1000):
        await store.deliver_signal(run_id, "approved", n, buffer_for=HOUR)
    with pytest.raises(TooManyBufferedError) as refused:
        await store.deliver_signal(run_id, "approved", 1000, buffer_for=HOUR)
    assert refused.value.sqlstate == "WS004"
    assert refused.value.diag.message_hint
    assert len(await store.list_buffered_signals(run_id=run_id, limit=2000)) == 1000
    await store.remove_run(run_id)


@pytest.mark.parametrize("delivered_at", [None, NOW - HOUR])
async def test_waiters_of_another_store(store: AsyncFlowSignalStore, delivered_at: datetime | None) -> None:
    run_id = uuid4()
    rows = [
        ForeignWaiter(
            str(run_id),
            "step",
            "approved",
            created_at=NOW - 2 * HOUR,
            delivered_at=delivered_at,
            payload_json=b"[1]" if delivered_at else None,
        ),
        ForeignWaiter(run_id, "other", "paid", created_at=NOW - HOUR, expires_at=NOW + HOUR),
    ]
    imported = [
        ImportedWaiter(run_id=run_id, step_key=step, outcome=ImportOutcome.IMPORTED, detail=None)
        for step in ("step", "other")
    ]
    assert await store.import_waiters(rows, dry_run=True) == imported
    assert await store.get_waiter(run_id, "step") is None
    assert await store.import_waiters(iter(rows)) == imported
    assert {row.outcome for row in await store.import_waiters(rows)} == {ImportOutcome.PRESENT}
    waiter = await store.get_waiter(run_id, "step")
    assert waiter is not None
    assert (waiter.created_at, waiter.delivered_at) == (NOW - 2 * HOUR, delivered_at)
    assert waiter.payload == ([1] if delivered_at else None)
    assert await store.import_waiters([]) == []


@pytest.mark.parametrize(
    ("error", "method", "args", "options", "named"),
    [
        (TypeError, "remove_waiter", (uuid4(), "step"), {"claim_id": 7}, "claim_id: expected a UUID or its text"),
        (TypeError, "extend_claim", (uuid4(), "step", None, HOUR), {}, "claim_id: .* got None"),
        (TypeError, "extend_claim", (uuid4(), "step", uuid4(), 60), {}, "lease: expected a timedelta, got int"),
        (TypeError, "withdraw_signal", (uuid4(), "a", "1"), {}, "position: expected an int, got str"),
        (TypeError, "deliver_to_step", (uuid4(), "a", 1), {"payload_json": "1"}, "one of them"),
        (TypeError, "purge_buffered", (), {}, "pass buffered_before, an aware datetime, or older_than, a timedelta"),
        (TypeError, "purge_buffered", (HOUR,), {}, "pass a timedelta as older_than"),
        (TypeError, "import_waiters", ([(1, 2)],), {}, r"waiters\[0\]: expected a ForeignWaiter, got tuple"),
        (
            ValueError,
            "import_waiters",
            ([ForeignWaiter(UUID(int=1), "s", "a", created_at=datetime(2026, 1, 1))],),
            {},
            r"waiters\[0\].created_at .* has no time zone",
        ),
    ],
)
async def test_the_wrong_type_is_told_before_anything_is_sent(
    client: Client, error: type[Exception], method: str, args: tuple[Any, ...], options: dict[str, Any], named: str
) -> None:
    connection = await client.connect()
    with pytest.raises(error, match=named):
        await getattr(client.store(connection), method)(*args, **options)
    assert connection.info.transaction_status == TransactionStatus.IDLE


WAITER = "SELECT run_id, step_key, signal_name, state, created_at, expires_at, delivered_at, payload_json"


@one_session
@pytest.mark.parametrize(
    ("method", "args", "kwargs", "sent"),
    [
        (
            "remove_waiter",
            (UUID(int=1), "step"),
            {"claim_id": UUID(int=2)},
            f"{WAITER} FROM flow_signal_v1.remove_waiter(p_run_id => $1, p_step_key => $2, p_claim_id => $3)",
        ),
        (
            "extend_claim",
            (UUID(int=1), "step", UUID(int=2), HOUR),
            {},
            "SELECT extend_claim FROM flow_signal_v1.extend_claim(p_run_id => $1, p_step_key => $2, "
            "p_claim_id => $3, p_lease => $4)",
        ),
        (
            "deliver_to_step",
            (UUID(int=1), "step", None),
            {"delivery_id": "id"},
            "SELECT status, run_id, step_key, delivered_at, replayed FROM flow_signal_v1.deliver_to_step("
            "p_run_id => $1, p_step_key => $2, p_payload_json => $3, p_delivery_id => $4)",
        ),
        (
            "purge_buffered",
            (),
            {"older_than": 100000 * HOUR, "limit": 1},
            "SELECT purge_buffered FROM flow_signal_v1.purge_buffered("
            "p_buffered_before => clock_timestamp() + $1, p_limit => $2)",
        ),
    ],
)
async def test_each_is_one_call(
    client: Client, method: str, args: tuple[object, ...], kwargs: dict[str, object], sent: str
) -> None:
    connection = await client.connect(autocommit=True, prepare_threshold=0)
    await getattr(client.store(connection), method)(*args, **kwargs)
    assert await client.rows(connection, "SELECT statement FROM pg_prepared_statements") == [(sent,)]
