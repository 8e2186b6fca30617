"""Every call against every other in every situation: what the second answers, and whether it waits; see pairs.py."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

import pytest

from tests_py.concurrency.calls import Call, Run
from tests_py.concurrency.pairs import TABLES, Cell
from tests_py.concurrency.stage import Session, Stage

FAR = datetime(2999, 1, 1, tzinfo=timezone.utc)
LEVELS = ["REPEATABLE READ", "SERIALIZABLE"]

ABBREVIATIONS = {
    "waiting": "W",
    "delivered": "D",
    "expired": "E",
    "already_delivered": "A",
    "buffered": "B",
    "not_found": "N",
    "replayed": "R",
    "none": "-",
    "for": "",
    "other": "o",
    "40001": "!",
}


def short(answer: str) -> str:
    return "".join(ABBREVIATIONS.get(word, word) for word in answer.split())


class Pair(Run):
    """A run in a given situation, and the calls of the tables."""

    def __init__(self, stage: Stage, situation: str, setter: Session) -> None:
        super().__init__()
        self.stage = stage
        calls: dict[str, list[Callable[[], Call]]] = {
            "empty line": [],
            "live head": [self.register_w],
            "settled head": [self.register_w, self.deliver_o],
            "headless line": [lambda: self.register("h"), self.register_w, lambda: self.remove("h")],
            "behind a settled head": [lambda: self.register("h"), self.deliver_o, self.register_w],
            "two wait": [self.register_w, lambda: self.register("z")],
            "expired head": [self.register_overdue_w, lambda: self.deliver("X")],
            "overdue head": [self.register_overdue_w],
            "buffered signal": [lambda: self.deliver("O", buffer_until=FAR)],
        }
        setter(self.register("v", "other"))
        for call in calls[situation]:
            setter(call())
        self.accepted = [payload for payload, _ in stage.payloads(self)]

    def register_w(self) -> Call:
        return self.register("w", queue=self.queue)

    def register_overdue_w(self) -> Call:
        return self.register("w", until=self.stage.ahead(-1), queue=self.queue)

    def deliver_o(self) -> Call:
        return self.deliver("O")

    def call(self, name: str, *, step: str, payload: str) -> Call:
        """A call of the tables, by the transaction whose new step and payload these are."""
        calls: dict[str, Callable[[], Call]] = {
            "new": lambda: self.register(step),
            "again": lambda: self.register("w", until=FAR, queue=self.queue),
            "away": lambda: self.register("w", "other", queue=self.queue),
            "hither": lambda: self.register("v"),
            "send": lambda: self.deliver(payload),
            "id": lambda: self.deliver("S", id="id-1"),
            "keep": lambda: self.deliver(payload, buffer_until=FAR),
            "keep id": lambda: self.deliver("S", id="id-1", buffer_until=FAR),
            "get": lambda: self.get("w"),
            "remove": lambda: self.remove("w"),
            "claim": self.claim,
        }
        return calls[name]()

    def first(self, name: str) -> Call:
        return self.call(name, step="a", payload="A")

    def second(self, name: str) -> Call:
        return self.call(name, step="b", payload="B")

    def count(self, name: str, answer: str, payload: str) -> None:
        """Note which payload a committed call has put in or taken out."""
        if name in {"send", "id", "keep", "keep id"} and answer[0] in "DB":
            self.accepted.append("S" if "id" in name else payload)
        elif name == "remove" and answer[0] == "D":
            self.accepted.remove(answer[1])

    def flaws(self) -> list[str]:
        """What is wrong in the end: a broken invariant, or payloads that are not where the answers said."""
        there = [payload for payload, _ in self.stage.payloads(self)]
        lost = [] if sorted(there) == sorted(self.accepted) else [f"accepted {self.accepted}, there are {there}"]
        return self.stage.broken_invariants(self) + lost


CASES = [(situation, first) for situation, table in TABLES.items() for first in table]


@pytest.mark.parametrize("end", ["commit", "rollback"])
@pytest.mark.parametrize(("situation", "first"), CASES)
def test_second_answers(stage: Stage, a: Session, b: Session, situation: str, first: str, end: str) -> None:
    expected, seen, flaws = {}, {}, {}
    row = TABLES[situation][first]
    for second, cell in row.seconds.items():
        pair = Pair(stage, situation, b)
        a.begin()
        first_answer = short(a(pair.first(first)))
        assert first_answer == row.answer
        step = b.start(pair.second(second))
        waits = stage.waits(step)
        a.execute(end)
        answer = short(step.answer())
        seen[second] = written(waits, answer)
        expected[second] = written(cell.waits, end_of(cell, end))
        if end == "commit":
            pair.count(first, first_answer, "A")
        pair.count(second, answer, "B")
        flaws[second] = pair.flaws()
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
    pair = Pair(stage, situation, b)
    b.begin(level)
    before = b(pair.get("w"))
    a.begin()
    first_answer = short(a(pair.first(first)))
    refusals = {}
    b.execute("SAVEPOINT s")
    for name, call in {
        **{name: pair.second(name) for name in row.seconds if name not in {"get", "remove"}},
        "await": pair.wait("w"),
    }.items():
        step = b.start(call)
        refusals[name] = written(stage.waits(step), step.answer())
        b.execute("ROLLBACK TO s")
    assert set(refusals.values()) == {"0A000"}, refusals
    assert b(pair.get("w")) == before

    step = b.start(pair.remove("w"))
    waits = stage.waits(step)
    a.execute(end)
    answer = short(step.answer())
    cell = row.remove_in_snapshot
    assert written(waits, answer) == written(cell.waits, end_of(cell, end))
    b.commit()
    if end == "commit":
        pair.count(first, first_answer, "A")
    pair.count("remove", answer, "B")
    assert pair.flaws() == []


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("situation", TABLES)
def test_get_in_a_snapshot_after_the_first_committed(
    stage: Stage, a: Session, b: Session, situation: str, level: str
) -> None:
    seen = {}
    for first in TABLES[situation]:
        pair = Pair(stage, situation, a)
        b.begin(level)
        before = b(pair.get("w"))
        a(pair.first(first))
        seen[first] = b(pair.get("w")) == before
        b.commit()
    assert all(seen.values()), seen


def end_of(cell: Cell, end: str) -> str:
    return cell.after_commit if end == "commit" else cell.after_rollback


def written(waits: bool, answer: str) -> str:
    return f"~{answer}" if waits else answer
