"""Defects of FlowOrchestrator's own PostgreSQL store, each with a test that it is none of ours.

flow-signal does what that store does. D1 to D17 are the points in which its behaviour was found to be wrong or
undefined; each test says in its own words what went wrong there. Parts of three points are no subject of a test here:

D13: that a retention job forgot the table; here a waiter is gone when its engine removes it.
D15: whether a run is still going on, which only the engine knows; here a run that is over has its waiters removed.
D17: that a run id has to be a UUID, which is so by design; and that waiters could not be listed.
"""

from __future__ import annotations

from uuid import uuid4

import psycopg
import pytest

from flow_signal import FlowSignalStore
from flow_signal.errors import PayloadTooLargeError
from tests_py.concurrency.calls import Run
from tests_py.concurrency.situations import FAR, PAST
from tests_py.concurrency.stage import PATIENCE_SECONDS, Session, Stage


@pytest.fixture
def store(a: Session) -> FlowSignalStore:
    return FlowSignalStore(a.connection)


def test_d1_no_spurious_not_found(stage: Stage, run: Run, a: Session, b: Session) -> None:
    """A second sender skipped the row that the first had locked, and was told that there is no waiter."""
    a(run.register("w"))
    a.begin()
    assert a(run.deliver("A")) == "delivered w"
    second = b.start(run.deliver("B"))
    assert stage.waits(second)
    a.commit()
    assert second.answer() == "already_delivered w"


def test_d1b_no_signal_is_lost_to_a_rollback(stage: Stage, run: Run, a: Session, b: Session) -> None:
    """The same, and the first sender rolled back: a live waiter, and the second sender was told that there is none."""
    a(run.register("w"))
    a.begin()
    assert a(run.deliver("A")) == "delivered w"
    second = b.start(run.deliver("B"))
    assert stage.waits(second)
    a.rollback()
    assert second.answer() == "delivered w"


def test_d1c_a_registration_in_flight_hides_nothing(stage: Stage, run: Run, a: Session, b: Session) -> None:
    """Any lock did it: while the step was registered again, its signal was not_found."""
    a(run.register("w"))
    a.begin()
    assert a(run.register("w", until=FAR)) == "waiting"
    sender = b.start(run.deliver("B"))
    assert stage.waits(sender)
    a.commit()
    assert sender.answer() == "delivered w"


def test_d2_no_delivery_after_the_deadline(stage: Stage, run: Run, a: Session) -> None:
    """The deadline was not looked at: a waiter that had expired ten minutes ago got its signal."""
    a(run.register("w", until=PAST))
    assert a(run.deliver("A")) == "expired w"
    assert a(run.get("w")) == "expired"


def test_d3_the_engine_and_the_sender_agree_that_it_expired(run: Run, a: Session, b: Session) -> None:
    """The engine failed the step for its deadline, then the sender was told `delivered`; nothing recorded either."""
    a(run.register("w", until=PAST, queue=run.queue))
    assert a(run.claim()) == "expired w"
    assert b(run.deliver("B")) == "expired w"
    assert a(run.remove("w")) == "expired"


def test_d3_the_engine_and_the_sender_agree_that_it_was_delivered(stage: Stage, run: Run, a: Session) -> None:
    """What came in time counts, also when the engine looks after the deadline."""
    deadline = stage.ahead(200)
    a(run.register("w", until=deadline, queue=run.queue))
    answer = a(run.deliver("A"))
    stage.await_passing(deadline)
    assert answer in {"delivered w", "expired w"}  # a machine may be slower than the deadline
    state = "delivered A" if answer == "delivered w" else "expired"
    assert a(run.get("w")) == state
    assert a(run.claim()).startswith(state.split()[0])
    assert a(run.remove("w")) == state


def test_d4_an_early_signal_waits_for_its_waiter(run: Run, a: Session) -> None:
    """A signal that came before its waiter was not_found, and the waiter waited for its whole timeout."""
    assert a(run.deliver("A", buffer_until=FAR)) == "buffered"
    assert a(run.register("w")) == "delivered A"


@pytest.mark.parametrize("text", ["not json {{", "", "{", "'x'", "NaN", '{"a":1}x'])
def test_d5_a_payload_is_json(run: Run, a: Session, store: FlowSignalStore, text: str) -> None:
    """Any text was stored, and failed the reader."""
    a(run.register("w"))
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        store.deliver_signal(run.id, "go", payload_json=text)
    assert a(run.get("w")) == "waiting"


def test_d6_a_delivered_waiter_keeps_its_signal(run: Run, a: Session) -> None:
    """Registered again for another signal, the row kept the old payload under the new name; now nothing changes."""
    a(run.register("w"))
    a(run.deliver("A", id="id-1"))
    assert a(run.register("w", "other", until=FAR)) == "WS001"
    assert a(run.get("w")) == "delivered A"
    assert a(run.deliver("A", id="id-1")) == "replayed delivered w"
    assert a(run.deliver("B", "other")) == "not_found"
    assert a(run.remove("w")) == "delivered A"
    assert a(run.register("w", "other")) == "waiting for other"
    assert a(run.deliver("B", "other")) == "delivered w"


