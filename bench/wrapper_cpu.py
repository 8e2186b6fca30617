"""Measure what a call of the wrapper costs the client beside the same call made with psycopg alone.

python bench/wrapper_cpu.py [--calls 4000] [--rounds 9]

CPU time of this process for one call, user and system, so that neither the server nor the network is counted. The two
ways alternate; the ratio is that of the same round. psycopg alone: `connection.execute(query, arguments).fetchone()`
with the same function, the same columns and a tuple for the row.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import psycopg

from flow_signal import AsyncFlowSignalStore, FlowSignalStore, migrate
from flow_signal.embedded import EmbeddedServer

GET = """SELECT run_id, step_key, signal_name, state, created_at, expires_at, delivered_at, payload_json
FROM flow_signal_v1.get_waiter(p_run_id => %s, p_step_key => %s)"""
DELIVER = """SELECT status, run_id, step_key, delivered_at, replayed
FROM flow_signal_v1.deliver_signal(p_run_id => %s, p_signal_name => %s, p_payload_json => %s, p_delivery_id => %s)"""
PAYLOAD = '{"approved": true, "by": "somebody"}'


def sync_calls(connection: psycopg.Connection[Any], run_id: UUID) -> dict[str, tuple[Callable[[], Any], ...]]:
    store = FlowSignalStore(connection)
    return {
        "get_waiter": (
            lambda: connection.execute(GET, (run_id, "step")).fetchone(),
            lambda: store.get_waiter(run_id, "step"),
        ),
        "deliver_signal, a retry": (
            lambda: connection.execute(DELIVER, (run_id, "go", PAYLOAD, "id")).fetchone(),
            lambda: store.deliver_signal(run_id, "go", payload_json=PAYLOAD, delivery_id="id"),
        ),
    }


def async_calls(
    connection: psycopg.AsyncConnection[Any], run_id: UUID
) -> dict[str, tuple[Callable[[], Awaitable[Any]], ...]]:
    store = AsyncFlowSignalStore(connection)

    async def raw(query: str, arguments: tuple[object, ...]) -> object:
        return await (await connection.execute(query, arguments)).fetchone()

    return {
        "get_waiter, async": (
            lambda: raw(GET, (run_id, "step")),
            lambda: store.get_waiter(run_id, "step"),
        ),
        "deliver_signal, a retry, async": (
            lambda: raw(DELIVER, (run_id, "go", PAYLOAD, "id")),
            lambda: store.deliver_signal(run_id, "go", payload_json=PAYLOAD, delivery_id="id"),
        ),
    }


def sync_cost(call: Callable[[], Any], calls: int) -> float:
    before = time.process_time()
    for _ in range(calls):
        call()
    return (time.process_time() - before) / calls * 1e6


async def async_cost(call: Callable[[], Awaitable[Any]], calls: int) -> float:
    before = time.process_time()
    for _ in range(calls):
        await call()
    return (time.process_time() - before) / calls * 1e6


def report(name: str, rounds: list[tuple[float, float]]) -> None:
    raw, ours = (statistics.median(costs) for costs in zip(*rounds, strict=True))
    ratios = sorted(ours / raw for raw, ours in rounds)
    print(
        f"{name:32} psycopg {raw:6.1f} us, wrapper {ours:6.1f} us, "
        f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})",
        flush=True,
    )


async def measure_async(conninfo: str, run_id: UUID, calls: int, rounds: int) -> None:
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        for name, (raw, ours) in async_calls(connection, run_id).items():
            report(name, [(await async_cost(raw, calls), await async_cost(ours, calls)) for _ in range(rounds)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with EmbeddedServer() as server:
        migrate.migrate(server.conninfo())
        run_id = uuid4()
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            store = FlowSignalStore(connection)
            store.register_waiter(run_id, "step", "go")
            store.deliver_signal(run_id, "go", payload_json=PAYLOAD, delivery_id="id")
            print(f"psycopg {psycopg.__version__}, implementation {psycopg.pq.__impl__}")
            for name, (raw, ours) in sync_calls(connection, run_id).items():
                report(
                    name,
                    [(sync_cost(raw, options.calls), sync_cost(ours, options.calls)) for _ in range(options.rounds)],
                )
        asyncio.run(measure_async(server.conninfo(), run_id, options.calls, options.rounds))


if __name__ == "__main__":
    main()
