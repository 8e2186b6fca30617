"""Every pair and triple of calls in every state of a queue, and each answer is one that the model allows.

The first transaction has made its call and is open while the others make theirs; they end, or they wait for it. Then it
commits or rolls back. The judge knows when each call returned, so that a call that should have waited is found as well
as a wrong answer. The short form plays the pairs that depend most on waiting, and some triples; the long form plays all
pairs.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

import pytest

from tests_py.proof import soak
from tests_py.proof.interleavings import (
    STATES,
    Case,
    Theatre,
    beside_engines,
    locking_pairs,
    objection,
    pairs,
    triples,
)

SHOWN = 3


@pytest.fixture(scope="module")
def theatre(shared_database: str) -> Iterator[Theatre]:
    theatre = Theatre(shared_database)
    yield theatre
    theatre.close()


def some(cases: Iterator[Case], number: int) -> Iterator[Case]:
    """That many of the cases; which ones is the same in each run."""
    everything = list(cases)
    yield from random.Random(str(everything[0])).sample(everything, min(number, len(everything)))


def check(theatre: Theatre, cases: Iterable[Case]) -> None:
    played = list(cases)
    found = [text for case in played if (text := objection(theatre, case))]
    assert not found, f"{len(found)} of {len(played)}:\n" + "\n\n".join(found[:SHOWN])


@pytest.mark.parametrize("state", STATES)
def test_pairs(theatre: Theatre, state: str) -> None:
    check(theatre, pairs(state) if soak.LONG else locking_pairs(state))


@pytest.mark.parametrize("state", STATES)
def test_beside_engines(theatre: Theatre, state: str) -> None:
    """None of them deadlocks."""
    check(theatre, beside_engines(state) if soak.LONG else some(beside_engines(state), 20))


@pytest.mark.parametrize("state", STATES)
def test_triples(theatre: Theatre, state: str) -> None:
    check(theatre, some(triples(state), soak.scaled(30, 70)))


def test_broadcast_beside_an_engine(theatre: Theatre) -> None:
    check(theatre, [Case("live", (("remove", "new"), ("broadcast",)), "commit")])


@pytest.mark.parametrize("send", ["send", "send two"])
def test_an_older_waiter_comes_to_life_meanwhile(theatre: Theatre, send: str) -> None:
    check(theatre, [Case("expired and live behind", (("z deadline",), (send,), ("deadline",)), "rollback")])