def test_d6b_also_while_the_delivery_is_in_flight(stage: Stage, run: Run, a: Session, b: Session) -> None:
    """The registration waited for the delivery and then renamed it: the step consumed one signal as the other."""
    a(run.register("w"))
    a.begin()
    assert a(run.deliver("A")) == "delivered w"
    rename = b.start(run.register("w", "other"))
    assert stage.waits(rename)
    a.commit()
    assert rename.answer() == "WS001"
    assert b(run.get("w")) == "delivered A"


def test_d7_a_retry_does_not_reach_the_next_waiter(run: Run, a: Session) -> None:
    """The sender lost the reply and sent again: one approval opened two gates."""
    a(run.register("w1"))
    a(run.register("w2"))
    assert a(run.deliver("A", id="id-1")) == "delivered w1"
    assert a(run.deliver("A", id="id-1")) == "replayed delivered w1"
    assert a(run.get("w2")) == "waiting"


def test_d7b_signals_keep_their_order(stage: Stage, run: Run, a: Session, b: Session, c: Session) -> None:
    """While the first signal was in flight the second went to the second waiter; then the first was rolled back."""
    a(run.register("w1"))
    a(run.register("w2"))
    a.begin()
    assert a(run.deliver("1")) == "delivered w1"
    second = b.start(run.deliver("2"))
    assert stage.waits(second)
    a.rollback()
    assert second.answer() == "delivered w1"
    assert c(run.deliver("3")) == "delivered w2"


def test_d8_a_live_waiter_counts_before_a_delivered_one(stage: Stage, run: Run, a: Session, b: Session) -> None:
    """With the live waiter locked, the sender was told `already_delivered`, of another; its signal was dropped."""
    a(run.register("w1"))
    a(run.deliver("1"))
    a(run.register("w2"))
    a.begin()
    assert a(run.deliver("2")) == "delivered w2"
    second = b.start(run.deliver("3"))
    assert stage.waits(second)
    a.rollback()
    assert second.answer() == "delivered w2"


def test_d9_remove_returns_the_payload_that_came_last(stage: Stage, run: Run, a: Session, b: Session) -> None:
    """The engine removed the waiter for its timeout while a delivery was in flight: an unread payload was gone."""
    a(run.register("w"))
    a.begin()
    assert a(run.deliver("A")) == "delivered w"
    removal = b.start(run.remove("w"))
    assert stage.waits(removal)
    a.commit()
    assert removal.answer() == "delivered A"


def test_d10_instants_are_the_clocks(run: Run, a: Session, b: Session, store: FlowSignalStore) -> None:
    """They were those of the transaction's start: delivered before created, and ties among waiters."""
    a.begin()
    a.execute("SELECT now()")
    created = [FlowSignalStore(b.connection).register_waiter(run.id, "w1", "go").created_at]
    delivered = store.deliver_signal(run.id, "go").delivered_at
    a.commit()
    assert delivered is not None
    assert delivered > created[0]
    a.begin()
    created = [store.register_waiter(run.id, step, "go").created_at for step in ("y", "x", "z")]
    a.commit()
    assert sorted(set(created)) == created
    assert [a(run.deliver(payload)) for payload in "123"] == ["delivered y", "delivered x", "delivered z"]


def test_d10_the_deadline_is_the_clocks(stage: Stage, run: Run, a: Session) -> None:
    """Not the transaction's start, which a long transaction may have had before the deadline."""
    deadline = stage.ahead(100)
    a(run.register("w", until=deadline))
    a.begin()
    a.execute("SELECT now()")
    stage.await_passing(deadline)
    assert a(run.deliver("A")) == "expired w"
    a.commit()


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_d11_a_caller_at_a_higher_level_is_told_why_not(
    run: Run, a: Session, b: Session, store: FlowSignalStore, level: str
) -> None:
    """It got a raw serialization failure, and only if it was late; now it is refused at once, every time."""
    a(run.register("w"))
    a.begin(level)
    assert a(run.get("w")) == "waiting"
    b(run.deliver("B"))
    assert a(run.deliver("A")) == "0A000"
    a.rollback()
    a.begin(level)
    with pytest.raises(psycopg.errors.FeatureNotSupported) as refusal:
        store.deliver_signal(run.id, "go")
    assert "READ COMMITTED" in (refusal.value.diag.message_hint or "")


