"""Count what each call reads after traffic that has left the tables nearly empty, in each state of their statistics.

python bench/statistics_trap.py [--steps N]

Three rounds of 1,000 runs are registered, delivered and removed; then VACUUM ANALYZE finds nothing, or nine waiters and
a run of two, in tables whose indexes are still large. A new session now registers N steps of one run that wait for one
signal, and makes other calls about them. Beside that: tables that were never analysed, and true statistics. Printed are
the index entries and the blocks that a call reads; of a batch, those for each of its elements.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from uuid import UUID, uuid4

import psycopg

from flow_signal.embedded import EmbeddedServer
from flow_signal.migrate import migrate

TABLES = ", ".join(f"flow_signal.flow_signal_{name}" for name in ("waiters", "receipts", "locks", "buffered_signals"))
STATES = ("never analysed", "emptied", "nearly empty", "true statistics")
READS = """
SELECT sum(pg_stat_get_xact_tuples_returned(c.oid))::bigint, sum(pg_stat_get_xact_blocks_fetched(c.oid))::bigint
FROM pg_class AS c
WHERE c.relnamespace = 'flow_signal'::regnamespace AND c.relname LIKE 'flow\\_signal\\_%'"""
BATCHES = {
    "register_waiters: new steps": """register_waiters(
        p_run_ids => array_fill(%(run)s, ARRAY[%(steps)s]),
        p_step_keys => ARRAY(SELECT 'step ' || n FROM generate_series(1, %(steps)s) AS n),
        p_signal_names => array_fill('go'::text, ARRAY[%(steps)s]))""",
    "register_waiters: repeats": """register_waiters(
        p_run_ids => array_fill(%(run)s, ARRAY[%(steps)s / 4]),
        p_step_keys => ARRAY(SELECT 'step ' || n FROM generate_series(1, %(steps)s / 4) AS n),
        p_signal_names => array_fill('go'::text, ARRAY[%(steps)s / 4]), p_queue => 'work')""",
    "deliver_signals": """deliver_signals(
        p_run_ids => array_fill(%(run)s, ARRAY[%(steps)s / 4]), p_payloads_json => NULL,
        p_delivery_ids => ARRAY(SELECT 'id ' || n FROM generate_series(1, %(steps)s / 4) AS n),
        p_signal_names => array_fill('go'::text, ARRAY[%(steps)s / 4]))""",
    "deliver_signals: again": """deliver_signals(
        p_run_ids => array_fill(%(run)s, ARRAY[%(steps)s / 4]), p_payloads_json => NULL,
        p_delivery_ids => ARRAY(SELECT 'id ' || n FROM generate_series(1, %(steps)s / 4) AS n),
        p_signal_names => array_fill('go'::text, ARRAY[%(steps)s / 4]))""",
    "claim_waiters": "claim_waiters(p_queue => 'work', p_limit => %(steps)s / 4)",
}
SINGLE_CALLS = {
    "register_waiter": "register_waiter(%(run)s, 'another', 'go')",
    "register_waiter: a new deadline": "register_waiter(%(run)s, 'another', 'go', 'tomorrow')",
    "deliver_signal: the first after the batch": "deliver_signal(%(run)s, 'go', '1')",
    "deliver_signal": "deliver_signal(%(run)s, 'go', '1')",
    "deliver_signal: with an id": "deliver_signal(%(run)s, 'go', '1', 'id')",
    "deliver_signal: again": "deliver_signal(%(run)s, 'go', '1', 'id')",
    "deliver_signal: not_found": "deliver_signal(%(run)s, 'nobody')",
    "deliver_to_step": "deliver_to_step(%(run)s, 'another')",
    "get_waiter": "get_waiter(%(run)s, 'another')",
    "remove_waiter": "remove_waiter(%(run)s, 'another')",
    "remove_waiter: nobody": "remove_waiter(%(run)s, 'another')",
}


def reads(conninfo: str, state: str, steps: int) -> Iterator[tuple[str, float, float]]:
    """Call, entries and blocks; the database is a fresh one."""
    run = uuid4()
    with psycopg.connect(conninfo, autocommit=True) as conn:
        for table in TABLES.split(", "):
            conn.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
        if state in ("emptied", "nearly empty"):
            make_traffic(conn)
            if state == "nearly empty":
                for key in ("run", *range(9)):
                    call(conn, "register_waiter(%(run)s, 'step', 'go')", run=uuid4() if key != "run" else run)
                call(conn, "register_waiter(%(run)s, 'second', 'go')", run=run)
            conn.execute(f"VACUUM ANALYZE {TABLES}")
        elif state == "true statistics":
            call(conn, BATCHES["register_waiters: new steps"], run=uuid4(), steps=steps)
            conn.execute(f"ANALYZE {TABLES}")
    with psycopg.connect(conninfo) as conn:
        for what, statement in BATCHES.items():
            rows, entries, blocks = call(conn, statement, run=run, steps=steps)
            yield what, entries / rows, blocks / rows
        for what, statement in SINGLE_CALLS.items():
            _, entries, blocks = call(conn, statement, run=run)
            yield what, entries, blocks


def make_traffic(conn: psycopg.Connection, rounds: int = 3, runs: int = 1000) -> None:
    for _ in range(rounds):
        run_ids = [uuid4() for _ in range(runs)]
        for function in (
            "register_waiters(%s, array_fill('step'::text, %s), array_fill('go'::text, %s))",
            "deliver_signals(%s, array_fill('go'::text, %s), NULL, array_fill('id'::text, %s))",
        ):
            conn.execute(f"SELECT FROM flow_signal_v1.{function}", (run_ids, [runs], [runs]))
        for function in ("remove_waiter(r, 'step')", "remove_run(r)"):
            conn.execute(f"SELECT flow_signal_v1.{function} FROM unnest(%s) AS r", (run_ids,))


def call(conn: psycopg.Connection, function: str, **arguments: UUID | int) -> tuple[int, int, int]:
    """How many rows it returns, and how many entries and blocks it reads."""
    with conn.transaction():
        # They count from the last time that the session has sent its figures, which is never within a transaction.
        before = conn.execute(READS).fetchone() or (0, 0)
        rows = conn.execute(f"SELECT FROM flow_signal_v1.{function}", arguments).rowcount
        after = conn.execute(READS).fetchone() or (0, 0)
    return rows, after[0] - before[0], after[1] - before[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=4000)
    steps = parser.parse_args().steps
    figures: dict[str, list[str]] = {}
    with EmbeddedServer() as server:
        for number, state in enumerate(STATES):
            with psycopg.connect(server.conninfo(), autocommit=True) as conn:
                conn.execute(f"CREATE DATABASE state_{number}")
            conninfo = server.conninfo(dbname=f"state_{number}")
            migrate(conninfo)
            for what, entries, blocks in reads(conninfo, state, steps):
                figures.setdefault(what, []).append(f"{entries:.1f} / {blocks:.1f}")
    print(f"{'entries / blocks a call reads':42}", *(f"{state:>18}" for state in STATES))
    for what, values in figures.items():
        print(f"{what:42}", *(f"{value:>18}" for value in values))


if __name__ == "__main__":
    main()
