"""Compare the wake-up of a wait with a bare LISTEN/NOTIFY on the same server.

python bench/wake_latency.py [--rounds N] [--calls N]

Measured is the time from just before the sender's COMMIT to the return in the waiting process: of psycopg's own
`notifies` in a bare round trip, of `wait` in the others. The sender is another process; waiting began before it
commits. Contenders in turn; printed are the median of the rounds' medians, their spread, the 95th percentile of all
calls, and the median and spread of each round's ratio to the bare round trip of the same kind.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from multiprocessing.connection import Connection

import psycopg

from flow_signal import AsyncFlowSignalStore, AsyncWaitHub, FlowSignalStore, migrate
from flow_signal.embedded import EmbeddedServer

SENDER_PAUSE_SECONDS = 0.005


def send(conninfo: str, orders: Connection) -> None:
    """The sender: run each statement, pause, commit, and tell when it did."""
    with psycopg.connect(conninfo) as connection:
        while order := orders.recv():
            connection.execute(*order)
            time.sleep(SENDER_PAUSE_SECONDS)
            began = time.perf_counter()
            connection.commit()
            orders.send(began)


class Bench:
    def __init__(self, conninfo: str, orders: Connection, stack: AsyncExitStack) -> None:
        self.conninfo = conninfo
        self.orders = orders
        self.stack = stack
        self.sync = stack.enter_context(psycopg.connect(conninfo, autocommit=True))
        self.engine = FlowSignalStore(stack.enter_context(psycopg.connect(conninfo, autocommit=True)))

    async def start(self) -> None:
        self.connection = await self.stack.enter_async_context(
            await psycopg.AsyncConnection.connect(self.conninfo, autocommit=True)
        )
        await self.connection.execute("LISTEN bench_async")
        self.poller = await self.stack.enter_async_context(
            await psycopg.AsyncConnection.connect(self.conninfo, autocommit=True)
        )
        self.hub = await self.stack.enter_async_context(AsyncWaitHub(self.conninfo))

    def notify(self, channel: str) -> None:
        self.orders.send(("SELECT pg_notify(%s, %s)", (channel, f"{uuid.uuid4()}/step")))

    def deliver(self, channel: str | None) -> uuid.UUID:
        run_id = uuid.uuid4()
        self.engine.register_waiter(run_id, "step", "signal", wake_channel=channel)
        query = "SELECT status FROM flow_signal_v1.deliver_signal(p_run_id => %s, p_signal_name => 'signal')"
        self.orders.send((query, (run_id,)))
        return run_id

    async def async_bare(self) -> None:
        self.notify("bench_async")
        async for _ in self.connection.notifies(stop_after=1):
            pass

    async def async_hub(self) -> None:
        await self.hub.wait(self.deliver(self.hub.channel), "step")

    async def async_store(self) -> None:
        channel = f"c{uuid.uuid4().hex}"
        await AsyncFlowSignalStore(self.poller).wait(self.deliver(channel), "step", wake_channel=channel)

    async def sync_bare(self) -> None:
        self.sync.execute("LISTEN bench_sync")
        self.notify("bench_sync")
        for _ in self.sync.notifies(stop_after=1):
            pass
        self.sync.execute("UNLISTEN bench_sync")

    async def sync_store(self) -> None:
        channel = f"c{uuid.uuid4().hex}"
        FlowSignalStore(self.sync).wait(self.deliver(channel), "step", wake_channel=channel)

    async def sync_store_without_channel(self) -> None:
        FlowSignalStore(self.sync).wait(self.deliver(None), "step")

    async def microseconds(self, contender: Callable[[], Awaitable[None]]) -> float:
        await contender()
        ended = time.perf_counter()
        began: float = self.orders.recv()
        return (ended - began) * 1e6


async def run(conninfo: str, orders: Connection, rounds: int, calls: int) -> None:
    async with AsyncExitStack() as stack:
        bench = Bench(conninfo, orders, stack)
        await bench.start()
        contenders = {
            "bare NOTIFY, async": bench.async_bare,
            "AsyncWaitHub.wait": bench.async_hub,
            "AsyncFlowSignalStore.wait": bench.async_store,
            "bare NOTIFY, sync": bench.sync_bare,
            "FlowSignalStore.wait": bench.sync_store,
            "  without a channel": bench.sync_store_without_channel,
        }
        taken: dict[str, list[list[float]]] = {name: [] for name in contenders}
        for number in range(rounds + 1):
            for name, contender in contenders.items():
                measured = [await bench.microseconds(contender) for _ in range(calls)]
                if number:  # the first round warms up
                    taken[name].append(measured)
    print(f"{'':26}   median us (min-max of {rounds} rounds)      p95   ratio to bare (min-max)")
    bare: list[float] = []
    for name, measured_rounds in taken.items():
        medians = [statistics.median(measured) for measured in measured_rounds]
        if name.startswith("bare"):
            bare = medians
        ratios = [median / base for median, base in zip(medians, bare, strict=True)]
        p95 = statistics.quantiles([value for measured in measured_rounds for value in measured], n=20)[-1]
        spread = f"({min(medians):.0f}-{max(medians):.0f})"
        print(
            f"{name:26} {statistics.median(medians):11.0f} {spread:24} {p95:8.0f}"
            f" {statistics.median(ratios):8.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the wake-up of a wait with a bare LISTEN/NOTIFY.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=100)
    options = parser.parse_args()
    with EmbeddedServer() as server:
        migrate.migrate(server.conninfo())
        orders, other_end = multiprocessing.Pipe()
        sender = multiprocessing.get_context("spawn").Process(
            target=send, args=(server.conninfo(), other_end), daemon=True
        )
        sender.start()
        asyncio.run(run(server.conninfo(), orders, options.rounds, options.calls))
        orders.send(None)
        sender.join()


if __name__ == "__main__":
    main()
