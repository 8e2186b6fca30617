"""A waiter asks for a wake-up while a sender delivers: the channel is notified, or the registration has the payload.

Nobody has to look again: who is told `waiting` hears of the delivery on the channel that was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests_py.concurrency.calls import GO, Call, Run, broadcast, deliver_many, register_many
from tests_py.concurrency.situations import FAR
from tests_py.concurrency.stage import PATIENCE_SECONDS, Session, Stage


class Listener:
    """Hears the channels `old` and `new` of one run."""

    def __init__(self, conninfo: str, run: Run) -> None:
        self.old, self.new = f"old {run.id}", f"new {run.id}"
        self.run = run
        self.connection = psycopg.connect(conninfo, autocommit=True)
        for channel in (self.old, self.new):
            self.connection.execute(f'LISTEN "{channel}"'.encode())

    def heard(self, stage: Stage) -> list[str]:
        """What has come so far, with the channel's first word and without the run."""
        stage.notify(self.new, "end")
        notes: list[str] = []
        for note in self.connection.notifies(timeout=PATIENCE_SECONDS):
            if note.payload == "end":
                return notes
            run, step = note.payload.split("/", 1)
            assert run == str(self.run.id)
            notes.append(f"{note.channel.split()[0]}: {step}")
        raise AssertionError("the listener heard nothing")


@pytest.fixture
def listener(stage: Stage, run: Run) -> Iterator[Listener]:
    listener = Listener(stage.conninfo, run)
    yield listener
    listener.connection.close()


def alone(run: Run, channel: str | None) -> list[Call]:
    return [run.register("w", channel=channel)]


def behind_a_delivered_waiter(run: Run, channel: str | None) -> list[Call]:
    return [run.register("h"), run.deliver("H"), run.register("w", channel=channel)]


def behind_a_removed_waiter(run: Run, channel: str | None) -> list[Call]:
    return [run.register("h"), run.register("w", channel=channel), run.remove("h")]


Case = tuple[str, str, str, str, list[str]]
"""Who is first and how its transaction ends; the answers of the registration and of the sender; what was heard."""

ADDED: list[Case] = [
    ("register", "commit", "waiting", "delivered w", ["new: w"]),
    ("register", "rollback", "waiting", "delivered w", []),
    ("deliver", "commit", "delivered A", "delivered w", []),
    ("deliver", "rollback", "waiting", "delivered w", []),
]
CHANGED: list[Case] = [
    ("register", "commit", "waiting", "delivered w", ["new: w"]),
    ("register", "rollback", "waiting", "delivered w", ["old: w"]),
    ("deliver", "commit", "delivered A", "delivered w", ["old: w"]),
    ("deliver", "rollback", "waiting", "delivered w", []),
]
BUFFERED: list[Case] = [
    ("register", "commit", "waiting", "delivered w", ["new: w"]),
    ("register", "rollback", "waiting", "buffered", []),
    ("deliver", "commit", "delivered A", "buffered", ["new: w"]),
    ("deliver", "rollback", "waiting", "buffered", []),
]


class Race:
    """A registration that asks for channel `new`, and a delivery."""

    def __init__(self, stage: Stage, run: Run, a: Session, b: Session, listener: Listener) -> None:
        self.stage, self.run, self.a, self.b, self.listener = stage, run, a, b, listener

    def outcome(self, first: str, end: str, deliver: Call, register: Call | None = None) -> Case:
        calls = {
            "register": register or self.run.register("w", channel=self.listener.new),
            "deliver": deliver,
        }
        [second] = calls.keys() - {first}
        self.a.begin()
        answers = {first: self.a(calls[first])}
        step = self.b.start(calls[second])
        assert self.stage.waits(step)
        self.a.execute(end)
        answers[second] = step.answer()
        return first, end, answers["register"], answers["deliver"], self.listener.heard(self.stage)


@pytest.fixture
def race(stage: Stage, run: Run, a: Session, b: Session, listener: Listener) -> Race:
    return Race(stage, run, a, b, listener)


SENDERS: list[Callable[[Run], Call]] = [
    lambda run: run.deliver("A"),
    lambda run: run.deliver("A", id="id-1"),
    lambda run: deliver_many((run, GO, "A")),
]


@pytest.mark.parametrize("send", SENDERS, ids=["alone", "with an id", "in a batch"])
@pytest.mark.parametrize("before", [alone, behind_a_delivered_waiter, behind_a_removed_waiter])
@pytest.mark.parametrize(
    ("asked_before", "case"), [*((False, case) for case in ADDED), *((True, case) for case in CHANGED)]
)
def test_a_waiter_that_waits_already(
    race: Race,
    before: Callable[[Run, str | None], list[Call]],
    send: Callable[[Run], Call],
    asked_before: bool,
    case: Case,
) -> None:
    for call in before(race.run, race.listener.old if asked_before else None):
        race.a(call)
    first, end, *_ = case
    assert race.outcome(first, end, send(race.run)) == case


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("id", [None, "id-1"])
@pytest.mark.parametrize("case", BUFFERED)
def test_a_new_waiter_and_a_signal_that_is_kept(
    race: Race, moved: bool, id: str | None, batch: bool, case: Case
) -> None:
    """The step is new, or has waited for another signal before; it comes alone, or in a batch."""
    if moved:
        race.a(race.run.register("w", "other", channel=race.listener.old))
    register = register_many((race.run, "w", GO), channel=race.listener.new) if batch else None
    first, end, *_ = case
    assert race.outcome(first, end, race.run.deliver("A", id=id, buffer_until=FAR), register) == case


def test_a_broadcast(stage: Stage, run: Run, a: Session, listener: Listener) -> None:
    signal = f"stop {run.id}"
    a(run.register("w", signal, channel=listener.new))
    a.begin()
    assert a(broadcast(signal, "A")) == "delivered w"
    assert listener.heard(stage) == []
    a.commit()
    assert listener.heard(stage) == ["new: w"]


def test_a_savepoint_takes_the_wake_up_back(stage: Stage, run: Run, a: Session, listener: Listener) -> None:
    a(run.register("w", channel=listener.new))
    a.begin()
    a.execute("SAVEPOINT s")
    assert a(run.deliver("A")) == "delivered w"
    a.execute("ROLLBACK TO s")
    a.commit()
    assert listener.heard(stage) == []
    assert a(run.deliver("B")) == "delivered w"
    assert listener.heard(stage) == ["new: w"]
