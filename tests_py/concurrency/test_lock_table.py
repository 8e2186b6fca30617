"""No call adds an entry to the shared lock table for each waiter or signal; runs and signals never wait for each other.

The lock table has room for max_locks_per_transaction (64) entries for each of max_connections (100) sessions; when it
is full, every session of the server gets error 53200.
"""

from __future__ import annotations

import itertools

import psycopg
import pytest

from tests_py.concurrency.calls import Call, Run
from tests_py.concurrency.situations import FAR
from tests_py.concurrency.stage import Session, Stage

FEW_ENTRIES = 40
"""Tables, indexes and the transaction itself: 12 to 30, whatever the number of rows."""

LOCKS = "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()"
REGISTER = """
SELECT count((w).run_id)
FROM (
    SELECT flow_signal_v1.register_waiter(p_run_id => gen_random_uuid(), p_step_key => 's', p_signal_name => 'go') AS w
    FROM generate_series(1, %s)
) AS r
"""
BUFFER = """
SELECT count((d).run_id)
FROM (
    SELECT flow_signal_v1.deliver_signal(
        p_run_id => gen_random_uuid(), p_signal_name => 'go', p_buffer_until => '2999-01-01'
    ) AS d
    FROM generate_series(1, %s)
) AS r
"""
MOVE = """
SELECT count((w).run_id)
FROM (
    SELECT flow_signal_v1.register_waiter(p_run_id => r.run_id, p_step_key => 's', p_signal_name => 'other') AS w
    FROM (SELECT DISTINCT w.run_id FROM flow_signal.flow_signal_waiters AS w WHERE w.signal_name = 'go' LIMIT %s) AS r
) AS r
"""
REGISTER_MANY = """
SELECT count(*)
FROM batch AS b
CROSS JOIN LATERAL flow_signal_v1.register_waiters(
    p_run_ids => b.runs, p_step_keys => array_fill('s'::text, ARRAY[10000]),
    p_signal_names => array_fill('go'::text, ARRAY[10000])
) AS w
"""
DELIVER_MANY = """
SELECT count(*)
FROM batch AS b
CROSS JOIN LATERAL flow_signal_v1.deliver_signals(
    p_run_ids => b.runs, p_signal_names => array_fill('go'::text, ARRAY[10000]), p_payloads_json => NULL
) AS d
WHERE d.status = 'delivered'
"""


def count(connection: psycopg.Connection[tuple[int]], query: str, parameters: list[int] | None = None) -> int:
    row = connection.execute(query.encode(), parameters).fetchone()
    assert row
    return row[0]


def test_one_transaction_with_many_signals(database: str) -> None:
    with psycopg.connect(database) as connection:
        assert count(connection, REGISTER, [20_000]) == 20_000
        assert count(connection, BUFFER, [20_000]) == 20_000
        assert count(connection, MOVE, [2_000]) == 2_000
        assert count(connection, LOCKS) <= FEW_ENTRIES


def test_many_such_transactions_at_once(database: str) -> None:
    """Together they hold more signals than the lock table has room for entries."""
    connections = [psycopg.connect(database) for _ in range(20)]
    for connection in connections:
        assert count(connection, REGISTER, [400]) == 400
        assert count(connection, BUFFER, [400]) == 400
    assert all(count(connection, LOCKS) <= FEW_ENTRIES for connection in connections)
    for connection in connections:
        connection.close()


def test_many_large_batches_at_once(database: str) -> None:
    runs = "array_agg(gen_random_uuid())"
    connections = [psycopg.connect(database) for _ in range(20)]
    for connection in connections:
        connection.execute(f"CREATE TEMP TABLE batch AS SELECT {runs} AS runs FROM generate_series(1, 10000)".encode())
        assert count(connection, REGISTER_MANY) == 10_000
        assert count(connection, DELIVER_MANY) == 10_000
    assert all(count(connection, LOCKS) <= FEW_ENTRIES for connection in connections)
    for connection in connections:
        connection.close()


@pytest.mark.parametrize("apart", ["runs", "signals"])
def test_unrelated_signals_never_wait(stage: Stage, a: Session, b: Session, apart: str) -> None:
    """Two open transactions do all to their signals, in opposite orders: they differ in the run or in the name."""
    mine, other = Run(), Run()
    if apart == "signals":
        other.id = mine.id
    names = ["p", "q", "r"]
    a.begin()
    b.begin()
    for name, opposite in zip(names, reversed(names), strict=True):
        for calls in itertools.zip_longest(
            everything(mine, name, "a"),
            everything(other, opposite if apart == "runs" else f"{opposite}'", "b"),
        ):
            for session, call in zip((a, b), calls, strict=True):
                step = session.start(call)
                assert not stage.waits(step)
                assert not step.answer().startswith(("4", "5"))
    a.commit()
    b.commit()
    assert stage.broken_invariants(mine) + stage.broken_invariants(other) == []


def everything(run: Run, name: str, whose: str) -> list[Call]:
    one, two, three = (f"{whose} {name} {number}" for number in (1, 2, 3))
    return [
        run.deliver(f"{one} X", name),
        run.deliver(f"{one} A", name, buffer_until=FAR),
        run.register(one, name, queue=run.queue),
        run.register(two, name),
        run.register(three, name, until=FAR),
        run.deliver(f"{one} B", name, id="id-1"),
        run.deliver(f"{one} B", name, id="id-1"),
        run.register(three, f"{name} moved"),
        run.remove(one),
        run.deliver(f"{one} C", f"{name} moved"),
        run.get(three),
    ]
