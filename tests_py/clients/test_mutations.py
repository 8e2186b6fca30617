"""A change of one answer in the SQL fails a case of clients/conformance.json."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests_py.clients.runner import failures

MUTATIONS = {
    "a retry that does not say so": (
        "flow_signal_v1.deliver_signal",
        "'delivered', p_run_id, v_receipt.step_key, v_receipt.delivered_at, true",
        "'delivered', p_run_id, v_receipt.step_key, v_receipt.delivered_at, false",
    ),
    "the youngest waiter first": (
        "flow_signal_v1.deliver_signal",
        "ORDER BY w.created_at, w.step_key",
        "ORDER BY w.created_at DESC, w.step_key",
    ),
    "a delivery after the deadline": (
        "flow_signal_v1.deliver_signal",
        "v_expires_at <= v_now",
        "v_expires_at <= v_now - interval '1 day'",
    ),
    "no receipt": ("flow_signal.record_delivery", "p_delivery_id IS NOT NULL", "p_delivery_id = ''"),
    "a payload that is normalised": ("flow_signal.record_delivery", "= p_payload,", "= to_json(p_payload #>> '{}'),"),
    "another payload under the same id": (
        "flow_signal_v1.deliver_to_step",
        "IS DISTINCT FROM flow_signal.hash_payload(p_payload_json)",
        "IS DISTINCT FROM v_known.payload_hash",
    ),
    "not_found for already_delivered": (
        "flow_signal.refuse_or_buffer",
        "'already_delivered', p_run_id, v_waiter.step_key",
        "'not_found', p_run_id, v_waiter.step_key",
    ),
    "no step key with expired": (
        "flow_signal.refuse_or_buffer",
        "('expired', p_run_id, v_waiter.step_key",
        "('expired', p_run_id, NULL",
    ),
    "the newest kept signal first": (
        "flow_signal.take_buffered_signal",
        "ORDER BY b.position NULLS FIRST",
        "ORDER BY b.position DESC NULLS LAST",
    ),
    "a kept signal that has no retry": (
        "flow_signal.refuse_or_buffer",
        "('buffered', p_run_id, NULL, NULL, true)",
        "('buffered', p_run_id, NULL, NULL, false)",
    ),
    "a removal that asks for no claim": ("flow_signal_v1.remove_waiter", "p_claim_id IS NULL OR", "true OR"),
    "the attempt that came before": (
        "flow_signal_v1.claim_waiters",
        "coalesce(w.attempt, 0) + 1",
        "coalesce(w.attempt, 1)",
    ),
    "a token that can be redeemed after its end": (
        "flow_signal_v1.redeem_token",
        "v_token.expires_at <= v_now",
        "v_token.expires_at <= '-infinity'",
    ),
    "another SQLSTATE": ("flow_signal.refuse_null", "22004", "22023"),
    "a limit of one more": ("flow_signal_v1.list_waiters", "BETWEEN 1 AND 10000", "BETWEEN 1 AND 10001"),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_it_is_seen(database: str, mutation: str) -> None:
    function, old, new = MUTATIONS[mutation]
    with psycopg.connect(database) as connection:
        [(source,)] = connection.execute("SELECT pg_get_functiondef(%s::regproc)", [function]).fetchall()
        assert old in source
        connection.execute(source.replace(old, new).encode())
    assert any(failures(make_conninfo(database, options="-c statement_timeout=60s")))
