"""health costs the same whatever the tables hold, and sees what a transaction of its own cannot stage."""

from __future__ import annotations

import time
from contextlib import suppress
from threading import Thread
from typing import Any

import psycopg

from tests_py.claims.queues import add_idle

WAITERS = 15_000
FILL = """
WITH locks AS (
    INSERT INTO flow_signal.flow_signal_locks (run_id, signal_name, has_buffered)
    SELECT gen_random_uuid(), 'go', true FROM generate_series(1, %s)
    RETURNING run_id, signal_name
)

INSERT INTO flow_signal.flow_signal_buffered_signals (
    run_id, signal_name, position, buffered_at, buffered_until
)
SELECT run_id, signal_name, 1, '2001-01-01', clock_timestamp() + row_number() OVER () * interval '1 minute'
FROM locks
"""


def seconds(connection: psycopg.Connection[Any], view: str) -> float:
    """The shortest time of some readings."""
    spent = []
    for _ in range(10):
        began = time.perf_counter()
        connection.execute(f"SELECT * FROM flow_signal_v1.{view}".encode(), prepare=True).fetchall()
        spent.append(time.perf_counter() - began)
    return min(spent)


def fill(connection: psycopg.Connection[Any], rows: int) -> None:
    add_idle(connection, rows)
    connection.execute(FILL, [rows])


def test_it_takes_no_longer_beside_many(connection: psycopg.Connection[Any]) -> None:
    """Once the tables are larger than the sample."""
    fill(connection, WAITERS)
    few = seconds(connection, "health")
    fill(connection, 4 * WAITERS)
    many = seconds(connection, "health")
    whole = seconds(connection, "signal_stats")
    print(f"health: {few:.4f} s, beside five times as many {many:.4f} s; signal_stats: {whole:.4f} s")
    assert many < 2 * few
    assert many < whole / 5


def test_it_sees_a_session_of_somebody_else(database: str, connection: psycopg.Connection[Any]) -> None:
    """Whoever may read the view learns of an old snapshot, if not whose it is."""
    query = "SELECT h.oldest_snapshot_xids FROM flow_signal_v1.health AS h"
    with psycopg.connect(database) as other:
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT")
        for _ in range(20):
            connection.execute("SELECT pg_current_xact_id()")
        connection.execute("SET ROLE flow_signal_reader")
        [[age]] = connection.execute(query).fetchall()
    assert age >= 20
    [[age]] = connection.execute(query).fetchall()
    assert age < 20


LIMITS = "flow_signal.flow_signal_settings"
PROBLEMS = "SELECT h.problems FROM flow_signal_v1.health AS h"
PAYLOADS = """
INSERT INTO flow_signal.flow_signal_waiters (run_id, step_key, signal_name, status, created_at, payload_json)
SELECT
    gen_random_uuid(), 'step', 'go', 'waiting', clock_timestamp(),
    to_json((SELECT string_agg(md5(concat(r.n, i, random())), '') FROM generate_series(1, 1000) AS i))
FROM generate_series(1, 100) AS r (n)
"""
CHURN = (
    "INSERT INTO flow_signal.flow_signal_waiters (run_id, step_key, signal_name, status, created_at) "
    "SELECT gen_random_uuid(), 'step', 'go', 'waiting', '2001-01-01' FROM generate_series(1, 35000)",
    "UPDATE flow_signal.flow_signal_waiters SET status = 'delivered'",
    "UPDATE flow_signal.flow_signal_waiters SET attempt = 1",
    "DELETE FROM flow_signal.flow_signal_waiters",
)
"""What a batch leaves that is registered, delivered, claimed and removed."""


def problems(connection: psycopg.Connection[Any]) -> list[str]:
    [[found]] = connection.execute(PROBLEMS).fetchall()
    return list(found)


def flush(connection: psycopg.Connection[Any]) -> None:
    """Let the statistics have what this session did."""
    if connection.info.server_version >= 150000:
        connection.execute("SELECT pg_stat_force_next_flush()")
        connection.execute("SELECT")
    else:  # at the end of a transaction, twice a second
        time.sleep(1)
        connection.execute("SELECT")
        time.sleep(1)


def test_it_sees_dead_payloads(connection: psycopg.Connection[Any]) -> None:
    """A hundred dead rows, with some megabytes behind them."""
    connection.execute(f"UPDATE {LIMITS} SET max_dead_bytes = 1000000")
    connection.execute("ALTER TABLE flow_signal.flow_signal_waiters SET (autovacuum_enabled = false)")
    connection.execute(PAYLOADS)
    connection.execute("DELETE FROM flow_signal.flow_signal_waiters")
    flush(connection)
    query = "SELECT dead_rows_estimate, dead_bytes_estimate, toast_bytes FROM flow_signal_v1.health"
    [[rows, dead_bytes, toast_bytes]] = connection.execute(query).fetchall()
    assert rows == 100
    assert 3_000_000 < dead_bytes <= toast_bytes + 1_000_000
    [problem] = problems(connection)
    assert problem.startswith("dead rows take more than the live ones (")
    assert " in the TOAST table of flow_signal_waiters): see whether autovacuum keeps up" in problem
    connection.execute("VACUUM flow_signal.flow_signal_waiters")
    assert problems(connection) == []


def test_batches_that_come_and_go_are_no_problem(connection: psycopg.Connection[Any]) -> None:
    """Dead rows that autovacuum has not found yet: three for each wait, far more than live ones."""
    connection.execute("ALTER TABLE flow_signal.flow_signal_waiters SET (autovacuum_enabled = false)")
    for statement in CHURN:
        connection.execute(statement)
    flush(connection)
    [[rows]] = connection.execute("SELECT dead_rows_estimate FROM flow_signal_v1.health").fetchall()
    assert rows > 100_000
    assert problems(connection) == []


def test_it_does_not_take_a_vacuum_for_an_old_snapshot(database: str, connection: psycopg.Connection[Any]) -> None:
    """No vacuum waits for the snapshot of another one, which may run for hours."""
    add_idle(connection, 20_000)
    connection.execute(f"UPDATE {LIMITS} SET max_snapshot_xids = 20")
    with psycopg.connect(database, autocommit=True) as other:
        other.execute("SET vacuum_cost_delay = 100")
        other.execute("SET vacuum_cost_limit = 1")
        pid = other.info.backend_pid
        vacuum = Thread(target=cancelled, args=[other, "VACUUM (FREEZE) flow_signal.flow_signal_waiters"])
        vacuum.start()
        try:
            under_way = "SELECT FROM pg_stat_progress_vacuum WHERE pid = %s AND heap_blks_total > 0"
            while not connection.execute(under_way, [pid]).fetchall():
                time.sleep(0.01)
            for _ in range(30):
                connection.execute("SELECT pg_current_xact_id()")
            [[age]] = connection.execute(
                "SELECT age(backend_xmin) FROM pg_stat_activity WHERE pid = %s", [pid]
            ).fetchall()
            assert age > 20
            assert problems(connection) == []
        finally:
            other.cancel()
            vacuum.join()


def cancelled(connection: psycopg.Connection[Any], statement: str) -> None:
    with suppress(psycopg.errors.QueryCanceled):
        connection.execute(statement.encode())
