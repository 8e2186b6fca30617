"""The oldest live waiter gets the signal, also when it became live while the sender waited for a lock."""

from __future__ import annotations

import pytest

from tests_py.concurrency.calls import Run
from tests_py.concurrency.stage import Session, Stage

LATER_MS = 3_600_000


@pytest.mark.parametrize("id", [None, "id-1"])
def test_revived_behind_the_head(stage: Stage, run: Run, a: Session, b: Session, c: Session, id: str | None) -> None:
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
    engine_waits = stage.waits(engine)
    a.commit()
    # A sender that holds the line lets x in only afterwards; then w2 was the oldest indeed.
    assert sender.answer() == ("delivered w2" if engine_waits else "delivered x")
    assert engine.answer() == "waiting"


@pytest.mark.parametrize("id", [None, "id-1"])
def test_revived_older_than_the_head(
    stage: Stage, run: Run, a: Session, b: Session, c: Session, id: str | None
) -> None:
    """While b waits for the head w, the older x comes to life again; then w is free but no longer the oldest."""
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
    engine_waits = stage.waits(engine)
    a.rollback()
    assert sender.answer() == ("delivered w" if engine_waits else "delivered x")
    assert engine.answer() == "waiting"


def test_a_waiter_is_as_old_as_its_place_in_the_line(stage: Stage, run: Run, a: Session, b: Session) -> None:
    """n waits for the line while o joins it and gets a signal: n must not be the older one, with the later signal."""
    a(run.register("h"))
    a(run.deliver("H"))
    a.begin()
    assert a(run.deliver("A", id="id-1")) == "already_delivered h"
    engine = b.start(run.register("n"))
    assert stage.waits(engine)
    assert a(run.register("o")) == "waiting"
    assert a(run.deliver("A")) == "delivered o"
    a.commit()
    assert engine.answer() == "waiting"
    assert b(run.deliver("B")) == "delivered n"
    assert stage.steps_by_age(run) == ["h", "o", "n"]
