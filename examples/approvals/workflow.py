"""The engine's side: ask for an approval, and take the answer.

Each function is one transaction: what the engine notes and what flow-signal notes happen together, or not at all.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg

from flow_signal import ClaimedWaiter, FlowSignalStore, WaiterState

Connection = psycopg.Connection[Any]

QUEUE = "approvals"
"""Where the worker finds what is answered or expired."""
CHANNEL = "approvals"
"""Where the worker and the desk are told that there is an answer."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What somebody is asked to approve."""

    step_key: str
    signal_name: str
    title: str
    details: str
    asked_by: str
    patience: timedelta | None
    """How long the engine waits for the answer; None for ever."""


def new_run_id() -> UUID:
    """A UUID that begins with the time, so that the desk, which lists by run, begins with the oldest."""
    milliseconds = time.time_ns() // 1_000_000
    return UUID(int=milliseconds << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62))


def ask(connection: Connection, run_id: UUID, request: Request, recipient: str | None = None) -> str | None:
    """Park the step; return a token for the recipient, to be sent on after the commit."""
    with connection.transaction():
        connection.execute(
            "INSERT INTO approvals.requests (run_id, step_key, title, details, asked_by) VALUES (%s, %s, %s, %s, %s)",
            [run_id, request.step_key, request.title, request.details, request.asked_by],
        )
        store = FlowSignalStore(connection)
        store.register_waiter(
            run_id,
            request.step_key,
            request.signal_name,
            expires_in=request.patience,
            wake_channel=CHANNEL,
            queue=QUEUE,
        )
        if recipient is None:
            return None
        token = store.issue_token(run_id, request.step_key)
        assert token is not None
        connection.execute(
            "INSERT INTO approvals.links (token_hash, run_id, step_key, recipient) VALUES (%s, %s, %s, %s)",
            [token_hash(token), run_id, request.step_key, recipient],
        )
        return token


def token_hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def resume(connection: Connection, claimed: ClaimedWaiter) -> None:
    """Note what became of an approval; here the run would go on."""
    with connection.transaction():
        waiter = FlowSignalStore(connection).remove_waiter(claimed.run_id, claimed.step_key, claim_id=claimed.claim_id)
        if waiter is None:
            return  # the lease ended, and another worker has it
        answer: dict[str, Any] = {}
        if waiter.state is WaiterState.DELIVERED and isinstance(waiter.payload, dict):
            answer = waiter.payload
        outcome = "expired" if waiter.state is WaiterState.EXPIRED else answer.get("decision")
        if outcome not in ("expired", "approved", "rejected"):
            outcome = "answered"
        connection.execute(
            "UPDATE approvals.requests SET outcome = %s, decided_by = %s, decided_at = %s, comment = %s "
            "WHERE run_id = %s AND step_key = %s",
            [
                outcome,
                answer.get("by"),
                waiter.delivered_at or waiter.expires_at,
                answer.get("comment"),
                waiter.run_id,
                waiter.step_key,
            ],
        )
