"""Measure what many waits at once do to a pool: how long one delivery takes to be seen, while the others still wait.

python bench/waits_through_a_pool.py [--waits 100] [--pool 10]

All waits begin; a second later the step of the last one is delivered, over a connection of its own. Each line: how the
process waits, when that wait ended, and how long another call through the same pool took meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import perf_counter
from uuid import UUID, uuid4

import psycopg
from psycopg_pool import AsyncConnectionPool

from flow_signal import AsyncFlowSignalStore, AsyncWaitHub, NewWaiter, migrate
from flow_signal.embedded import EmbeddedServer

TIMEOUT_SECONDS = 75.0
CHANNEL = "bench"


async def measure(name: str, conninfo: str, size: int, waits: int, channel: str | None, by_hub: bool) -> None:
    async with (
        AsyncConnectionPool(conninfo, min_size=size, max_size=size, open=False) as pool,
        AsyncWaitHub(conninfo, channel=channel) as hub,
        await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection,
    ):
        sender, store = AsyncFlowSignalStore(connection), AsyncFlowSignalStore(pool)

        def wait(run_id: UUID) -> Awaitable[object]:
            if by_hub:
                return hub.wait(run_id, "step", timeout=TIMEOUT_SECONDS)
            return store.wait(run_id, "step", timeout=TIMEOUT_SECONDS, wake_channel=channel)

        run_ids = [uuid4() for _ in range(waits)]
        await sender.register_waiters([NewWaiter(run_id, "step", "go") for run_id in run_ids], wake_channel=channel)
        tasks = [asyncio.ensure_future(wait(run_id)) for run_id in run_ids]
        await asyncio.sleep(1)
        await sender.deliver_signal(run_ids[-1], "go")
        seen, other = await asyncio.gather(
            taken(lambda: tasks[-1]), taken(lambda: store.get_waiter(run_ids[-1], "step"))
        )
        print(f"{name:30} seen: {seen:32} another call: {other}", flush=True)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def taken(begin: Callable[[], Awaitable[object]]) -> str:
    began = perf_counter()
    try:
        await begin()
    except Exception as error:
        return f"{type(error).__name__} after {perf_counter() - began:.0f} s"
    return f"{perf_counter() - began:.2f} s"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--waits", type=int, default=100)
    parser.add_argument("--pool", type=int, default=10)
    options = parser.parse_args()
    logging.disable()
    with EmbeddedServer() as server:
        migrate.migrate(server.conninfo())
        print(f"{options.waits} waits, a pool of {options.pool}")
        for name, channel, by_hub in (
            ("hub.wait", CHANNEL, True),
            ("store.wait", None, False),
            ("store.wait, a wake channel", CHANNEL, False),
        ):
            await measure(name, server.conninfo(), options.pool, options.waits, channel, by_hub)


if __name__ == "__main__":
    asyncio.run(main())
