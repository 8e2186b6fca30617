"""Compare batches with single calls and with bare set-based statements, and broadcast to many waiters.

python bench/batches.py [--rounds N] [--waiting N] [--broadcast N]

One connection, each call or batch a transaction of its own, flushed to disk. Single calls are made 1,000 at a time, as
the batches of 1,000 to which they are compared. The bare table has a primary key and the columns that the statement
needs, another one the columns and indexes of the waiters. All hold the same number of waiting rows at first, of which
each round takes others at random. Printed are the rows per second (median and spread of the rounds, contenders in
turn), and the server's CPU per row.

The broadcast reaches waiters in as many runs. Printed are its time, the most memory that its server process used, its
entries in the lock table, and what it does to a sender of other signals meanwhile.
"""

from __future__ import annotations

import argparse
import random
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
from backend_cpu import backend_cpu

from flow_signal import migrate
from flow_signal.embedded import EmbeddedServer

PAYLOAD = '{"approved": true, "by": "somebody", "comment": "as we said on the telephone, so be it"}'
DELIVERY = "status, run_id, step_key, delivered_at, replayed"
WAITER = "run_id, step_key, signal_name, state, created_at, expires_at, delivered_at, payload_json"
DELIVER = f"""
SELECT {DELIVERY} FROM flow_signal_v1.deliver_signal(p_run_id => %s, p_signal_name => %s, p_payload_json => %s)
"""
DELIVER_MANY = f"""
SELECT {DELIVERY}
FROM flow_signal_v1.deliver_signals(
    p_run_ids => %s::uuid[], p_signal_names => %s::text[], p_payloads_json => %s::text[]
)
"""
BARE_UPDATE = """
UPDATE bare AS b SET delivered_at = clock_timestamp(), payload_json = s.payload_json::json
FROM unnest(%s::uuid[], %s::text[], %s::text[]) AS s (run_id, step_key, payload_json)
WHERE b.run_id = s.run_id AND b.step_key = s.step_key
"""
REGISTER = f"""
SELECT {WAITER} FROM flow_signal_v1.register_waiter(p_run_id => %s, p_step_key => %s, p_signal_name => %s)
"""
REGISTER_MANY = f"""
SELECT {WAITER}
FROM flow_signal_v1.register_waiters(p_run_ids => %s::uuid[], p_step_keys => %s::text[], p_signal_names => %s::text[])
"""
BARE_INSERT = """
INSERT INTO bare (run_id, step_key, signal_name, created_at)
SELECT s.run_id, s.step_key, s.signal_name, clock_timestamp()
FROM unnest(%s::uuid[], %s::text[], %s::text[]) AS s (run_id, step_key, signal_name)
"""
INDEXED_INSERT = """
INSERT INTO same_indexes (run_id, step_key, signal_name, status, created_at)
SELECT s.run_id, s.step_key, s.signal_name, 'waiting', clock_timestamp()
FROM unnest(%s::uuid[], %s::text[], %s::text[]) AS s (run_id, step_key, signal_name)
"""
BROADCAST = f"""
SELECT {DELIVERY} FROM flow_signal_v1.broadcast_signal(p_signal_name => 'stop', p_payload_json => '"now"')
"""


class Bench:
    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.taken: dict[str, list[tuple[float, float]]] = {}

    def prepare(self, waiting: int) -> None:
        self.connection.execute(
            """
            CREATE TABLE bare (
                run_id uuid NOT NULL, step_key text NOT NULL, signal_name text NOT NULL,
                created_at timestamptz NOT NULL, delivered_at timestamptz, payload_json json,
                PRIMARY KEY (run_id, step_key)
            ) WITH (fillfactor = 70)
            """
        )
        self.connection.execute("CREATE TABLE same_indexes (LIKE flow_signal.flow_signal_waiters INCLUDING ALL)")
        self.waiting = {"bare": ids(waiting), "waiters": ids(waiting)}
        for step in range(0, waiting, 10_000):
            for table, query in (("bare", BARE_INSERT), ("bare", INDEXED_INSERT), ("waiters", REGISTER_MANY)):
                self.run(query, columns(self.waiting[table][step : step + 10_000], "step", "go"))
        self.connection.execute("VACUUM ANALYZE")
        for runs in self.waiting.values():
            random.shuffle(runs)

    def run(self, query: str, values: Sequence[Any]) -> None:
        with self.connection.cursor(binary=True) as cursor:
            cursor.execute(query.encode(), values, prepare=True)
            if cursor.description:
                cursor.fetchall()

    def take(self, table: str, count: int) -> list[UUID]:
        taken, self.waiting[table] = self.waiting[table][:count], self.waiting[table][count:]
        return taken

    def measure(self, name: str, rows: int, act: Callable[[], None]) -> None:
        cpu = backend_cpu(self.connection)
        began = time.perf_counter()
        act()
        took = time.perf_counter() - began
        self.taken.setdefault(name, []).append((rows / took, (backend_cpu(self.connection) - cpu) / rows))

    def batches(self, name: str, query: str, size: int, rows: int, values: list[tuple[Any, ...]]) -> None:
        parts = [[list(column) for column in zip(*values[at : at + size], strict=True)] for at in range(0, rows, size)]
        self.measure(name, rows, lambda: [self.run(query, part) for part in parts] and None)

    def singles(self, name: str, query: str, rows: int, values: list[tuple[Any, ...]]) -> None:
        self.measure(name, rows, lambda: [self.run(query, value) for value in values] and None)

    def round(self, rows: int) -> None:
        def delivery(table: str, name: str) -> list[tuple[Any, ...]]:
            return [(run, name, PAYLOAD) for run in self.take(table, rows)]

        def registration() -> list[tuple[Any, ...]]:
            return [(run, "step", "go") for run in ids(rows)]

        self.singles("deliver_signal", DELIVER, rows, delivery("waiters", "go"))
        for size in (1, 10, 100, 1000):
            self.batches(f"deliver_signals of {size}", DELIVER_MANY, size, rows, delivery("waiters", "go"))
        self.batches("bare UPDATE of 1000 keys", BARE_UPDATE, 1000, rows, delivery("bare", "step"))
        self.singles("register_waiter", REGISTER, rows, registration())
        for size in (1, 10, 100, 1000):
            self.batches(f"register_waiters of {size}", REGISTER_MANY, size, rows, registration())
        self.batches("INSERT with the same indexes", INDEXED_INSERT, 1000, rows, registration())
        self.batches("bare INSERT of 1000 rows", BARE_INSERT, 1000, rows, registration())

    def report(self) -> None:
        print(f"{'':30}   rows/s (min-max of the rounds)       x single    x bare   CPU us/row")
        for name, taken in self.taken.items():
            rates = [rate for rate, _ in taken]
            kind = "deliver" if "deliver" in name or "UPDATE" in name else "register"
            single = "deliver_signal" if kind == "deliver" else "register_waiter"
            bare = "bare UPDATE of 1000 keys" if kind == "deliver" else "bare INSERT of 1000 rows"
            ratios = [
                statistics.median(
                    mine / theirs for (mine, _), (theirs, _) in zip(taken, self.taken[other], strict=True)
                )
                for other in (single, bare)
            ]
            print(
                f"{name:30} {statistics.median(rates):9,.0f} ({min(rates):,.0f}-{max(rates):,.0f})".ljust(70)
                + f"{ratios[0]:7.2f} {ratios[1]:9.2f} {statistics.median(cpu for _, cpu in taken):12.1f}"
            )


