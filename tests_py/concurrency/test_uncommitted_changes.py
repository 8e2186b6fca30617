"""A sender waits for an uncommitted change that its verdict depends on, whichever transaction is the newest.

Contract: an uncommitted change of a waiter that is live or overdue is waited for, never skipped, and so is a
registration by a sender that would be refused. The removal of a settled waiter need not be waited for. A refusal holds
nothing.
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

    def test_the_removal_of_the_live_waiter(self, stage: Stage, run: Run, a: Session, b: Session) -> None:
        a(run.register("w"))
        a.begin()
        assert a(run.remove("w")) == "waiting"
        step = b.start(run.deliver("B"))
        assert stage.waits(step)
        a.commit()
        assert step.answer() == "not_found"

    def test_the_removal_of_the_overdue_waiter(self, stage: Stage, run: Run, a: Session, b: Session) -> None:
        stage.make_overdue(a, run, "w")
        a.begin()
        assert a(run.remove("w")) == "expired"
        step = b.start(run.deliver("B"))
        assert stage.waits(step)
        a.rollback()
        assert step.answer() == "expired w"


@pytest.mark.usefixtures("in_flight")
class TestNobodyWaitsFor:
    def test_the_removal_of_the_delivered_waiter(self, stage: Stage, run: Run, a: Session, b: Session) -> None:
        a(run.register("w"))
        a(run.deliver("A"))
        a.begin()
        assert a(run.remove("w")) == "delivered A"
        step = b.start(run.deliver("B"))
        assert not stage.waits(step)
        assert step.answer() == "already_delivered w"
        a.commit()
        assert b(run.deliver("B")) == "not_found"

    def test_the_removal_of_the_expired_waiter(self, stage: Stage, run: Run, a: Session, b: Session) -> None:
        a(run.register("w", until=stage.ahead(-1)))
        a.begin()
        assert a(run.remove("w")) == "expired"
        step = b.start(run.deliver("B"))
        assert not stage.waits(step)
        assert step.answer() == "expired w"
        a.commit()
        assert b(run.deliver("B")) == "not_found"

    @pytest.mark.parametrize("id", [None, "id-1"])
    def test_a_refusal(self, stage: Stage, run: Run, a: Session, b: Session, id: str | None) -> None:
        a.begin()
        assert a(run.deliver("A", id=id)) == "not_found"
        for call, answer in (
            (run.register("w"), "waiting"),
            (run.deliver("B", id=id), "delivered w"),
            (run.deliver("C"), "already_delivered w"),
        ):
            step = b.start(call)
            assert not stage.waits(step)
            assert step.answer() == answer
        a.commit()
