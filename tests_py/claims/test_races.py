"""claim_waiters against every other call that touches the waiter, each first."""

from __future__ import annotations

import psycopg
import pytest

from tests_py.claims.queues import QUEUE, claim
from tests_py.concurrency.calls import Run
from tests_py.concurrency.stage import Session, Stage

LATER_MS = 3_600_000
SHORT_MS = 50
LONG_ENOUGH_MS = 500
"""For two calls, on a busy machine too."""


def test_oldest_due_first(stage: Stage, run: Run, a: Session) -> None:
    """Deliveries are due when they happen, deadlines when they pass, in one order."""
    for step, until in (("second", None), ("first", None), ("long past", stage.ahead(-LATER_MS))):
        a(run.register(step, step, until=until, queue=QUEUE))
    a(run.deliver("A", "first"))
    a(run.deliver("B", "second"))
    deadline = stage.ahead(1)
    a(run.register("late", "late", until=deadline, queue=QUEUE))
    stage.await_passing(deadline)
    a(run.register("third", "third", queue=QUEUE))
    a(run.deliver("C", "third"))
    assert a(claim(limit=2)) == "long past expired, first delivered A"
    assert a(claim()) == "second delivered B, late expired, third delivered C"
    assert a(claim()) == "none"


def test_two_claims_at_once(stage: Stage, run: Run, a: Session, b: Session) -> None:
    for step in ("w1", "w2", "w3"):
        a(run.register(step, step, until=stage.ahead(-LATER_MS), queue=QUEUE))
    a.begin()
    assert a(claim(limit=2)) == "w1 expired, w2 expired"
    claimer = b.start(claim())
    assert not stage.waits(claimer)
    assert claimer.answer() == "w3 expired"
    a.commit()
    assert b(claim()) == "none"


def test_a_lease_ends(stage: Stage, run: Run, a: Session, b: Session) -> None:
    a(run.register("w", queue=QUEUE))
    a(run.deliver("A"))
    assert a(claim(lease_ms=SHORT_MS)) == "w delivered A"
    answer = b(claim(lease_ms=LATER_MS))
    while answer == "none":
        answer = b(claim(lease_ms=LATER_MS))
    assert answer == "w delivered A"
    assert a(claim()) == "none"


def test_a_lease_holds_to_its_end(stage: Stage, run: Run, a: Session, b: Session) -> None:
    a(run.register("w", until=stage.ahead(-1), queue=QUEUE))
    start = stage.ahead(0)
    assert a(claim(lease_ms=SHORT_MS)) == "w expired"
    while b(claim(lease_ms=SHORT_MS)) == "none":
        pass
    assert (stage.ahead(0) - start).total_seconds() * 1000 >= SHORT_MS


def test_a_claim_that_is_rolled_back(stage: Stage, run: Run, a: Session, b: Session) -> None:
    a(run.register("w", until=stage.ahead(-1), queue=QUEUE))
    a.begin()
    assert a(claim(lease_ms=LATER_MS)) == "w expired"
    claimer = b.start(claim())
    assert not stage.waits(claimer)
    assert claimer.answer() == "none"
    a.rollback()
    assert b(claim()) == "w expired"


def test_the_claimer_crashes_before_its_commit(
    stage: Stage, run: Run, a: Session, connection: psycopg.Connection[object], database: str
) -> None:
    a(run.register("w", until=stage.ahead(-1), queue=QUEUE))
    crashing = psycopg.connect(database)
    call = claim(lease_ms=LATER_MS)
    assert call.answer(crashing.execute(call.statement, call.values).fetchone()) == "w expired"
    connection.execute("SELECT pg_terminate_backend(%s, 60000)", [crashing.info.backend_pid])
    assert a(claim()) == "w expired"
    crashing.close()


@pytest.mark.parametrize("delivery_id", [None, "id-1"])
def test_a_claimed_waiter_is_delivered_to(
    stage: Stage, run: Run, a: Session, b: Session, delivery_id: str | None
) -> None:
    """The sender waits for the claim; what was claimed as expired stays so."""
    stage.make_overdue(a, run, "w", queue=QUEUE)
    a.begin()
    assert a(claim(lease_ms=SHORT_MS)) == "w expired"
    sender = b.start(run.deliver("B", id=delivery_id))
    assert stage.waits(sender)
    a.commit()
    assert sender.answer() == "expired w"
    assert b(run.deliver("B", id=delivery_id)) == "expired w"
    stage.await_passing(stage.ahead(SHORT_MS))
    assert b(claim()) == "w expired"
    assert b(run.get("w")) == "expired"


def test_a_claimed_waiter_is_delivered_to_though_the_clock_steps_back(
    stage: Stage, run: Run, a: Session, connection: psycopg.Connection[object]
) -> None:
    stage.make_overdue(a, run, "w", queue=QUEUE)
    assert a(claim()) == "w expired"
    connection.execute("UPDATE flow_signal.flow_signal_waiters SET expires_at = expires_at + interval '1 hour'")
    assert a(run.deliver("A")) == "expired w"
    assert a(run.deliver("A", id="id-1")) == "expired w"
    assert a(run.get("w")) == "expired"
    assert a(run.remove("w")) == "expired"


