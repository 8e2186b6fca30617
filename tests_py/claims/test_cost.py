"""What a queue costs: those who use it a few index entries a claim, the others nothing."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests_py.claims.queues import QUEUE, add_idle, make_due

IDLE = 100_000
LIMIT = 10
CALLS = 8
"""PostgreSQL keeps a plan from the sixth execution on."""

READ = """
SELECT
    c.relname, pg_stat_get_xact_tuples_returned(c.oid),
    CASE c.relkind WHEN 'r' THEN pg_stat_get_xact_numscans(c.oid) ELSE 0 END
FROM pg_class AS c
WHERE c.relnamespace = 'flow_signal'::regnamespace AND c.relkind IN ('r', 'i')
"""
CLAIM = "SELECT count(*) FROM flow_signal_v1.claim_waiters(p_queue => %s, p_limit => %s)"


def entries_read(connection: psycopg.Connection[Any], expected: int, limit: int = LIMIT) -> int:
    """Make one claim and return how many index entries it read."""
    with connection.transaction():
        before = connection.execute(READ).fetchall()
        assert connection.execute(CLAIM, [QUEUE, limit]).fetchall() == [(expected,)]
        after = connection.execute(READ).fetchall()
    assert [scans for _, _, scans in after] == [scans for _, _, scans in before]
    return sum(int(row[1]) for row in after) - sum(int(row[1]) for row in before)


def due_index_size(connection: psycopg.Connection[Any]) -> int:
    [[size]] = connection.execute("SELECT pg_relation_size('flow_signal.flow_signal_waiters_due_idx')").fetchall()
    return int(size)


@pytest.fixture(autouse=True)
def _no_autovacuum(connection: psycopg.Connection[Any]) -> None:
    connection.execute("ALTER TABLE flow_signal.flow_signal_waiters SET (autovacuum_enabled = off)")


def test_a_claim_costs_the_same_beside_many_that_are_not_due(connection: psycopg.Connection[Any]) -> None:
    """Whether the statistics know of them or not."""
    make_due(connection, 3 * CALLS * LIMIT)
    alone = [entries_read(connection, LIMIT) for _ in range(CALLS)]
    add_idle(connection, IDLE)
    beside = [entries_read(connection, LIMIT) for _ in range(CALLS)]
    connection.execute("ANALYZE flow_signal.flow_signal_waiters")
    analysed = [entries_read(connection, LIMIT) for _ in range(CALLS)]
    print(alone, beside, analysed, sep="\n")
    # Each due waiter, its key, and what the claims before left behind: not one of the others.
    assert max(alone + beside + analysed) < 10 * LIMIT


def test_a_claim_of_nothing_reads_nothing(connection: psycopg.Connection[Any]) -> None:
    add_idle(connection, IDLE)
    for statement in ("SELECT", "ANALYZE flow_signal.flow_signal_waiters"):
        connection.execute(statement)
        assert max(entries_read(connection, 0) for _ in range(CALLS)) <= LIMIT


def test_a_large_limit_reads_no_more_than_it_gets(connection: psycopg.Connection[Any]) -> None:
    add_idle(connection, IDLE)
    make_due(connection, IDLE // 5)
    connection.execute("ANALYZE flow_signal.flow_signal_waiters")
    for _ in range(2):
        entries_read(connection, IDLE // 10, IDLE // 10)
    entries_read(connection, 0)
    make_due(connection, LIMIT, first=IDLE + 1)
    assert entries_read(connection, LIMIT, IDLE // 10) < 20 * LIMIT


def test_a_waiter_without_a_queue_has_no_entry_in_the_queue_index(connection: psycopg.Connection[Any]) -> None:
    """Registered, delivered to, expired, registered again: the index keeps the size of an empty one."""
    empty = due_index_size(connection)
    connection.execute("BEGIN")
    for statement in (
        "register_waiter(md5(n::text)::uuid, 'step', 'go')",
        "register_waiter(md5(n::text)::uuid, 'step', 'go', p_expires_at => now() + n * interval '1 hour')",
        "deliver_signal(md5(n::text)::uuid, 'go', 'true', p_delivery_id => CASE WHEN n % 2 = 0 THEN 'id' END)",
        "register_waiter(md5(n::text)::uuid, 'late', 'late', '2001-01-01')",
        "deliver_signal(md5(n::text)::uuid, 'late')",
        "register_waiter(md5(n::text)::uuid, 'late', 'late')",
    ):
        connection.execute(
            f"SELECT count(*) FROM generate_series(1, 1000) AS n CROSS JOIN LATERAL flow_signal_v1.{statement} AS w"
        )
    connection.execute("COMMIT")
    assert due_index_size(connection) == empty


def test_only_a_waiter_that_can_be_due_has_an_entry(connection: psycopg.Connection[Any]) -> None:
    empty = due_index_size(connection)
    register = "SELECT FROM flow_signal_v1.register_waiter(%s, 'step', 'go', p_queue => 'q')"
    run_id = uuid4()
    connection.execute(register, [run_id])
    assert due_index_size(connection) == empty
    connection.execute("SELECT FROM flow_signal_v1.deliver_signal(%s, 'go')", [run_id])
    assert due_index_size(connection) > empty
