"""purge against every other call that touches the waiter, each first: it waits for nobody and hits nobody who lives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tests_py.concurrency.calls import GO, Call, Row, Run, deliver_many, text_answer
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


DELETED = """
pg_stat_get_xact_tuples_deleted('flow_signal.flow_signal_waiters'::regclass)
+ pg_stat_get_xact_tuples_deleted('flow_signal.flow_signal_buffered_signals'::regclass)
"""
PURGE = "flow_signal_v1.purge(p_settled_before => clock_timestamp())"
PURGE_COUNTED = f"SELECT set_config('flow_signal.purge_block', '0', false), {DELETED}, {PURGE}, {DELETED}"


def purged(row: Row | None) -> str:
    assert row
    _, before, deleted, after = row
    assert deleted >= after - before
    return str(after - before)


def purge() -> Call:
    """Purge what is over now, from the first waiter on; the answer is how many waiters and buffered signals went.

    Of the receipts and lock rows that they leave, as many go as there is time for.
    """
    return Call(PURGE_COUNTED, {}, purged)


def purge_rows() -> Call:
    """Purge; the answer is how many rows of all kinds went."""
    return Call(f"SELECT {PURGE}::text", {}, text_answer)


def purge_all(session: Session) -> None:
    while session(purge_rows()) != "0":
        pass


@pytest.fixture
def c(stage: Stage) -> Session:
    return stage.sessions(3)[2]


Settle = Callable[[Stage, Run, Session], None]


def deliver(stage: Stage, run: Run, session: Session) -> None:
    session(run.register("w", queue=run.queue))
    assert session(run.deliver("A", id="id-1")) == "delivered w"


def expire(stage: Stage, run: Run, session: Session) -> None:
    stage.make_overdue(session, run, "w", queue=run.queue)


# settled how -> what another transaction does to the waiter and is told, and how many are left to purge once it has
# committed
HOLDERS: list[tuple[Settle, Callable[[Stage, Run], Call], str, str]] = [
    (deliver, lambda _, run: run.claim(), "delivered w A", "1"),
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
    """It delivers to one, settles an overdue one, and finds one delivered, which it does not hold."""
    b(run.register("live", "live"))
    stage.make_overdue(b, run, "overdue", "overdue")
    b(run.register("delivered", "delivered"))
    b(run.deliver("A", "delivered"))
    a.begin()
    signals = [(run, name, "B") for name in ("live", "overdue", "delivered")]
    assert a(deliver_many(*signals)) == "delivered live, expired overdue, already_delivered delivered"
    purger = b.start(purge())
    assert not stage.waits(purger)
    assert purger.answer() == "1"
    a.commit() if commits else a.rollback()
    assert b(purge()) == ("2" if commits else "1")
    assert b(run.get("live")) == ("none" if commits else "waiting for live")


@pytest.mark.parametrize(
    ("call", "waits", "after_commit", "after_rollback"),
    [
        (lambda run: run.get("w"), False, "delivered A", "delivered A"),
        (lambda run: run.claim(), False, "none", "none"),
        (lambda run: purge(), False, "0", "0"),
        (lambda run: run.deliver("B"), False, "delivered v", "delivered v"),
        (lambda run: run.deliver("A", id="id-1"), False, "replayed delivered w", "replayed delivered w"),
        (
            lambda run: deliver_many((run, GO, "B"), (run, GO, "C")),
            False,
            "delivered v, already_delivered w",
            "delivered v, already_delivered w",
        ),
        (lambda run: run.register("w"), True, "waiting", "delivered A"),
        (lambda run: run.register("new"), False, "waiting", "waiting"),
        (lambda run: run.remove("w"), True, "none", "delivered A"),
    ],
)
@pytest.mark.parametrize("commits", [True, False])
def test_a_waiter_that_is_being_purged(
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
    """Only a call about that step waits, and is told what is true then; v waits too."""
    deliver(stage, run, a)
    a(run.register("v"))
    a.begin()
    assert a(purge()) == "1"
    step = b.start(call(run))
    assert stage.waits(step) == waits
    a.commit() if commits else a.rollback()
    assert step.answer() == (after_commit if commits else after_rollback)


def test_all_of_a_signal_is_purged(stage: Stage, run: Run, a: Session, b: Session) -> None:
    """Its lock row as well, which the sender makes anew."""
    deliver(stage, run, a)
    a.begin()
    purge_all(a)
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


def leave_a_lock_row(session: Session, run: Run) -> None:
    session(run.register("gone"))
    session(run.remove("gone"))


@pytest.mark.parametrize("commits", [True, False])
@pytest.mark.parametrize(
    ("hold", "answer", "next_call", "next_answer"),
    [
        (lambda _, run: run.register("w"), "waiting", lambda run: run.deliver("A"), "delivered w"),
        (
            lambda stage, run: run.deliver("A", buffer_until=stage.ahead(LATER_MS)),
            "buffered",
            lambda run: run.register("w"),
            "delivered A",
        ),
    ],
)
def test_a_lock_row_that_is_held(
    stage: Stage,
    run: Run,
    a: Session,
    b: Session,
    hold: Callable[[Stage, Run], Call],
    answer: str,
    next_call: Callable[[Run], Call],
    next_answer: str,
    commits: bool,
) -> None:
    """Needless until now: it is skipped, and stays if it is needed after the commit."""
    leave_a_lock_row(a, run)
    a.begin()
    assert a(hold(stage, run)) == answer
    purger = b.start(purge_rows())
    assert not stage.waits(purger)
    assert purger.answer() == "0"
    a.commit() if commits else a.rollback()
    assert b(purge_rows()) == ("0" if commits else "1")
    if commits:
        assert b(next_call(run)) == next_answer


@pytest.mark.parametrize("commits", [True, False])
@pytest.mark.parametrize(
    ("call", "answer", "next_call", "next_answer"),
    [
        (lambda _, run: run.register("w"), "waiting", lambda run: run.deliver("A"), "delivered w"),
        (lambda _, run: run.deliver("A"), "not_found", lambda run: run.register("w"), "waiting"),
        (
            lambda stage, run: run.deliver("A", buffer_until=stage.ahead(LATER_MS)),
            "buffered",
            lambda run: run.register("w"),
            "delivered A",
        ),
    ],
)
def test_a_lock_row_that_is_being_purged(
    stage: Stage,
    run: Run,
    a: Session,
    b: Session,
    call: Callable[[Stage, Run], Call],
    answer: str,
    next_call: Callable[[Run], Call],
    next_answer: str,
    commits: bool,
) -> None:
    leave_a_lock_row(a, run)
    a.begin()
    assert a(purge_rows()) == "1"
    step = b.start(call(stage, run))
    assert stage.waits(step)
    a.commit() if commits else a.rollback()
    assert step.answer() == answer
    assert b(next_call(run)) == next_answer


def test_a_receipt_of_a_waiter_that_stays(stage: Stage, run: Run, a: Session, b: Session) -> None:
    """While its waiter is there, or its removal not committed, the receipt stays."""
    a(run.register("w"))
    a.begin()
    assert a(run.deliver("A", id="id-1")) == "delivered w"
    assert b(purge_rows()) == "0"
    a.commit()
    a.begin()
    assert a(run.remove("w")) == "delivered A"
    assert b(purge_rows()) == "0"
    a.rollback()
    assert b(run.deliver("A", id="id-1")) == "replayed delivered w"


@pytest.mark.parametrize("commits", [True, False])
def test_a_receipt_that_is_being_purged(stage: Stage, run: Run, a: Session, b: Session, commits: bool) -> None:
    """A retry that finds it is answered by it; one that comes later is a new signal."""
    deliver(stage, run, a)
    a(run.remove("w"))
    a.begin()
    purge_all(a)
    again = b.start(run.deliver("A", id="id-1"))
    assert not stage.waits(again)
    assert again.answer() == "replayed delivered w"
    a.commit() if commits else a.rollback()
    assert b(run.deliver("A", id="id-1")) == ("not_found" if commits else "replayed delivered w")


@pytest.fixture
def holder(connection: psycopg.Connection[Any], c: Session) -> Iterator[Session]:
    """A session that can keep readers of step `pause` waiting by LOCK, until UNLOCK."""
    connection.execute(PAUSE)
    yield c
    c.execute("SELECT pg_advisory_unlock_all()")


@pytest.mark.parametrize(
    ("change", "answer", "deleted"),
    [
        (lambda stage, run: run.register("w", until=stage.ahead(LATER_MS)), "waiting", "1"),
        (lambda stage, run: run.register("w", "other"), "waiting for other", "1"),
        (lambda stage, run: run.claim(), "expired w", "2"),
        (lambda stage, run: run.deliver("A"), "expired w", "2"),
        (lambda stage, run: run.remove("w"), "expired", "1"),
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
    deleted: str,
) -> None:
    """The statement has its snapshot, in which w is over, and not yet its lock; it takes w only if w is over still."""
    b(run.register("pause", "pause", until=stage.ahead(-1)))
    stage.make_overdue(b, run, "w", queue=run.queue)
    holder.execute(LOCK)
    purger = b.start(purge())
    assert stage.waits(purger)
    assert a(change(stage, run)) == answer
    holder.execute(UNLOCK)
    assert purger.answer() == deleted
    assert a(run.get("pause")) == "none"
    assert a(purge()) == "0"


FILL = """
INSERT INTO flow_signal.flow_signal_waiters (run_id, step_key, signal_name, status, created_at, delivered_at)
SELECT
    gen_random_uuid(), 'pause', 'go', CASE WHEN n <= %(dead)s THEN 'delivered' ELSE 'waiting' END, '2001-01-01',
    CASE WHEN n <= %(dead)s THEN timestamptz '2001-01-02' END
FROM generate_series(1, 5000) AS n
"""


@pytest.mark.parametrize("dead", [5000, 1])
def test_a_call_that_took_long(
    stage: Stage, b: Session, holder: Session, connection: psycopg.Connection[Any], dead: int
) -> None:
    """It ends with what it has found after a quarter of a second, but never with nothing while there is something."""
    connection.execute(FILL, {"dead": dead})
    holder.execute(LOCK)
    purger = b.start(purge())
    assert stage.waits(purger)
    stage.await_passing(stage.ahead(251))
    holder.execute(UNLOCK)
    deleted = int(purger.answer())
    assert (0 < deleted < 1000) if dead > 1 else deleted == 1
