"""What claims cost, and how the table grows, while no vacuum has been there.

python bench/autovacuum.py [--staying N] [--waits N] [--steps N]

Beside 100,000 waiters that stay, waits pass through a queue, a thousand at a time: register_waiters, deliver_signals,
claim_waiters, remove_waiter. After each N of them: the server's CPU time of a claim that finds nothing and of one that
finds a hundred (median of 20), and the size of the table and of its indexes, in MB (10^6 bytes). At the end the CPU
time of a VACUUM, and the same after it. Autovacuum is off.
"""

from __future__ import annotations

import argparse
import statistics
import uuid
from typing import Any

import psycopg
from backend_cpu import backend_cpu

from flow_signal.embedded import EmbeddedServer
from flow_signal.migrate import migrate

Connection = psycopg.Connection[Any]

WAITERS = "flow_signal.flow_signal_waiters"
BATCH = 1000
REGISTER = """
SELECT count(*)
FROM flow_signal_v1.register_waiters(
    p_run_ids => %(runs)s, p_step_keys => array_fill('approve'::text, ARRAY[cardinality(%(runs)s)]),
    p_signal_names => array_fill('approval'::text, ARRAY[cardinality(%(runs)s)]), p_queue => 'engine'
)
"""
DELIVER = """
SELECT count(*) FILTER (WHERE status = 'delivered')
FROM flow_signal_v1.deliver_signals(
    p_run_ids => %(runs)s, p_signal_names => array_fill('approval'::text, ARRAY[cardinality(%(runs)s)]),
    p_payloads_json => array_fill('{"approved": true}'::text, ARRAY[cardinality(%(runs)s)])
)
"""
CLAIM = "SELECT run_id FROM flow_signal_v1.claim_waiters(p_queue => 'engine', p_limit => %s)"
REMOVE = """
SELECT count(r.run_id)
FROM unnest(%(runs)s) AS c (run_id)
CROSS JOIN LATERAL flow_signal_v1.remove_waiter(p_run_id => c.run_id, p_step_key => 'approve') AS r
"""
SIZES = f"SELECT pg_table_size(t) / 1e6, pg_indexes_size(t) / 1e6 FROM CAST('{WAITERS}' AS regclass) AS t"


def park(connection: Connection, count: int) -> list[uuid.UUID]:
    runs = [uuid.uuid4() for _ in range(count)]
    assert connection.execute(REGISTER, {"runs": runs}).fetchone() == (count,)
    return runs


def pass_through(connection: Connection, count: int) -> float:
    """Register, deliver, claim and remove so many; return the CPU microseconds of the claim."""
    runs = park(connection, count)
    assert connection.execute(DELIVER, {"runs": runs}).fetchone() == (count,)
    before = backend_cpu(connection)
    claimed = [run for (run,) in connection.execute(CLAIM, [count])]
    spent = backend_cpu(connection) - before
    assert set(claimed) == set(runs)
    assert connection.execute(REMOVE, {"runs": claimed}).fetchone() == (count,)
    return spent


def claim_nothing(connection: Connection) -> float:
    before = backend_cpu(connection)
    assert connection.execute(CLAIM, [100]).fetchall() == []
    return backend_cpu(connection) - before


def show(connection: Connection, since: str) -> None:
    nothing = statistics.median(claim_nothing(connection) for _ in range(20))
    hundred = statistics.median(pass_through(connection, 100) for _ in range(20))
    [(table, indexes)] = connection.execute(SIZES)
    print(f"| {since} | {nothing:,.0f} | {hundred:,.0f} | {table:,.0f} | {indexes:,.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--staying", type=int, default=100_000, help="a multiple of 1,000")
    parser.add_argument("--waits", type=int, default=50_000, help="between two lines, a multiple of 1,000")
    parser.add_argument("--steps", type=int, default=4)
    options = parser.parse_args()
    with EmbeddedServer(settings={"autovacuum": "off"}) as server:
        migrate(server.conninfo())
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            for _ in range(options.staying // BATCH):
                park(connection, BATCH)
            connection.execute(f"VACUUM ANALYZE {WAITERS}")
            print("| waits since vacuum | claim of none, us | claim of 100, us | table, MB | indexes, MB |")
            print("|---|---|---|---|---|")
            show(connection, "0")
            for step in range(1, options.steps + 1):
                for _ in range(options.waits // BATCH):
                    pass_through(connection, BATCH)
                show(connection, f"{step * options.waits:,}")
            before = backend_cpu(connection)
            connection.execute(f"VACUUM {WAITERS}")
            spent = (backend_cpu(connection) - before) / 1e6
            show(connection, f"0, after a VACUUM of {spent:.1f} s")


if __name__ == "__main__":
    main()
