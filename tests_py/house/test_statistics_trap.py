"""Calls read as little when the statistics are those of tables that were nearly empty."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from bench.statistics_trap import BATCHES, STATES, reads
from flow_signal.embedded import EmbeddedServer
from tools.server import TEMPLATE


@pytest.fixture
def databases(server: EmbeddedServer, request: pytest.FixtureRequest) -> Iterator[list[str]]:
    names = [f"trap_{STATES.index(request.node.callspec.params['state'])}_{size}" for size in ("few", "many")]
    with psycopg.connect(server.conninfo(), autocommit=True) as admin:
        for name in names:
            admin.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        yield [server.conninfo(name) for name in names]
        for name in names:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("state", STATES)
def test_entries_read(databases: list[str], state: str) -> None:
    few, many = (
        {what: (entries, blocks) for what, entries, blocks in reads(conninfo, state, steps)}
        for conninfo, steps in zip(databases, (200, 2000), strict=True)
    )
    assert set(BATCHES) < set(many)
    # It meets the entries of all that the batch has delivered, and marks them as dead for the next call.
    del many["deliver_signal: the first after the batch"]
    assert {
        what: (figures, few[what])
        for what, figures in many.items()
        if any(large > 1.5 * small + 10 for large, small in zip(figures, few[what], strict=True))
    } == {}
    assert {what: entries for what, (entries, _) in many.items() if entries > 10} == {}
