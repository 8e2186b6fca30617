"""Measure what CHECK constraints and the fillfactor of the waiters' table cost and save.

python bench/table_options.py [--rounds N] [--calls N] [--payload BYTES]

Per contender: server CPU of register_waiter and deliver_signal, each call a transaction of its own (median and
spread of the rounds, contenders in turn), the share of deliveries that touched no index (HOT), when 2,000 waiters
are parked first and then delivered, and the bytes of table and indexes for a waiter when all are parked and when all
are delivered. The payload is {"approved": true}, filled up with spaces.
"""

from __future__ import annotations

import argparse
import statistics
import uuid

import psycopg
from backend_cpu import backend_cpu

from flow_signal.embedded import EmbeddedServer
from flow_signal.migrate import migrate

WAITERS = "flow_signal.flow_signal_waiters"
CONTENDERS = {
    "as_shipped": "",
    "check_constraints": f"""ALTER TABLE {WAITERS}
        ADD CHECK (status IN ('waiting', 'delivered', 'expired')),
        ADD CHECK ((status = 'delivered') = (delivered_at IS NOT NULL) AND (delivered_at < expires_at) IS NOT FALSE)""",
    "fillfactor_85": f"ALTER TABLE {WAITERS} SET (fillfactor = 85)",
    "fillfactor_70": f"ALTER TABLE {WAITERS} SET (fillfactor = 70)",
}
REGISTER = "SELECT run_id FROM flow_signal_v1.register_waiter(%s, 'approve', 'approval')"
DELIVER = "SELECT status FROM flow_signal_v1.deliver_signal(%s, 'approval', %s)"
PAYLOAD = '{"approved": true}'


def one_round(conninfo: str, calls: int, payload: str) -> tuple[float, ...]:
    """CPU of a registration, CPU of a delivery, HOT share, bytes a parked and a delivered waiter."""
    with psycopg.connect(conninfo, autocommit=True) as conn:
        conn.execute(f"TRUNCATE {WAITERS}")
        runs = [uuid.uuid4() for _ in range(calls)]
        spent, sizes = [], []
        for query, arguments in ((REGISTER, ()), (DELIVER, (payload,))):
            before = backend_cpu(conn)
            for run in runs:
                conn.execute(query, (run, *arguments), prepare=True)
            spent.append((backend_cpu(conn) - before) / calls)
            [(size,)] = conn.execute("SELECT pg_total_relation_size(%s::regclass)", (WAITERS,))
            sizes.append(size / calls)
        hot = conn.execute(
            "SELECT pg_stat_get_tuples_hot_updated(c), pg_stat_get_tuples_updated(c) FROM CAST(%s AS regclass) AS c",
            (WAITERS,),
        ).fetchone()
    return *spent, hot[0] / max(hot[1], 1), *sizes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--payload", type=int, default=len(PAYLOAD))
    options = parser.parse_args()
    results: dict[str, list[tuple[float, ...]]] = {name: [] for name in CONTENDERS}
    with EmbeddedServer() as server:
        with psycopg.connect(server.conninfo(), autocommit=True) as conn:
            print(conn.execute("SELECT version()").fetchone()[0])
            for name in CONTENDERS:
                conn.execute(f"CREATE DATABASE {name}")
        for name, ddl in CONTENDERS.items():
            migrate(server.conninfo(dbname=name))
            with psycopg.connect(server.conninfo(dbname=name), autocommit=True) as conn:
                conn.execute(ddl or "SELECT")
        for _ in range(options.rounds):
            for name in CONTENDERS:
                results[name].append(
                    one_round(server.conninfo(dbname=name), options.calls, PAYLOAD.ljust(options.payload))
                )
    print(f"{'':20} register CPU us (min-max)   deliver CPU us (min-max)   HOT   bytes parked   delivered")
    for name, rounds in results.items():
        register, deliver, hot, parked, delivered = (list(column) for column in zip(*rounds, strict=True))
        print(
            f"{name:20} {statistics.median(register):8.1f} ({min(register):.1f}-{max(register):.1f})"
            f" {statistics.median(deliver):12.1f} ({min(deliver):.1f}-{max(deliver):.1f})"
            f" {hot[-1]:10.0%} {statistics.median(parked):13.0f} {statistics.median(delivered):11.0f}"
        )


if __name__ == "__main__":
    main()
