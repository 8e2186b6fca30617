"""The defects of FlowOrchestrator's own PostgreSQL store, each in its own words, and that they are none here.

Its statements: an upsert; a delivery that skips locked rows, with a second look when nothing was updated; a select by
key; a delete. Not here, because there is nothing at this level that could have them: D15 (its endpoint reads the state
of the run in a query of its own before it delivers; here the engine removes the waiters of a run that is over in the
transaction that ends it).
"""

from __future__ import annotations

from datetime import datetime, timezone

import psycopg
import pytest

from flow_signal import FlowSignalStore
from tests_py.concurrency.calls import Run
from tests_py.concurrency.stage import Session, Stage

LONG_AGO = datetime(2001, 1, 1, tzinfo=timezone.utc)
FAR = datetime(2990, 1, 1, tzinfo=timezone.utc)


def columns(stage: Stage, run: Run, step: str) -> tuple[datetime, datetime | None, datetime | None]:
    with psycopg.connect(stage.conninfo) as conn:
        waiter = FlowSignalStore(conn).get_waiter(run.id, step)
    assert waiter is not None
    return waiter.created_at, waiter.expires_at, waiter.delivered_at


def test_d1_not_found_while_it_is_being_delivered(stage: Stage, run: Run, a: Session, b: Session) -> None:
    """D1: a second sender skips the locked waiter and says not_found."""
    a(run.register("s"))
    a.begin()
    a(run.deliver("A"))
    second = b.start(run.deliver("B"))
    assert stage.waits(second)
    a.commit()
    assert second.answer() == "already_delivered s"


def test_d1b_the_signal_is_lost_when_the_first_sender_rolls_back(
    stage: Stage, run: Run, a: Session, b: Session
) -> None:
    """D1b: the same, the first sender rolls back, and the second signal is lost although the waiter waits."""
    a(run.register("s"))
    a.begin()
    a(run.deliver("A"))
    second = b.start(run.deliver("B"))
    assert stage.waits(second)
    a.rollback()
    assert second.answer() == "delivered s"


def test_d1c_any_lock_hides_the_waiter(stage: Stage, run: Run, a: Session, b: Session) -> None:
    """D1c: a re-registration that is not yet committed makes the sender say not_found."""
    a(run.register("s"))
    a.begin()
    a(run.register("s", until=FAR))
    second = b.start(run.deliver("B"))
    assert stage.waits(second)
    a.commit()
    assert second.answer() == "delivered s"


def test_d2_a_late_signal_is_delivered(run: Run, a: Session) -> None:
    """D2: a signal ten minutes past the deadline is delivered."""
    a(run.register("s", until=LONG_AGO))
    assert a(run.deliver("A")) == "expired s"
    assert a(run.get("s")) == "expired"


def test_d3_the_step_times_out_and_the_sender_succeeds(stage: Stage, run: Run, a: Session, b: Session) -> None:
    """D3: the worker finds the waiter expired and fails the step; then a sender is told delivered."""
    a(run.register("s", until=LONG_AGO, queue=run.queue))
    a.begin()
    assert a(run.claim()) == "expired s"
    sender = b.start(run.deliver("B"))
    stage.waits(sender)
    a.commit()
    assert sender.answer() == "expired s"


def test_d4_an_early_signal_is_lost(run: Run, a: Session) -> None:
    """D4: a signal that comes before its waiter is forgotten, and the step waits for its whole timeout."""
    assert a(run.deliver("A", buffer_until=FAR)) == "buffered"
    assert a(run.register("s")) == "delivered A"


def test_d5_a_payload_that_is_no_json(stage: Stage, run: Run, a: Session) -> None:
    """D5: text that is no JSON is stored, delivered, and breaks the reader."""
    a(run.register("s"))
    with psycopg.connect(stage.conninfo) as conn, pytest.raises(psycopg.errors.InvalidTextRepresentation):
        FlowSignalStore(conn).deliver_signal(run.id, "go", payload_json="not json {{")
    assert a(run.get("s")) == "waiting"


def test_d6_a_delivered_row_is_registered_for_another_signal(run: Run, a: Session) -> None:
    """D6: a re-registration changes the name of a delivered row and keeps the old payload in it."""
    a(run.register("s"))
    a(run.deliver("A"))
    assert a(run.register("s", "other")) == "WS001"
    assert a(run.get("s")) == "delivered A"
    assert a(run.remove("s")) == "delivered A"
    assert a(run.register("s", "other")) == "waiting for other"
    assert a(run.deliver("B", "other")) == "delivered s"


def test_d6b_the_same_while_the_delivery_is_in_flight(stage: Stage, run: Run, a: Session, b: Session) -> None:
    """D6b: the re-registration waits for the delivery, then renames the row that holds the payload."""
    a(run.register("s"))
    a.begin()
    a(run.deliver("A"))
    renamed = b.start(run.register("s", "other"))
    assert stage.waits(renamed)
    a.commit()
    assert renamed.answer() == "WS001"
    assert b(run.get("s")) == "delivered A"


def test_d7_a_retry_reaches_the_next_waiter(run: Run, a: Session) -> None:
    """D7: the reply is lost, the sender repeats, and one approval satisfies two gates."""
    a(run.register("s1"))
    a(run.register("s2"))
    assert a(run.deliver("A", id="approval 1")) == "delivered s1"
    assert a(run.deliver("A", id="approval 1")) == "replayed delivered s1"
    assert a(run.get("s2")) == "waiting"


