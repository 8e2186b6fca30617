"""Claim 100,000 due waiters with eight claimers, alone and beside a million waiters that are not due.

python bench/claims.py [--rounds N] [--due N] [--idle N] [--claimers N] [--limit N]

Each claimer is a process that claims, commits, and begins again until nothing is left. Checked in every round: each
waiter was claimed exactly once, no error (so no deadlock), no sequential scan of the table. Printed are the claimed
waiters per second of wall time (median and spread of the rounds, contenders in turn), and for each waiter the server's
CPU time, which is steadier on a shared machine, and the index entries read. In the last line another session keeps a
snapshot open, as a long report does, so that what the claims leave behind in the index cannot be cleaned.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections import Counter
from multiprocessing.synchronize import Barrier
from uuid import UUID

import psycopg
from backend_cpu import backend_cpu

from flow_signal import migrate
from flow_signal.embedded import EmbeddedServer

CLAIM = "SELECT w.run_id FROM flow_signal_v1.claim_waiters(p_queue => 'bench', p_limit => %s, p_lease => '1 day') AS w"
ADD = """
INSERT INTO flow_signal.flow_signal_waiters (
    run_id, step_key, signal_name, status, created_at, expires_at, delivered_at, payload_json, due_at, queue
)
SELECT
    gen_random_uuid(), 'step', 'signal', CASE WHEN kind = 'delivered' THEN kind ELSE 'waiting' END, now(),
    CASE WHEN kind <> 'delivered' THEN due_at END,
    CASE WHEN kind = 'delivered' THEN due_at END, CASE WHEN kind = 'delivered' THEN '{"ok": true}'::json END,
    due_at, 'bench'
FROM (
    SELECT %(kind)s AS kind, now() + %(sign)s * n * interval '1 ms' + %(sign)s * interval '1 day' AS due_at
    FROM generate_series(1, %(count)s) AS n
) AS waiter
"""
COUNTERS = """
SELECT
    (SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'flow_signal_waiters'),
    (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'flow_signal_waiters')
"""


Claimed = tuple[list[UUID], float]
"""What a claimer got, and the CPU time of its server process in microseconds."""


def claimer(conninfo: str, limit: int, start: Barrier, results: multiprocessing.Queue[Claimed]) -> None:
    claimed: list[UUID] = []
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(CLAIM.replace("'bench'", "'nobody'"), [limit], prepare=True)
        cpu = backend_cpu(connection)
        start.wait()
        while rows := connection.execute(CLAIM, [limit], prepare=True, binary=True).fetchall():
            claimed += [row[0] for row in rows]
        results.put((claimed, backend_cpu(connection) - cpu))


class Bench:
    def __init__(self, server: EmbeddedServer, options: argparse.Namespace) -> None:
        self.server = server
        self.options = options
        self.processes = multiprocessing.get_context("spawn")
        self.connection = psycopg.connect(server.conninfo(), autocommit=True)

    def add(self, kind: str, count: int) -> None:
        sign = 1 if kind == "idle" else -1
        self.connection.execute(ADD, {"kind": kind, "count": count, "sign": sign})

    def counters(self) -> tuple[int, int]:
        self.connection.execute("SELECT pg_sleep(1.2)")  # sessions report at most once a second
        [[scans, entries]] = self.connection.execute(COUNTERS).fetchall()
        return scans, int(entries)

    def round(self, idle: int, snapshot: bool) -> tuple[float, float, float]:
        """Return the waiters claimed per second, and for each the CPU microseconds and the index entries read."""
        options = self.options
        self.connection.execute("TRUNCATE flow_signal.flow_signal_waiters")
        self.add("delivered", options.due // 2)
        self.add("overdue", options.due - options.due // 2)
        self.add("idle", idle)
        self.connection.execute("VACUUM ANALYZE flow_signal.flow_signal_waiters")
        self.connection.execute("CHECKPOINT")
        start = self.processes.Barrier(options.claimers + 1)
        results: multiprocessing.Queue[Claimed] = self.processes.Queue()
        arguments = (self.server.conninfo(), options.limit, start, results)
        claimers = [self.processes.Process(target=claimer, args=arguments) for _ in range(options.claimers)]
        scans, entries = self.counters()
        with psycopg.connect(self.server.conninfo()) as reader:
            if snapshot:
                reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                reader.execute("SELECT FROM flow_signal.flow_signal_waiters WHERE run_id = gen_random_uuid()")
            for process in claimers:
                process.start()
            start.wait()
            began = time.perf_counter()
            parts = [results.get() for _ in claimers]
            seconds = time.perf_counter() - began
        for process in claimers:
            process.join()
            assert process.exitcode == 0
        scans_after, entries_after = self.counters()
        times = Counter(Counter(run_id for claimed, _ in parts for run_id in claimed).values())
        assert times == {1: options.due}, f"waiters by how often they were claimed: {times}"
        assert scans_after - scans <= (1 if snapshot else 0), "a sequential scan"
        cpu = sum(cpu for _, cpu in parts)
        return options.due / seconds, cpu / options.due, (entries_after - entries) / options.due


def medians(rounds: list[tuple[float, float, float]]) -> list[float]:
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--due", type=int, default=100_000)
    parser.add_argument("--idle", type=int, default=1_000_000)
    parser.add_argument("--claimers", type=int, default=8)
    parser.add_argument("--limit", type=int, default=100)
    options = parser.parse_args()
    contenders = {
        "alone": (0, False),
        f"beside {options.idle:,} not due": (options.idle, False),
        "alone, under an old snapshot": (0, True),
    }
    taken: dict[str, list[tuple[float, float, float]]] = {name: [] for name in contenders}
    with EmbeddedServer(settings={"max_wal_size": "4GB", "autovacuum": "off"}) as server:
        migrate.migrate(server.conninfo())
        bench = Bench(server, options)
        for _ in range(options.rounds):
            for name, (idle, snapshot) in contenders.items():
                taken[name].append(bench.round(idle, snapshot))
        bench.connection.close()
    print(
        f"{options.claimers} claimers, {options.due:,} due, {options.limit} a call, {options.rounds} rounds, no flush:"
    )
    print(f"{'':30}  waiters/s (min-max)          ratio    CPU us   ratio   entries read")
    alone_rate, alone_cpu, _ = medians(taken["alone"])
    for name, rounds in taken.items():
        rate, cpu, entries = medians(rounds)
        spread = f"({min(rounds)[0]:,.0f}-{max(rounds)[0]:,.0f})"
        ratios = f"{rate / alone_rate:6.2f} {cpu:9.1f} {cpu / alone_cpu:7.2f}"
        print(f"{name:30} {rate:10,.0f} {spread:18} {ratios} {entries:14.1f}")
    print("each waiter exactly once, no error, no sequential scan")


if __name__ == "__main__":
    main()
