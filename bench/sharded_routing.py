"""Measure what routing costs: the client beside a call on the run's own store, the server with 1, 2 and 4 databases.

python bench/sharded_routing.py [--rounds 200] [--lifecycles 300] [--instructions]

The client: CPU time of this process for one call through a pool, user and system, by the store of the run's database
and by the sharded store. The two ways alternate, 50 calls at a time; of the rounds the tenth percentile counts, as
other work on the machine only makes calls slower. Then what `shard_of` takes alone.

The server: CPU time of all server processes together for one call, of lifecycles of new runs (register, deliver, get,
remove) and of batches over 500 runs. The lifecycles go to one database after another, since here the processes share
the caches of one machine, which those of several servers do not. The numbers of databases alternate; the median of the
rounds counts, and the ratio is to one database in the same round.

--instructions counts those of the client instead, in user space, under valgrind: no load of the machine changes them.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import psycopg_pool
from backend_cpu import backend_cpu
from wrapper_cpu import async_cost, sync_cost

from flow_signal import (
    AsyncFlowSignalStore,
    AsyncShardedFlowSignalStore,
    FlowSignalStore,
    NewSignal,
    NewWaiter,
    ShardedFlowSignalStore,
    migrate,
)
from flow_signal.embedded import EmbeddedServer

COUNTED = 200
MOST = 4
BATCH = 500
SERVER_ROUNDS = 15


class Kept:
    """A pool of one connection, which it lends to one caller at a time."""

    def __init__(self, conninfo: str) -> None:
        self.kept: psycopg.Connection[Any] = psycopg.connect(conninfo)

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        with self.kept.transaction():
            yield self.kept


def tenth(costs: list[float]) -> float:
    return sorted(costs)[len(costs) // 10]


def report(name: str, rounds: list[tuple[float, float]]) -> None:
    own, routed = (tenth([*costs]) for costs in zip(*rounds, strict=True))
    print(f"{name:32} own store {own:6.1f} us, routed {routed:6.1f} us, ratio {routed / own:.3f}", flush=True)


Make = Callable[[FlowSignalStore | ShardedFlowSignalStore, UUID], Any]
COMPARED: dict[str, Make] = {
    "get_waiter": lambda store, run_id: store.get_waiter(run_id, "step"),
    "deliver_signal, a retry": lambda store, run_id: store.deliver_signal(run_id, "go", 1, delivery_id="id"),
}


def measure_client(conninfos: list[str], run_id: UUID, rounds: int) -> None:
    with ExitStack() as stack:
        pools = [
            stack.enter_context(psycopg_pool.ConnectionPool(conninfo, min_size=1, open=True)) for conninfo in conninfos
        ]
        routed = ShardedFlowSignalStore(pools)
        own = FlowSignalStore(pools[routed.shard_of(run_id)])
        routed.register_waiter(run_id, "step", "go")
        routed.deliver_signal(run_id, "go", 1, delivery_id="id")
        for name, make in COMPARED.items():
            pair = [lambda make=make, store=store: make(store, run_id) for store in (own, routed)]
            report(name, [(sync_cost(pair[0]), sync_cost(pair[1])) for _ in range(rounds)])


def measure_instructions(conninfos: list[str], run_id: UUID) -> None:
    for name in COMPARED:
        own, routed = (
            (count(conninfos, run_id, name, way, 20 + COUNTED) - count(conninfos, run_id, name, way, 20)) / COUNTED
            for way in ("own", "routed")
        )
        print(f"{name:32} own {own:8,.0f}, routed {routed:8,.0f} instructions, ratio {routed / own:.3f}", flush=True)


def count(conninfos: list[str], run_id: UUID, name: str, way: str, calls: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out"]
        made = [str(Path(__file__)), "--make", name, way, str(run_id), str(calls), *conninfos]
        done = subprocess.run(
            [*tool, sys.executable, *made], env={"PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=True
        )
    return int(re.findall(r"Collected : (\d+)", done.stderr)[0])


def make_calls(name: str, way: str, run: str, calls: str, *conninfos: str) -> None:
    pools, run_id = [Kept(conninfo) for conninfo in conninfos], UUID(run)
    routed = ShardedFlowSignalStore(pools)
    store = routed if way == "routed" else FlowSignalStore(pools[routed.shard_of(run_id)])
    for _ in range(int(calls)):
        COMPARED[name](store, run_id)
    for pool in pools:
        pool.kept.close()


async def measure_async_client(conninfos: list[str], run_id: UUID, rounds: int) -> None:
    pools = [psycopg_pool.AsyncConnectionPool(conninfo, min_size=1, open=False) for conninfo in conninfos]
    for pool in pools:
        await pool.open()
    routed = AsyncShardedFlowSignalStore(pools)
    own = AsyncFlowSignalStore(pools[routed.shard_of(run_id)])
    report(
        "get_waiter, async",
        [
            (
                await async_cost(lambda: own.get_waiter(run_id, "step")),
                await async_cost(lambda: routed.get_waiter(run_id, "step")),
            )
            for _ in range(rounds)
        ],
    )
    for pool in pools:
        await pool.close()


def measure_routing(rounds: int) -> None:
    store = ShardedFlowSignalStore([psycopg_pool.ConnectionPool(open=False) for _ in range(MOST)])
    for name, run_id in {"shard_of, hashed": uuid4(), "shard_of, of new_run_id": store.new_run_id()}.items():
        cost = tenth([sync_cost(lambda run_id=run_id: store.shard_of(run_id)) for _ in range(rounds)])
        print(f"{name:32} {cost:.2f} us", flush=True)


def lifecycles(store: ShardedFlowSignalStore, count: int) -> None:
    shards = len(store.shards)
    for number in range(count):
        run_id = store.new_run_id(number * shards // count)
        store.register_waiter(run_id, "step", "go")
        store.deliver_signal(run_id, "go", 1)
        store.get_waiter(run_id, "step")
        store.remove_waiter(run_id, "step")


def batch(store: ShardedFlowSignalStore, _: int) -> None:
    run_ids = [uuid4() for _ in range(BATCH)]
    store.register_waiters(NewWaiter(run_id, "step", "go") for run_id in run_ids)
    store.deliver_signals(NewSignal(run_id, "go", 1) for run_id in run_ids)


def measure_server(conninfos: list[str], count: int) -> None:
    pools = [Kept(conninfo) for conninfo in conninfos]
    stores = {number: ShardedFlowSignalStore(pools[:number]) for number in (1, 2, 4)}
    for name, work, calls in (
        ("server, one call of a lifecycle", lifecycles, 4 * count),
        (f"server, one row of a batch of {BATCH}", batch, 2 * BATCH),
    ):
        work(stores[4], count)  # so that all have prepared their statements
        work(stores[4], count)
        rounds = [
            {number: server_cost(pools, store, work, count) / calls for number, store in stores.items()}
            for _ in range(SERVER_ROUNDS)
        ]
        for number in stores:
            cost = statistics.median(costs[number] for costs in rounds)
            ratio = statistics.median(costs[number] / costs[1] for costs in rounds)
            print(f"{name:32} {number} databases {cost:6.1f} us, ratio {ratio:.2f}", flush=True)
    for pool in pools:
        pool.kept.close()


def server_cost(
    pools: list[Kept], store: ShardedFlowSignalStore, work: Callable[[ShardedFlowSignalStore, int], None], count: int
) -> float:
    before = sum(backend_cpu(pool.kept) for pool in pools)
    work(store, count)
    return sum(backend_cpu(pool.kept) for pool in pools) - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--lifecycles", type=int, default=300)
    parser.add_argument("--instructions", action="store_true")
    parser.add_argument("--make", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        make_calls(*options.make)
        return
    with EmbeddedServer() as server:
        with psycopg.connect(server.conninfo(), autocommit=True) as admin:
            for shard in range(MOST):
                admin.execute(f"CREATE DATABASE shard_{shard}")
        conninfos = [server.conninfo(f"shard_{shard}") for shard in range(MOST)]
        for conninfo in conninfos:
            migrate.migrate(conninfo)
        print(f"Python {sys.version.split()[0]}, psycopg {psycopg.__version__}, {psycopg.pq.__impl__}")
        run_id = uuid4()
        if options.instructions:
            store = ShardedFlowSignalStore([Kept(conninfo) for conninfo in conninfos])
            store.register_waiter(run_id, "step", "go")
            store.deliver_signal(run_id, "go", 1, delivery_id="id")
            measure_instructions(conninfos, run_id)
            return
        measure_client(conninfos, run_id, options.rounds)
        asyncio.run(measure_async_client(conninfos, run_id, options.rounds))
        measure_routing(options.rounds)
        measure_server(conninfos, options.lifecycles)


if __name__ == "__main__":
    main()
