"""Three and four transactions in any order of their steps: all is as if they had been made one after another.

So no signal is lost between a sender that keeps it and a waiter that registers, an id reaches one waiter only, and no
signal overtakes another. BEGIN takes neither lock nor snapshot, so a transaction has two steps: its call and its end.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import pytest

from tests_py.concurrency import soak
from tests_py.concurrency.schedules import Transaction, flaws
from tests_py.concurrency.situations import SITUATIONS
from tests_py.concurrency.stage import Stage

ENDS = [("commit", "commit"), ("commit", "rollback"), ("rollback", "commit")]


def orders(transactions: Sequence[int], singles: Sequence[int]) -> Iterator[list[int]]:
    """All orders of call and end of the transactions, and of the singles, whose call and end are one step."""

    def continued(done: list[int]) -> Iterator[list[int]]:
        steps = [number for number in transactions if done.count(number) < 2]
        steps += [number for number in singles if number not in done]
        if not steps:
            yield done
        for number in steps:
            yield from continued(done + [number] * (2 if number in singles else 1))

    return continued([])


@pytest.mark.parametrize("ends", ENDS, ids="-".join)
@pytest.mark.parametrize("third", ["new", "keep", "send"])
@pytest.mark.parametrize(
    ("situation", "waiter"),
    [("empty line", "new"), ("empty line", "hither"), ("expired head", "again"), ("behind a settled head", "new")],
)
def test_no_lost_wake_up(stage: Stage, situation: str, waiter: str, third: str, ends: tuple[str, str]) -> None:
    """A sender that keeps its signal and a waiter that comes to life, and somebody else at any moment."""
    transactions = [Transaction("keep", ends[0]), Transaction(waiter, ends[1]), Transaction(third)]
    found = [flaws(stage, situation, transactions, order) for order in orders([0, 1], [2])]
    assert [flaw for flaw in found if flaw] == []


@pytest.mark.parametrize("end", ["commit", "rollback"])
@pytest.mark.parametrize("engine", ["again", "hither"])
@pytest.mark.parametrize("id", ["id", "keep id"])
def test_an_id_reaches_one_waiter(stage: Stage, id: str, engine: str, end: str) -> None:
    """Three senders of one signal, two waiters, and an older waiter that comes to life at any moment."""
    transactions = [Transaction(id, end), Transaction(id), Transaction(id), Transaction(engine)]
    found = [
        flaws(stage, "expired before two", transactions, order)
        for order in orders([0], [1, 2, 3])
        if order.index(1) < order.index(2)
    ]
    assert [flaw for flaw in found if flaw] == []


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_no_signal_overtakes_another(stage: Stage, end: str) -> None:
    """Three senders and two waiters: while the fate of the first signal is open, the others wait."""
    transactions = [Transaction("send", end), Transaction("send"), Transaction("send")]
    found = [flaws(stage, "two wait", transactions, order) for order in orders([0], [1, 2])]
    assert [flaw for flaw in found if flaw] == []


def test_a_waiter_leaves_its_line_and_comes_back(stage: Stage) -> None:
    """Who waited for the waiter while it left must not go on holding it; a matter of chance, so many times."""
    transactions = [Transaction("send"), Transaction("again"), Transaction("new"), Transaction("away")]
    found = [flaws(stage, "expired before two", transactions, [3, 0, 2, 1, 2, 3, 0, 1]) for _ in range(40)]
    assert [flaw for flaw in found if flaw] == []


@pytest.mark.parametrize("situation", SITUATIONS)
def test_any_schedule(stage: Stage, situation: str) -> None:
    dice = random.Random(soak.choose_seed())
    calls = ["new", "again", "away", "hither", "send", "id", "keep", "keep id", "remove"]
    for _ in range(int(soak.SECONDS)):
        count = dice.choice([3, 4])
        transactions = [
            Transaction(dice.choice(calls), dice.choice(["commit", "commit", "rollback"])) for _ in range(count)
        ]
        order = [number for number in range(count) for _ in range(2)]
        dice.shuffle(order)
        assert flaws(stage, situation, transactions, order) is None
