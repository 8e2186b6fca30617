"""The situations of a run, and the calls made in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timezone

from tests_py.concurrency.calls import Call, Run
from tests_py.concurrency.stage import Session, Stage

PAST = datetime(2001, 1, 1, tzinfo=timezone.utc)
FAR = datetime(2999, 1, 1, tzinfo=timezone.utc)


def register_w(run: Run) -> Call:
    return run.register("w", queue=run.queue)


SITUATIONS: dict[str, Sequence[Callable[[Run], Call]]] = {
    "nobody waits": [],
    "w waits": [register_w],
    "two wait": [register_w, lambda run: run.register("z")],
    "w is delivered": [register_w, lambda run: run.deliver("O")],
    "w is delivered, z waits": [register_w, lambda run: run.deliver("O"), lambda run: run.register("z")],
    "w is expired": [lambda run: run.register("w", until=PAST, queue=run.queue)],
    "a signal is buffered": [lambda run: run.deliver("O", buffer_until=FAR)],
}
"""What was done in the run, after step v was registered for `other`."""

CALLS = ("new", "again", "away", "hither", "send", "id", "keep", "keep id", "remove")
"""The names of the calls that change something."""


def make(run: Run, name: str, step: str, payload: str) -> Call:
    """The call of that name; step v waits for `other`."""
    match name:
        case "new":
            return run.register(step)
        case "again":
            return run.register("w", until=FAR, queue=run.queue)
        case "away":
            return run.register("w", "other", queue=run.queue)
        case "hither":
            return run.register("v")
        case "send":
            return run.deliver(payload)
        case "id":
            return run.deliver("S", id="id-1")
        case "keep":
            return run.deliver(payload, buffer_until=FAR)
        case "keep id":
            return run.deliver("S", id="id-1", buffer_until=FAR)
        case "get":
            return run.get("w")
        case "remove":
            return run.remove("w")
        case "claim":
            return run.claim()
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
}


def short(answer: str) -> str:
    """The answer in a few letters: state or status, then payload or step; `o` when a waiter is for `other`."""
    return "".join(ABBREVIATIONS.get(word, word) for word in answer.split())


class SituatedRun(Run):
    """A run in one of the situations, which knows what payloads should be in it."""

    def __init__(self, stage: Stage, situation: str, setter: Session) -> None:
        super().__init__()
        self.stage = stage
        setter(self.register("v", "other"))
        for build in SITUATIONS[situation]:
            setter(build(self))
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


def answer_alone(stage: Stage, session: Session, situation: str, first: str | None, second: str) -> str:
    """The second call's short answer where nothing races: the first one is committed, or (None) was never made."""
    run = SituatedRun(stage, situation, session)
    if first:
        session(run.first(first))
    return short(session(run.second(second)))
