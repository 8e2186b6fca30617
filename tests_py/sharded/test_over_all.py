"""Calls without a run: lists are merged, claims take turns, the rest is done on each database."""

from __future__ import annotations

import inspect
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from flow_signal import AsyncShardedFlowSignalStore, NewSignal, NewWaiter, WaiterState
from flow_signal._routing import shard_of
from tests_py.sharded.conftest import SHARDS, Databases, run_of

PAST = datetime.now(timezone.utc) - timedelta(hours=1)
HOUR = timedelta(hours=1)


async def register(store: AsyncShardedFlowSignalStore, runs: list[UUID], *steps: str, **options: Any) -> None:
    await store.register_waiters([NewWaiter(run_id, step, "go", **options) for run_id in runs for step in steps])


def mixed_runs(count: int) -> list[UUID]:
    """Runs whose neighbours in the order of run ids are in other databases."""
    runs = sorted(uuid4() for _ in range(count))
    shards = [shard_of(run_id, SHARDS) for run_id in runs]
    assert sum(one != next for one, next in pairwise(shards)) > count / 3
    return runs


@pytest.mark.parametrize("limit", [7, 100])
async def test_pages_of_waiters(store: AsyncShardedFlowSignalStore, limit: int) -> None:
    runs = mixed_runs(15)
    steps = ["Z", "a", "é", "😀"]
    await register(store, runs, *reversed(steps))
    found: list[tuple[UUID, str]] = []
    after = None
    while page := await store.list_waiters(after=after, limit=limit):
        assert len(page) <= limit
        found += [(waiter.run_id, waiter.step_key) for waiter in page]
        after = found[-1]
        assert len(page) == min(limit, 60 - len(found) + len(page))
    assert found == [(run_id, step) for run_id in runs for step in steps]


async def test_a_page_is_as_long_as_one_of_a_single_database(
    store: AsyncShardedFlowSignalStore, databases: Databases
) -> None:
    await register(store, mixed_runs(30), *map(str, range(20)))
    [(default,)] = databases.rows(0, "SELECT count(*) FROM flow_signal_v1.list_waiters()")
    assert len(await store.list_waiters()) == default == 100
    for name in ("list_waiters", "list_buffered_signals"):
        assert inspect.signature(getattr(AsyncShardedFlowSignalStore, name)).parameters["limit"].default == default


async def test_lists_of_some(store: AsyncShardedFlowSignalStore) -> None:
    runs = mixed_runs(12)
    await register(store, runs, "step")
    await store.deliver_signals([NewSignal(run_id, "go") for run_id in runs[::2]])
    delivered = await store.list_waiters(signal_name="go", state=WaiterState.DELIVERED)
    assert [waiter.run_id for waiter in delivered] == runs[::2]
    assert await store.list_waiters(signal_name="stop") == []
    assert [waiter.run_id for waiter in await store.list_waiters(run_id=str(runs[3]))] == [runs[3]]


async def test_pages_of_buffered_signals(store: AsyncShardedFlowSignalStore) -> None:
    runs = mixed_runs(10)
    signals = [NewSignal(run_id, name, n) for n in (1, 2) for name in ("b", "a") for run_id in runs]
    await store.deliver_signals(signals, buffer_for=HOUR)
    found: list[tuple[UUID, str, int]] = []
    payloads = []
    after = None
    while page := await store.list_buffered_signals(after=after, limit=7):
        found += [(signal.run_id, signal.signal_name, signal.position) for signal in page]
        payloads += [signal.payload for signal in page]
        after = found[-1]
    assert [key[:2] for key in found] == [(run_id, name) for run_id in runs for name in ("a", "a", "b", "b")]
    assert payloads == [1, 2] * 20


async def test_a_list_with_a_wrong_argument_is_refused_as_by_one_database(store: AsyncShardedFlowSignalStore) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=r"^shards 0, 1, 2, 3: "):
        await store.list_waiters(limit=0)
    with pytest.raises(TypeError, match=r"^limit: expected an int, got str$"):
        await store.list_waiters(limit="1")  # type: ignore[arg-type]


async def test_claims_take_turns(store: AsyncShardedFlowSignalStore) -> None:
    runs = [run_of(shard) for shard in range(SHARDS)]
    await register(store, runs, "a", "b", expires_at=PAST)
    await store.register_waiters(
        [NewWaiter(run_id, step, "go", expires_at=PAST) for run_id in runs for step in ("a", "b")], queue="queue"
    )
    claims = [await store.claim_waiters("queue", limit=1, lease=HOUR) for _ in range(9)]
    assert [[shard_of(waiter.run_id, SHARDS) for waiter in claim] for claim in claims] == [
        *([shard] for shard in (0, 1, 2, 3, 0, 1, 2, 3)),
        [],
    ]


@pytest.mark.parametrize("shard", range(SHARDS))
async def test_a_claim_looks_everywhere(store: AsyncShardedFlowSignalStore, shard: int) -> None:
    run_id = run_of(shard)
    await store.register_waiter(run_id, "step", "go", expires_at=PAST, queue="queue")
    [claimed] = await store.claim_waiters("queue")
    assert claimed.run_id == run_id
    assert await store.claim_waiters("queue") == []


async def test_a_claim_that_is_refused(store: AsyncShardedFlowSignalStore) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=r"^shard 0: "):
        await store.claim_waiters(" ")


async def test_a_broadcast_reaches_all_databases(store: AsyncShardedFlowSignalStore) -> None:
    runs = [run_of(shard) for shard in (2, 0, 3, 1, 0)]
    await register(store, runs, "step")
    results = await store.broadcast_signal("go", {"n": 1})
    assert {result.run_id for result in results} == set(runs)
    assert [shard_of(result.run_id, SHARDS) for result in results if result.run_id] == [0, 0, 1, 2, 3]
    for run_id in runs:
        waiter = await store.get_waiter(run_id, "step")
        assert waiter is not None
        assert waiter.payload == {"n": 1}
    assert await store.broadcast_signal("go", payload_json="1") == []


async def test_a_purge_of_each_database(store: AsyncShardedFlowSignalStore, databases: Databases) -> None:
    await register(store, [run_of(1), run_of(1), run_of(3)], "step")
    await store.broadcast_signal("go")
    live = run_of(3)
    await store.register_waiter(live, "step", "go")
    assert await store.purge(older_than=-HOUR, limit=1) == [0, 1, 0, 1]
    while any(await store.purge(datetime.now(timezone.utc) + HOUR)):
        pass
    assert databases.steps() == [set(), set(), set(), {(live, "step")}]


async def test_a_purge_of_buffered_signals(store: AsyncShardedFlowSignalStore) -> None:
    for shard in (0, 2, 2):
        await store.deliver_signal(run_of(shard), "go", buffer_for=HOUR)
    assert await store.purge_buffered(older_than=-HOUR, limit=1) == [1, 0, 1, 0]
    assert await store.purge_buffered(datetime.now(timezone.utc) + HOUR) == [0, 0, 1, 0]


async def test_numbers_are_not_merged(store: AsyncShardedFlowSignalStore, databases: Databases) -> None:
    await register(store, [run_of(1), run_of(1), run_of(3)], "step")
    stats = await store.signal_stats()
    assert [[(each.signal_name, each.waiting) for each in of_one] for of_one in stats] == [
        [],
        [("go", 2)],
        [],
        [("go", 1)],
    ]
    [(version,)] = databases.rows(0, "SELECT flow_signal_v1.version()")
    assert await store.version() == [version] * SHARDS
    assert [health.version for health in await store.health()] == [version] * SHARDS