def test_d12_a_step_that_timed_out_can_wait_again(run: Run, a: Session) -> None:
    """The expired row stayed expired: a retried step failed at once, or succeeded by the late signal."""
    a(run.register("w", until=PAST))
    assert a(run.deliver("A")) == "expired w"
    assert a(run.register("w", until=FAR)) == "waiting"
    assert a(run.deliver("B")) == "delivered w"
    assert a(run.get("w")) == "delivered B"


def test_d13_what_is_removed_is_gone(stage: Stage, run: Run, a: Session) -> None:
    """Nothing ever deleted a row: neither the engine nor the retention job."""
    a(run.register("w"))
    a(run.deliver("A", id="id-1"))
    assert a(run.deliver("B", buffer_until=FAR)) == "buffered"
    assert a(run.register("v")) == "delivered B"
    assert [a(run.remove(step)) for step in ("w", "v")] == ["delivered A", "delivered B"]
    assert stage.contents(run) == []


def test_d14_the_wake_up_is_part_of_the_delivery(stage: Stage, run: Run, a: Session, b: Session) -> None:
    """It was a second action after the commit; a crash in between left the step asleep until its deadline."""
    channel = f"channel {run.id}"
    a(run.register("w", channel=channel, queue=run.queue))
    with psycopg.connect(stage.conninfo, autocommit=True) as listener:
        listener.execute(f'LISTEN "{channel}"'.encode())
        for payload, end in (("A", "rollback"), ("B", "commit")):
            a.begin()
            assert a(run.deliver(payload)) == "delivered w"
            a.execute(end)
        [note] = listener.notifies(timeout=PATIENCE_SECONDS, stop_after=1)
        assert note.payload == f"{run.id}/w"
        stage.notify(channel, "end")
        [end_note] = listener.notifies(timeout=PATIENCE_SECONDS, stop_after=1)
        assert end_note.payload == "end"
    assert b(run.claim()) == "delivered w B"


@pytest.mark.parametrize(
    ("first", "end", "removed", "sent"),
    [
        ("remove", "commit", "waiting", "not_found"),
        ("remove", "rollback", "waiting", "delivered w"),
        ("deliver", "commit", "delivered A", "delivered w"),
        ("deliver", "rollback", "waiting", "delivered w"),
    ],
)
def test_d15_a_run_is_cancelled_before_the_signal_or_after(
    stage: Stage, run: Run, a: Session, b: Session, first: str, end: str, removed: str, sent: str
) -> None:
    """The run was looked at, and then the signal delivered: a cancel in between went unnoticed.

    The engine that cancels a run removes its waiters. Either the sender learns of that, or the engine gets the payload.
    """
    a(run.register("w"))
    calls = {"remove": run.remove("w"), "deliver": run.deliver("A")}
    [second] = calls.keys() - {first}
    a.begin()
    answers = {first: a(calls[first])}
    step = b.start(calls[second])
    assert stage.waits(step)
    a.execute(end)
    answers[second] = step.answer()
    assert answers == {"remove": removed, "deliver": sent}


def test_d16_names_are_taken_as_they_are(run: Run, a: Session) -> None:
    """The stores of that engine disagreed: about upper case, about white space, and about a second waiter."""
    a(run.register("w1", "Go"))
    assert a(run.deliver("A", "go")) == "not_found"
    assert a(run.deliver("A", "Go ")) == "not_found"
    assert a(run.deliver("A", " \t")) == "22023"
    a(run.register("w2", "Go"))
    assert [a(run.deliver(payload, "Go")) for payload in "AB"] == ["delivered w1", "delivered w2"]


def test_d17_there_are_limits(run: Run, a: Session, store: FlowSignalStore) -> None:
    """No limit on payloads, and the raw error of the column for a long name."""
    a(run.register("w"))
    with pytest.raises(PayloadTooLargeError):
        store.deliver_signal(run.id, "go", payload_json=f'"{"x" * 2**20}"')
    assert a(run.deliver("A", "x" * 257)) == "22023"
    assert a(run.register("x" * 257)) == "22023"
    assert a(run.get("w")) == "waiting"


def test_d17_there_are_rights(run: Run, a: Session) -> None:
    """Whoever could send could read and write the whole table."""
    a(run.register("w"))
    a.begin()
    a.execute("SET LOCAL ROLE flow_signal_sender")
    assert a(run.deliver("A")) == "delivered w"
    a.commit()
    for call in (run.get("w"), run.remove("w"), run.register("v"), run.claim()):
        a.begin()
        a.execute("SET LOCAL ROLE flow_signal_sender")
        assert a(call) == "42501"
        a.rollback()
    a.begin()
    a.execute("SET LOCAL ROLE flow_signal_admin")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        a.execute("SELECT FROM flow_signal.flow_signal_waiters")


def test_d17_a_run_id_is_any_uuid(a: Session) -> None:
    store = FlowSignalStore(a.connection)
    id = uuid4()
    assert store.register_waiter(id, "w", "go").run_id == id
