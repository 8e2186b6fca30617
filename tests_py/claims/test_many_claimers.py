"""Eight claimers share one queue: each waiter goes to exactly one of them."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests_py.claims.queues import DELIVER, QUEUE, REGISTER, make_due

CLAIMERS = 8
DUE = 5_000
PATIENCE_SECONDS = 60

Claimed = tuple[UUID, str]

CLAIM = """
SELECT w.run_id, w.state
FROM flow_signal_v1.claim_waiters(p_queue => %s, p_limit => %s, p_lease => %s * interval '1 second') AS w
"""
HOUR_SECONDS = 3600


def claim_until_empty(conninfo: str, seed: int, crashes: float) -> list[Claimed]:
    """Claim in bites of random size until nothing is left; sometimes crash before the commit."""
    chance = random.Random(seed)
    kept: list[Claimed] = []
    connection = psycopg.connect(conninfo)
    empty = 0
    while empty < 3:
        claimed = connection.execute(CLAIM, [QUEUE, chance.randrange(1, 100), HOUR_SECONDS]).fetchall()
        if chance.random() < crashes:
            connection.close()
            connection = psycopg.connect(conninfo)
            continue
        connection.commit()
        kept += claimed
        empty = 0 if claimed else empty + 1
    connection.close()
    return kept


def all_claimed(conninfo: str, crashes: float) -> list[Claimed]:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    with ThreadPoolExecutor(CLAIMERS) as threads:
        parts = threads.map(lambda n: claim_until_empty(conninfo, seed + n, crashes), range(CLAIMERS))
        return [claimed for part in parts for claimed in part]


def repeated(claimed: Sequence[Claimed]) -> list[UUID]:
    return [run_id for run_id, times in Counter(run_id for run_id, _ in claimed).items() if times > 1]


def sequential_scans(connection: psycopg.Connection[Any]) -> int:
    query = "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'flow_signal_waiters'"
    [[scans]] = connection.execute(query).fetchall()
    return int(scans)


@pytest.mark.parametrize("crashes", [0, 0.2])
def test_each_waiter_is_claimed_once(database: str, connection: psycopg.Connection[Any], crashes: float) -> None:
    make_due(connection, DUE)
    claimed = all_claimed(database, crashes)
    assert repeated(claimed) == []
    assert Counter(state for _, state in claimed) == {"delivered": DUE // 2, "expired": DUE // 2}


def test_no_claim_scans_the_table(database: str, connection: psycopg.Connection[Any]) -> None:
    """Statistics that say the table is empty do not mislead it either."""
    connection.execute("ALTER TABLE flow_signal.flow_signal_waiters SET (autovacuum_enabled = off)")
    connection.execute("ANALYZE flow_signal.flow_signal_waiters")
    make_due(connection, DUE)
    wait_for_statistics(connection)
    before = sequential_scans(connection)
    assert len(all_claimed(database, 0)) == DUE
    wait_for_statistics(connection)
    assert sequential_scans(connection) == before


def wait_for_statistics(connection: psycopg.Connection[Any]) -> None:
    """Return when the counters hold what ended before: a session reports at its end, and in its own order."""
    query = "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'probe'"
    with psycopg.connect(connection.info.dsn, autocommit=True) as probe:
        probe.execute("DROP TABLE IF EXISTS probe")
        probe.execute("CREATE TABLE probe ()")
        probe.execute("SELECT FROM probe")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while connection.execute(query).fetchall() != [(1,)]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_while_signals_come(database: str, connection: psycopg.Connection[Any]) -> None:
    """Claimers, senders and remove_waiter on the same waiters: nothing is lost, nobody deadlocks."""
    values: dict[str, Any] = {"queue": QUEUE, "half_overdue": False, "first": 1, "count": DUE}
    connection.execute(REGISTER, values)

    def send(first: int) -> None:
        with psycopg.connect(database, autocommit=True) as sender:
            for number in range(first, DUE + 1, 50):
                sender.execute(DELIVER, {"first": number, "count": 50})

    def work(_: int) -> list[Claimed]:
        done: list[Claimed] = []
        deadline = time.monotonic() + PATIENCE_SECONDS
        with psycopg.connect(database, autocommit=True) as worker:
            while connection.execute("SELECT count(*) FROM flow_signal.flow_signal_waiters").fetchall() != [(0,)]:
                assert time.monotonic() < deadline
                for run_id, state in worker.execute(CLAIM, [QUEUE, 20, HOUR_SECONDS]).fetchall():
                    worker.execute("SELECT FROM flow_signal_v1.remove_waiter(%s, 'step')", [run_id])
                    done.append((run_id, state))
        return done

    with ThreadPoolExecutor(CLAIMERS + 2) as threads:
        senders = [threads.submit(send, first) for first in (1, 2)]
        parts = list(threads.map(work, range(CLAIMERS)))
        for sender in senders:
            sender.result()
    claimed = [row for part in parts for row in part]
    assert repeated(claimed) == []
    assert Counter(state for _, state in claimed) == {"delivered": DUE}
