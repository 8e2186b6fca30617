"""While a database is away the runs of the others are served, and each error names the shard."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import psycopg
import psycopg_pool
import pytest

from flow_signal import (
    AsyncShardedFlowSignalStore,
    ShardedFlowSignalStore,
    ShardsFailedError,
    SignalDeliveryStatus,
    migrate,
)
from flow_signal.embedded import EmbeddedServer
from tests_py.sharded.conftest import SHARDS, Databases, run_of
from tests_py.wrapper.conftest import Connecting

PAST = datetime.now(timezone.utc) - timedelta(hours=1)
AWAY = 2
OTHERS = [0, 1, 3]


async def test_the_other_runs_are_served(store: AsyncShardedFlowSignalStore, databases: Databases) -> None:
    runs = [run_of(shard) for shard in range(SHARDS)]
    with databases.away(AWAY):
        for shard in OTHERS:
            await store.register_waiter(runs[shard], "step", "go")
            result = await store.deliver_signal(runs[shard], "go", shard)
            assert result.status is SignalDeliveryStatus.DELIVERED
            assert (await store.wait(runs[shard], "step", timeout=60)).payload == shard
            assert [waiter.step_key for waiter in await store.list_waiters(run_id=runs[shard])] == ["step"]
        with pytest.raises(psycopg.OperationalError, match=r"^shard 2: connection failed"):
            await store.register_waiter(runs[AWAY], "step", "go")
        with pytest.raises(psycopg.OperationalError, match=r"^shard 2: connection failed"):
            await store.wait(runs[AWAY], "step")
        with pytest.raises(TimeoutError, match=rf"^shard 2: whether step 'step' of run {runs[AWAY]} still waits"):
            await store.wait(runs[AWAY], "step", timeout=0)
    await store.register_waiter(runs[AWAY], "step", "go")


CALLS: list[Callable[[AsyncShardedFlowSignalStore], Any]] = [
    lambda store: store.list_waiters(),
    lambda store: store.list_buffered_signals(),
    lambda store: store.broadcast_signal("go"),
    lambda store: store.purge(PAST),
    lambda store: store.purge_buffered(PAST),
    lambda store: store.signal_stats(),
    lambda store: store.health(),
    lambda store: store.version(),
]


@pytest.mark.parametrize("number", range(len(CALLS)))
async def test_a_call_of_all_says_what_the_others_have_done(
    store: AsyncShardedFlowSignalStore, databases: Databases, number: int
) -> None:
    with databases.away(AWAY), pytest.raises(ShardsFailedError) as failed:
        await CALLS[number](store)
    assert str(failed.value).startswith("failed on shard 2, done on shards 0, 1, 3; shard 2: connection failed")
    assert [*failed.value.results] == OTHERS
    whole = await CALLS[number](store)
    for shard in OTHERS if isinstance(whole, list) and len(whole) == SHARDS else []:
        assert type(failed.value.results[shard]) is type(whole[shard])


async def test_a_broadcast_has_reached_the_others(store: AsyncShardedFlowSignalStore, databases: Databases) -> None:
    runs = [run_of(shard) for shard in range(SHARDS)]
    for run_id in runs:
        await store.register_waiter(run_id, "step", "go")
    with databases.away(AWAY), pytest.raises(ShardsFailedError) as failed:
        await store.broadcast_signal("go")
    assert [result.run_id for results in failed.value.results.values() for result in results] == [
        runs[shard] for shard in OTHERS
    ]
    assert [result.run_id for result in await store.broadcast_signal("go")] == [runs[AWAY]]


async def test_claims_pass_over_it(
    store: AsyncShardedFlowSignalStore, databases: Databases, caplog: pytest.LogCaptureFixture
) -> None:
    runs = [run_of(shard) for shard in range(SHARDS)]
    for run_id in runs:
        await store.register_waiter(run_id, "step", "go", expires_at=PAST, queue="queue")
    with databases.away(AWAY), caplog.at_level(logging.WARNING, "flow_signal"):
        claimed = [await store.claim_waiters("queue") for _ in range(5)]
    # The third call, whose turn it is, has what the fourth database has.
    assert [[waiter.run_id for waiter in claim] for claim in claimed] == [[runs[0]], [runs[1]], [runs[3]], [], []]
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 3
    assert all(text.startswith("a claim passes over shard 2: connection failed") for text in texts)
    assert [waiter.run_id for waiter in await store.claim_waiters("queue")] == [runs[AWAY]]


async def test_all_are_away(store: AsyncShardedFlowSignalStore, databases: Databases) -> None:
    with databases.away(*range(SHARDS)):
        with pytest.raises(psycopg.OperationalError, match=r"^shards 0, 1, 2, 3: connection failed"):
            await store.claim_waiters("queue")
        with pytest.raises(psycopg.OperationalError, match=r"^shards 0, 1, 2, 3: connection failed"):
            await store.health()


def test_a_pool_that_gives_up(databases: Databases) -> None:
    pools = [
        psycopg_pool.ConnectionPool(conninfo, open=True, min_size=1, timeout=0.5) for conninfo in databases.conninfos
    ]
    try:
        store = ShardedFlowSignalStore(pools)
        assert len(store.health()) == SHARDS
        with databases.away(AWAY):
            with pytest.raises(psycopg.OperationalError, match=r"^shard 2: "):
                store.get_waiter(run_of(AWAY), "step")
            with pytest.raises(psycopg_pool.PoolTimeout, match=r"^shard 2: "):
                store.get_waiter(run_of(AWAY), "step")
            assert store.get_waiter(run_of(1), "step") is None
    finally:
        for pool in pools:
            pool.close()


def test_a_server_that_is_stopped(databases: Databases) -> None:
    with EmbeddedServer() as second:
        migrate.migrate(second.conninfo())
        conninfos = [*databases.conninfos[:3], second.conninfo()]
        store = ShardedFlowSignalStore([Connecting(conninfo) for conninfo in conninfos])
        there = run_of(3)
        store.register_waiter(there, "step", "go")
    with pytest.raises(psycopg.OperationalError, match=r"^shard 3: connection"):
        store.get_waiter(there, "step")
    assert store.register_waiter(run_of(0), "step", "go").step_key == "step"
    with pytest.raises(ShardsFailedError, match=r"^failed on shard 3, done on shards 0, 1, 2; "):
        store.version()
