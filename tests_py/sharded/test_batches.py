"""A batch is all or nothing on each database; its error says where it is done."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from flow_signal import (
    AsyncShardedFlowSignalStore,
    DeliveryIdReusedError,
    ForeignWaiter,
    ImportOutcome,
    NewSignal,
    NewWaiter,
    ShardsFailedError,
    SignalDeliveryStatus,
    SignalMismatchError,
)
from flow_signal._routing import shard_of
from tests_py.sharded.conftest import SHARDS, Databases, run_of

NOW = datetime.now(timezone.utc)
NOTHING: list[set[tuple[UUID, str]]] = [set() for _ in range(SHARDS)]


async def test_answers_come_in_the_order_of_the_rows(store: AsyncShardedFlowSignalStore, databases: Databases) -> None:
    run_ids = [uuid4() for _ in range(40)]
    assert {shard_of(run_id, SHARDS) for run_id in run_ids} == set(range(SHARDS))
    rows = [NewWaiter(run_id, f"step {n}", "approved") for n, run_id in enumerate(run_ids)]
    rows[3] = NewWaiter(run_ids[3], "step 3", "approved", expires_at=NOW + timedelta(hours=1))
    rows[5] = NewWaiter(run_ids[5], "step 5", "approved", expires_in=timedelta(hours=1))
    waiters = await store.register_waiters(iter(rows), queue="queue", wake_channel="channel")
    assert [(waiter.run_id, waiter.step_key) for waiter in waiters] == [(row.run_id, row.step_key) for row in rows]
    assert [n for n, waiter in enumerate(waiters) if waiter.expires_at] == [3, 5]
    assert waiters[3].expires_at == rows[3].expires_at
    for shard, steps in enumerate(databases.steps()):
        assert steps == {(row.run_id, row.step_key) for row in rows if shard_of(UUID(str(row.run_id)), SHARDS) == shard}
    kept = {row for n in range(SHARDS) for row in databases.rows(n, f"SELECT queue, wake_channel FROM {WAITERS}")}
    assert kept == {("queue", "channel")}

    signals = [NewSignal(run_id, "approved", n, delivery_id=f"id {n}") for n, run_id in enumerate(run_ids)]
    missing = uuid4()
    results = await store.deliver_signals([*signals[::-1], NewSignal(missing, "approved")])
    assert [result.run_id for result in results] == [*run_ids[::-1], missing]
    assert [result.step_key for result in results] == [*(f"step {n}" for n in reversed(range(40))), None]
    found = [await store.get_waiter(run_id, f"step {n}") for n, run_id in enumerate(run_ids)]
    assert [waiter and waiter.payload for waiter in found] == [*range(40)]


WAITERS = "flow_signal.flow_signal_waiters"


async def test_a_batch_of_nothing(store: AsyncShardedFlowSignalStore) -> None:
    assert await store.register_waiters([]) == []
    assert await store.deliver_signals([]) == []


async def test_an_import(store: AsyncShardedFlowSignalStore, databases: Databases) -> None:
    run_ids = [run_of(shard) for shard in (3, 1, 3, 0)]
    await store.register_waiter(run_ids[2], "step", "approved")
    foreign = [ForeignWaiter(run_id, "step", "approved", created_at=NOW) for run_id in run_ids]
    there = databases.steps()
    tried = await store.import_waiters(foreign, dry_run=True)
    assert databases.steps() == there
    imported = await store.import_waiters(foreign)
    for outcomes in (tried, imported):
        assert [outcome.run_id for outcome in outcomes] == run_ids
        assert [outcome.outcome for outcome in outcomes].index(ImportOutcome.PRESENT) == 2
    assert [len(steps) for steps in databases.steps()] == [1, 1, 0, 2]


async def test_one_database_refuses(store: AsyncShardedFlowSignalStore, databases: Databases) -> None:
    runs = [run_of(shard) for shard in range(SHARDS)]
    await store.register_waiter(runs[1], "step", "approved")
    await store.deliver_signal(runs[1], "approved")
    rows = [NewWaiter(run_id, step, "other") for step in ("new", "step") for run_id in (*runs[::-1], run_of(2))]
    before = databases.steps()
    with pytest.raises(ShardsFailedError) as failed:
        await store.register_waiters(rows)
    assert failed.value.errors.keys() == {1}
    assert type(failed.value.errors[1]) is SignalMismatchError
    assert failed.value.__cause__ is failed.value.errors[1]
    assert str(failed.value).startswith("failed on shard 1, done on shards ")
    assert f"; shard 1: {failed.value.errors[1]}" in str(failed.value)
    assert isinstance(failed.value, psycopg.Error)

    after = databases.steps()
    assert after[1] == before[1] == {(runs[1], "step")}
    assert failed.value.results.keys() == {0, 2, 3}
    for shard, waiters in failed.value.results.items():
        here = [row for row in rows if shard_of(UUID(str(row.run_id)), SHARDS) == shard]
        assert [(waiter.run_id, waiter.step_key) for waiter in waiters] == [(row.run_id, row.step_key) for row in here]
        assert after[shard] == {(row.run_id, row.step_key) for row in here}


async def test_a_retry_after_a_failure_delivers_nothing_twice(
    store: AsyncShardedFlowSignalStore, databases: Databases
) -> None:
    runs = [run_of(shard) for shard in range(SHARDS)]
    await store.register_waiters([NewWaiter(run_id, step, "go") for run_id in runs for step in ("a", "b")])
    signals = [NewSignal(run_id, "go", 1, delivery_id="id") for run_id in runs]
    text = r"^failed on shard 3, done on shards 0, 1, 2; shard 3: connection"
    with databases.away(3), pytest.raises(ShardsFailedError, match=text):
        await store.deliver_signals(signals)
    results = await store.deliver_signals(signals)
    assert [result.replayed for result in results] == [True, True, True, False]
    assert {(result.status, result.step_key) for result in results} == {(SignalDeliveryStatus.DELIVERED, "a")}


async def test_what_all_databases_of_the_batch_refuse_alike(
    store: AsyncShardedFlowSignalStore, databases: Databases
) -> None:
    runs = [run_of(0), run_of(2)]
    for run_id in runs:
        await store.deliver_signal(run_id, "go", 1, delivery_id="id", buffer_for=timedelta(hours=1))
    signals = [NewSignal(run_id, "go", 2, delivery_id="id") for run_id in runs]
    with pytest.raises(DeliveryIdReusedError, match=r"^shards 0, 2: "):
        await store.deliver_signals(signals)
    with pytest.raises(DeliveryIdReusedError, match=r"^shard 0: "):
        await store.deliver_signals(signals[:1])
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=r"^shards 0, 2: "):
        await store.register_waiters([NewWaiter(run_id, "step", "go") for run_id in runs], queue=" ")
    assert databases.steps() == NOTHING


async def test_different_refusals_on_all(store: AsyncShardedFlowSignalStore) -> None:
    reused, mute = run_of(0), run_of(2)
    await store.deliver_signal(reused, "go", 1, delivery_id="id", buffer_for=timedelta(hours=1))
    with pytest.raises(
        ShardsFailedError, match=r"(?s)^failed on shards 0, 2, done on no shard; shard 0: .*; shard 2: "
    ) as failed:
        await store.deliver_signals([NewSignal(mute, " "), NewSignal(reused, "go", 2, delivery_id="id")])
    assert {shard: type(error) for shard, error in failed.value.errors.items()} == {
        0: DeliveryIdReusedError,
        2: psycopg.errors.InvalidParameterValue,
    }
    assert failed.value.results == {}


@pytest.mark.parametrize(
    ("wrong", "error", "named"),
    [
        (NewSignal(run_of(3), "go", object()), TypeError, r"signals\[1\]\.payload is not a JSON value"),
        (NewSignal("x", "go"), ValueError, r"signals\[1\]\.run_id 'x' is not a UUID"),
        (NewSignal(UUID("00000000-0000-8004-8000-000000000000"), "go"), ValueError, "names shard 4, but there are 4"),
    ],
)
async def test_a_row_that_is_no_row_sends_nothing_anywhere(
    store: AsyncShardedFlowSignalStore, wrong: Any, error: type[Exception], named: str
) -> None:
    run_id = run_of(0)
    await store.register_waiter(run_id, "step", "go")
    with pytest.raises(error, match=named):
        await store.deliver_signals([NewSignal(run_id, "go"), wrong])
    waiter = await store.get_waiter(run_id, "step")
    assert waiter is not None
    assert waiter.delivered_at is None


def test_the_error_shows_no_payload() -> None:
    class Row:
        def __repr__(self) -> str:
            return "<row>"

    error = ShardsFailedError({1: ValueError("reason")}, {0: [Row()]})
    assert str(error) == "failed on shard 1, done on shard 0; shard 1: reason"
