"""Defects seen in other stores of signals and events, each with a test that it is none of ours."""

from __future__ import annotations

import pytest

from flow_signal import FlowSignalStore
from flow_signal.results import WaiterState
from tests_py.concurrency.calls import Run
from tests_py.concurrency.situations import FAR, PAST
from tests_py.concurrency.stage import Session, Stage


@pytest.fixture
def store(a: Session) -> FlowSignalStore:
    return FlowSignalStore(a.connection)


def test_nothing_is_accepted_between_the_deadline_and_the_timeout_handling(run: Run, a: Session) -> None:
    """The deadline was decided only when a worker looked; an event before that was returned as the payload."""
    a(run.register("w", until=PAST, queue=run.queue))
    assert a(run.deliver("A")) == "expired w"
    assert a(run.claim()) == "expired w"


@pytest.mark.parametrize(("payload_json", "stored"), [(None, None), ("null", "null")])
def test_a_timeout_is_no_empty_payload(
    run: Run, store: FlowSignalStore, payload_json: str | None, stored: str | None
) -> None:
    """A wait that timed out looked like a signal without a payload, or with a JSON null."""
    store.register_waiter(run.id, "late", "never", expires_at=PAST)
    store.register_waiter(run.id, "w", "go")
    store.deliver_signal(run.id, "go", payload_json=payload_json)
    [late, w] = [store.get_waiter(run.id, step) for step in ("late", "w")]
    assert late is not None
    assert w is not None
    assert (late.state, late.delivered_at, late.payload_json) == (WaiterState.EXPIRED, None, None)
    assert (w.state, w.payload_json) == (WaiterState.DELIVERED, stored)
    assert w.delivered_at is not None


def test_an_id_is_the_same_in_sql_and_in_python(run: Run, b: Session, store: FlowSignalStore) -> None:
    """The client stored another key than the SQL function: one id used by both ways was two messages."""
    store.register_waiter(run.id, "w1", "go")
    store.register_waiter(run.id, "w2", "go")
    assert b(run.deliver("A", id="id-1")) == "delivered w1"
    again = store.deliver_signal(run.id, "go", "A", delivery_id="id-1")
    assert (again.step_key, again.replayed) == ("w1", True)


@pytest.mark.parametrize("kept", [False, True])
def test_an_id_is_unique_among_senders_at_the_same_time(
    stage: Stage, run: Run, a: Session, b: Session, kept: bool
) -> None:
    """Looked up and then inserted, with an index that was not unique: two senders at once were two signals."""
    if not kept:
        a(run.register("w1"))
        a(run.register("w2"))
    call = run.deliver("A", id="id-1", buffer_until=FAR)
    a.begin()
    first = a(call)
    second = b.start(call)
    assert stage.waits(second)
    a.commit()
    assert second.answer() == f"replayed {first}"
    assert stage.payloads(run) == [("A", "buffered" if kept else "w1")]


def test_an_id_belongs_to_one_run_and_signal(run: Run, a: Session) -> None:
    """A key for all targets: the second recipient got nothing."""
    other = Run()
    for each, signal in ((run, "go"), (run, "other"), (other, "go")):
        a(each.register(f"w {signal}", signal))
        assert a(each.deliver(f"for {signal}", signal, id="id-1")) == f"delivered w {signal}"


def test_a_payload_is_never_replaced(store: FlowSignalStore) -> None:
    """What was no JSON became an empty object; here it is refused, and the rest is kept to the byte."""
    run = Run()
    text = '{"b": 1,  "a": 1.0, "a": 1e400, "\\u00fc": "\u00fc"}\n'
    store.register_waiter(run.id, "w", "go")
    store.deliver_signal(run.id, "go", payload_json=text)
    waiter = store.get_waiter(run.id, "w")
    assert waiter is not None
    assert waiter.payload_json == text


def test_a_second_completion_is_no_success(run: Run, a: Session) -> None:
    """Completing again, or too late, was answered with success while the first value stayed."""
    a(run.register("w"))
    assert a(run.deliver("A")) == "delivered w"
    assert a(run.deliver("B")) == "already_delivered w"
    assert a(run.get("w")) == "delivered A"


def test_a_dropped_signal_is_no_success(run: Run, a: Session) -> None:
    """A signal that nobody waited for was dropped and answered with OK."""
    assert a(run.deliver("A")) == "not_found"
    assert a(run.register("w")) == "waiting"


def test_a_rollback_of_the_sender_takes_the_signal_back(run: Run, a: Session) -> None:
    """The signal went over a connection of its own, so that the sender's rollback did not undo it."""
    a(run.register("w"))
    a.begin()
    assert a(run.deliver("A")) == "delivered w"
    assert a(run.deliver("B", "other", buffer_until=FAR)) == "buffered"
    a.rollback()
    assert a(run.get("w")) == "waiting"
    assert a(run.register("v", "other")) == "waiting for other"
