"""Every pair and triple of calls in every state of a queue, and each answer is one that the model allows.

The first transaction has made its call and is open while the others make theirs; they end, or they wait for it. Then it
commits or rolls back. The judge knows when each call returned, so that a call that should have waited is found as well
as a wrong answer. The short form plays a part of the cases, spread evenly; the long form plays all pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import pytest

from tests_py.proof import soak
from tests_py.proof.interleavings import STATES, Case, Theatre, objection, pairs, triples

SHOWN = 3


@pytest.fixture(scope="module")
def theatre(shared_database: str) -> Iterator[Theatre]:
    theatre = Theatre(shared_database)
    yield theatre
    theatre.close()


def spread(cases: Iterator[Case], number: int, of: int) -> Iterator[Case]:
    """About that many of the cases, evenly; an odd step meets commit and rollback alike."""
    return islice(cases, 0, None, max(1, of // number) | 1)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(("kind", "short", "long"), [(pairs, 40, None), (triples, 40, 2000)])
def test_answers(
    theatre: Theatre, kind: Callable[..., Iterator[Case]], state: str, short: int, long: int | None
) -> None:
    calls = theatre.calls()
    number = long if soak.LONG else short
    cases = kind(state, calls)
    if number:
        cases = spread(cases, number, sum(1 for _ in kind(state, calls)))
    played = list(cases) if state in theatre.states() else []
    found = [text for case in played if (text := objection(theatre, case))]
    assert not found, f"{len(found)} of {len(played)}:\n" + "\n\n".join(found[:SHOWN])
