"""Full queues, and claims that tell the order of what they got."""

from __future__ import annotations

from typing import Any

import psycopg

from tests_py.concurrency.calls import Call, text_answer

QUEUE = "q"

CLAIM = """
SELECT string_agg(concat_ws(' ', w.step_key, w.state, w.payload_json #>> '{}'), ', ' ORDER BY w.n)
FROM flow_signal_v1.claim_waiters(
    p_queue => %(queue)s, p_limit => %(limit)s, p_lease => %(lease_ms)s * interval '1 ms'
)
WITH ORDINALITY AS w (
    run_id, step_key, signal_name, state, created_at, expires_at, delivered_at, payload_json, claim_id, attempt, n
)
"""
REGISTER = """
SELECT count(*)
FROM generate_series(%(first)s, %(first)s + %(count)s - 1) AS n
CROSS JOIN LATERAL flow_signal_v1.register_waiter(
    p_run_id => md5(n::text)::uuid, p_step_key => 'step', p_signal_name => 'go', p_queue => %(queue)s,
    p_expires_at => CASE WHEN n %% 2 = 0 AND %(half_overdue)s THEN timestamptz '2001-01-01' END
) AS w
"""
DELIVER = """
SELECT count(*) FILTER (WHERE d.status = 'delivered')
FROM generate_series(%(first)s, %(first)s + %(count)s - 1, 2) AS n
CROSS JOIN LATERAL flow_signal_v1.deliver_signal(
    p_run_id => md5(n::text)::uuid, p_signal_name => 'go', p_payload_json => n::text
) AS d
"""
ADD_IDLE = """
INSERT INTO flow_signal.flow_signal_waiters (
    run_id, step_key, signal_name, status, created_at, expires_at, due_at, queue
)
SELECT
    gen_random_uuid(), 'step', 'go', 'waiting', clock_timestamp(), e.expires_at, e.expires_at, %s
FROM generate_series(1, %s) AS n
CROSS JOIN LATERAL (SELECT CASE WHEN n %% 10 > 0 THEN now() + n * interval '1 minute' END) AS e (expires_at)
"""


def claim(queue: str = QUEUE, *, limit: int = 100, lease_ms: float = 60_000) -> Call:
    """Claim; the answer has step, state and payload of each waiter, in the order in which they came."""
    return Call(CLAIM, {"queue": queue, "limit": limit, "lease_ms": lease_ms}, text_answer)


def make_due(connection: psycopg.Connection[Any], count: int, *, first: int = 1) -> None:
    """Register waiters that are over: odd numbers delivered, even numbers overdue; the first is odd."""
    values = {"first": first, "count": count, "queue": QUEUE, "half_overdue": True}
    assert connection.execute(REGISTER, values).fetchall() == [(count,)]
    assert connection.execute(DELIVER, {"first": first, "count": count}).fetchall() == [((count + 1) // 2,)]


def add_idle(connection: psycopg.Connection[Any], count: int) -> None:
    """Add waiters that are not due: a tenth waits for ever, the others beyond today's tests."""
    connection.execute(ADD_IDLE, [QUEUE, count])
