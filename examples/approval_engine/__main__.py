"""The show: orders, their customers, and workers of which one is killed again and again."""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import TracebackType
from uuid import UUID, uuid4

import psycopg

from examples.approval_engine.workflow import Connection, place_order
from flow_signal import FlowSignalStore, SignalDeliveryResult
from flow_signal.embedded import EmbeddedServer
from flow_signal.migrate import migrate

SCHEMA = Path(__file__).with_name("schema.sql")
RESULTS = """
    SELECT o.state, count(*), count(*) FILTER (WHERE did.endings = 1), sum(did.waiters)::integer
    FROM approval_engine.orders AS o
    CROSS JOIN LATERAL (
        SELECT
            (
                SELECT count(*) FROM approval_engine.events AS e
                WHERE e.order_id = o.id AND e.event IN ('shipped', 'cancelled')
            ) AS endings,
            (SELECT count(*) FROM flow_signal_v1.get_waiter(o.id, 'approval'))
            + (SELECT count(*) FROM flow_signal_v1.get_waiter(o.id, 'payment')) AS waiters
    ) AS did
    GROUP BY o.state
    ORDER BY o.state
"""


class Workers:
    """Worker processes; all end at the latest with the `with` block."""

    def __init__(self, conninfo: str, count: int, lease_seconds: float) -> None:
        module = "examples.approval_engine.worker"
        self._command = [sys.executable, "-m", module, conninfo, str(lease_seconds), str(os.getpid())]
        self._folder = Path(__file__).parent.parent.parent
        self._count = count
        self.killed = 0

    def __enter__(self) -> Workers:
        self.processes = [self._started() for _ in range(self._count)]
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def kill_one(self, chance: random.Random) -> None:
        """Kill a worker with SIGKILL, whatever it is doing, and start another one."""
        position = chance.randrange(len(self.processes))
        self.processes[position].kill()
        self.processes[position].wait()
        self.processes[position] = self._started()
        self.killed += 1

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, cwd=self._folder)


def answer(connection: Connection, order_id: UUID, step: str, granted: bool) -> SignalDeliveryResult:
    """Approve or pay, or refuse to, perhaps before the order asks for it; safe to repeat."""
    return FlowSignalStore(connection).deliver_signal(
        order_id,
        step,
        {"granted": granted},
        delivery_id=f"{step} of {order_id}",
        buffer_until=datetime.now(timezone.utc) + timedelta(minutes=1),
    )


def play(conninfo: str, orders: int, workers: int, kill_every: float, chance: random.Random) -> bool:
    """Play it to the end and print the results; return whether every order ended exactly once."""
    print(f"{orders} orders, {workers} workers, one of them killed every {kill_every:g} s", flush=True)
    with (
        psycopg.connect(conninfo, autocommit=True) as connection,
        Workers(conninfo, workers, lease_seconds=1) as crew,
    ):
        next_kill = time.monotonic() + kill_every
        for _ in range(orders):
            order_id = uuid4()
            place_order(connection, order_id, patience=timedelta(seconds=2))
            for step in ("approval", "payment"):
                wish = chance.random()
                if wish < 0.8:  # else the customer says nothing
                    answer(connection, order_id, step, granted=wish < 0.7)
            if time.monotonic() >= next_kill:
                crew.kill_one(chance)
                next_kill = time.monotonic() + kill_every
        while unfinished(connection):
            time.sleep(kill_every)
            crew.kill_one(chance)
        print(f"{crew.killed} workers killed\n")
        return show(connection.execute(RESULTS).fetchall())


def unfinished(connection: Connection) -> int:
    query = "SELECT count(*) FROM approval_engine.orders WHERE state LIKE 'waits for %'"
    [[count]] = connection.execute(query).fetchall()
    return int(count)


def show(results: Sequence[tuple[str, int, int, int]]) -> bool:
    """Print the results; return whether they are as they should be."""
    print(f"{'':32}{'orders':>8}{'ended once':>12}{'still waits':>13}")
    orders = sum(row[1] for row in results)
    ended_once = sum(row[2] for row in results)
    waiters = sum(row[3] for row in results)
    for row in [*results, ("all", orders, ended_once, waiters)]:
        print("{:32}{:8}{:12}{:13}".format(*row))
    return orders == ended_once and waiters == 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.approval_engine", description=__doc__)
    parser.add_argument("--dsn", help="a database; without it, a server of its own. Makes the schema approval_engine")
    parser.add_argument("--orders", type=int, default=300)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kill-every", type=float, default=0.5, metavar="SECONDS")
    options = parser.parse_args()
    with ExitStack() as stack:
        conninfo = options.dsn or stack.enter_context(EmbeddedServer()).conninfo()
        migrate(conninfo)
        with psycopg.connect(conninfo) as connection:
            connection.execute(SCHEMA.read_bytes())
        ended_well = play(conninfo, options.orders, options.workers, options.kill_every, random.Random())
    sys.exit(0 if ended_well else 1)


if __name__ == "__main__":
    main()
