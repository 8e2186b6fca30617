"""No call is compiled just in time: that takes a second, and Debian's servers do it from a cost of 100,000 on.

Up to PostgreSQL 17 a plan that has to sort in spite of enable_sort = off costs ten thousand million.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import psycopg
import pytest

NESTED = """
LOAD 'auto_explain';
SET auto_explain.log_nested_statements = on;
SET auto_explain.log_min_duration = 0;
SET auto_explain.log_analyze = on;
SET client_min_messages = log;
SET jit = on
"""

ONE = "ARRAY[%(run)s::uuid]"
CALLS = [
    "register_waiter(%(run)s, 's', 'go', NULL, 'w', 'q')",
    "deliver_signal(%(run)s, 'go', '1', 'x')",
    "deliver_signal(%(run)s, 'go', '1', 'x')",
    "deliver_signal(%(run)s, 'go', '1', NULL, '2999-01-01')",
    "deliver_signal(%(run)s, 'go', '1', 'k', '2999-01-01')",
    "deliver_signal(%(run)s, 'go', '1', 'k')",
    "list_buffered_signals(%(run)s)",
    "get_waiter(%(run)s, 's')",
    "deliver_to_step(%(run)s, 's', '1', 'y')",
    "register_waiter(%(run)s, 'u', 'go')",
    f"register_waiters({ONE}, ARRAY['t'], ARRAY['stop'])",
    f"register_waiters({ONE}, ARRAY['t'], ARRAY['end'])",
    f"deliver_signals({ONE}, ARRAY['stop'], ARRAY['1'])",
    f"deliver_signals({ONE}, ARRAY['late'], ARRAY['1'], ARRAY['b'], '2999-01-01')",
    f"register_waiters({ONE}, ARRAY['v'], ARRAY['late'])",
    f"import_waiters({ONE}, ARRAY['i'], ARRAY['old'], ARRAY[now()], ARRAY[NULL::timestamptz], "
    "ARRAY[NULL::timestamptz], ARRAY[NULL])",
    "claim_waiters('q')",
    "extend_claim(%(run)s, 's', gen_random_uuid(), '1 s')",
    "await_waiter(%(run)s, 's', '0')",
    "issue_token(%(run)s, 't')",
    "redeem_token('x')",
    "describe_token('x')",
    "revoke_tokens(%(run)s, 't')",
    "broadcast_signal('go', '1')",
    "list_waiters()",
    "list_waiters(%(run)s)",
    "list_senders(%(run)s)",
    "withdraw_signal(%(run)s, 'go', 1)",
    "read_health()",
    "purge('2000-01-01')",
    "purge(now())",
    "purge_buffered('2000-01-01')",
    "remove_waiter(%(run)s, 's')",
    "remove_run(%(run)s)",
]


def test_no_call_is_compiled(database: str) -> None:
    plans: list[str] = []
    compiled: dict[str, int] = {}
    with psycopg.connect(database, autocommit=True) as connection:
        if connection.execute("SELECT pg_jit_available()").fetchone() != (True,):
            pytest.skip("this server cannot compile")
        connection.execute(NESTED.encode())
        connection.add_notice_handler(lambda notice: plans.append(notice.message_primary or ""))
        arguments: dict[str, Any] = {"run": uuid4()}
        for call in CALLS:
            plans.clear()
            connection.execute(f"SELECT * FROM flow_signal_v1.{call}".encode(), arguments)
            assert plans
            if any("JIT:" in plan for plan in plans):
                compiled[call] = sum("JIT:" in plan for plan in plans)
    assert not compiled
