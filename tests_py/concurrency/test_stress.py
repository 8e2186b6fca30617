"""Eight connections at random: no deadlock, no signal lost or doubled, whatever was committed, undone or repeated.

FLOW_SIGNAL_SOAK_SECONDS makes it longer; see soak.py.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence

import psycopg

from tests_py.concurrency import soak
from tests_py.concurrency.stage import Stage
from tests_py.concurrency.stress import Report, Worker, stress

WORKERS = 8

CONTENTS = """
SELECT w.payload_json, w.signal_name, true AS alive
FROM flow_signal.flow_signal_waiters AS w
WHERE w.run_id = ANY(%(runs)s) AND w.delivered_at IS NOT NULL
UNION ALL
SELECT b.payload_json, b.signal_name, NOT b.dead AND b.buffered_until > clock_timestamp()
FROM flow_signal.flow_signal_buffered_signals AS b
WHERE b.run_id = ANY(%(runs)s)
"""


def test_single_statements(stage: Stage) -> None:
    """No deadlock at all."""
    report = stressed(stage, Worker.single_statement, runs=3, seconds=soak.SECONDS / 2)
    check(report, stage)


def test_sweeping_statements(stage: Stage) -> None:
    """Broadcasts and removed runs among the others: no deadlock either."""
    report = stressed(stage, Worker.sweeping_statement, runs=3, seconds=soak.SECONDS / 2)
    assert report.errors == []
    assert report.books.misplaced == []
    assert [broken for run in report.runs for broken in stage.broken_rules(run)] == []


def test_transactions(stage: Stage) -> None:
    """Several calls with savepoints and rollbacks; two may deadlock, and are tried again."""
    report = stressed(stage, Worker.transaction, runs=20, seconds=soak.SECONDS / 2)
    check(report, stage)


def test_engines_and_senders(stage: Stage) -> None:
    """Engines remove a step and register the next one in a transaction: no deadlock, and no id delivered twice."""
    report = stressed(stage, Worker.engine_step, Worker.send, runs=3, seconds=soak.SECONDS / 4)
    assert report.books.calls["engine's transactions"] > 0
    check(report, stage)


def stressed(stage: Stage, *acts: Callable[[Worker], None], runs: int, seconds: float) -> Report:
    seed = soak.choose_seed()
    return stress(stage.conninfo, *acts, runs=runs, workers=WORKERS, seconds=seconds, seed=seed)


def check(report: Report, stage: Stage) -> None:
    print(f"deadlocks: {report.deadlocks}", *sorted(report.books.calls.items()), sep="\n")
    assert report.errors == []
    assert unaccounted(report, stage.conninfo) == []
    assert [broken for run in report.runs for broken in stage.broken_rules(run)] == []


def unaccounted(report: Report, conninfo: str) -> Sequence[str]:
    """What does not fit together in the books, and what is there in the end."""
    books = report.books
    with psycopg.connect(conninfo) as connection:
        rows = connection.execute(CONTENTS, {"runs": list(report.runs)}).fetchall()
    there = Counter(json.dumps(payload) for payload, _, _ in rows)
    alive = Counter(json.dumps(payload) for payload, _, alive in rows if alive)
    found = there + books.removed
    buffered = {payload for payload, step in books.given_to if not step}
    return [
        *books.misplaced,
        *(f"lost: {payload}" for payload in (books.accepted - found)),
        *(f"out of nowhere, or doubled: {payload}" for payload in (found - books.accepted)),
        *(f"twice at once: {payload}" for payload, count in alive.items() if count > 1),
        *(f"of another signal: {payload}" for payload, signal, _ in rows if payload["signal"] != signal),
        *(f"claimed {count} times: {wait}" for wait, count in books.claimed.items() if count > 1),
        *(
            f"replayed to a step that never got it: {payload}, {step}"
            for payload, step in books.replayed_to - books.given_to
            if payload not in buffered
        ),
    ]
