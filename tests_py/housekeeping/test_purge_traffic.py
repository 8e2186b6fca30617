"""purge beside other purges and beside traffic: each row goes once, and nobody who lives."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any
from uuid import uuid4

import psycopg
import pytest

PURGERS = 4
DEAD = 20_000
ROUNDS = 300
PURGE = "SELECT flow_signal_v1.purge(p_settled_before => clock_timestamp(), p_limit => 300)"
REGISTER = """
SELECT w.state FROM flow_signal_v1.register_waiter(
    p_run_id => %s, p_step_key => 'step', p_signal_name => 'go', p_expires_at => %s
) AS w
"""
DELIVER = """
SELECT d.status FROM flow_signal_v1.deliver_signal(
    p_run_id => %s, p_signal_name => 'go', p_delivery_id => %s
) AS d
"""
FILL = """
WITH waiters AS (
    INSERT INTO flow_signal.flow_signal_waiters (
        run_id, step_key, signal_name, status, created_at, delivered_at
    )
    SELECT gen_random_uuid(), 'step', 'go', 'delivered', '2001-01-01', '2001-01-02' FROM generate_series(1, %(count)s)
    RETURNING run_id, step_key, signal_name, delivered_at
),

receipts AS (
    INSERT INTO flow_signal.flow_signal_receipts (run_id, delivery_id, signal_name, step_key, delivered_at)
    SELECT run_id, 'id', signal_name, step_key, delivered_at FROM waiters
),

locks AS (
    INSERT INTO flow_signal.flow_signal_locks (run_id, signal_name, has_buffered)
    SELECT gen_random_uuid(), 'go', true FROM generate_series(1, %(count)s)
    RETURNING run_id, signal_name
)

INSERT INTO flow_signal.flow_signal_buffered_signals (
    run_id, signal_name, position, buffered_at, buffered_until
)
SELECT run_id, signal_name, 1, '2001-01-01', '2001-01-02' FROM locks
"""
REST = """
SELECT
    (SELECT count(*) FROM flow_signal.flow_signal_waiters),
    (SELECT count(*) FROM flow_signal.flow_signal_receipts),
    (SELECT count(*) FROM flow_signal.flow_signal_buffered_signals),
    (SELECT count(*) FROM flow_signal.flow_signal_locks)
"""


def purge_until_none(connection: psycopg.Connection[Any]) -> int:
    """Return how many went."""
    done = 0
    while True:
        [[deleted]] = connection.execute(PURGE).fetchall()
        if deleted == 0:
            return done
        done += deleted


def test_many_purgers(database: str, connection: psycopg.Connection[Any]) -> None:
    connection.execute(FILL, {"count": DEAD // 4})

    def work(_: int) -> int:
        with psycopg.connect(database, autocommit=True) as purger:
            return purge_until_none(purger)

    with ThreadPoolExecutor(PURGERS) as threads:
        parts = list(threads.map(work, range(PURGERS)))
    # Who saw rows only in the hands of others was told 0.
    assert sum(parts) + purge_until_none(connection) == DEAD
    assert connection.execute(REST).fetchall() == [(0, 0, 0, 0)]
    assert sum(part > 0 for part in parts) > 1


def test_beside_traffic(database: str, connection: psycopg.Connection[Any]) -> None:
    """Whoever waits gets the signal; whoever is expired can be revived or is gone, and can register anew."""
    connection.execute(FILL, {"count": DEAD // 2})
    stop = Event()

    def keep_purging() -> int:
        done = 0
        with psycopg.connect(database, autocommit=True) as purger:
            while not stop.is_set():
                [[deleted]] = purger.execute(PURGE).fetchall()
                done += deleted
        return done

    def work(_: int) -> None:
        with psycopg.connect(database, autocommit=True) as engine:
            for round_ in range(ROUNDS):
                run_id = uuid4()
                delivery_id = "id" if round_ % 2 else None
                assert engine.execute(REGISTER, [run_id, "2001-01-01"]).fetchall() == [("expired",)]
                assert engine.execute(REGISTER, [run_id, None]).fetchall() == [("waiting",)]
                assert engine.execute(DELIVER, [run_id, delivery_id]).fetchall() == [("delivered",)]
                again = engine.execute(DELIVER, [run_id, delivery_id]).fetchall()
                assert again in ([("delivered" if delivery_id else "already_delivered",)], [("not_found",)])

    with ThreadPoolExecutor(PURGERS + 2) as threads:
        purgers = [threads.submit(keep_purging) for _ in range(2)]
        try:
            list(threads.map(work, range(PURGERS)))
        finally:
            stop.set()
        assert all(purger.result() > 0 for purger in purgers)


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_snapshot_is_refused(connection: psycopg.Connection[Any], level: str) -> None:
    connection.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
    with pytest.raises(psycopg.errors.FeatureNotSupported) as error:
        connection.execute(PURGE)
    assert error.value.diag.message_primary == f"purge cannot run at isolation level {level.lower()}"
    connection.execute("ROLLBACK")


def test_a_read_only_transaction_is_refused(connection: psycopg.Connection[Any]) -> None:
    connection.execute(FILL, {"count": 1})
    connection.execute("BEGIN READ ONLY")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.execute(PURGE)
    connection.execute("ROLLBACK")
    assert connection.execute(REST).fetchall() == [(1, 1, 1, 1)]
