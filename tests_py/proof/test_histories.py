"""Concurrent histories at random: the judge explains every answer, and every wake-up is heard.

FLOW_SIGNAL_PROOF=long makes it the long form; a failure names the seed that repeats the choices, not the race.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests_py.proof import soak
from tests_py.proof.histories import Troop, deadlocks, objections


@pytest.fixture(scope="module")
def troop(shared_database: str) -> Iterator[Troop]:
    troop = Troop(shared_database, workers=4)
    yield troop
    troop.close()


@pytest.mark.parametrize("sweeping", [False, True])
def test_histories(troop: Troop, sweeping: bool) -> None:
    for number in range(soak.scaled(5, 100)):
        seed = f"{soak.seed()} {number}"
        found = troop.round(seed, runs=2, operations=200, sweeping=sweeping)
        texts = list(objections(found))
        assert not texts, f"seed {seed}, {len(texts)} runs:\n{texts[0]}"
        print(deadlocks(found.operations))
