"""The situations of a line and the calls made in them, for a run in the database as well as for the naive model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Protocol, TypeVar

from tests_py.concurrency.calls import GO, Call, Run
from tests_py.concurrency.stage import Session, Stage

PAST = datetime(2001, 1, 1, tzinfo=timezone.utc)
FAR = datetime(2999, 1, 1, tzinfo=timezone.utc)

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Line(Protocol[T_co]):
    """Whatever can be registered with and sent to: each call is made, or built."""

    queue: str

    def register(
        self, step: str, signal: str = GO, *, until: datetime | None = None, queue: str | None = None
    ) -> T_co: ...

    def deliver(self, payload: str, *, id: str | None = None, buffer_until: datetime | None = None) -> T_co: ...

    def get(self, step: str) -> T_co: ...

    def remove(self, step: str) -> T_co: ...

    def claim(self) -> T_co: ...


def register_w(line: Line[T]) -> T:
    return line.register("w", queue=line.queue)


def register_overdue_w(line: Line[T]) -> T:
    return line.register("w", until=PAST, queue=line.queue)


def register_h(line: Line[T]) -> T:
    return line.register("h")


def register_z(line: Line[T]) -> T:
    return line.register("z")


def deliver_o(line: Line[T]) -> T:
    return line.deliver("O")


SITUATIONS: dict[str, Sequence[Callable[[Line[object]], object]]] = {
    "empty line": [],
    "live head": [register_w],
    "settled head": [register_w, deliver_o],
    "headless line": [register_h, register_w, lambda line: line.remove("h")],
    "behind a settled head": [register_h, deliver_o, register_w],
    "two wait": [register_w, register_z],
    "expired head": [register_overdue_w, lambda line: line.deliver("X")],
    "overdue head": [register_overdue_w],
    "expired before two": [register_overdue_w, lambda line: line.deliver("X"), register_h, register_z],
    "buffered signal": [lambda line: line.deliver("O", buffer_until=FAR)],
}
"""What was done in the run, after step v was registered for `other`."""


def make(line: Line[T], name: str, step: str, payload: str) -> T:
    """The call of that name; see pairs.py."""
    match name:
        case "new":
            return line.register(step)
        case "again":
            return line.register("w", until=FAR, queue=line.queue)
        case "away":
            return line.register("w", "other", queue=line.queue)
        case "hither":
            return line.register("v")
        case "send":
            return line.deliver(payload)
        case "id":
            return line.deliver("S", id="id-1")
        case "keep":
            return line.deliver(payload, buffer_until=FAR)
        case "keep id":
            return line.deliver("S", id="id-1", buffer_until=FAR)
        case "get":
            return line.get("w")
        case "remove":
            return line.remove("w")
        case "claim":
            return line.claim()
    raise ValueError(name)


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
    """The answer as the tables write it."""
    return "".join(ABBREVIATIONS.get(word, word) for word in answer.split())


class SituatedRun(Run):
    """A run in one of the situations, which knows what payloads should be in it."""

    def __init__(self, stage: Stage, situation: str, setter: Session) -> None:
        super().__init__()
        self.stage = stage
        setter(self.register("v", "other"))
        for build in SITUATIONS[situation]:
            call = build(self)
            assert isinstance(call, Call)
            setter(call)
        self.accepted = [payload for payload, _ in stage.payloads(self)]

    def first(self, name: str) -> Call:
        return make(self, name, "a", "A")

    def second(self, name: str) -> Call:
        return make(self, name, "b", "B")

    def count(self, name: str, answer: str, payload: str) -> None:
        """Note which payload a committed call has put in or taken out, by its short answer."""
        if name in {"send", "id", "keep", "keep id"} and answer[0] in "DB":
            self.accepted.append("S" if "id" in name else payload)
        elif name == "remove" and answer[0] == "D":
            self.accepted.remove(answer[1])

    def flaws(self) -> list[str]:
        """What is wrong in the end: a broken invariant, or payloads that are not where the answers said."""
        there = [payload for payload, _ in self.stage.payloads(self)]
        lost = [] if sorted(there) == sorted(self.accepted) else [f"accepted {self.accepted}, there are {there}"]
        return self.stage.broken_invariants(self) + lost
