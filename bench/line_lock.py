"""Compare ways to make a registering waiter and a buffering sender see each other.

python bench/line_lock.py [--rounds N] [--calls N]

Each contender registers a waiter so that a sender who holds the same (run, signal) alone would make it
wait. Printed per contender: server CPU of one registration in a transaction of its own (from Linux's /proc;
median and spread of the rounds, contenders in turn), the entries in the shared lock table after one
transaction registered 10,000 waiters in 10,000 runs, and the bytes on disk for a waiter.
"""

from __future__ import annotations

import argparse
import statistics
import uuid

import psycopg
from backend_cpu import backend_cpu

from flow_signal.embedded import EmbeddedServer

COLUMNS = """run_id uuid NOT NULL, step_key text COLLATE "C" NOT NULL, signal_name text COLLATE "C" NOT NULL,
created_at timestamptz"""
INSERT = "INSERT INTO {name} VALUES (p_run_id, 'step', 'signal', v_now) ON CONFLICT DO NOTHING;"
KEY = "hashtextextended(p_run_id || '/signal', 0)"

# name -> (extra DDL, lock statements)
CONTENDERS = {
    "nothing": ("CREATE INDEX ON nothing (run_id, signal_name)", INSERT),
    "advisory_64_bit": (
        "CREATE INDEX ON advisory_64_bit (run_id, signal_name)",
        f"PERFORM pg_advisory_xact_lock_shared({KEY}); {INSERT}",
    ),
    "advisory_1024_keys": (
        "CREATE INDEX ON advisory_1024_keys (run_id, signal_name)",
        f"PERFORM pg_advisory_xact_lock_shared({KEY} % 1024); {INSERT}",
    ),
    "door_table": (
        "CREATE INDEX ON door_table (run_id, signal_name);"
        'CREATE TABLE doors (run_id uuid, signal_name text COLLATE "C", PRIMARY KEY (run_id, signal_name))',
        "INSERT INTO doors VALUES (p_run_id, 'signal') ON CONFLICT DO NOTHING;"
        f"DELETE FROM doors AS d WHERE d.run_id = p_run_id AND d.signal_name = 'signal'; {INSERT}",
    ),
    "row_per_run": (
        "CREATE INDEX ON row_per_run (run_id, signal_name);CREATE TABLE runs (run_id uuid PRIMARY KEY)",
        "INSERT INTO runs VALUES (p_run_id) ON CONFLICT DO NOTHING;"
        f"PERFORM FROM runs AS r WHERE r.run_id = p_run_id FOR KEY SHARE; {INSERT}",
    ),
    "head_key": (
        "ALTER TABLE head_key ADD place text COLLATE \"C\" NOT NULL DEFAULT 'head';"
        "CREATE UNIQUE INDEX ON head_key (run_id, signal_name) WHERE place = 'head';"
        "CREATE INDEX ON head_key (run_id, signal_name, place, created_at, step_key) WHERE place <> 'head'",
        INSERT,
    ),
}


def create(conn: psycopg.Connection, name: str) -> None:
    ddl, body = CONTENDERS[name]
    conn.execute(f"CREATE TABLE {name} ({COLUMNS}, PRIMARY KEY (run_id, step_key)); {ddl}")
    conn.execute(
        f"""CREATE FUNCTION register_{name}(p_run_id uuid) RETURNS timestamptz LANGUAGE plpgsql
            SET search_path = public, pg_temp SET enable_seqscan = off AS $function$
            DECLARE v_now timestamptz := clock_timestamp();
            BEGIN {body.format(name=name)} RETURN v_now; END $function$"""
    )


def cpu_per_call(conn: psycopg.Connection, name: str, calls: int) -> float:
    query = f"SELECT register_{name}(%s)"
    for _ in range(10):
        conn.execute(query, (uuid.uuid4(),), prepare=True)
    before = backend_cpu(conn)
    for _ in range(calls):
        conn.execute(query, (uuid.uuid4(),), prepare=True)
    return (backend_cpu(conn) - before) / calls


def lock_entries(conn: psycopg.Connection, name: str) -> str:
    try:
        with conn.transaction(force_rollback=True):
            conn.execute(f"SELECT count(register_{name}(gen_random_uuid())) FROM generate_series(1, 10000)")
            row = conn.execute("SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()").fetchone()
            return f"{row[0]:,}"
    except psycopg.errors.OutOfMemory:
        return "out of shared memory"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=5000)
    options = parser.parse_args()
    cpu: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    with EmbeddedServer() as server, psycopg.connect(server.conninfo(), autocommit=True) as conn:
        print(conn.execute("SELECT version()").fetchone()[0])
        for name in CONTENDERS:
            create(conn, name)
        for _ in range(options.rounds):
            for name in CONTENDERS:
                cpu[name].append(cpu_per_call(conn, name, options.calls))
        base = statistics.median(cpu["nothing"])
        waiters = options.rounds * (options.calls + 10)
        print(f"{'':20} CPU us per call (min-max)   over nothing   locks of 10,000   bytes a waiter")
        for name in CONTENDERS:
            median = statistics.median(cpu[name])
            tables = {"door_table": [name, "doors"], "row_per_run": [name, "runs"]}.get(name, [name])
            size = sum(
                conn.execute("SELECT pg_total_relation_size(%s::regclass)", (table,)).fetchone()[0] for table in tables
            )
            print(
                f"{name:20} {median:8.1f} ({min(cpu[name]):.1f}-{max(cpu[name]):.1f}) {median - base:+14.1f}"
                f" {lock_entries(conn, name):>20} {size / waiters:12.0f}"
            )


if __name__ == "__main__":
    main()