@pytest.mark.parametrize("commits", [True, False])
def test_a_waiter_that_is_being_delivered_to_is_claimed(
    stage: Stage, run: Run, a: Session, b: Session, commits: bool
) -> None:
    """Past the deadline too: the sender was in time, and its verdict stands."""
    deadline = stage.ahead(LONG_ENOUGH_MS)
    a(run.register("w", until=deadline, queue=QUEUE))
    a.begin()
    assert a(run.deliver("A")) == "delivered w"
    stage.await_passing(deadline)
    claimer = b.start(claim())
    assert not stage.waits(claimer)
    assert claimer.answer() == "none"
    a.commit() if commits else a.rollback()
    assert b(claim()) == ("w delivered A" if commits else "w expired")


def test_a_delivered_waiter_is_claimed_and_delivered_to(stage: Stage, run: Run, a: Session, b: Session) -> None:
    """No verdict depends on the claim, so no sender waits for it."""
    a(run.register("w", queue=QUEUE))
    a(run.deliver("A", id="id-1"))
    a.begin()
    assert a(claim(lease_ms=SHORT_MS)) == "w delivered A"
    again = b.start(run.deliver("A", id="id-1"))
    assert not stage.waits(again)
    assert again.answer() == "replayed delivered w"
    another = b.start(run.deliver("B"))
    assert not stage.waits(another)
    assert another.answer() == "already_delivered w"
    a.commit()
    assert b(run.deliver("B")) == "already_delivered w"


def test_a_claimed_waiter_is_removed(stage: Stage, run: Run, a: Session, b: Session) -> None:
    a(run.register("w", queue=QUEUE))
    a(run.deliver("A"))
    a.begin()
    assert a(claim(lease_ms=SHORT_MS)) == "w delivered A"
    remover = b.start(run.remove("w"))
    assert stage.waits(remover)
    a.commit()
    assert remover.answer() == "delivered A"
    stage.await_passing(stage.ahead(SHORT_MS))
    assert a(claim()) == "none"


@pytest.mark.parametrize("commits", [True, False])
def test_a_waiter_that_is_being_removed_is_claimed(
    stage: Stage, run: Run, a: Session, b: Session, commits: bool
) -> None:
    a(run.register("w", until=stage.ahead(-1), queue=QUEUE))
    a.begin()
    assert a(run.remove("w")) == "expired"
    claimer = b.start(claim())
    assert not stage.waits(claimer)
    assert claimer.answer() == "none"
    a.commit() if commits else a.rollback()
    assert b(claim()) == ("none" if commits else "w expired")


def test_a_claimed_waiter_is_registered_again(stage: Stage, run: Run, a: Session, b: Session) -> None:
    """A new deadline makes it live; its lease is forgotten."""
    a(run.register("w", until=stage.ahead(-1), queue=QUEUE))
    a.begin()
    assert a(claim(lease_ms=SHORT_MS)) == "w expired"
    engine = b.start(run.register("w", until=stage.ahead(LATER_MS), queue=QUEUE))
    assert stage.waits(engine)
    a.commit()
    assert engine.answer() == "waiting"
    stage.await_passing(stage.ahead(SHORT_MS))
    assert a(claim()) == "none"
    assert a(run.deliver("A")) == "delivered w"
    assert a(claim()) == "w delivered A"


def test_a_claimed_waiter_is_registered_again_as_it_was(stage: Stage, run: Run, a: Session) -> None:
    """An engine that runs the step again after a crash takes nothing from whoever has the lease."""
    deadline = stage.ahead(-1)
    a(run.register("w", until=deadline, queue=QUEUE))
    assert a(claim(lease_ms=SHORT_MS)) == "w expired"
    lease_end = stage.ahead(SHORT_MS)
    assert a(run.register("w", until=deadline, queue=QUEUE)) == "expired"
    if not stage.has_passed(lease_end):
        assert a(run.deliver("A")) == "expired w"
    stage.await_passing(lease_end)
    assert a(claim()) == "w expired"


def test_a_waiter_that_is_being_registered_again_is_claimed(stage: Stage, run: Run, a: Session, b: Session) -> None:
    a(run.register("w", until=stage.ahead(-1), queue=QUEUE))
    a.begin()
    assert a(run.register("w", queue=QUEUE)) == "waiting"
    claimer = b.start(claim())
    assert not stage.waits(claimer)
    assert claimer.answer() == "none"
    a.commit()
    assert b(claim()) == "none"
    assert b(run.deliver("B")) == "delivered w"
    assert b(claim()) == "w delivered B"


def test_a_waiter_changes_its_queue(stage: Stage, run: Run, a: Session) -> None:
    a(run.register("w", until=stage.ahead(-1), queue="other"))
    assert a(claim("other")) == "w expired"
    a(run.register("w", until=stage.ahead(-1), queue=QUEUE))
    assert a(claim("other")) == "none"
    assert a(claim()) == "w expired"


def test_what_is_not_committed_is_not_claimed(stage: Stage, run: Run, a: Session, b: Session) -> None:
    a.begin()
    a(run.register("w", until=stage.ahead(-1), queue=QUEUE))
    claimer = b.start(claim())
    assert not stage.waits(claimer)
    assert claimer.answer() == "none"
    a.commit()
    assert b(claim()) == "w expired"
