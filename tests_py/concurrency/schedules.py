"""Transactions of one call each, in any order of their steps, held against the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

from tests_py.concurrency.model import Model
from tests_py.concurrency.situations import SituatedRun, make
from tests_py.concurrency.stage import Stage, Step


@dataclass(frozen=True)
class Transaction:
    """One call, and how its transaction ends. New steps and payloads are named after the transaction."""

    call: str
    end: str = "commit"


@dataclass(frozen=True)
class Outcome:
    """The answers, None where the transaction was rolled back, and what is there in the end."""

    answers: Sequence[str | None]
    contents: Sequence[str]


class Play:
    """Moves each transaction from its call to its end, in the order given.

    A transaction that waits is passed over: its end comes as soon as it has stopped waiting, in the same order.
    """

    def __init__(self, stage: Stage, situation: str, transactions: Sequence[Transaction]) -> None:
        self.stage = stage
        self.situation = situation
        self.transactions = transactions
        self.sessions = stage.sessions(len(transactions))
        self.run = SituatedRun(stage, situation, self.sessions[0])
        self.steps: dict[int, Step] = {}
        self.ended: list[int] = []
        self.preceding: dict[int, set[int]] = {}

    def perform(self, order: Sequence[int]) -> None:
        """Take the steps: the first mention of a transaction is its call, the second its end."""
        pending: list[int] = []
        for number in order:
            if number in self.steps:
                pending.append(number)
            else:
                self._call(number)
            pending = self._end_what_can(pending)
        while pending:  # for moments all may wait: one for the next, which is about to go on
            pending = self._end_what_can(pending)

    def _call(self, number: int) -> None:
        transaction, session = self.transactions[number], self.sessions[number]
        self.preceding[number] = set(self.ended)
        session.begin()
        step, payload = "abcd"[number], "ABCD"[number]
        self.steps[number] = session.start(make(self.run, transaction.call, step, payload))

    def _end_what_can(self, pending: list[int]) -> list[int]:
        while True:
            waiting = {number for number in self.steps if self.stage.waits(self.steps[number])}
            ready = [number for number in pending if number not in waiting]
            if not ready:
                return pending
            self.sessions[ready[0]].execute(self.transactions[ready[0]].end)
            self.ended.append(ready[0])
            pending.remove(ready[0])

    def outcome(self) -> Outcome:
        answers = [
            self.steps[number].answer() if transaction.end == "commit" else None
            for number, transaction in enumerate(self.transactions)
        ]
        return Outcome(answers, self.stage.contents(self.run))

    def serial_outcomes(self) -> Iterator[Outcome]:
        """What the committed transactions would do one after another, in each order that the clock allows."""
        committed = [n for n, transaction in enumerate(self.transactions) if transaction.end == "commit"]
        for order in permutations(committed):
            if any(later in self.preceding[earlier] for i, earlier in enumerate(order) for later in order[i:]):
                continue
            model = Model(self.situation)
            answers: list[str | None] = [None] * len(self.transactions)
            for number in order:
                answers[number] = make(model, self.transactions[number].call, "abcd"[number], "ABCD"[number])
            yield Outcome(answers, model.contents())


def flaws(stage: Stage, situation: str, transactions: Sequence[Transaction], order: Sequence[int]) -> str | None:
    """Play the transactions; say what happened if that was wrong."""
    play = Play(stage, situation, transactions)
    play.perform(order)
    outcome = play.outcome()
    broken = stage.broken_invariants(play.run)
    if outcome in play.serial_outcomes() and not broken:
        return None
    calls = [f"{t.call} {'(rolled back)' if t.end == 'rollback' else ''}" for t in transactions]
    return f"{situation}: {calls}, steps {list(order)}: {outcome} {broken}"
