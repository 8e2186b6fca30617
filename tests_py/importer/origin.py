"""FlowOrchestrator's table, and what its writers do to it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg

Connection = psycopg.Connection[Any]
Key = tuple[UUID | None, str | None]

TABLE = """
CREATE TABLE flow_signal_waiters (
    run_id uuid NOT NULL,
    step_key varchar(256) NOT NULL,
    signal_name varchar(256) NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz,
    delivered_at timestamptz,
    payload_json text,
    PRIMARY KEY (run_id, step_key)
)
"""


def register(connection: Connection, run: UUID, step: str, signal: str = "go") -> None:
    insert = "INSERT INTO flow_signal_waiters (run_id, step_key, signal_name) VALUES (%s, %s, %s)"
    connection.execute(insert, [run, step, signal])


def deliver(connection: Connection, run: UUID, step: str, payload: str) -> None:
    update = """
    UPDATE flow_signal_waiters
    SET delivered_at = clock_timestamp(), payload_json = %s
    WHERE run_id = %s AND step_key = %s
    """
    connection.execute(update, [payload, run, step])


def remove(connection: Connection, run: UUID, step: str) -> None:
    connection.execute("DELETE FROM flow_signal_waiters WHERE run_id = %s AND step_key = %s", [run, step])


def import_page(connection: Connection, after: Key = (None, None), limit: int = 1000) -> list[tuple[Any, ...]]:
    return connection.execute(
        """
        SELECT run_id, step_key, outcome, detail
        FROM flow_signal_v1.import_floworchestrator(
            p_schema => 'public', p_limit => %s, p_after_run_id => %s, p_after_step_key => %s
        )
        """,
        [limit, *after],
    ).fetchall()


def import_all(connection: Connection, limit: int = 1000) -> dict[tuple[UUID, str], str]:
    """What became of each step."""
    outcomes: dict[tuple[UUID, str], str] = {}
    after: Key = (None, None)
    while page := import_page(connection, after, limit):
        outcomes |= {(run, step): outcome for run, step, outcome, _ in page}
        after = page[-1][:2]
    return outcomes


def state(connection: Connection, run: UUID, step: str) -> tuple[Any, ...] | None:
    return connection.execute(
        "SELECT state, payload_json::text FROM flow_signal_v1.get_waiter(p_run_id => %s, p_step_key => %s)", [run, step]
    ).fetchone()
