"""The calls that the tests let race, each with its answer in a few words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

GO = "go"
"""The signal name, where a test needs only one."""

Row = tuple[Any, ...]

REGISTER = """
SELECT w.state, w.signal_name, w.payload_json::text
FROM flow_signal_v1.register_waiter(
    p_run_id => %(run)s, p_step_key => %(step)s, p_signal_name => %(signal)s, p_expires_at => %(until)s,
    p_wake_channel => %(channel)s, p_queue => %(queue)s
) AS w
"""
DELIVER = """
SELECT d.status, d.step_key, d.replayed
FROM flow_signal_v1.deliver_signal(
    p_run_id => %(run)s, p_signal_name => %(signal)s, p_payload_json => %(payload)s,
    p_delivery_id => %(id)s, p_buffer_until => %(buffer_until)s
) AS d
"""
GET = """
SELECT w.state, w.signal_name, w.payload_json::text
FROM flow_signal_v1.get_waiter(p_run_id => %(run)s, p_step_key => %(step)s) AS w
"""
REMOVE = """
SELECT w.state, w.signal_name, w.payload_json::text
FROM flow_signal_v1.remove_waiter(p_run_id => %(run)s, p_step_key => %(step)s) AS w
"""
AWAIT = """
SELECT w.state, w.signal_name, w.payload_json::text
FROM flow_signal_v1.await_waiter(
    p_run_id => %(run)s, p_step_key => %(step)s, p_max_wait => %(seconds)s * interval '1 second'
) AS w
"""
CLAIM = """
SELECT string_agg(concat_ws(' ', w.state, w.step_key, w.payload_json #>> '{}'), ', ' ORDER BY w.step_key)
FROM flow_signal_v1.claim_waiters(p_queue => %(queue)s) AS w
"""
REGISTER_MANY = """
SELECT string_agg(concat_ws(' ', w.state, w.payload_json #>> '{}'), ', ')
FROM flow_signal_v1.register_waiters(
    p_run_ids => %(runs)s, p_step_keys => %(steps)s, p_signal_names => %(signals)s, p_wake_channel => %(channel)s
) AS w
"""
DELIVER_MANY = """
SELECT string_agg(concat_ws(' ', d.status, d.step_key), ', ')
FROM flow_signal_v1.deliver_signals(
    p_run_ids => %(runs)s, p_signal_names => %(signals)s, p_payloads_json => %(payloads)s
) AS d
"""
IMPORT = """
SELECT string_agg(concat_ws(' ', w.step_key, w.outcome), ', ')
FROM flow_signal_v1.import_waiters(
    p_run_ids => %(runs)s, p_step_keys => %(steps)s, p_signal_names => %(signals)s, p_created_at => %(created)s,
    p_expires_at => NULL, p_delivered_at => NULL, p_payloads_json => NULL
) AS w
"""
BROADCAST = """
SELECT string_agg(concat_ws(' ', d.status, d.step_key), ', ')
FROM flow_signal_v1.broadcast_signal(p_signal_name => %(signal)s, p_payload_json => %(payload)s) AS d
"""
DELIVER_TO_STEP = """
SELECT d.status, d.step_key, d.replayed
FROM flow_signal_v1.deliver_to_step(p_run_id => %(run)s, p_step_key => %(step)s, p_payload_json => %(payload)s) AS d
"""
ISSUE = "SELECT flow_signal_v1.issue_token(p_run_id => %(run)s, p_step_key => %(step)s, p_expires_at => %(until)s)"
REVOKE = "SELECT flow_signal_v1.revoke_tokens(p_run_id => %(run)s, p_step_key => %(step)s)::text"
REDEEM = """
SELECT d.status, d.step_key, d.replayed
FROM flow_signal_v1.redeem_token(p_token => %(token)s, p_payload_json => %(payload)s) AS d
"""
DESCRIBE = """
SELECT (SELECT concat_ws(' ', t.state, t.signal_name) FROM flow_signal_v1.describe_token(p_token => %(token)s) AS t)
"""
PURGE = "SELECT flow_signal_v1.purge(p_settled_before => '9999-01-01')::text"
REMOVE_RUN = "SELECT flow_signal_v1.remove_run(p_run_id => %(run)s)::text"


@dataclass(frozen=True)
class Call:
    """A statement that calls one function, and how its row reads as an answer.

    The answer of register, get, remove and await: state, payload, signal if it is not GO; `none` for no row.
    The answer of deliver: `replayed`, status, step.
    The answer of redeem is that of deliver; of issue the token; of describe state and signal.
    The answer of claim: state, step and payload of each row; `none` for no row.
    The answer of a batch or broadcast: those of its rows, without the signal.
    The answer of remove_run, revoke and purge: the number.
    """

    statement: str
    values: Mapping[str, Any]
    answer: Callable[[Row | None], str]


def waiter_answer(row: Row | None) -> str:
    if row is None:
        return "none"
    state, signal, payload = row
    words = [state, json.loads(payload) if payload else None, None if signal == GO else f"for {signal}"]
    return " ".join(str(word) for word in words if word is not None)


def delivery_answer(row: Row | None) -> str:
    assert row
    status, step, replayed = row
    return " ".join(word for word in ("replayed" if replayed else None, status, step) if word)


def text_answer(row: Row | None) -> str:
    assert row
    return row[0] or "none"


def register_many(*steps: tuple[Run, str, str], channel: str | None = None) -> Call:
    """Register each (run, step, signal)."""
    runs, keys, signals = zip(*steps, strict=True)
    values = {"runs": [run.id for run in runs], "steps": [*keys], "signals": [*signals], "channel": channel}
    return Call(REGISTER_MANY, values, text_answer)


def deliver_many(*signals: tuple[Run, str, str]) -> Call:
    """Send each (run, signal, payload)."""
    runs, names, payloads = zip(*signals, strict=True)
    values = {"runs": [run.id for run in runs], "signals": [*names], "payloads": [json.dumps(p) for p in payloads]}
    return Call(DELIVER_MANY, values, text_answer)


def import_many(*steps: tuple[Run, str, str, datetime]) -> Call:
    """Import each (run, step, signal, created at)."""
    runs, keys, signals, created = zip(*steps, strict=True)
    values = {"runs": [run.id for run in runs], "steps": [*keys], "signals": [*signals], "created": [*created]}
    return Call(IMPORT, values, text_answer)


def broadcast(signal: str, payload: str) -> Call:
    return Call(BROADCAST, {"signal": signal, "payload": json.dumps(payload)}, text_answer)


def redeem(token: str, payload: str) -> Call:
    return Call(REDEEM, {"token": token, "payload": json.dumps(payload)}, delivery_answer)


def describe(token: str) -> Call:
    return Call(DESCRIBE, {"token": token}, text_answer)


def purge() -> Call:
    return Call(PURGE, {}, text_answer)


class Run:
    """A run of a workflow, and the calls that concern it."""

    def __init__(self) -> None:
        self.id: UUID = uuid4()
        self.queue = f"queue of {self.id}"

    def register(
        self,
        step: str,
        signal: str = GO,
        *,
        until: datetime | None = None,
        channel: str | None = None,
        queue: str | None = None,
    ) -> Call:
        values = {"run": self.id, "step": step, "signal": signal, "until": until, "channel": channel, "queue": queue}
        return Call(REGISTER, values, waiter_answer)

    def deliver(
        self, payload: str, signal: str = GO, *, id: str | None = None, buffer_until: datetime | None = None
    ) -> Call:
        """Send the payload, a plain word."""
        values = {
            "run": self.id,
            "signal": signal,
            "payload": json.dumps(payload),
            "id": id,
            "buffer_until": buffer_until,
        }
        return Call(DELIVER, values, delivery_answer)

    def deliver_to_step(self, payload: str, step: str) -> Call:
        values = {"run": self.id, "step": step, "payload": json.dumps(payload)}
        return Call(DELIVER_TO_STEP, values, delivery_answer)

    def issue(self, step: str, *, until: datetime | None = None) -> Call:
        return Call(ISSUE, {"run": self.id, "step": step, "until": until}, text_answer)

    def revoke(self, step: str) -> Call:
        return Call(REVOKE, {"run": self.id, "step": step}, text_answer)

    def get(self, step: str) -> Call:
        return Call(GET, {"run": self.id, "step": step}, waiter_answer)

    def remove(self, step: str) -> Call:
        return Call(REMOVE, {"run": self.id, "step": step}, waiter_answer)

    def wait(self, step: str, seconds: float = 30) -> Call:
        return Call(AWAIT, {"run": self.id, "step": step, "seconds": seconds}, waiter_answer)

    def claim(self) -> Call:
        """Claim what is over in the queue of this run."""
        return Call(CLAIM, {"queue": self.queue}, text_answer)

    def remove_all(self) -> Call:
        return Call(REMOVE_RUN, {"run": self.id}, text_answer)
