"""Everything that can happen to a hub, one after another, under 1,500 waits; under 15,000 in `make soak`."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from itertools import islice
from uuid import uuid4

import psycopg

from flow_signal import AsyncFlowSignalStore, AsyncWaitHub, NewSignal, NewWaiter
from tests_py.concurrency import soak
from tests_py.wait.conftest import OF_HUBS, has_looked, kill_hubs, until
from tests_py.wait.links import link_to
from tests_py.wait.standby import hosts, primary_and_standby

SCALE = 10 if soak.SECONDS >= 60 else 1
CANCELLED = 500 * SCALE
PART = 200 * SCALE
"""How many are delivered before and after each misfortune, of which there are five."""


async def test_all_waits_that_are_not_cancelled_end_by_their_delivery() -> None:
    async with AsyncExitStack() as stack:
        pair = stack.enter_context(primary_and_standby())
        link = stack.enter_context(link_to(pair.conninfo))
        conninfo = hosts(link.conninfo, pair.standby.conninfo()) + " sslmode=disable gssencmode=disable"
        hub = await stack.enter_async_context(AsyncWaitHub(conninfo, look_interval=1, answer_within=1))
        connection = await psycopg.AsyncConnection.connect(pair.conninfo, autocommit=True)
        store = AsyncFlowSignalStore(connection)

        run_ids = [uuid4() for _ in range(CANCELLED + 5 * PART)]
        await store.register_waiters([NewWaiter(id, "step", "go") for id in run_ids], wake_channel=hub.channel)
        tasks = [asyncio.create_task(hub.wait(id, "step", timeout=3600)) for id in run_ids]
        given_up, kept = tasks[:CANCELLED], tasks[CANCELLED:]
        numbers = iter(enumerate(run_ids[CANCELLED:]))

        async def deliver(count: int) -> None:
            signals = [NewSignal(id, "go", number) for number, id in islice(numbers, count)]
            await store.deliver_signals(signals)

        async def cancel(count: int) -> None:
            for task in given_up[:count]:
                task.cancel()
            del given_up[:count]

        await has_looked(hub, store)
        await deliver(PART // 2)
        await kill_hubs(connection)
        await deliver(PART // 2)
        await cancel(CANCELLED // 2)
        await has_looked(hub, store)

        link.cut()
        await deliver(PART)
        await cancel(CANCELLED // 2)
        await has_looked(hub, store)

        await deliver(PART // 2)
        await connection.close()
        await asyncio.to_thread(pair.primary.stop)
        await until(lambda: is_away(hub))
        await asyncio.to_thread(pair.start_primary)
        connection = await psycopg.AsyncConnection.connect(pair.conninfo, autocommit=True)
        store = AsyncFlowSignalStore(connection)
        await deliver(PART // 2)
        await has_looked(hub, store)

        await deliver(PART // 2)
        await asyncio.to_thread(pair.catch_up)
        await connection.close()
        await asyncio.to_thread(pair.primary.stop)
        await until(lambda: is_away(hub))
        await asyncio.to_thread(pair.promote)
        connection = await stack.enter_async_context(
            await psycopg.AsyncConnection.connect(pair.standby.conninfo(), autocommit=True)
        )
        store = AsyncFlowSignalStore(connection)
        await deliver(PART // 2)
        await has_looked(hub, store)
        await deliver(PART)

        waiters = await asyncio.gather(*kept)
        assert [(waiter.run_id, waiter.payload) for waiter in waiters] == [
            (id, number) for number, id in enumerate(run_ids[CANCELLED:])
        ]
        assert [task.cancelled() for task in tasks[:CANCELLED]] == [True] * CANCELLED
        await has_looked(hub, store)
        assert not any((hub._waits, hub._asked, hub._round, hub._leaving))
        assert asyncio.all_tasks() == {asyncio.current_task(), hub._task}
        cursor = await connection.execute(f"SELECT count(*) {OF_HUBS}")
        assert await cursor.fetchall() == [(1,)]
        assert hub.closed is None


async def is_away(hub: AsyncWaitHub) -> bool:
    return hub._failures > 0
