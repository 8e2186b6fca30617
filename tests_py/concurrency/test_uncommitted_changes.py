"""A sender waits for an uncommitted change that its verdict depends on, whichever transaction is the newest.

Contract: a concurrent uncommitted change is waited for, never skipped; not_found is never said while a waiter is
delivered to, re-registered or rolled back elsewhere.
"""

from __future__ import annotations

import pytest

from tests_py.concurrency.calls import Run
from tests_py.concurrency.stage import Session, Stage

LATER_MS = 3_600_000


@pytest.fixture(params=["the only transaction", "an older one is open too"])
def in_flight(request: pytest.FixtureRequest, c: Session, d: Session) -> None:
    """Whether the change is all that is in flight: a snapshot lists only what is older than the newest that ended."""
    if request.param != "the only transaction":
        d.begin()
        d.execute("SELECT pg_current_xact_id()")
        c.execute("SELECT pg_current_xact_id()")


@pytest.mark.usefixtures("in_flight")
class TestSenderWaitsFor:
    def test_the_first_waiter(self, stage: Stage, run: Run, a: Session, b: Session) -> None:
        a.begin()
        assert a(run.register("w")) == "waiting"
        step = b.start(run.deliver("B"))
        assert stage.waits(step)
        a.commit()
        assert step.answer() == "delivered w"

    def test_the_first_waiter_that_is_rolled_back(self, stage: Stage, run: Run, a: Session, b: Session) -> None:
        a.begin()
        a(run.register("w"))
        step = b.start(run.deliver("B"))
        assert stage.waits(step)
        a.rollback()
        assert step.answer() == "not_found"

    def test_the_revival_of_an_expired_waiter(self, stage: Stage, run: Run, a: Session, b: Session) -> None:
        a(run.register("w", until=stage.ahead(-1)))
        assert a(run.deliver("A")) == "expired w"
        a.begin()
        assert a(run.register("w", until=stage.ahead(LATER_MS))) == "waiting"
        step = b.start(run.deliver("B"))
        assert stage.waits(step)
        a.commit()
        assert step.answer() == "delivered w"

    def test_a_waiter_that_is_renamed_to_the_signal(self, stage: Stage, run: Run, a: Session, b: Session) -> None:
        a(run.register("w", "other"))
        a.begin()
        assert a(run.register("w")) == "waiting"
        step = b.start(run.deliver("B"))
        assert stage.waits(step)
        a.commit()
        assert step.answer() == "delivered w"

    def test_a_second_waiter(self, stage: Stage, run: Run, a: Session, b: Session) -> None:
        a(run.register("h"))
        a(run.deliver("A"))
        a.begin()
        assert a(run.register("w")) == "waiting"
        step = b.start(run.deliver("B"))
        assert stage.waits(step)
        a.commit()
        assert step.answer() == "delivered w"

    def test_the_removal_of_the_delivered_waiter(self, stage: Stage, run: Run, a: Session, b: Session) -> None:
        a(run.register("w"))
        a(run.deliver("A"))
        a.begin()
        assert a(run.remove("w")) == "delivered A"
        step = b.start(run.deliver("B"))
        assert stage.waits(step)
        a.commit()
        assert step.answer() == "not_found"

    def test_the_removal_of_the_expired_waiter(self, stage: Stage, run: Run, a: Session, b: Session) -> None:
        a(run.register("w", until=stage.ahead(-1)))
        assert a(run.deliver("A")) == "expired w"
        a.begin()
        assert a(run.remove("w")) == "expired"
        step = b.start(run.deliver("B"))
        assert stage.waits(step)
        a.rollback()
        assert step.answer() == "expired w"
