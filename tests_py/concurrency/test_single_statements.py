"""Transactions of one statement each never deadlock.

In each test `a` holds what the other two need, so that they reach the dangerous place together.
"""

from __future__ import annotations

import pytest

from tests_py.concurrency.calls import Run
from tests_py.concurrency.stage import Session, Stage

LATER_MS = 3_600_000


@pytest.mark.parametrize("until_ms", [None, LATER_MS])
def test_the_head_is_registered_again_twice(
    stage: Stage, run: Run, a: Session, b: Session, c: Session, until_ms: float | None
) -> None:
    """Also with nothing changed: two workers that run the same step again after a crash."""
    until = None if until_ms is None else stage.ahead(until_ms)
    a(run.register("h"))
    a.begin()
    a(run.register("w"))
    steps = [session.start(run.register("h", until=until)) for session in (b, c)]
    for step in steps:
        stage.waits(step)
    a.commit()
    assert [step.answer() for step in steps] == ["waiting", "waiting"]


def test_two_heads_change_places(stage: Stage, run: Run, a: Session, b: Session, c: Session) -> None:
    a(run.register("p", "P"))
    a(run.register("q", "Q"))
    a.begin()
    a(run.register("w", "P"))
    a(run.register("v", "Q"))
    steps = [b.start(run.register("p", "Q")), c.start(run.register("q", "P"))]
    for step in steps:
        stage.waits(step)
    a.commit()
    assert [step.answer() for step in steps] == ["waiting for Q", "waiting for P"]


def test_two_senders_find_the_same_waiter_overdue(stage: Stage, run: Run, a: Session, b: Session, c: Session) -> None:
    """One sender has an id and so holds the line before it comes to the waiter, the other comes from the waiter."""
    deadline = stage.ahead(100)
    a(run.register("h"))
    a(run.deliver("H"))
    a(run.register("w", until=deadline))
    a.begin()
    assert a(run.deliver("A")) == "delivered w"
    steps = []
    for session, id in ((b, None), (c, "id-1")):
        steps.append(session.start(run.deliver("B", id=id)))
        stage.waits(steps[-1])
    stage.await_passing(deadline)
    a.rollback()
    assert [step.answer() for step in steps] == ["already_delivered h", "already_delivered h"]


def test_a_sender_finds_overdue_what_is_registered_again(
    stage: Stage, run: Run, a: Session, b: Session, c: Session
) -> None:
    """A step that timed out is registered anew at the moment in which the late signal comes."""
    deadline = stage.ahead(300)
    a(run.register("v"))
    a(run.register("w", until=deadline))
    assert a(run.deliver("A")) == "delivered v"
    a.begin()
    assert a(run.deliver("A")) == "delivered w"
    sender = b.start(run.deliver("B"))
    assert stage.waits(sender)
    engine = c.start(run.register("w", until=stage.ahead(LATER_MS)))
    assert stage.waits(engine)
    stage.await_passing(deadline)
    a.rollback()
    # Whoever came first: v has a payload, so a sender that finds w overdue says already_delivered.
    assert (sender.answer(), engine.answer()) in [("already_delivered v", "waiting"), ("delivered w", "waiting")]


def test_a_step_moves_while_it_is_moved_elsewhere(
    stage: Stage, run: Run, a: Session, b: Session, c: Session, d: Session
) -> None:
    """b has w and waits for the registrations of B, as c does; d waits for w."""
    a(run.register("b", "B"))
    a(run.register("x", "A"))
    a(run.register("w", "P"))
    a.begin()
    a(run.register("v", "B"))
    to_b = b.start(run.register("w", "B"))
    assert stage.waits(to_b)
    back_to_a = d.start(run.register("w", "A"))
    assert stage.waits(back_to_a)
    from_a = c.start(run.register("x", "B"))
    assert stage.waits(from_a)
    a.commit()
    assert [to_b.answer(), back_to_a.answer(), from_a.answer()] == ["waiting for B", "waiting for A", "waiting for B"]


def test_a_new_step_is_registered_under_two_names(
    stage: Stage, run: Run, a: Session, b: Session, c: Session, d: Session
) -> None:
    """b found no w; when it gets P, w may have been registered meanwhile, for a name that sorts before P."""
    a(run.register("o", "O"))
    a(run.register("p", "P"))
    a.begin()
    a(run.register("q", "P"))
    steps = []
    for session, signal, until in ((b, "P", None), (d, "O", None), (c, "P", stage.ahead(LATER_MS))):
        steps.append(session.start(run.register("w", signal, until=until)))
        stage.waits(steps[-1])
    a.commit()
    assert [step.answer() for step in steps] == ["waiting for P", "waiting for O", "waiting for P"]


def test_a_waiter_is_removed_and_registered_while_it_is_changed(
    stage: Stage, run: Run, a: Session, b: Session, c: Session, d: Session
) -> None:
    """All of them have read that w exists, and wait for it."""
    a(run.register("w"))
    a.begin()
    a(run.register("w", until=stage.ahead(LATER_MS)))
    steps = []
    for session, call in (
        (b, run.register("w", until=stage.ahead(2 * LATER_MS))),
        (d, run.remove("w")),
        (c, run.register("w", queue=run.queue)),
    ):
        steps.append(session.start(call))
        assert stage.waits(steps[-1])
    a.commit()
    assert [step.answer() for step in steps] == ["waiting", "waiting", "waiting"]