def ids(count: int) -> list[UUID]:
    return [uuid4() for _ in range(count)]


def columns(runs: Sequence[UUID], step: str, signal: str) -> tuple[list[UUID], list[str], list[str]]:
    return list(runs), [step] * len(runs), [signal] * len(runs)


class Sender(threading.Thread):
    """Delivers one signal after another until it is told to stop."""

    def __init__(self, conninfo: str, runs: list[UUID]) -> None:
        super().__init__()
        self.connection = psycopg.connect(conninfo, autocommit=True)
        self.runs = runs
        self.stopped = False
        self.longest = 0.0
        self.sent = 0

    def run(self) -> None:
        with self.connection:
            while not self.stopped and self.runs:
                began = time.perf_counter()
                self.connection.execute(DELIVER.encode(), (self.runs.pop(), "go", PAYLOAD), prepare=True)
                self.longest = max(self.longest, time.perf_counter() - began)
                self.sent += 1


def sending(conninfo: str, runs: list[UUID], act: Callable[[], None]) -> str:
    sender = Sender(conninfo, runs)
    began = time.perf_counter()
    sender.start()
    act()
    sender.stopped = True
    sender.join()
    return f"{sender.sent / (time.perf_counter() - began):,.0f}/s, the slowest {sender.longest * 1000:,.1f} ms"


def broadcast(server: EmbeddedServer, bench: Bench, waiters: int) -> None:
    for step in range(0, waiters, 10_000):
        bench.run(REGISTER_MANY, columns(ids(min(10_000, waiters - step)), "step", "stop"))
    before = sending(server.conninfo(), bench.take("waiters", 20_000), lambda: time.sleep(2))
    with psycopg.connect(server.conninfo()) as connection:
        got: list[Any] = []

        def act() -> None:
            got.extend(connection.execute(BROADCAST.encode(), binary=True).fetchall())

        began = time.perf_counter()
        meanwhile = sending(server.conninfo(), bench.take("waiters", 20_000), act)
        took = time.perf_counter() - began
        [[locks]] = connection.execute("SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()").fetchall()
        status = Path(f"/proc/{connection.info.backend_pid}/status").read_text()
    memory = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))
    assert len(got) == waiters
    assert {row[0] for row in got} == {"delivered"}
    print(
        f"\nbroadcast to {waiters:,} waiters among {2 * waiters:,} or more: {took:.2f} s, {took / waiters * 1e6:.1f} us"
        f" a waiter; {locks} entries in the lock table; {memory / 1024:.0f} MiB of private memory afterwards"
        f"\na sender of other signals: {before}; during the broadcast: {meanwhile}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare batches with single calls and bare statements.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--waiting", type=int, default=200_000)
    parser.add_argument("--broadcast", type=int, default=100_000)
    options = parser.parse_args()
    settings = {"fsync": "on", "synchronous_commit": "on", "shared_buffers": "512MB", "max_wal_size": "4GB"}
    with EmbeddedServer(settings=settings) as server:
        migrate.migrate(server.conninfo())
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            bench = Bench(connection)
            bench.prepare(options.waiting)
            for number in range(options.rounds + 1):
                bench.round(1000)
                if not number:  # the first round warms up
                    bench.taken.clear()
            bench.report()
            broadcast(server, bench, options.broadcast)


if __name__ == "__main__":
    main()
