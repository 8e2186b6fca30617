"""A transaction that ends other than by its own commit or rollback lets go of everything and leaves nothing behind."""

from __future__ import annotations

import pytest

from tests_py.concurrency.calls import Run
from tests_py.concurrency.pairs import TABLES
from tests_py.concurrency.situations import FAR, SituatedRun, short
from tests_py.concurrency.stage import Session, Stage

WAITING_CALLS = ("new", "again", "away", "hither", "send", "id", "keep", "keep id", "remove")


@pytest.mark.parametrize("situation", TABLES)
def test_rollback_to_a_savepoint_lets_go(stage: Stage, a: Session, b: Session, situation: str) -> None:
    """The second call goes on while the first transaction is still open, as if the first call had not been."""
    expected, seen, flaws = {}, {}, {}
    for first, row in TABLES[situation].items():
        for second in ("send", "new"):
            run = SituatedRun(stage, situation, b)
            a.begin()
            a.execute("SAVEPOINT s")
            a(run.first(first))
            step = b.start(run.second(second))
            stage.waits(step)
            a.execute("ROLLBACK TO s")
            # register_waiter changes a waiter in a block of its own; whoever waits for such a block already
            # waits for the whole transaction, as PostgreSQL has it.
            still_waits = first not in {"again", "away", "hither"} and stage.waits(step)
            a.commit()
            answer = short(step.answer())
            seen[first, second] = (still_waits, answer)
            expected[first, second] = (False, row.seconds[second].after_rollback)
            run.count(second, answer, "B")
            flaws[first, second] = run.flaws()
    assert seen == expected
    assert not any(flaws.values()), flaws


@pytest.mark.parametrize("situation", TABLES)
def test_release_of_a_savepoint_does_not(stage: Stage, a: Session, b: Session, situation: str) -> None:
    for first, row in TABLES[situation].items():
        run = SituatedRun(stage, situation, b)
        a.begin()
        a.execute("SAVEPOINT s")
        first_answer = short(a(run.first(first)))
        step = b.start(run.second("send"))
        waits = stage.waits(step)
        assert waits == row.seconds["send"].waits
        if not first_answer.startswith("WS"):
            a.execute("RELEASE s")
        assert stage.waits(step) == waits
        a.commit()
        answer = short(step.answer())
        assert answer == row.seconds["send"].after_commit
        run.count(first, first_answer, "A")
        run.count("send", answer, "B")
        assert run.flaws() == []


def test_a_savepoint_undoes_only_what_came_after(stage: Stage, run: Run, a: Session, b: Session) -> None:
    """The line was held before the savepoint, too."""
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


@pytest.mark.parametrize("situation", ["empty line", "live head", "headless line", "behind a settled head"])
@pytest.mark.parametrize(("setting", "sqlstate"), [("lock_timeout", "55P03"), ("statement_timeout", "57014")])
def test_a_timeout_changes_nothing(
    stage: Stage, a: Session, b: Session, situation: str, setting: str, sqlstate: str
) -> None:
    """The call that timed out can be made again, and is answered as if it had been made only now."""
    table = TABLES[situation]
    first = "again"
    expected, seen, flaws = {}, {}, {}
    for second in WAITING_CALLS:
        if not table[first].seconds[second].waits:
            continue
        run = SituatedRun(stage, situation, a)
        before = stage.contents(run)
        a.begin()
        first_answer = short(a(run.first(first)))
        b.execute(f"SET {setting} = 20")
        assert b(run.second(second)) == sqlstate
        b.execute(f"RESET {setting}")
        assert stage.contents(run) == before
        a.commit()
        answer = short(b(run.second(second)))
        seen[second] = answer
        expected[second] = table[first].seconds[second].after_commit
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


@pytest.mark.parametrize("situation", TABLES)
def test_the_holder_is_terminated(stage: Stage, a: Session, situation: str) -> None:
    """That is a rollback."""
    row = TABLES[situation]["again"]
    run = SituatedRun(stage, situation, a)
    with stage.guest() as holder:
        holder.begin()
        holder(run.first("again"))
        step = a.start(run.second("send"))
        assert stage.waits(step) == row.seconds["send"].waits
        stage.terminate(holder)
    answer = short(step.answer())
    assert answer == row.seconds["send"].after_rollback
    run.count("send", answer, "B")
    assert run.flaws() == []


@pytest.mark.parametrize("second", WAITING_CALLS)
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
