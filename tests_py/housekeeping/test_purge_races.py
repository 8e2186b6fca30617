"""purge against every other call that touches the waiter, each first: it waits for nobody and hits nobody who lives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tests_py.concurrency.calls import GO, Call, Run, deliver_many, text_answer
from tests_py.concurrency.stage import Session, Stage

LATER_MS = 3_600_000
SHORT_MS = 50
PAUSE = """
CREATE FUNCTION pause() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_lock_shared(1);
    PERFORM pg_advisory_unlock_shared(1);
    RETURN true;
END
$$;
CREATE POLICY pause ON flow_signal.flow_signal_waiters USING (step_key <> 'pause' OR pause());
ALTER TABLE flow_signal.flow_signal_waiters ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
"""
"""Who reads step `pause` of the table waits there while somebody holds the advisory lock, also amid a statement."""

LOCK = "SELECT pg_advisory_lock(1)"
UNLOCK = "SELECT pg_advisory_unlock(1)"


PURGE = "SELECT flow_signal_v1.purge(p_settled_before => clock_timestamp())::text"


def purge() -> Call:
    """Purge what is over now; the answer is the number."""
    return Call(PURGE, {}, text_answer)


@pytest.fixture
def c(stage: Stage) -> Session:
    return stage.sessions(3)[2]


Settle = Callable[[Stage, Run, Session], None]


def deliver(stage: Stage, run: Run, session: Session) -> None:
    session(run.register("w", queue=run.queue))
    assert session(run.deliver("A", id="id-1")) == "delivered w"


def expire(stage: Stage, run: Run, session: Session) -> None:
    assert session(run.register("w", until=stage.ahead(-1), queue=run.queue)) == "expired"


# settled how -> what another transaction does to the waiter and is told, and how many are left to purge once it has
# committed
HOLDERS: list[tuple[Settle, Callable[[Stage, Run], Call], str, str]] = [
    (deliver, lambda _, run: run.claim(), "delivered w A", "1"),
    (deliver, lambda _, run: run.deliver("A", id="id-1"), "replayed delivered w", "1"),
    (deliver, lambda _, run: run.remove("w"), "delivered A", "0"),
    (expire, lambda _, run: run.claim(), "expired w", "1"),
    (expire, lambda _, run: run.deliver("A"), "expired w", "1"),
    (expire, lambda _, run: deliver_many((run, GO, "A"), (run, GO, "B")), "expired w, expired w", "1"),
    (expire, lambda _, run: run.register("w"), "waiting", "0"),
    (expire, lambda stage, run: run.register("w", until=stage.ahead(LATER_MS)), "waiting", "0"),
    (expire, lambda _, run: run.register("w", "other"), "waiting for other", "0"),
    (expire, lambda _, run: run.remove("w"), "expired", "0"),
]


@pytest.mark.parametrize("commits", [True, False])
@pytest.mark.parametrize(("settle", "hold", "answer", "left"), HOLDERS)
def test_what_is_held_is_skipped(
    stage: Stage,
    run: Run,
    a: Session,
    b: Session,
    settle: Settle,
    hold: Callable[[Stage, Run], Call],
    answer: str,
    left: str,
    commits: bool,
) -> None:
    settle(stage, run, a)
    a(run.register("x", "x", until=stage.ahead(-1)))
    a.begin()
    assert a(hold(stage, run)) == answer
    purger = b.start(purge())
    assert not stage.waits(purger)
    assert purger.answer() == "1"
    a.commit() if commits else a.rollback()
    assert b(run.get("x")) == "none"
    assert b(purge()) == (left if commits else "1")


@pytest.mark.parametrize("commits", [True, False])
def test_a_batch_in_flight(stage: Stage, run: Run, a: Session, b: Session, commits: bool) -> None:
    """It delivers to one, settles an overdue one, and finds one delivered."""
    b(run.register("live", "live"))
    b(run.register("overdue", "overdue", until=stage.ahead(-1)))
    b(run.register("delivered", "delivered"))
    b(run.deliver("A", "delivered"))
    a.begin()
    signals = [(run, name, "B") for name in ("live", "overdue", "delivered")]
    assert a(deliver_many(*signals)) == "delivered live, expired overdue, already_delivered delivered"
    purger = b.start(purge())
    assert not stage.waits(purger)
    assert purger.answer() == "0"
    a.commit() if commits else a.rollback()
    assert b(purge()) == ("3" if commits else "2")
    assert b(run.get("live")) == ("none" if commits else "waiting for live")


@pytest.mark.parametrize(
    ("call", "waits", "after_commit", "after_rollback"),
    [
        (lambda run: run.get("w"), False, "delivered A", "delivered A"),
        (lambda run: run.claim(), False, "none", "none"),
        (lambda run: purge(), False, "0", "0"),
        (lambda run: run.deliver("B"), True, "delivered v", "delivered v"),
        (lambda run: run.deliver("A", id="id-1"), True, "delivered v", "replayed delivered w"),
        (
            lambda run: deliver_many((run, GO, "B"), (run, GO, "C")),
            True,
            "delivered v, already_delivered v",
            "delivered v, already_delivered w",
        ),
        (lambda run: run.register("w"), True, "waiting", "delivered A"),
        (lambda run: run.register("new"), True, "waiting", "waiting"),
        (lambda run: run.remove("w"), True, "none", "delivered A"),
    ],
)
@pytest.mark.parametrize("commits", [True, False])
def test_a_head_that_is_being_purged(
    stage: Stage,
    run: Run,
    a: Session,
    b: Session,
    call: Callable[[Run], Call],
    waits: bool,
    after_commit: str,
    after_rollback: str,
    commits: bool,
) -> None:
    """Whose answer depends on it waits, and is told what is true then; v stands behind it."""
    deliver(stage, run, a)
    a(run.register("v"))
    a.begin()
    assert a(purge()) == "1"
    step = b.start(call(run))
    assert stage.waits(step) == waits
    a.commit() if commits else a.rollback()
    assert step.answer() == (after_commit if commits else after_rollback)


def test_the_whole_line_is_purged(stage: Stage, run: Run, a: Session, b: Session) -> None:
    deliver(stage, run, a)
    a.begin()
    assert a(purge()) == "1"
    sender = b.start(run.deliver("B", buffer_until=stage.ahead(LATER_MS)))
    assert stage.waits(sender)
    a.commit()
    assert sender.answer() == "buffered"
    assert b(run.register("v")) == "delivered B"


def let_a_signal_die(stage: Stage, run: Run, session: Session) -> None:
    buffered_until = stage.ahead(SHORT_MS)
    while session(run.deliver("A", buffer_until=buffered_until)) != "buffered":
        buffered_until = stage.ahead(SHORT_MS)
    stage.await_passing(buffered_until)


def test_a_signal_that_is_found_dead(stage: Stage, run: Run, a: Session, b: Session) -> None:
    """Its row is held by the waiter that would have taken it."""
    let_a_signal_die(stage, run, a)
    a.begin()
    assert a(run.register("w")) == "waiting"
    purger = b.start(purge())
    assert not stage.waits(purger)
    assert purger.answer() == "0"
    a.commit()
    assert b(purge()) == "1"


@pytest.mark.parametrize("commits", [True, False])
def test_a_dead_signal_that_is_being_purged(stage: Stage, run: Run, a: Session, b: Session, commits: bool) -> None:
    let_a_signal_die(stage, run, a)
    a.begin()
    assert a(purge()) == "1"
    step = b.start(run.register("w"))
    assert stage.waits(step)
    a.commit() if commits else a.rollback()
    assert step.answer() == "waiting"


@pytest.fixture
def holder(connection: psycopg.Connection[Any], c: Session) -> Iterator[Session]:
    """A session that can keep readers of step `pause` waiting by LOCK, until UNLOCK."""
    connection.execute(PAUSE)
    yield c
    c.execute("SELECT pg_advisory_unlock_all()")


@pytest.mark.parametrize(
    ("change", "answer", "left"),
    [
        (lambda stage, run: run.register("w", until=stage.ahead(LATER_MS)), "waiting", "0"),
        (lambda stage, run: run.register("w", "other"), "waiting for other", "0"),
        (lambda stage, run: run.claim(), "expired w", "1"),
        (lambda stage, run: run.deliver("A"), "expired w", "1"),
        (lambda stage, run: run.remove("w"), "expired", "0"),
    ],
)
def test_a_waiter_changes_amid_the_statement_that_purges_it(
    stage: Stage,
    run: Run,
    a: Session,
    b: Session,
    holder: Session,
    change: Callable[[Stage, Run], Call],
    answer: str,
    left: str,
) -> None:
    """The statement has its snapshot, in which the waiter is over, and not yet its lock."""
    b(run.register("pause", "pause", until=stage.ahead(-1)))
    expire(stage, run, b)
    holder.execute(LOCK)
    purger = b.start(purge())
    assert stage.waits(purger)
    assert a(change(stage, run)) == answer
    holder.execute(UNLOCK)
    assert purger.answer() == "1"
    assert a(run.get("pause")) == "none"
    assert a(purge()) == left


FILL = """
INSERT INTO flow_signal.flow_signal_waiters (run_id, step_key, signal_name, place, created_at, delivered_at)
SELECT gen_random_uuid(), 'pause', 'go', 'head', '2001-01-01', CASE WHEN n <= %s THEN timestamptz '2001-01-02' END
FROM generate_series(1, 5000) AS n
"""


@pytest.mark.parametrize("dead", [5000, 1])
def test_a_call_that_took_long(
    stage: Stage, b: Session, holder: Session, connection: psycopg.Connection[Any], dead: int
) -> None:
    """It ends with what it has found after a quarter of a second, but never with nothing while there is something."""
    connection.execute(FILL, [dead])
    holder.execute(LOCK)
    purger = b.start(purge())
    assert stage.waits(purger)
    stage.await_passing(stage.ahead(251))
    holder.execute(UNLOCK)
    deleted = int(purger.answer())
    assert (0 < deleted < 1000) if dead > 1 else deleted == 1