def test_d7b_the_older_waiter_gets_the_newer_signal(stage: Stage, run: Run, a: Session, b: Session, c: Session) -> None:
    """D7b: the first delivery rolls back after the second one has skipped to the younger waiter."""
    a(run.register("s1"))
    a(run.register("s2"))
    a.begin()
    a(run.deliver("A"))
    second = b.start(run.deliver("B"))
    assert stage.waits(second)
    a.rollback()
    assert second.answer() == "delivered s1"
    assert c(run.deliver("C")) == "delivered s2"


def test_d8_already_delivered_while_another_waits(stage: Stage, run: Run, a: Session, b: Session) -> None:
    """D8: the one that waits is locked, the sender looks at the oldest only and drops the signal."""
    a(run.register("s1"))
    a(run.deliver("A"))
    a(run.register("s2"))
    a.begin()
    a(run.register("s2", until=FAR))
    second = b.start(run.deliver("B"))
    assert stage.waits(second)
    a.commit()
    assert second.answer() == "delivered s2"


def test_d9_remove_destroys_an_unread_payload(stage: Stage, run: Run, a: Session, b: Session) -> None:
    """D9: a removal that waited for a delivery deletes the payload and returns nothing."""
    a(run.register("s"))
    a.begin()
    a(run.deliver("A"))
    removed = b.start(run.remove("s"))
    assert stage.waits(removed)
    a.commit()
    assert removed.answer() == "delivered A"


def test_d10_instants_of_the_start_of_the_transaction(stage: Stage, run: Run, a: Session, b: Session) -> None:
    """D10: a long transaction delivers with delivered_at before created_at; waiters of one transaction tie."""
    a.begin()
    a(run.deliver("X", "another"))
    b(run.register("s1"))
    a(run.deliver("A"))
    a.commit()
    created_at, _, delivered_at = columns(stage, run, "s1")
    assert delivered_at is not None
    assert created_at < delivered_at
    a.begin()
    a(run.register("s2"))
    a(run.register("s3"))
    a.commit()
    assert columns(stage, run, "s2")[0] < columns(stage, run, "s3")[0]


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_d11_a_raw_error_in_a_snapshot(run: Run, a: Session, b: Session, level: str) -> None:
    """D11: in a transaction with an old snapshot the delivery ends in a raw 40001; here the refusal says what to do."""
    a(run.register("s"))
    a.begin(level)
    a(run.get("s"))
    b(run.deliver("B"))
    assert a(run.deliver("A")) == "0A000"


def test_d12_a_step_that_timed_out_can_wait_again(run: Run, a: Session) -> None:
    """D12: the expired row stays, so that a retried step fails at once."""
    a(run.register("s", until=LONG_AGO))
    a(run.deliver("A"))
    assert a(run.register("s", until=FAR)) == "waiting"
    assert a(run.deliver("B")) == "delivered s"


def test_d13_rows_that_are_done_stay_for_ever(stage: Stage, run: Run, a: Session) -> None:
    """D13: nobody ever removes a row; here remove_waiter acknowledges, and nothing is left."""
    a(run.register("s"))
    a(run.deliver("A"))
    a(run.remove("s"))
    a(run.register("t"))
    a(run.remove("t"))
    assert stage.contents(run) == []


def test_d14_the_wake_up_is_not_tied_to_the_commit(run: Run, a: Session) -> None:
    """D14: a crash between the delivery's commit and the wake-up lets the step sleep; here the claim finds it."""
    a(run.register("s", queue=run.queue))
    a(run.deliver("A"))
    assert a(run.claim()) == "delivered s A"


def test_d16_names_in_another_case(run: Run, a: Session) -> None:
    """D16: backends disagree on case, on which waiter is meant, and on blank names."""
    a(run.register("s1", "go"))
    a(run.register("s2", "go"))
    assert a(run.deliver("A", "GO")) == "not_found"
    assert a(run.deliver("A")) == "delivered s1"
    assert a(run.deliver("B")) == "delivered s2"
    assert a(run.deliver("C", " ")) == "22023"


def test_d17_no_limits_and_no_rights(stage: Stage, run: Run, a: Session) -> None:
    """D17: no limit to a payload, a raw 22001 on a long name, anybody may write the table."""
    assert a(run.register("x" * 257)) == "22023"
    assert a(run.deliver("x" * 1_048_576)) == "WS003"
    with psycopg.connect(stage.conninfo) as conn:
        conn.execute("SET ROLE flow_signal_admin")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("DELETE FROM flow_signal.flow_signal_waiters")


def test_a_rollback_undoes_the_signal(run: Run, a: Session, b: Session) -> None:
    """Others send over a connection of their own, so that the caller's rollback does not undo it."""
    a(run.register("s"))
    a.begin()
    assert a(run.deliver("A")) == "delivered s"
    a.rollback()
    assert b(run.get("s")) == "waiting"


def test_a_payload_of_null_is_no_timeout(stage: Stage, run: Run, a: Session) -> None:
    """Others return null at a timeout, which a payload of null is too."""
    a(run.register("s"))
    with psycopg.connect(stage.conninfo, autocommit=True) as conn:
        store = FlowSignalStore(conn)
        store.deliver_signal(run.id, "go", None)
        waiter = store.wait(run.id, "s", timeout=0)
    assert (waiter.state, waiter.payload_json) == ("delivered", "null")
