"""Wait for 10,000 waiters at once in one process over one LISTEN connection.

python bench/ten_thousand_waits.py [--waits N]

Printed are how long 10,000 deliveries take and how much later the last wait is over, undisturbed and with the hub's
connection killed three times on the way; every wait has to return its own payload. Then, by tracemalloc, the memory of
one wait, without and with the task that waits, and what more is in use after 100,000 waits than after 10,000.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import multiprocessing
import time
import tracemalloc
import uuid
from collections.abc import Callable, Coroutine
from multiprocessing.connection import Connection

import psycopg

from flow_signal import AsyncWaitHub, FlowSignalStore, FlowSignalWaiter, migrate
from flow_signal.embedded import EmbeddedServer

KILL = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'flow-signal hub'"


def send(conninfo: str, orders: Connection) -> None:
    """The sender, a process of its own: deliver to each run, killing the hub's connection so many times on the way."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        store = FlowSignalStore(connection)
        while order := orders.recv():
            run_ids, kills = order
            began = time.perf_counter()
            every = len(run_ids) // (kills + 1) + 1
            for number, run_id in enumerate(run_ids, 1):
                store.deliver_signal(run_id, "signal", number)
                if number % every == 0:
                    connection.execute(KILL)
            orders.send((began, time.perf_counter()))


def traced_bytes() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def all_looked_at(hub: AsyncWaitHub, store: FlowSignalStore) -> None:
    """Return when the hub has looked at all waiters: it has when it has looked at one that is asked for later."""
    run_id = uuid.uuid4()
    store.register_waiter(run_id, "step", "signal")
    store.deliver_signal(run_id, "signal")
    await hub.wait(run_id, "step")


def register(hub: AsyncWaitHub, store: FlowSignalStore, count: int) -> list[uuid.UUID]:
    run_ids = [uuid.uuid4() for _ in range(count)]
    for run_id in run_ids:
        store.register_waiter(run_id, "step", "signal", wake_channel=hub.channel)
    return run_ids


async def deliver_to_all(
    hub: AsyncWaitHub, store: FlowSignalStore, orders: Connection, count: int, kills: int
) -> tuple[float, float]:
    """Return the seconds of the deliveries, and from their end to the end of the last wait."""
    run_ids = register(hub, store, count)
    waits = [asyncio.create_task(hub.wait(run_id, "step")) for run_id in run_ids]
    await all_looked_at(hub, store)
    orders.send((run_ids, kills))
    waiters: list[FlowSignalWaiter] = await asyncio.gather(*waits)
    ended = time.perf_counter()
    began, sent = orders.recv()
    assert [(waiter.run_id, waiter.payload) for waiter in waiters] == [(r, n) for n, r in enumerate(run_ids, 1)]
    return sent - began, ended - sent


async def memory_of_waits(hub: AsyncWaitHub, store: FlowSignalStore, count: int) -> tuple[float, float]:
    """Return the bytes of one wait, without its task and with it."""
    run_ids = register(hub, store, count)
    never = asyncio.Event()

    async def bare(run_id: uuid.UUID) -> None:
        await never.wait()

    async def wait(run_id: uuid.UUID) -> None:
        await hub.wait(run_id, "step")

    async def used(coroutine: Callable[[uuid.UUID], Coroutine[None, None, None]]) -> float:
        before = traced_bytes()
        tasks = [asyncio.create_task(coroutine(run_id)) for run_id in run_ids]
        await all_looked_at(hub, store)
        after = traced_bytes()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return (after - before) / count

    task = await used(bare)
    with_task = await used(wait)
    return with_task - task, with_task


async def waits(hub: AsyncWaitHub, run_id: uuid.UUID, count: int) -> None:
    for _ in range(count // 1000):
        await asyncio.gather(*(hub.wait(run_id, "step", timeout=3600) for _ in range(1000)))


async def run(conninfo: str, orders: Connection, count: int) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        store = FlowSignalStore(connection)
        async with AsyncWaitHub(conninfo) as hub:
            for kills in (0, 3, 0, 3):
                sending, waiting = await deliver_to_all(hub, store, orders, count, kills)
                print(
                    f"{count:,} waits, connection killed {kills} times: all delivered in {sending:.2f} s, "
                    f"last wait over {waiting * 1000:+.1f} ms later"
                )
            tracemalloc.start()
            alone, with_task = await memory_of_waits(hub, store, count)
            print(f"memory of a wait: {alone:,.0f} bytes, with its task {with_task:,.0f}")
            [run_id] = register(hub, store, 1)
            store.deliver_signal(run_id, "signal")
            await waits(hub, run_id, 10_000)
            before = traced_bytes()
            await waits(hub, run_id, 90_000)
            print(f"in use after 100,000 waits: {traced_bytes() - before:+,} bytes to after 10,000")


def main() -> None:
    parser = argparse.ArgumentParser(description="Wait for 10,000 waiters in one process over one connection.")
    parser.add_argument("--waits", type=int, default=10_000)
    options = parser.parse_args()
    logging.disable()
    with EmbeddedServer() as server:
        migrate.migrate(server.conninfo())
        orders, other_end = multiprocessing.Pipe()
        sender = multiprocessing.get_context("spawn").Process(
            target=send, args=(server.conninfo(), other_end), daemon=True
        )
        sender.start()
        asyncio.run(run(server.conninfo(), orders, options.waits))
        orders.send(None)
        sender.join()


if __name__ == "__main__":
    main()
