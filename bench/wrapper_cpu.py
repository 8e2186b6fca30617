"""Measure what a call of the wrapper costs the client beside the same call made with psycopg alone.

python bench/wrapper_cpu.py [--rounds 300] [--instructions]

CPU time of this process for one call, user and system, so that neither the server nor the network is counted. The two
ways alternate, 50 calls at a time; of the rounds the tenth percentile counts, as other work on the machine only makes
calls slower. psycopg alone: `connection.execute(query, arguments).fetchone()` with the same function, the same columns
and a tuple for the row.

--instructions counts those of the client instead, in user space, under valgrind: no load of the machine changes them.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg

from flow_signal import AsyncFlowSignalStore, FlowSignalStore, migrate
from flow_signal.embedded import EmbeddedServer

CALLS = 50
COUNTED = 200
GET = """SELECT run_id, step_key, signal_name, state, created_at, expires_at, delivered_at, payload_json
FROM flow_signal_v1.get_waiter(p_run_id => %s, p_step_key => %s)"""
DELIVER = """SELECT status, run_id, step_key, delivered_at, replayed
FROM flow_signal_v1.deliver_signal(p_run_id => %s, p_signal_name => %s, p_payload_json => %s, p_delivery_id => %s)"""
PAYLOAD = '{"approved": true, "by": "somebody"}'

Pair = tuple[Callable[[], Any], Callable[[], Any]]


def sync_calls(connection: psycopg.Connection[Any], run_id: UUID) -> dict[str, Pair]:
    """What psycopg alone does, and what the wrapper does."""
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


def async_calls(connection: psycopg.AsyncConnection[Any], run_id: UUID) -> dict[str, Pair]:
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


def sync_cost(call: Callable[[], Any]) -> float:
    before = time.process_time()
    for _ in range(CALLS):
        call()
    return (time.process_time() - before) / CALLS * 1e6


async def async_cost(call: Callable[[], Awaitable[Any]]) -> float:
    before = time.process_time()
    for _ in range(CALLS):
        await call()
    return (time.process_time() - before) / CALLS * 1e6


def report(name: str, rounds: list[tuple[float, float]]) -> None:
    raw, ours = (sorted(costs)[len(rounds) // 10] for costs in zip(*rounds, strict=True))
    print(f"{name:32} psycopg {raw:6.1f} us, wrapper {ours:6.1f} us, ratio {ours / raw:.2f}", flush=True)


async def measure_async(conninfo: str, run_id: UUID, rounds: int) -> None:
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        for name, (raw, ours) in async_calls(connection, run_id).items():
            report(name, [(await async_cost(raw), await async_cost(ours)) for _ in range(rounds)])


def measure(connection: psycopg.Connection[Any], run_id: UUID, rounds: int) -> None:
    for name, (raw, ours) in sync_calls(connection, run_id).items():
        report(name, [(sync_cost(raw), sync_cost(ours)) for _ in range(rounds)])


def measure_instructions(conninfo: str, run_id: UUID) -> None:
    for name in ("get_waiter", "deliver_signal, a retry"):
        raw, ours = (
            (count(conninfo, run_id, name, way, 20 + COUNTED) - count(conninfo, run_id, name, way, 20)) / COUNTED
            for way in (0, 1)
        )
        print(f"{name:32} psycopg {raw:8,.0f}, wrapper {ours:8,.0f} instructions, ratio {ours / raw:.2f}", flush=True)


def count(conninfo: str, run_id: UUID, name: str, way: int, calls: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out"]
        command = [
            *tool,
            sys.executable,
            str(Path(__file__)),
            "--make",
            conninfo,
            str(run_id),
            name,
            str(way),
            str(calls),
        ]
        done = subprocess.run(command, env={"PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=True)
    return int(re.findall(r"Collected : (\d+)", done.stderr)[0])


def make_calls(conninfo: str, run_id: str, name: str, way: str, calls: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        call = sync_calls(connection, UUID(run_id))[name][int(way)]
        for _ in range(int(calls)):
            call()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--instructions", action="store_true")
    parser.add_argument("--make", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        make_calls(*options.make)
        return
    with EmbeddedServer() as server:
        migrate.migrate(server.conninfo())
        run_id = uuid4()
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            store = FlowSignalStore(connection)
            store.register_waiter(run_id, "step", "go")
            store.deliver_signal(run_id, "go", payload_json=PAYLOAD, delivery_id="id")
            print(f"Python {sys.version.split()[0]}, psycopg {psycopg.__version__}, {psycopg.pq.__impl__}")
            if options.instructions:
                measure_instructions(server.conninfo(), run_id)
                return
            measure(connection, run_id, options.rounds)
        asyncio.run(measure_async(server.conninfo(), run_id, options.rounds))


if __name__ == "__main__":
    main()
