"""Single calls that take several rows, one beside the other: each waits, none deadlocks."""

from __future__ import annotations

from itertools import product

import pytest

from tests_py.concurrency.calls import GO, Call, Run, broadcast, deliver_many, import_many, register_many
from tests_py.concurrency.situations import PAST
from tests_py.concurrency.stage import Session, Stage

LATER_MS = 3_600_000


def test_a_batch_settles_an_overdue_waiter_beside_registrations(
    stage: Stage, run: Run, a: Session, b: Session, c: Session
) -> None:
    """b finds s1 overdue when it has t too, and needs s2 in its place; c has s2 and waits for t."""
    stage.make_overdue(a, run, "s1", "p")
    a(run.register("s2", "p"))
    a(run.register("t", "q"))
    a.begin()
    # A registration would wait for a change of t before it has s2; so nothing is changed.
    a.execute(f"SELECT FROM flow_signal.flow_signal_waiters WHERE run_id = '{run.id}' AND step_key = 't' FOR UPDATE")
    signals = b.start(deliver_many((run, "p", "P"), (run, "q", "Q")))
    assert stage.waits(signals)
    steps = c.start(register_many((run, "s2", "p"), (run, "t", "q"), channel="c"))
    assert stage.waits(steps)
    a.rollback()
    assert (signals.answer(), steps.answer()) in [
        ("delivered s2, delivered t", "delivered P, delivered Q"),
        ("delivered s2, delivered t", "waiting, waiting"),
    ]


FIRST, SECOND = "z", "a"
"""Two steps: the first is the older one, and the one with the greater key."""

HOLD = "SELECT FROM flow_signal.flow_signal_waiters WHERE run_id = '{}' AND step_key = '{}' FOR UPDATE"


def several(run: Run, signals: tuple[str, str], stage: Stage) -> dict[str, Call]:
    """Single calls about both steps, and some about new ones as well."""
    steps = (run, FIRST, signals[0]), (run, SECOND, signals[1])
    news = (run, "y", signals[0]), (run, "b", signals[1])
    sent = [(run, signals[0], "1"), (run, signals[1], "2")]
    ages = (stage.ahead(-1), stage.ahead(-2))
    return {
        "deliver": deliver_many(*sent),
        "deliver in reverse": deliver_many(*reversed(sent)),
        "register": register_many(*steps, channel="c"),
        "register in reverse": register_many(*reversed(steps), channel="d"),
        "move": register_many((run, FIRST, signals[1]), (run, SECOND, signals[0])),
        "register new": register_many(*news),
        "register new, in reverse, and old": register_many(*reversed(news), *steps, channel="e"),
        "broadcast": broadcast(signals[0], "all"),
        "broadcast the other": broadcast(signals[1], "all"),
        "remove_run": run.remove_all(),
        "import": import_many(*((*step, age) for step, age in zip(news, ages, strict=True))),
        "import in reverse": import_many(*((*step, age) for step, age in zip(reversed(news), ages, strict=True))),
        "import what is there": import_many(*((*step, age) for step, age in zip(steps, ages, strict=True))),
    }


@pytest.mark.parametrize("held", [FIRST, SECOND])
@pytest.mark.parametrize("signals", ["one signal", "two signals"])
def test_two_calls_that_take_several_rows(
    stage: Stage, a: Session, b: Session, c: Session, signals: str, held: str
) -> None:
    """Every pair of them, while a has one of the rows: they reach it together, and neither has what the other needs."""
    deadlocks = []
    calls = list(several(Run(), (GO, GO), stage))
    for first, second in product(calls, calls):
        run = Run()
        names = ("p", "p") if signals == "one signal" else ("q", "p")
        signals_of_run = (f"{names[0]} {run.id}", f"{names[1]} {run.id}")
        a(run.register(FIRST, signals_of_run[0]))
        a(run.register(SECOND, signals_of_run[1]))
        a.begin()
        a.execute(HOLD.format(run.id, held))
        steps = []
        for session, call in ((b, first), (c, second)):
            steps.append(session.start(several(run, signals_of_run, stage)[call]))
            stage.waits(steps[-1])
        a.rollback()
        answers = [step.answer() for step in steps]
        if "40P01" in answers:
            deadlocks.append((first, second, *answers))
        assert stage.broken_rules(run.id) == [], (first, second)
        a(run.remove_all())
    assert deadlocks == []


def sweeps(run: Run, signal: str, settled: str) -> dict[str, Call]:
    """Single calls that take x and then the other waiter."""
    return {
        "deliver": deliver_many((run, signal, "C"), (run, signal, "D")),
        "broadcast": broadcast(signal, "all"),
        "remove_run": run.remove_all(),
        "register": register_many((run, "x", signal), (run, settled, signal)),
    }


@pytest.mark.parametrize("sweep", ["deliver", "broadcast", "remove_run", "register"])
@pytest.mark.parametrize("how", ["revived", "moved"])
def test_an_older_waiter_comes_to_life_while_a_sender_has_settled_a_younger_one(
    stage: Stage, run: Run, a: Session, b: Session, c: Session, d: Session, how: str, sweep: str
) -> None:
    """b has settled o and waits for p; x, older than o, comes to life; d has x and waits for o; p goes."""
    signal = f"s {run.id}"
    a(run.register("x", signal, until=PAST) if how == "revived" else run.register("x", "other"))
    stage.make_overdue(a, run, "o", signal)
    a(run.register("p", signal))
    a.begin()
    assert a(run.remove("p")) == f"waiting for {signal}"
    sender = b.start(run.deliver("B", signal))
    assert stage.waits(sender)
    assert c(run.register("x", signal)) == f"waiting for {signal}"
    step = d.start(sweeps(run, signal, "o")[sweep])
    assert stage.waits(step)
    a.commit()
    assert "40P01" not in (sender.answer(), step.answer())


@pytest.mark.parametrize("sweep", ["remove_run", "register"])
@pytest.mark.parametrize("how", ["revived", "moved"])
def test_an_older_waiter_comes_to_life_while_a_sender_waits_for_a_younger_one(
    stage: Stage, run: Run, a: Session, b: Session, c: Session, d: Session, how: str, sweep: str
) -> None:
    """b has waited for w, which another sender has got; x, older than w, is live by then; d has x and waits for w."""
    signal = f"s {run.id}"
    a(run.register("x", signal, until=PAST) if how == "revived" else run.register("x", "other"))
    a(run.register("w", signal))
    a.begin()
    assert a(run.deliver("A", signal)) == "delivered w"
    sender = b.start(run.deliver("B", signal))
    assert stage.waits(sender)
    assert c(run.register("x", signal)) == f"waiting for {signal}"
    step = d.start(sweeps(run, signal, "w")[sweep])
    assert stage.waits(step)
    a.commit()
    assert "40P01" not in (sender.answer(), step.answer())


def test_a_deadline_passes_before_a_registration_has_the_lock_row(
    stage: Stage, run: Run, a: Session, b: Session
) -> None:
    """It takes no buffered signal then; registered again, it does."""
    assert a(run.deliver("A", buffer_until=stage.ahead(LATER_MS))) == "buffered"
    a.begin()
    assert a(run.deliver("B", buffer_until=stage.ahead(LATER_MS))) == "buffered"
    deadline = stage.ahead(300)
    step = b.start(run.register("w", until=deadline))
    assert stage.waits(step)
    stage.await_passing(deadline)
    a.rollback()
    assert step.answer() == "expired"
    assert b(run.register("w")) == "delivered A"
