"""Thousands of waits over one connection: all end, and nothing of them is left."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from datetime import datetime, timezone
from uuid import UUID, uuid4

import psycopg

from flow_signal import AsyncFlowSignalStore, AsyncWaitHub
from flow_signal._hub import CHUNK
from tests_py.wait.conftest import OF_HUBS, Register, has_looked, kill_hubs

MANY = 2000
FAR = datetime(9000, 1, 1, tzinfo=timezone.utc)


async def register_many(store: AsyncFlowSignalStore, hub: AsyncWaitHub, count: int) -> list[UUID]:
    run_ids = [uuid4() for _ in range(count)]
    for run_id in run_ids:
        await store.register_waiter(run_id, "step", "approved", wake_channel=hub.channel, expires_at=FAR)
    return run_ids


async def test_many_waits_and_a_connection_killed_three_times(
    hub: AsyncWaitHub, store: AsyncFlowSignalStore, connection: psycopg.AsyncConnection
) -> None:
    run_ids = await register_many(store, hub, MANY)
    tasks = [asyncio.create_task(hub.wait(run_id, "step", timeout=3600)) for run_id in run_ids]
    await has_looked(hub, store)
    cursor = await connection.execute(f"SELECT count(*) {OF_HUBS}")
    assert await cursor.fetchall() == [(1,)]

    for number, run_id in enumerate(run_ids):
        await store.deliver_signal(run_id, "approved", number)
        if number % (MANY // 4) == MANY // 8 and number < 3 * MANY // 4:
            await kill_hubs(connection)
            # It has come back, and is killed again later.
            await has_looked(hub, store)
    waiters = await asyncio.gather(*tasks)
    assert [(waiter.run_id, waiter.payload) for waiter in waiters] == [(r, n) for n, r in enumerate(run_ids)]
    assert not hub._waits


async def test_a_loss_costs_a_look_for_each_thousand(
    hub: AsyncWaitHub, store: AsyncFlowSignalStore, connection: psycopg.AsyncConnection
) -> None:
    """What the new connection executes is LISTEN and the looks; a look for each waiter would be thousands."""
    run_ids = await register_many(store, hub, MANY)
    tasks = [asyncio.create_task(hub.wait(run_id, "step")) for run_id in run_ids]
    await has_looked(hub, store)
    looks = 0
    look = hub._look

    async def counting(*arguments: object) -> None:
        nonlocal looks
        looks += 1
        await look(*arguments)  # type: ignore[arg-type]

    hub._look = counting  # type: ignore[method-assign,assignment]
    await kill_hubs(connection)
    await has_looked(hub, store)
    assert looks in (2, 3)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_nothing_leaks(hub: AsyncWaitHub, store: AsyncFlowSignalStore, register: Register) -> None:
    """Of waits that end by delivery, timeout and cancellation, with deadlines that are far away."""
    waiting, delivered = await register(expires_at=FAR), await register(expires_at=FAR)
    await store.deliver_signal(delivered, "approved", 1)
    others = await register_many(store, hub, 100)

    async def waits() -> None:
        tasks = [asyncio.create_task(hub.wait(run_id, "step")) for run_id in [*others, waiting, delivered]]
        tasks += [asyncio.create_task(hub.wait(waiting, "step", timeout=0.001)) for _ in range(10)]
        tasks += [asyncio.create_task(hub.wait(delivered, "step", timeout=3600)) for _ in range(10)]
        await has_looked(hub, store)
        for task in tasks[:101]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def used() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        for _ in range(30):  # until the heap of deadlines has its size
            await waits()
        before = used()
        for _ in range(30):
            await waits()
        rounds = used() - before
    finally:
        tracemalloc.stop()
    assert not any((hub._waits, hub._asked, hub._round))
    assert len(hub._deadlines) <= 2 * 102 + CHUNK + 102
    assert rounds < 30 * 100 * 10, "less than 10 bytes a wait"
