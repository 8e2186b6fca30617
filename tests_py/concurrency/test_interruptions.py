"""A transaction that ends other than by its own commit or rollback lets go of everything and leaves nothing behind."""

from __future__ import annotations

import pytest

from tests_py.concurrency.calls import Run
from tests_py.concurrency.situations import CALLS, FAR, SITUATIONS, SituatedRun, answer_alone, short
from tests_py.concurrency.stage import Session, Stage


@pytest.mark.parametrize("situation", SITUATIONS)
def test_rollback_to_a_savepoint_lets_go(stage: Stage, a: Session, b: Session, situation: str) -> None:
    """The second call goes on while the first transaction is still open, as if the first call had not been."""
    expected, seen, flaws = {}, {}, {}
    for first in CALLS:
        for second in ("send", "new"):
            run = SituatedRun(stage, situation, b)
            a.begin()
            a.execute("SAVEPOINT s")
            a(run.first(first))
            step = b.start(run.second(second))
            stage.waits(step)
            a.execute("ROLLBACK TO s")
            # deliver_signal locks in a block of its own; whoever waits for such a block already waits for the whole
            # transaction, as PostgreSQL has it.
            still_waits = first not in {"send", "id", "keep", "keep id"} and stage.waits(step)
            a.commit()
            answer = short(step.answer())
            seen[first, second] = (still_waits, answer)
            expected[first, second] = (False, answer_alone(stage, b, situation, None, second))
            run.count(second, answer, "B")
            flaws[first, second] = run.flaws()
    assert seen == expected
    assert not any(flaws.values()), flaws


@pytest.mark.parametrize("situation", SITUATIONS)
def test_release_of_a_savepoint_does_not(stage: Stage, a: Session, b: Session, situation: str) -> None:
    for first in CALLS:
        run = SituatedRun(stage, situation, b)
        a.begin()
        a.execute("SAVEPOINT s")
        first_answer = short(a(run.first(first)))
        step = b.start(run.second("send"))
        waits = stage.waits(step)
        if not first_answer.startswith("WS"):
            a.execute("RELEASE s")
        assert stage.waits(step) == waits
        a.commit()
        answer = short(step.answer())
        # Who need not wait, for what changes is settled already, answers as if the change had not been made.
        assert answer == answer_alone(stage, b, situation, first if waits else None, "send"), first
        run.count(first, first_answer, "A")
        run.count("send", answer, "B")
        assert run.flaws() == []


def test_a_savepoint_undoes_only_what_came_after(stage: Stage, run: Run, a: Session, b: Session) -> None:
    """The waiter was held before the savepoint, too."""
    a(run.register("w"))
    a.begin()
    assert a(run.deliver("A")) == "delivered w"
    a.execute("SAVEPOINT s")
    assert a(run.remove("w")) == "delivered A"
    assert a(run.register("n")) == "waiting"
    step = b.start(run.deliver("B"))
    assert stage.waits(step)
    a.execute("ROLLBACK TO s")
    assert stage.waits(step)
    a.commit()
    assert step.answer() == "already_delivered w"
    assert a(run.get("n")) == "none"


@pytest.mark.parametrize(
    ("situation", "waiting"),
    [("nobody waits", {*CALLS} - {"remove"}), ("w waits", {*CALLS} - {"new", "hither"})],
)
@pytest.mark.parametrize(("setting", "sqlstate"), [("lock_timeout", "55P03"), ("statement_timeout", "57014")])
def test_a_timeout_changes_nothing(
    stage: Stage, a: Session, b: Session, situation: str, waiting: set[str], setting: str, sqlstate: str
) -> None:
    """The call that timed out can be made again, and is answered as if it had been made only now."""
    first = "again"
    expected, seen, flaws = {}, {}, {}
    for second in sorted(waiting):
        run = SituatedRun(stage, situation, a)
        before = stage.contents(run)
        a.begin()
        first_answer = short(a(run.first(first)))
        b.execute(f"SET {setting} = 20")
        assert b(run.second(second)) == sqlstate, second
        b.execute(f"RESET {setting}")
        assert stage.contents(run) == before
        a.commit()
        answer = short(b(run.second(second)))
        seen[second] = answer
        expected[second] = answer_alone(stage, b, situation, first, second)
        run.count(first, first_answer, "A")
        run.count(second, answer, "B")
        flaws[second] = run.flaws()
    assert seen == expected
    assert not any(flaws.values()), flaws


def test_a_timeout_inside_a_savepoint(stage: Stage, run: Run, a: Session, b: Session) -> None:
    """The transaction goes on, and has kept what it did before."""
    a(run.register("w"))
    a.begin()
    assert a(run.deliver("A")) == "delivered w"
    b.begin()
    assert b(run.register("v", "other")) == "waiting for other"
    b.execute("SAVEPOINT s; SET LOCAL lock_timeout = 20")
    assert b(run.deliver("B")) == "55P03"
    b.execute("ROLLBACK TO s")
    a.rollback()
    assert b(run.deliver("B")) == "delivered w"
    b.commit()
    assert a(run.get("v")) == "waiting for other"


@pytest.mark.parametrize("situation", ["nobody waits", "w waits", "w is expired"])
def test_the_holder_is_terminated(stage: Stage, a: Session, situation: str) -> None:
    """That is a rollback."""
    run = SituatedRun(stage, situation, a)
    with stage.guest() as holder:
        holder.begin()
        holder(run.first("again"))
        step = a.start(run.second("send"))
        assert stage.waits(step)
        stage.terminate(holder)
    answer = short(step.answer())
    assert answer == answer_alone(stage, a, situation, None, "send")
    run.count("send", answer, "B")
    assert run.flaws() == []


@pytest.mark.parametrize("second", [call for call in CALLS if call not in {"new", "hither"}])
def test_the_one_who_waits_is_terminated(stage: Stage, a: Session, b: Session, c: Session, second: str) -> None:
    """Nobody notices: neither the holder nor who waits behind."""
    run = SituatedRun(stage, "two wait", a)
    a.begin()
    assert a(run.deliver("A")) == "delivered w"
    with stage.guest() as waiting:
        step = waiting.start(run.second(second))
        assert stage.waits(step)
        behind = b.start(run.deliver("S", id="id-1", buffer_until=FAR))
        assert stage.waits(behind)
        stage.terminate(waiting)
        assert step.answer() == "57P01"
    a.commit()
    assert behind.answer() == "delivered z"
    assert stage.contents(run) == ["v waiting for other", "w delivered A", "z delivered S"]
    assert stage.broken_invariants(run) == []
