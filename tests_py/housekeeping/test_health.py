"""health costs the same whatever the tables hold."""

from __future__ import annotations

import time
from typing import Any

import psycopg

from tests_py.claims.queues import add_idle

WAITERS = 50_000
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


def test_it_takes_no_longer_beside_many(connection: psycopg.Connection[Any]) -> None:
    alone = seconds(connection, "health")
    add_idle(connection, WAITERS)
    connection.execute(FILL, [WAITERS])
    beside = seconds(connection, "health")
    whole = seconds(connection, "signal_stats")
    print(f"health: alone {alone:.4f} s, beside {beside:.4f} s; signal_stats: {whole:.4f} s")
    assert beside < 5 * alone
    assert beside < whole / 5


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
