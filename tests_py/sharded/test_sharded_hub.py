"""A hub over several databases is a hub over each; one that is away holds up only the waits for its own runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import psycopg
import pytest

from flow_signal import (
    AsyncShardedFlowSignalStore,
    AsyncShardedWaitHub,
    FlowSignalWaiter,
    HubClosedError,
    ShardsFailedError,
    WaiterNotFoundError,
)
from flow_signal._routing import shard_of
from tests_py.sharded.conftest import SHARDS, Databases, run_of
from tests_py.wrapper.conftest import AsyncConnecting

AWAY = 2
PATIENCE_SECONDS = 60


@pytest.fixture
def store(databases: Databases) -> AsyncShardedFlowSignalStore:
    return AsyncShardedFlowSignalStore([AsyncConnecting(conninfo) for conninfo in databases.conninfos])


@pytest.fixture
async def hub(databases: Databases) -> AsyncIterator[AsyncShardedWaitHub]:
    """A hub that will not look again for an hour unless it has a reason to."""
    async with AsyncShardedWaitHub(databases.conninfos, look_interval=3600) as hub:
        yield hub


async def start_wait(
    hub: AsyncShardedWaitHub, store: AsyncShardedFlowSignalStore, run_id: UUID
) -> asyncio.Task[FlowSignalWaiter]:
    """Register a waiter and begin to wait for it; return when the hub has looked at it."""
    await store.register_waiter(run_id, "step", "go", wake_channel=hub.channel)
    task = asyncio.create_task(hub.wait(run_id, "step", timeout=PATIENCE_SECONDS))
    await asyncio.sleep(0)
    await has_looked(hub, shard_of(run_id, SHARDS))
    return task


async def has_looked(hub: AsyncShardedWaitHub, shard: int) -> None:
    """Return when the hub has looked at all of that shard that it was asked for before."""
    with pytest.raises(WaiterNotFoundError):
        await hub.wait(run_of(shard), "step", timeout=PATIENCE_SECONDS)


async def test_waits_in_all_databases(hub: AsyncShardedWaitHub, store: AsyncShardedFlowSignalStore) -> None:
    runs = [run_of(shard) for shard in range(SHARDS)] + [uuid4() for _ in range(12)]
    tasks = [await start_wait(hub, store, run_id) for run_id in runs]
    assert not any(task.done() for task in tasks)
    for number, run_id in enumerate(runs):
        await store.deliver_signal(run_id, "go", number)
        assert (await tasks[number]).payload == number
    assert hub.closed is None


async def test_one_connection_to_each_that_listens_to_one_channel(
    hub: AsyncShardedWaitHub, databases: Databases
) -> None:
    for shard in range(SHARDS):
        query = (
            "SELECT query FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'flow-signal hub'"
        )
        [(query,)] = databases.rows(shard, query)
        assert query == f'LISTEN "{hub.channel}"'


async def test_options_reach_each_hub(databases: Databases, store: AsyncShardedFlowSignalStore) -> None:
    async with AsyncShardedWaitHub(databases.conninfos, channel="worker", look_interval=3600) as named:
        assert named.channel == "worker"
        for shard in range(SHARDS):
            task = await start_wait(named, store, run_of(shard))
            await store.broadcast_signal("go")
            await task
    async with AsyncShardedWaitHub(databases.conninfos, listen=False, look_interval=0.01) as blind:
        assert blind.channel is None
        for shard in range(SHARDS):
            task = await start_wait(blind, store, run_of(shard))
            await store.broadcast_signal("go")
            await task


async def test_a_refusal_names_the_shard(databases: Databases) -> None:
    async with AsyncShardedWaitHub(databases.conninfos) as hub:
        with pytest.raises(psycopg.DataError, match=r"^shard 1: "):
            await hub.wait(run_of(1), " ")


async def test_the_waits_end_with_the_hub(databases: Databases, store: AsyncShardedFlowSignalStore) -> None:
    hub = AsyncShardedWaitHub(databases.conninfos)
    assert hub.closed is not None
    with pytest.raises(HubClosedError):
        await hub.wait(uuid4(), "step")
    async with hub:
        tasks = [await start_wait(hub, store, run_of(shard)) for shard in range(SHARDS)]
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(end) for end in ends] == [HubClosedError] * SHARDS
    assert hub.closed is not None


async def test_a_database_that_goes_and_comes_back(
    hub: AsyncShardedWaitHub, store: AsyncShardedFlowSignalStore, databases: Databases
) -> None:
    runs = [run_of(shard) for shard in range(SHARDS)]
    tasks = [await start_wait(hub, store, run_id) for run_id in runs]
    with databases.away(AWAY):
        for shard in (0, 1, 3):
            await store.deliver_signal(runs[shard], "go", shard)
            assert (await tasks[shard]).payload == shard
        assert not tasks[AWAY].done()
        with pytest.raises(TimeoutError, match=r"^shard 2: whether step .* is not known"):
            await hub.wait(runs[AWAY], "step", timeout=0)
    await store.deliver_signal(runs[AWAY], "go", AWAY)
    assert (await tasks[AWAY]).payload == AWAY


async def test_a_database_that_is_away_when_the_hub_is_entered(
    store: AsyncShardedFlowSignalStore, databases: Databases, caplog: pytest.LogCaptureFixture
) -> None:
    hub = AsyncShardedWaitHub(databases.conninfos, look_interval=3600)
    late = run_of(AWAY)
    await store.register_waiter(late, "step", "go", wake_channel=hub.channel)
    with databases.away(AWAY), caplog.at_level(logging.WARNING, "flow_signal"):
        await hub.__aenter__()
        try:
            assert hub.closed is None
            begins = [text for text in caplog.messages if text.startswith("a hub begins without shard")]
            assert len(begins) == 1
            assert begins[0].startswith("a hub begins without shard 2: connection")
            for shard in (0, 1, 3):
                run_id = run_of(shard)
                task = await start_wait(hub, store, run_id)
                await store.deliver_signal(run_id, "go", shard)
                assert (await task).payload == shard
            late_task = asyncio.create_task(hub.wait(late, "step", timeout=PATIENCE_SECONDS))
            with pytest.raises(TimeoutError):
                await hub.wait(late, "step", timeout=0)
        except BaseException:
            await hub.__aexit__(None, None, None)
            raise
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_exit(hub)
        await has_looked(hub, AWAY)
        await store.deliver_signal(late, "go", 1)
        assert (await late_task).payload == 1


async def test_a_hub_that_is_left_before_a_database_came_back(databases: Databases) -> None:
    with databases.away(AWAY):
        async with AsyncShardedWaitHub(databases.conninfos) as hub:
            task = asyncio.create_task(hub.wait(run_of(AWAY), "step"))
            await has_looked(hub, 0)
            assert not task.done()
        with pytest.raises(HubClosedError):
            await task


async def test_no_database_is_there(databases: Databases) -> None:
    with (
        databases.away(*range(SHARDS)),
        pytest.raises(psycopg.OperationalError, match=r"^shards 0, 1, 2, 3: connection"),
    ):
        await AsyncShardedWaitHub(databases.conninfos).__aenter__()

    async def refuse() -> psycopg.AsyncConnection:
        raise LookupError("no password")

    text = r"(?s)^failed on shards 0, 1, done on no shard; .* no password$"
    with databases.away(0), pytest.raises(ShardsFailedError, match=text):
        await AsyncShardedWaitHub([databases.conninfos[0], refuse]).__aenter__()


async def test_an_entry_that_is_cancelled_leaves_no_connection(databases: Databases) -> None:
    asked = asyncio.Event()

    async def never() -> psycopg.AsyncConnection:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    made: list[psycopg.AsyncConnection] = []

    async def connect() -> psycopg.AsyncConnection:
        made.append(await psycopg.AsyncConnection.connect(databases.conninfos[0]))
        return made[-1]

    hub = AsyncShardedWaitHub([connect, never])
    task = asyncio.create_task(hub.__aenter__())
    await asked.wait()
    while hub._hubs[0].closed:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert made[0].closed
