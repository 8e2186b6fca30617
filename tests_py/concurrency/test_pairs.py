"""Every call against every other in every situation: what the second answers, and whether it waits; see pairs.py."""

from __future__ import annotations

import pytest

from tests_py.concurrency.pairs import TABLES, Cell
from tests_py.concurrency.situations import SituatedRun, short
from tests_py.concurrency.stage import Session, Stage

LEVELS = ["REPEATABLE READ", "SERIALIZABLE"]
CASES = [(situation, first) for situation, table in TABLES.items() for first in table]


@pytest.mark.parametrize("end", ["commit", "rollback"])
@pytest.mark.parametrize(("situation", "first"), CASES)
def test_second_answers(stage: Stage, a: Session, b: Session, situation: str, first: str, end: str) -> None:
    expected, seen, flaws = {}, {}, {}
    row = TABLES[situation][first]
    for second, cell in row.seconds.items():
        run = SituatedRun(stage, situation, b)
        a.begin()
        first_answer = short(a(run.first(first)))
        assert first_answer == row.answer
        step = b.start(run.second(second))
        waits = stage.waits(step)
        a.execute(end)
        answer = short(step.answer())
        seen[second] = written(waits, answer)
        expected[second] = written(cell.waits, end_of(cell, end))
        if end == "commit":
            run.count(first, first_answer, "A")
        run.count(second, answer, "B")
        flaws[second] = run.flaws()
    assert seen == expected
    assert not any(flaws.values()), flaws


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("end", ["commit", "rollback"])
@pytest.mark.parametrize(("situation", "first"), CASES)
def test_second_in_a_snapshot(
    stage: Stage, a: Session, b: Session, situation: str, first: str, end: str, level: str
) -> None:
    """Calls that must see what was committed meanwhile refuse at once; get sees the snapshot; remove has its column."""
    row = TABLES[situation][first]
    run = SituatedRun(stage, situation, b)
    b.begin(level)
    before = b(run.get("w"))
    a.begin()
    first_answer = short(a(run.first(first)))
    b.execute("SAVEPOINT s")
    refused = {name: run.second(name) for name in row.seconds if name not in {"get", "remove"}}
    for name, call in {**refused, "await": run.wait("w")}.items():
        step = b.start(call)
        assert not stage.waits(step), name
        assert step.answer() == "0A000", name
        b.execute("ROLLBACK TO s")
    assert b(run.get("w")) == before

    step = b.start(run.remove("w"))
    waits = stage.waits(step)
    a.execute(end)
    answer = short(step.answer())
    cell = row.remove_in_snapshot
    assert written(waits, answer) == written(cell.waits, end_of(cell, end))
    b.commit()
    if end == "commit":
        run.count(first, first_answer, "A")
    run.count("remove", answer, "B")
    assert run.flaws() == []


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("situation", TABLES)
def test_get_in_a_snapshot_after_the_first_committed(
    stage: Stage, a: Session, b: Session, situation: str, level: str
) -> None:
    seen = {}
    for first in TABLES[situation]:
        run = SituatedRun(stage, situation, a)
        b.begin(level)
        before = b(run.get("w"))
        a(run.first(first))
        seen[first] = b(run.get("w")) == before
        b.commit()
    assert all(seen.values()), seen


def end_of(cell: Cell, end: str) -> str:
    return cell.after_commit if end == "commit" else cell.after_rollback


def written(waits: bool, answer: str) -> str:
    return f"~{answer}" if waits else answer
