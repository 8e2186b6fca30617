"""The deadline passes while somebody waits for a lock: the verdict follows the clock after the lock is had.

The database's clock is watched, never slept for. A round that was too slow to make its calls before the deadline says
nothing, and is made again with more time. The calls are those of situations.py.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial

import pytest

from tests_py.concurrency.situations import FAR, SituatedRun, short
from tests_py.concurrency.stage import Session, Stage

ATTEMPTS_MS = (50, 200, 1000, 5000, 20000)


class TooSlow(Exception):
    """The deadline had passed before the calls were made."""


def with_enough_time(stage: Stage, attempt: Callable[[datetime], None]) -> None:
    for milliseconds in ATTEMPTS_MS:
        try:
            return attempt(stage.ahead(milliseconds))
        except TooSlow:
            stage.reset()
    raise AssertionError("the machine is too slow for this test")


class Timed(SituatedRun):
    """A run in which w waits until a deadline."""

    def __init__(self, stage: Stage, setter: Session, deadline: datetime) -> None:
        super().__init__(stage, "nobody waits", setter)
        self.deadline = deadline
        if setter(self.register("w", until=deadline, queue=self.queue)) != "waiting":
            raise TooSlow

    def insist_on_time(self) -> None:
        if self.stage.has_passed(self.deadline):
            raise TooSlow

    def let_it_pass(self) -> None:
        self.insist_on_time()
        self.stage.await_passing(self.deadline)


# The second call's answer. Nothing is delivered to w, whoever held it meanwhile; to register it again revives it.
AFTER_THE_WAIT = {
    "new": "W",
    "again": "W",
    "away": "Wo",
    "hither": "W",
    "send": "Ew",
    "id": "Ew",
    "keep": "B",
    "keep id": "B",
    "remove": "E",
}


@pytest.mark.parametrize("holder", ["send", "away", "remove"])
def test_the_second_call_waits_until_it_has_passed(stage: Stage, a: Session, b: Session, holder: str) -> None:
    """The first transaction has the row of w, and is rolled back."""
    seen, flaws = {}, {}

    def attempt(deadline: datetime, second: str) -> None:
        run = Timed(stage, a, deadline)
        a.begin()
        a(run.first(holder))
        step = b.start(run.second(second))
        # Another step can be registered while w is held.
        assert stage.waits(step) or second in {"new", "hither"}
        run.let_it_pass()
        a.rollback()
        answer = short(step.answer())
        seen[second] = answer
        run.count(second, answer, "B")
        flaws[second] = run.flaws()

    for second in AFTER_THE_WAIT:
        with_enough_time(stage, partial(attempt, second=second))
    assert seen == AFTER_THE_WAIT
    assert not any(flaws.values()), flaws


def test_claim_skips_what_is_locked_and_finds_it_later(stage: Stage, a: Session, b: Session, c: Session) -> None:
    def attempt(deadline: datetime) -> None:
        run = Timed(stage, a, deadline)
        a.begin()
        delivered, claimed = a(run.deliver("A")), b(run.claim())
        run.let_it_pass()
        assert (delivered, claimed) == ("delivered w", "none")
        step = b.start(run.claim())
        assert not stage.waits(step)
        assert step.answer() == "none"
        a.rollback()
        assert c(run.claim()) == "expired w"
        assert b(run.claim()) == "none"
        assert c(run.deliver("C")) == "expired w"

    with_enough_time(stage, attempt)


def test_a_waiter_that_was_claimed_stays_expired(stage: Stage, a: Session, b: Session) -> None:
    """The sender waits for the claim, which has settled the waiter."""

    def attempt(deadline: datetime) -> None:
        run = Timed(stage, a, deadline)
        run.let_it_pass()
        a.begin()
        assert a(run.claim()) == "expired w"
        step = b.start(run.deliver("B"))
        assert stage.waits(step)
        a.commit()
        assert step.answer() == "expired w"
        assert run.flaws() == []

    with_enough_time(stage, attempt)


# The first call's answer before the deadline; then, after it and after the first has ended, those of get and send.
# What was delivered in time stays delivered, although it is committed too late.
ACROSS = {
    ("new", "commit"): ("W", "E", "Da"),
    ("new", "rollback"): ("W", "E", "Ew"),
    ("again", "commit"): ("W", "W", "Dw"),
    ("again", "rollback"): ("W", "E", "Ew"),
    ("away", "commit"): ("Wo", "Wo", "N"),
    ("away", "rollback"): ("Wo", "E", "Ew"),
    ("hither", "commit"): ("W", "E", "Dv"),
    ("hither", "rollback"): ("W", "E", "Ew"),
    ("send", "commit"): ("Dw", "DA", "Aw"),
    ("send", "rollback"): ("Dw", "E", "Ew"),
    ("id", "commit"): ("Dw", "DS", "Aw"),
    ("id", "rollback"): ("Dw", "E", "Ew"),
    ("keep", "commit"): ("Dw", "DA", "Aw"),
    ("keep", "rollback"): ("Dw", "E", "Ew"),
    ("get", "commit"): ("W", "E", "Ew"),
    ("remove", "commit"): ("W", "-", "N"),
    ("remove", "rollback"): ("W", "E", "Ew"),
    ("claim", "commit"): ("-", "E", "Ew"),
}


def test_the_first_call_ends_after_it_has_passed(stage: Stage, a: Session, b: Session) -> None:
    seen, flaws = {}, {}

    def attempt(deadline: datetime, first: str, end: str) -> None:
        run = Timed(stage, b, deadline)
        a.begin()
        first_answer = short(a(run.first(first)))
        run.let_it_pass()
        a.execute(end)
        if end == "commit":
            run.count(first, first_answer, "A")
        got, sent = short(b(run.get("w"))), short(b(run.second("send")))
        run.count("send", sent, "B")
        seen[first, end] = (first_answer, got, sent)
        flaws[first, end] = run.flaws()

    for first, end in ACROSS:
        with_enough_time(stage, partial(attempt, first=first, end=end))
    assert seen == ACROSS
    assert not any(flaws.values()), flaws


def test_a_buffered_signal_dies_while_its_waiter_waits(stage: Stage, a: Session, b: Session) -> None:
    """The signal was kept until an instant that passes before the waiter can be registered."""

    def attempt(deadline: datetime) -> None:
        run = SituatedRun(stage, "nobody waits", a)
        kept = a(run.deliver("A", buffer_until=deadline))
        if stage.has_passed(deadline):
            raise TooSlow
        assert kept == "buffered"
        a.begin()
        assert a(run.deliver("X", buffer_until=FAR)) == "buffered"
        step = b.start(run.register("n"))
        assert stage.waits(step)
        if stage.has_passed(deadline):
            raise TooSlow
        stage.await_passing(deadline)
        a.rollback()
        assert step.answer() == "waiting"
        assert stage.payloads(run) == [("A", "buffered")]
        assert stage.broken_invariants(run) == []

    with_enough_time(stage, attempt)


def test_a_sender_may_keep_a_signal_only_until_an_instant_ahead(stage: Stage, a: Session, b: Session) -> None:
    """It passes while the sender waits for a registration: then nothing is kept."""

    def attempt(deadline: datetime) -> None:
        run = SituatedRun(stage, "nobody waits", a)
        a.begin()
        assert a(run.register("w")) == "waiting"
        step = b.start(run.deliver("B", buffer_until=deadline))
        assert stage.waits(step)
        if stage.has_passed(deadline):
            raise TooSlow
        stage.await_passing(deadline)
        a.rollback()
        assert step.answer() == "not_found"
        assert stage.payloads(run) == []

    with_enough_time(stage, attempt)
