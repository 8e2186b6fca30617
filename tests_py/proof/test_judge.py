"""The judge accepts each of these histories, and objects as soon as one answer in it is replaced by a lie.

A line is: from, to, client, call, answer; then, if there is one, the lie, and the instant at which it was told if that
is not the same. All is about one run and, unless it says so, signal go; instants are small numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import pytest

from tests_py.proof.history import NEVER, UNKNOWN, Operation
from tests_py.proof.judge import Judge

RUN = "0d9c6f3e-7d0a-4b3c-9a57-0f6f5a1f7a10"
TOKEN = f"fst_{UUID(RUN).hex}_"
KEEP, ID, B = {"buffer_until": 900}, {"delivery_id": "x"}, {"payload_json": '"B"'}
QUEUE = {"queue": "q"}
FORGED = object()
"""Stands before the lie in a line that has one."""

Line = Sequence[Any]


def register(step: str, signal: str = "go", **more: Any) -> tuple[str, dict[str, Any]]:
    return "register_waiter", {"run_id": RUN, "step_key": step, "signal_name": signal, **more}


def deliver(*more: Mapping[str, Any], signal: str = "go") -> tuple[str, dict[str, Any]]:
    return "deliver_signal", merged({"run_id": RUN, "signal_name": signal, "payload_json": '"A"'}, *more)


def batch(*signals: tuple[str, str | None], payload: str = '"A"') -> tuple[str, dict[str, Any]]:
    names, ids = zip(*signals, strict=True)
    payloads = (payload,) * len(names)
    return "deliver_signals", {
        "run_ids": (RUN,) * len(names),
        "signal_names": names,
        "delivery_ids": ids,
        "payloads_json": payloads,
    }


def deliver_to(step: str, *more: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return "deliver_to_step", merged({"run_id": RUN, "step_key": step, "payload_json": '"A"'}, *more)


def of_step(function: str, step: str, **more: Any) -> tuple[str, dict[str, Any]]:
    return function, {"run_id": RUN, "step_key": step, **more}


def get(step: str) -> tuple[str, dict[str, Any]]:
    return of_step("get_waiter", step)


def remove(step: str, **more: Any) -> tuple[str, dict[str, Any]]:
    return of_step("remove_waiter", step, **more)


def redeem() -> tuple[str, dict[str, Any]]:
    return "redeem_token", {"token": TOKEN, "payload_json": '"A"'}


def claim(limit: int = 100) -> tuple[str, dict[str, Any]]:
    return "claim_waiters", {"queue": "q", "limit": limit, "lease": 10}


def merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for part in parts for name, value in part.items()}


def waiting(step: str, at: int, until: int | None = None, signal: str = "go") -> Any:
    return ((RUN, step, signal, "waiting", at, until, None, None),)


def delivered(step: str, at: int, then: int, payload: str = '"A"', until: int | None = None) -> Any:
    return ((RUN, step, "go", "delivered", at, until, then, payload),)


def expired(step: str, at: int, until: int) -> Any:
    return ((RUN, step, "go", "expired", at, until, None, None),)


def claimed(waiter: Any, claim_id: str, attempt: int) -> Any:
    return ((*waiter[0], claim_id, attempt),)


def verdict(status: str, step: str | None = None, at: int | None = None, replayed: bool = False) -> Any:
    return ((status, RUN, step, at, replayed),)


BEGIN, COMMIT, ROLLBACK, SAVEPOINT, ROLLBACK_TO, RELEASE = [
    (control, dict[str, Any]()) for control in ("begin", "commit", "rollback", "savepoint", "rollback to", "release")
]
NONE: Any = ()
NOT_FOUND = verdict("not_found")
BUFFERED = verdict("buffered")
VOID: Any = (("not_found", None, None, None, False),)

STORIES: dict[str, Sequence[Line]] = {
    # -- one client after another
    "a waiter gets two payloads": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (10, 15, "b", deliver(), verdict("delivered", "s", 11)),
        (20, 25, "c", deliver(B), verdict("already_delivered", "s", 11), FORGED, verdict("delivered", "s", 21)),
    ],
    "an acknowledged delivery is lost": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (10, 15, "b", deliver(), verdict("delivered", "s", 11)),
        (20, 25, "a", get("s"), delivered("s", 1, 11), FORGED, waiting("s", 1)),
    ],
    "the payload is another one": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (10, 15, "b", deliver(), verdict("delivered", "s", 11)),
        (20, 25, "a", get("s"), delivered("s", 1, 11), FORGED, delivered("s", 1, 11, '"B"')),
    ],
    "not_found though a waiter is there": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (10, 15, "b", deliver(), verdict("delivered", "s", 11), FORGED, NOT_FOUND),
    ],
    "delivered to a waiter that is not there": [
        (0, 5, "a", register("s", "other"), waiting("s", 1, signal="other")),
        (10, 15, "b", deliver(), NOT_FOUND, FORGED, verdict("delivered", "s", 11)),
    ],
    "the younger waiter is served first": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (10, 15, "a", register("t"), waiting("t", 11)),
        (20, 25, "b", deliver(), verdict("delivered", "s", 21), FORGED, verdict("delivered", "t", 21)),
    ],
    "the younger of two that were registered at once is served first": [
        (0, 9, "a", register("s"), waiting("s", 2)),
        (0, 9, "b", register("t"), waiting("t", 1)),
        (20, 25, "b", deliver(), verdict("delivered", "t", 21), FORGED, verdict("delivered", "s", 21)),
    ],
    "buffered signals are taken in another order": [
        (0, 5, "a", deliver(KEEP), BUFFERED),
        (10, 15, "a", deliver(KEEP, B), BUFFERED),
        (20, 25, "b", register("s"), delivered("s", 21, 22), FORGED, delivered("s", 21, 22, '"B"')),
    ],
    "a buffered signal is overlooked": [
        (0, 5, "a", deliver(KEEP), BUFFERED),
        (20, 25, "b", register("s"), delivered("s", 21, 22), FORGED, waiting("s", 21)),
    ],
    "a dead signal is taken": [
        (0, 5, "a", deliver({"buffer_until": 15}), BUFFERED),
        (20, 25, "b", register("s"), waiting("s", 21), FORGED, delivered("s", 21, 22)),
    ],
    "already_delivered names the younger": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (10, 15, "a", register("t"), waiting("t", 11)),
        (20, 25, "b", deliver(), verdict("delivered", "s", 21)),
        (30, 35, "b", deliver(), verdict("delivered", "t", 31)),
        (40, 45, "b", deliver(), verdict("already_delivered", "s", 21), FORGED, verdict("already_delivered", "t", 31)),
    ],
    "expired though another one has a payload": [
        (0, 5, "a", register("s", expires_at=8), waiting("s", 1, 8)),
        (10, 15, "a", register("t"), waiting("t", 11)),
        (20, 25, "b", deliver(), verdict("delivered", "t", 21)),
        (30, 35, "b", deliver(), verdict("already_delivered", "t", 21), FORGED, verdict("expired", "s")),
    ],
    "expired names the younger": [
        (0, 5, "a", register("s", expires_at=8), waiting("s", 1, 8)),
        (10, 15, "a", register("t", expires_at=18), waiting("t", 11, 18)),
        (20, 25, "b", deliver(), verdict("expired", "s"), FORGED, verdict("expired", "t")),
    ],
    "not_found though a waiter is overdue": [
        (0, 5, "a", register("s", expires_at=8), waiting("s", 1, 8)),
        (20, 25, "b", deliver(), verdict("expired", "s"), FORGED, NOT_FOUND),
    ],
    "delivered after the deadline": [
        (0, 5, "a", register("s", expires_at=13), waiting("s", 1, 13)),
        (10, 15, "b", deliver(), verdict("delivered", "s", 12), FORGED, verdict("delivered", "s", 13)),
    ],
    "expired before the deadline": [
        (0, 5, "a", register("s", expires_at=16), waiting("s", 1, 16)),
        (10, 15, "a", get("s"), waiting("s", 1, 16), FORGED, expired("s", 1, 16)),
    ],
    "a live waiter behind an overdue one is refused": [
        (0, 5, "a", register("s", expires_at=8), waiting("s", 1, 8)),
        (10, 15, "a", register("t"), waiting("t", 11)),
        (20, 25, "b", deliver(), verdict("delivered", "t", 21), FORGED, verdict("expired", "s")),
    ],
    "delivered before it was registered": [
        (0, 9, "a", register("s"), waiting("s", 7)),
        (5, 15, "b", deliver(), verdict("delivered", "s", 8), FORGED, verdict("delivered", "s", 6)),
    ],
    "delivered before the call": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (10, 15, "b", deliver(), verdict("delivered", "s", 12), FORGED, verdict("delivered", "s", 8)),
    ],
    # -- delivery ids
    "a retry reaches the next waiter": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (10, 15, "a", register("t"), waiting("t", 11)),
        (20, 25, "b", deliver(ID), verdict("delivered", "s", 21)),
        (30, 35, "b", deliver(ID), verdict("delivered", "s", 21, True), FORGED, verdict("delivered", "t", 31)),
    ],
    "a retry reaches the next waiter after the first was removed": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (10, 15, "b", deliver(ID), verdict("delivered", "s", 11)),
        (20, 25, "a", remove("s"), delivered("s", 1, 11)),
        (30, 35, "a", register("t"), waiting("t", 31)),
        (40, 45, "b", deliver(ID), verdict("delivered", "s", 11, True), FORGED, verdict("delivered", "t", 41)),
    ],
    "a retry is told another instant": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (10, 15, "b", deliver(ID), verdict("delivered", "s", 11)),
        (30, 35, "b", deliver(ID), verdict("delivered", "s", 11, True), FORGED, verdict("delivered", "s", 12, True)),
    ],
    "an id is accepted with another payload": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (10, 15, "b", deliver(ID), verdict("delivered", "s", 11)),
        (30, 35, "b", deliver(ID, B), "WS002", FORGED, verdict("delivered", "s", 11, True)),
    ],
    "an id is refused with the same payload": [
        (0, 5, "a", deliver(ID, KEEP), BUFFERED),
        (10, 15, "a", deliver(ID, KEEP), verdict("buffered", replayed=True), FORGED, "WS002"),
    ],
    "a signal is kept twice": [
        (0, 5, "a", deliver(ID, KEEP), BUFFERED),
        (10, 15, "a", deliver(ID, KEEP), verdict("buffered", replayed=True), FORGED, BUFFERED),
    ],
    "a refused call is remembered": [
        (0, 5, "a", deliver(ID), NOT_FOUND),
        (10, 15, "a", register("s"), waiting("s", 11)),
        (20, 25, "a", deliver(ID), verdict("delivered", "s", 21), FORGED, verdict("delivered", "s", 21, True)),
    ],
    "the id of a withdrawn signal is remembered": [
        (0, 5, "a", deliver(ID, KEEP), BUFFERED),
        (
            *(10, 15, "a", ("withdraw_signal", {"run_id": RUN, "signal_name": "go", "position": 4})),
            ((RUN, "go", 4, "buffered", 0, 900, "x", '"A"'),),
        ),
        (20, 25, "a", deliver(ID, KEEP), BUFFERED, FORGED, verdict("buffered", replayed=True)),
    ],
    "a receipt outlives its run": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (10, 15, "b", deliver(ID), verdict("delivered", "s", 11)),
        (20, 25, "a", ("remove_run", {"run_id": RUN}), ((1,),)),
        (30, 35, "b", deliver(ID), NOT_FOUND, FORGED, verdict("delivered", "s", 11, True)),
    ],
    # -- registering again, and removing
    "a step takes another signal though it holds a payload": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (10, 15, "b", deliver(), verdict("delivered", "s", 11)),
        (20, 25, "a", register("s", "other"), "WS001", FORGED, waiting("s", 1, signal="other")),
    ],
    "a step that registers again loses its place": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (20, 25, "a", register("s", expires_at=99), waiting("s", 1, 99), FORGED, waiting("s", 21, 99)),
    ],
    "an expired waiter does not come to life again": [
        (0, 5, "a", register("s", expires_at=8), waiting("s", 1, 8)),
        (10, 15, "a", register("s", expires_at=99), waiting("s", 1, 99), FORGED, expired("s", 1, 99)),
    ],
    "a waiter is removed twice": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (10, 19, "a", remove("s"), waiting("s", 1)),
        (10, 19, "b", remove("s"), NONE, FORGED, waiting("s", 1)),
    ],
    "a waiter is not removed": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (10, 15, "a", remove("s"), waiting("s", 1), FORGED, NONE),
    ],
    "a live waiter is purged": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (10, 15, "a", ("purge", {"settled_before": 9}), NONE),
        (20, 25, "a", get("s"), waiting("s", 1), FORGED, NONE),
    ],
    # -- claims
    "a waiter is claimed twice within a lease": [
        (0, 5, "a", register("s", **QUEUE), waiting("s", 1)),
        (10, 11, "b", deliver(), verdict("delivered", "s", 11)),
        (12, 13, "a", claim(), claimed(delivered("s", 1, 11), "c1", 1)),
        (14, 15, "b", claim(), NONE, FORGED, claimed(delivered("s", 1, 11), "c2", 2)),
    ],
    "what is due is not handed out": [
        (0, 5, "a", register("s", **QUEUE), waiting("s", 1)),
        (10, 11, "b", deliver(), verdict("delivered", "s", 11)),
        (12, 13, "a", claim(), claimed(delivered("s", 1, 11), "c1", 1), FORGED, NONE),
    ],
    "what became due later is handed out first": [
        (0, 5, "a", register("s", **QUEUE), waiting("s", 1)),
        (6, 7, "a", register("t", **QUEUE), waiting("t", 7)),
        (10, 11, "b", deliver_to("t"), verdict("delivered", "t", 11)),
        (12, 13, "b", deliver_to("s"), verdict("delivered", "s", 13)),
        (
            *(14, 15, "a", claim(limit=1), claimed(delivered("t", 7, 11), "c1", 1)),
            *(FORGED, claimed(delivered("s", 1, 13), "c1", 1)),
        ),
    ],
    "an attempt is not counted": [
        (0, 5, "a", register("s", expires_at=8, **QUEUE), waiting("s", 1, 8)),
        (12, 13, "a", claim(), claimed(expired("s", 1, 8), "c1", 1)),
        (
            *(30, 31, "a", claim(), claimed(expired("s", 1, 8), "c2", 2)),
            *(FORGED, claimed(expired("s", 1, 8), "c2", 1)),
        ),
    ],
    "an old claim removes what the next round received": [
        (0, 5, "a", register("s", expires_at=8, **QUEUE), waiting("s", 1, 8)),
        (12, 13, "a", claim(), claimed(expired("s", 1, 8), "c1", 1)),
        (14, 15, "b", register("s", **QUEUE), waiting("s", 1)),
        (16, 17, "b", deliver(), verdict("delivered", "s", 17)),
        (20, 25, "a", remove("s", claim_id="c1"), NONE, FORGED, delivered("s", 1, 17)),
    ],
    "a claim that was given back is extended": [
        (0, 5, "a", register("s", expires_at=8, **QUEUE), waiting("s", 1, 8)),
        (12, 13, "a", claim(), claimed(expired("s", 1, 8), "c1", 1)),
        (14, 15, "a", of_step("extend_claim", "s", claim_id="c1", lease=0), ((True,),)),
        (16, 17, "a", of_step("extend_claim", "s", claim_id="c1", lease=9), ((False,),), FORGED, ((True,),)),
    ],
    # -- tokens
    "no token is made though the step is there": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (10, 15, "a", of_step("issue_token", "s"), ((TOKEN,),), FORGED, ((None,),)),
    ],
    "a token answers two registrations": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (6, 9, "a", of_step("issue_token", "s"), ((TOKEN,),)),
        (10, 15, "a", register("s", "other"), waiting("s", 1, signal="other")),
        (20, 25, "b", redeem(), VOID, FORGED, verdict("delivered", "s", 21)),
    ],
    "a token is redeemed twice": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (6, 9, "a", of_step("issue_token", "s"), ((TOKEN,),)),
        (10, 15, "b", redeem(), verdict("delivered", "s", 11)),
        (16, 17, "a", remove("s"), delivered("s", 1, 11)),
        (18, 19, "a", register("s"), waiting("s", 18)),
        (20, 25, "b", redeem(), verdict("delivered", "s", 11, True), FORGED, verdict("delivered", "s", 21)),
    ],
    "a revoked token is redeemed": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (6, 9, "a", of_step("issue_token", "s"), ((TOKEN,),)),
        (10, 15, "a", of_step("revoke_tokens", "s"), ((1,),)),
        (20, 25, "b", redeem(), VOID, FORGED, verdict("delivered", "s", 21)),
    ],
    "a redemption does not wait for a removal": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (6, 9, "a", of_step("issue_token", "s"), ((TOKEN,),)),
        (10, 11, "a", BEGIN, NONE),
        (12, 13, "a", remove("s"), waiting("s", 1)),
        (20, 35, "b", redeem(), VOID, FORGED, verdict("delivered", "s", 21)),
        (30, 40, "a", COMMIT, NONE),
    ],
    # -- for one step, for all
    "a step gets what was sent to another": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (6, 9, "a", register("t"), waiting("t", 7)),
        (10, 15, "b", deliver_to("t"), verdict("delivered", "t", 11)),
        (20, 25, "a", get("s"), waiting("s", 1), FORGED, delivered("s", 1, 11)),
    ],
    "deliver_signal does not know the receipt of deliver_to_step": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (6, 9, "a", register("t"), waiting("t", 7)),
        (10, 15, "b", deliver_to("s", ID), verdict("delivered", "s", 11)),
        (20, 25, "b", deliver(ID), verdict("delivered", "s", 11, True), FORGED, verdict("delivered", "t", 21)),
    ],
    "a broadcast misses a live waiter": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (6, 9, "a", register("t"), waiting("t", 7)),
        (
            *(10, 15, "b", ("broadcast_signal", {"signal_name": "go", "payload_json": '"A"'})),
            *(verdict("delivered", "s", 11) + verdict("delivered", "t", 11), FORGED, verdict("delivered", "s", 11)),
        ),
    ],
    "a batch is served in another order": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (6, 9, "a", register("t"), waiting("t", 7)),
        (
            *(10, 15, "b", ("deliver_signals", {"run_ids": (RUN, RUN), "signal_names": ("go", "go")})),
            verdict("delivered", "s", 11) + verdict("delivered", "t", 11),
            *(FORGED, verdict("delivered", "t", 11) + verdict("delivered", "s", 11)),
        ),
    ],
    "a batch that was refused leaves something": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (6, 9, "a", deliver(ID, signal="other"), NOT_FOUND),
        (10, 15, "a", deliver(KEEP, ID, signal="other"), BUFFERED),
        (
            20,
            25,
            "b",
            (
                "deliver_signals",
                {"run_ids": (RUN, RUN), "signal_names": ("go", "other"), "delivery_ids": (None, "x")},
            ),
            "WS002",
        ),
        (30, 35, "a", get("s"), waiting("s", 1), FORGED, delivered("s", 1, 21)),
    ],
    "a page leaves a waiter out": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (6, 9, "a", register("t"), waiting("t", 7)),
        (10, 15, "a", ("list_waiters", {"run_id": RUN}), waiting("s", 1) + waiting("t", 7), FORGED, waiting("t", 7)),
    ],
    # -- at the same time
    "one waiter is given to two of three senders": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (10, 30, "a", deliver(), verdict("already_delivered", "s", 22)),
        (10, 30, "b", deliver(), verdict("delivered", "s", 22)),
        (10, 30, "c", deliver(), verdict("already_delivered", "s", 22), FORGED, verdict("delivered", "s", 24)),
    ],
    "what was seen delivered is seen waiting": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (10, 90, "b", deliver(), verdict("delivered", "s", 22)),
        (30, 35, "a", get("s"), delivered("s", 1, 22)),
        (40, 45, "c", get("s"), delivered("s", 1, 22), FORGED, waiting("s", 1)),
    ],
    "both the sender and the registration miss each other": [
        (10, 30, "a", register("s"), delivered("s", 11, 20), FORGED, waiting("s", 11)),
        (10, 30, "b", deliver(KEEP), BUFFERED),
        (40, 45, "a", get("s"), delivered("s", 11, 20), FORGED, waiting("s", 11)),
    ],
    "an operation of unknown outcome is undone": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (10, NEVER, "b", deliver(), UNKNOWN),
        (20, 25, "c", deliver(B), verdict("already_delivered", "s", 12)),
        (30, 35, "a", get("s"), delivered("s", 1, 12), FORGED, delivered("s", 1, 21, '"B"')),
    ],
    "an operation of unknown outcome came before it was made": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (6, 8, "c", deliver(B), verdict("delivered", "s", 7), FORGED, verdict("already_delivered", "s", 12)),
        (10, NEVER, "b", deliver(), UNKNOWN),
    ],
    "a step that another transaction holds has come to life": [
        (0, 9, "a", register("s", expires_at=4), expired("s", 1, 4)),
        (10, 11, "a", BEGIN, NONE),
        (12, 13, "a", remove("s"), expired("s", 1, 4)),
        (14, 17, "c", of_step("await_waiter", "s", max_wait=0), waiting("s", 1, 4), FORGED, waiting("s", 1)),
        (20, 25, "a", COMMIT, NONE),
    ],
    "a step that a refusal has found overdue comes to life": [
        (0, 1, "a", register("s"), waiting("s", 1)),
        (2, 3, "b", deliver(), verdict("delivered", "s", 3)),
        (5, 20, "b", deliver(), verdict("already_delivered", "s", 3)),
        (6, 8, "a", register("t", expires_at=10), waiting("t", 7, 10)),
        (11, 12, "a", BEGIN, NONE),
        (13, 14, "a", remove("t"), expired("t", 7, 10)),
        (21, 25, "c", deliver(KEEP), BUFFERED, FORGED, verdict("delivered", "t", 22)),
        (30, 35, "a", COMMIT, NONE),
    ],
    # -- transactions
    "what is not committed is seen": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (10, 11, "b", BEGIN, NONE),
        (12, 15, "b", deliver(), verdict("delivered", "s", 13)),
        (20, 25, "a", get("s"), waiting("s", 1), FORGED, delivered("s", 1, 13)),
        (30, 31, "b", COMMIT, NONE),
    ],
    "what was rolled back stays": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (10, 11, "b", BEGIN, NONE),
        (12, 15, "b", deliver(), verdict("delivered", "s", 13)),
        (30, 31, "b", ROLLBACK, NONE),
        (40, 45, "a", get("s"), waiting("s", 1), FORGED, delivered("s", 1, 13)),
    ],
    "what was rolled back to a savepoint stays": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (10, 11, "b", BEGIN, NONE),
        (12, 13, "b", SAVEPOINT, NONE),
        (14, 15, "b", deliver(ID), verdict("delivered", "s", 15)),
        (16, 17, "b", ROLLBACK_TO, NONE),
        (18, 19, "b", SAVEPOINT, NONE),
        (20, 21, "b", register("t"), waiting("t", 20)),
        (22, 23, "b", RELEASE, NONE),
        (30, 31, "b", COMMIT, NONE),
        (34, 35, "a", get("t"), waiting("t", 20)),
        (40, 45, "a", get("s"), waiting("s", 1), FORGED, delivered("s", 1, 15)),
    ],
    "a released savepoint is lost": [
        (10, 11, "b", BEGIN, NONE),
        (18, 19, "b", SAVEPOINT, NONE),
        (20, 21, "b", register("t"), waiting("t", 20)),
        (22, 23, "b", RELEASE, NONE),
        (30, 31, "b", COMMIT, NONE),
        (34, 35, "a", get("t"), waiting("t", 20), FORGED, NONE),
    ],
    "a transaction does not see its own change": [
        (10, 11, "b", BEGIN, NONE),
        (12, 13, "b", register("s"), waiting("s", 12)),
        (14, 15, "b", deliver(), verdict("delivered", "s", 15), FORGED, NOT_FOUND),
        (16, 17, "b", COMMIT, NONE),
    ],
    "half a transaction is committed": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (10, 11, "b", BEGIN, NONE),
        (12, 13, "b", remove("s"), waiting("s", 1)),
        (14, 15, "b", register("t"), waiting("t", 14)),
        (16, 17, "b", COMMIT, NONE),
        (20, 25, "a", ("list_waiters", {"run_id": RUN}), waiting("t", 14), FORGED, waiting("s", 1) + waiting("t", 14)),
    ],
    "a commit of unknown outcome is half done": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (10, 11, "b", BEGIN, NONE),
        (12, 13, "b", remove("s"), waiting("s", 1)),
        (14, 15, "b", register("t"), waiting("t", 14)),
        (16, NEVER, "b", COMMIT, UNKNOWN),
        (20, 25, "a", ("list_waiters", {"run_id": RUN}), waiting("t", 14), FORGED, NONE),
    ],
    "a refusal does not wait for a registration": [
        (10, 11, "a", BEGIN, NONE),
        (12, 15, "a", register("s"), waiting("s", 13)),
        (20, 35, "b", deliver(), verdict("delivered", "s", 32), FORGED, NOT_FOUND),
        (30, 40, "a", COMMIT, NONE),
    ],
    "a sender passes over a waiter that another one may leave": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (6, 9, "a", register("t"), waiting("t", 7)),
        (10, 11, "a", BEGIN, NONE),
        (12, 15, "a", deliver(), verdict("delivered", "s", 13)),
        (20, 35, "b", deliver(B), verdict("delivered", "s", 32), FORGED, verdict("delivered", "t", 22)),
        (30, 40, "a", ROLLBACK, NONE),
    ],
    "a sender does not wait for the removal of a live waiter": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (6, 9, "a", register("t"), waiting("t", 7)),
        (10, 11, "a", BEGIN, NONE),
        (12, 15, "a", remove("s"), waiting("s", 1)),
        (20, 35, "b", deliver(B), verdict("delivered", "t", 32), FORGED, verdict("delivered", "t", 22), 25),
        (30, 40, "a", COMMIT, NONE),
        (50, 55, "a", get("s"), NONE),
    ],
    "the removal of a settled waiter is seen before it is committed": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (6, 9, "b", deliver(), verdict("delivered", "s", 7)),
        (10, 11, "a", BEGIN, NONE),
        (12, 15, "a", remove("s"), delivered("s", 1, 7)),
        (20, 25, "b", deliver(B), verdict("already_delivered", "s", 7), FORGED, NOT_FOUND),
        (30, 40, "a", COMMIT, NONE),
        (50, 55, "b", deliver(B), NOT_FOUND),
    ],
    "a batch forgets a receipt that it has found before it waits": [
        (0, 5, "a", register("s", "other"), waiting("s", 1, signal="other")),
        (6, 9, "a", deliver_to("s", ID), verdict("delivered", "s", 7)),
        (10, 15, "a", remove("s"), ((RUN, "s", "other", "delivered", 1, None, 7, '"A"'),)),
        (16, 17, "a", BEGIN, NONE),
        (18, 19, "a", register("t"), waiting("t", 18)),
        (
            *(20, 40, "b", batch(("go", None), ("other", "x"))),
            verdict("delivered", "t", 36) + verdict("delivered", "s", 7, True),
            *(FORGED, verdict("delivered", "t", 36) + verdict("delivered", "s", 8, True)),
        ),
        (22, 28, "c", ("purge", {"settled_before": 20}), NONE),
        (30, 35, "a", COMMIT, NONE),
        (42, 45, "c", deliver(ID, signal="other"), NOT_FOUND),
    ],
    "a batch waits before it is refused": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (6, 9, "a", deliver(ID), verdict("delivered", "s", 7)),
        (10, 11, "a", BEGIN, NONE),
        (12, 15, "a", register("t"), waiting("t", 13)),
        (20, 25, "b", batch(("go", None), ("go", "x"), payload='"B"'), "WS002", FORGED, "WS004"),
        (30, 40, "a", COMMIT, NONE),
    ],
    "a retry does not wait for the first call": [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (6, 9, "a", register("t"), waiting("t", 7)),
        (10, 11, "a", BEGIN, NONE),
        (12, 15, "a", deliver(ID), verdict("delivered", "s", 13)),
        (20, 35, "b", deliver(ID), verdict("delivered", "s", 13, True), FORGED, verdict("delivered", "t", 22)),
        (30, 40, "a", COMMIT, NONE),
    ],
    "a registration does not wait for a signal that is being kept": [
        (10, 11, "a", BEGIN, NONE),
        (12, 15, "a", deliver(KEEP), BUFFERED),
        (20, 35, "b", register("s"), delivered("s", 21, 32), FORGED, waiting("s", 21)),
        (30, 40, "a", COMMIT, NONE),
    ],
    "deliver_to_step does not wait for a first registration": [
        (10, 11, "a", BEGIN, NONE),
        (12, 15, "a", register("s"), waiting("s", 13)),
        (20, 35, "b", deliver_to("s"), verdict("delivered", "s", 32), FORGED, NOT_FOUND),
        (30, 40, "a", COMMIT, NONE),
    ],
    "await_waiter says expired while a delivery in time is not committed": [
        (0, 5, "a", register("s", expires_at=18), waiting("s", 1, 18)),
        (10, 11, "b", BEGIN, NONE),
        (12, 15, "b", deliver(), verdict("delivered", "s", 13)),
        (
            *(20, 35, "a", of_step("await_waiter", "s", max_wait=9)),
            *(delivered("s", 1, 13, until=18), FORGED, expired("s", 1, 18)),
        ),
        (30, 40, "b", COMMIT, NONE),
    ],
    "a claim takes what another transaction holds": [
        (0, 5, "a", register("s", expires_at=8, **QUEUE), waiting("s", 1, 8)),
        (10, 11, "b", BEGIN, NONE),
        (12, 15, "b", claim(), claimed(expired("s", 1, 8), "c1", 1)),
        (20, 25, "a", claim(), NONE, FORGED, claimed(expired("s", 1, 8), "c2", 1)),
        (30, 40, "b", ROLLBACK, NONE),
    ],
    "two transactions change places": [  # each sees the state before the other
        (0, 5, "a", register("s"), waiting("s", 1)),
        (10, 11, "a", BEGIN, NONE),
        (10, 11, "b", BEGIN, NONE),
        (12, 15, "a", remove("s"), waiting("s", 1)),
        (20, 45, "b", deliver(KEEP), BUFFERED, FORGED, verdict("delivered", "s", 21)),
        (30, 40, "a", COMMIT, NONE),
        (50, 60, "b", COMMIT, NONE),
    ],
}


def history(story: Sequence[Line], *, forged: bool) -> list[Operation]:
    operations = []
    for invoked, returned, client, (function, arguments), answer, *forgery in story:
        if forged and forgery:
            _, answer, *sooner = forgery
            [returned] = sooner or [returned]
        operations.append(Operation(client, function, arguments, answer, invoked, returned))
    return operations


@pytest.mark.parametrize("name", STORIES)
def test_truth_is_accepted(name: str) -> None:
    assert Judge(history(STORIES[name], forged=False)).objection() is None


@pytest.mark.parametrize("name", STORIES)
def test_lie_is_found(name: str) -> None:
    assert any(FORGED in line for line in STORIES[name])
    assert Judge(history(STORIES[name], forged=True)).objection()


def test_quota() -> None:
    story: list[Line] = [(10 * n, 10 * n + 5, "a", deliver(KEEP), BUFFERED) for n in range(2)]
    assert Judge(history([*story, (20, 25, "a", deliver(KEEP), "WS004")], forged=False), quota=2).objection() is None
    assert Judge(history([*story, (20, 25, "a", deliver(KEEP), BUFFERED)], forged=False), quota=2).objection()


@pytest.mark.parametrize("sqlstate", ["40P01", "55P03", "57014"])
def test_what_the_server_ended_has_done_nothing(sqlstate: str) -> None:
    story: list[Line] = [
        (0, 5, "a", register("s"), waiting("s", 1)),
        (10, 15, "b", deliver(), sqlstate),
        (20, 25, "a", get("s"), waiting("s", 1), FORGED, delivered("s", 1, 12)),
    ]
    assert Judge(history(story, forged=False)).objection() is None
    assert Judge(history(story, forged=True)).objection()


def test_a_batch_in_which_many_deadlines_pass() -> None:
    """All of them before it has decided anything: that is looked for first, there are too many combinations."""
    deadlines = (10, 11, 12, 1, 2)
    steps = ("u", "s", "u", "t", "v")
    created_at = (20, 21, 20, 23, 24)
    arguments = {"run_ids": (RUN,) * 5, "step_keys": steps, "signal_names": ("go",) * 5, "expires_at": deadlines}
    rows = zip(steps, created_at, deadlines, strict=True)
    answer = tuple((RUN, step, "go", "expired", created, deadline, None, None) for step, created, deadline in rows)
    assert Judge([Operation("a", "register_waiters", arguments, answer, 5, 30)]).objection() is None
