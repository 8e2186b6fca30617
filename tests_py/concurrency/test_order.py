"""The oldest live waiter gets the signal; one that came to life while the sender waited for a lock may, or may not."""

from __future__ import annotations

import pytest

from tests_py.concurrency.calls import Run
from tests_py.concurrency.stage import Session, Stage

LATER_MS = 3_600_000


@pytest.mark.parametrize("id", [None, "id-1"])
def test_revived_before_the_next(stage: Stage, run: Run, a: Session, b: Session, c: Session, id: str | None) -> None:
    """While b waits for w1, the older x comes to life again; then w1 is gone and x is the oldest."""
    a(run.register("h"))
    a(run.deliver("H"))
    a(run.register("x", until=stage.ahead(-1)))
    assert a(run.deliver("A")) == "already_delivered h"
    a(run.register("w1"))
    a(run.register("w2"))
    a.begin()
    assert a(run.deliver("A")) == "delivered w1"
    sender = b.start(run.deliver("B", id=id))
    assert stage.waits(sender)
    engine = c.start(run.register("x", until=stage.ahead(LATER_MS)))
    stage.waits(engine)
    a.commit()
    # The sender began before x came to life, so it may be the first of the two.
    answer = sender.answer()
    assert engine.answer() == "waiting"
    assert {answer, b(run.deliver("C"))} == {"delivered w2", "delivered x"}


@pytest.mark.parametrize("id", [None, "id-1"])
def test_revived_before_the_oldest(stage: Stage, run: Run, a: Session, b: Session, c: Session, id: str | None) -> None:
    """While b waits for w, the older x comes to life again; then w is free but no longer the oldest."""
    a(run.register("h"))
    deadline = stage.ahead(30)
    a(run.register("x", until=deadline))
    a(run.remove("h"))
    stage.await_passing(deadline)
    assert a(run.deliver("A", id="id-0")) == "expired x"
    a(run.register("w"))
    a.begin()
    assert a(run.deliver("A")) == "delivered w"
    sender = b.start(run.deliver("B", id=id))
    assert stage.waits(sender)
    engine = c.start(run.register("x", until=stage.ahead(LATER_MS)))
    stage.waits(engine)
    a.rollback()
    answer = sender.answer()
    assert engine.answer() == "waiting"
    assert {answer, b(run.deliver("C"))} == {"delivered w", "delivered x"}
