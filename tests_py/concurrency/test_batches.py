"""Batches, broadcasts and removed runs beside each other and beside single calls: each waits, none deadlocks.

In each test `a` holds what the others need, so that they reach the dangerous place together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests_py.concurrency.calls import Call, Run, broadcast, deliver_many, register_many
from tests_py.concurrency.situations import FAR
from tests_py.concurrency.stage import Session, Stage


@pytest.fixture
def runs(stage: Stage) -> Iterator[tuple[Run, Run]]:
    """Two runs, in the order of their ids."""
    first, second = Run(), Run()
    if second.id < first.id:
        first, second = second, first
    yield first, second
    stage.reset()
    assert stage.broken_rules(first.id) + stage.broken_rules(second.id) == []


Pair = tuple[Run, Run]


def delivers(one: Run, other: Run) -> Call:
    return deliver_many((one, "go", f"to {one.id}"), (other, "go", f"to {other.id}"))


def registers(one: Run, other: Run) -> Call:
    return register_many((one, "w", "go"), (other, "w", "go"))


def registers_others(one: Run, other: Run) -> Call:
    return register_many((one, "x", "go"), (other, "x", "go"))


def registers_elsewhere(one: Run, other: Run) -> Call:
    return register_many((one, "w", "a"), (other, "w", "a"))


def hold(session: Session, run: Run) -> None:
    """Have the waiter w and, with a new waiter, the lock row of its signal."""
    assert session(run.register("w", until=FAR)) == "waiting"
    assert session(run.register("v")) == "waiting"


MANY = [delivers, registers, registers_others, registers_elsewhere]


@pytest.mark.parametrize("held", [0, 1], ids=["first run held", "second run held"])
@pytest.mark.parametrize("right", MANY)
@pytest.mark.parametrize("left", MANY)
def test_opposite_orders(
    stage: Stage,
    runs: Pair,
    a: Session,
    b: Session,
    c: Session,
    left: Callable[[Run, Run], Call],
    right: Callable[[Run, Run], Call],
    held: int,
) -> None:
    for run in runs:
        a(run.register("w"))
    a.begin()
    hold(a, runs[held])
    steps = [b.start(left(*runs)), c.start(right(*reversed(runs)))]
    for step in steps:
        assert stage.waits(step)
    a.commit()
    answers = {step.answer() for step in steps}
    # Whose step has got the payload of `go` before it is to wait for `a` is told so.
    assert all("waiting" in answer or "deliver" in answer or answer == "WS001" for answer in answers), answers


@pytest.mark.parametrize("sweep", ["broadcast", "remove_run"])
@pytest.mark.parametrize("many", MANY)
@pytest.mark.parametrize("held", [0, 1], ids=["first run held", "second run held"])
def test_beside_a_sweep(
    stage: Stage,
    runs: Pair,
    a: Session,
    b: Session,
    c: Session,
    many: Callable[[Run, Run], Call],
    sweep: str,
    held: int,
) -> None:
    one, other = runs
    if sweep == "remove_run":
        other.id, other.queue = one.id, one.queue
    for run in runs:
        a(run.register("w"))
    a(one.register("u", "a"))
    a.begin()
    hold(a, runs[held])
    steps = [
        b.start(one.remove_all() if sweep == "remove_run" else broadcast("go", "all")),
        c.start(many(other, one)),
    ]
    for step in steps:
        assert stage.waits(step)
    a.commit()
    assert not {"40P01", "40001", "55P03"}.intersection(step.answer() for step in steps)


def test_a_step_comes_while_it_is_in_a_batch(stage: Stage, run: Run, a: Session, b: Session, c: Session) -> None:
    """c has a row for w already and waits for the lock row; b has other rows when it comes to w."""
    a(run.register("h"))
    a.begin()
    a(run.register("v"))
    single = c.start(run.register("w"))
    assert stage.waits(single)
    batch = b.start(register_many((run, "h2", "early"), (run, "w", "go")))
    assert stage.waits(batch)
    a.commit()
    assert [single.answer(), batch.answer()] == ["waiting", "waiting, waiting"]


def test_a_step_goes_while_it_is_in_a_batch(
    stage: Stage, run: Run, a: Session, b: Session, c: Session, d: Session
) -> None:
    """b waits for the registrations of zzz; meanwhile w is removed, and registered anew."""
    a(run.register("w"))
    a.begin()
    a(run.register("v", "zzz"))
    batch = b.start(register_many((run, "w", "go"), (run, "x", "zzz")))
    assert stage.waits(batch)
    steps = [d.start(run.remove("w")), c.start(run.register("w"))]
    for step in steps:
        stage.waits(step)
    a.commit()
    assert [*(step.answer() for step in steps), batch.answer()] == ["waiting", "waiting", "waiting, waiting"]


def test_a_batch_sees_what_it_waited_for(stage: Stage, runs: Pair, a: Session, b: Session) -> None:
    one, other = runs
    a(other.register("h"))
    a.begin()
    a(one.register("w"))
    a(other.deliver("A"))
    batch = b.start(deliver_many((other, "go", "B"), (one, "go", "C")))
    assert stage.waits(batch)
    a.commit()
    assert batch.answer() == "already_delivered h, delivered w"


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_broadcast_waits_for_a_sender(stage: Stage, runs: Pair, a: Session, b: Session, end: str) -> None:
    one, other = runs
    signal = f"stop {one.id}"
    for run in runs:
        a(run.register("w", signal))
    a.begin()
    a(other.deliver("A", signal))
    step = b.start(broadcast(signal, "all"))
    assert stage.waits(step)
    getattr(a, end)()
    assert step.answer() == ("delivered w" if end == "commit" else "delivered w, delivered w")
    assert b(other.get("w")) == f"delivered {'A' if end == 'commit' else 'all'} for {signal}"


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_run_is_removed_while_a_step_moves(stage: Stage, run: Run, a: Session, b: Session, end: str) -> None:
    """remove_run has read that the step waits for p; when it has its row, the step waits for another signal."""
    a(run.register("w", "p"))
    a(run.register("v", "p"))
    a.begin()
    a(run.register("w", "a"))
    step = b.start(run.remove_all())
    assert stage.waits(step)
    getattr(a, end)()
    assert step.answer() == "2"
    assert stage.contents(run) == []


def test_what_is_not_committed_survives_the_run(stage: Stage, run: Run, a: Session, b: Session) -> None:
    a(run.register("w"))
    a.begin()
    a(run.register("v", "other"))
    assert b(run.remove_all()) == "1"
    a.commit()
    assert stage.contents(run) == ["v waiting for other"]


def test_a_batch_moves_a_step_while_another_moves(stage: Stage, run: Run, a: Session, b: Session, c: Session) -> None:
    """b moves w to m, c moves v there, and both wait for the lock row of m."""
    for step, signal in (("w", "a"), ("v", "a"), ("h", "m")):
        a(run.register(step, signal))
    a.begin()
    a(run.register("x", "m"))
    batch = b.start(register_many((run, "w", "m"), (run, "y", "m")))
    assert stage.waits(batch)
    single = c.start(run.register("v", "m"))
    assert stage.waits(single)
    a.commit()
    assert [batch.answer(), single.answer()] == ["waiting, waiting", "waiting for m"]


def test_a_waiter_comes_while_its_run_is_removed(
    stage: Stage, run: Run, a: Session, b: Session, c: Session, d: Session
) -> None:
    """b has w and waits for the lock row of p; then c has x, of a signal that sorts before p, and waits for w."""
    a(run.register("w", "p"))
    a.begin()
    a(run.register("v", "p"))
    step = b.start(run.remove_all())
    assert stage.waits(step)
    assert d(run.register("x", "a")) == "waiting for a"
    batch = c.start(deliver_many((run, "a", "A"), (run, "p", "P")))
    assert stage.waits(batch)
    a.commit()
    # When b has the lock row, it finds x and v, lets go of all and begins again.
    assert (step.answer(), batch.answer()) == ("3", "delivered x, delivered w")
    assert stage.contents(run) == []


def test_a_broadcast_waits_for_no_registration(stage: Stage, runs: Pair, a: Session, b: Session) -> None:
    """It refuses nothing, so who is not committed yet comes after it."""
    run, _ = runs
    signal = f"stop {run.id}"
    a(run.register("w", signal))
    a.begin()
    a(run.register("v", signal))
    step = b.start(broadcast(signal, "all"))
    assert not stage.waits(step)
    a.commit()
    assert step.answer() == "delivered w"
    assert a(run.get("v")) == f"waiting for {signal}"
