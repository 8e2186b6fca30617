"""An engine that removes its step and registers the next one in its transaction, beside senders and other engines.

The lock order lets no single call beside such a transaction end with 40P01.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests_py.concurrency.calls import Call, Run, broadcast, deliver_many
from tests_py.concurrency.situations import FAR, PAST
from tests_py.concurrency.stage import Session, Stage

LATER_MS = 3_600_000

SENDERS: dict[str, Callable[[Run], Call]] = {
    "plain": lambda run: run.deliver("B"),
    "with an id": lambda run: run.deliver("B", id="id-1"),
    "buffering": lambda run: run.deliver("B", buffer_until=FAR),
    "buffering with an id": lambda run: run.deliver("B", id="id-1", buffer_until=FAR),
    "in a batch": lambda run: deliver_many((run, "go", "B")),
}


def live(stage: Stage, run: Run, a: Session) -> None:
    a(run.register("own"))


def overdue(stage: Stage, run: Run, a: Session) -> None:
    """Past the deadline, and no call has found it yet."""
    stage.make_overdue(a, run, "own")


def expired(stage: Stage, run: Run, a: Session) -> None:
    a(run.register("own", until=PAST))


def delivered(stage: Stage, run: Run, a: Session) -> None:
    a(run.register("own"))
    a(run.deliver("A"))


def behind_a_delivered_one(stage: Stage, run: Run, a: Session) -> None:
    a(run.register("h"))
    a(run.deliver("H"))
    a(run.register("own"))


def overdue_behind_a_delivered_one(stage: Stage, run: Run, a: Session) -> None:
    a(run.register("h"))
    a(run.deliver("H"))
    overdue(stage, run, a)


def before_a_live_one(stage: Stage, run: Run, a: Session) -> None:
    a(run.register("own"))
    a(run.register("z"))


def overdue_before_a_live_one(stage: Stage, run: Run, a: Session) -> None:
    overdue(stage, run, a)
    a(run.register("z"))


def behind_a_live_one(stage: Stage, run: Run, a: Session) -> None:
    a(run.register("h"))
    a(run.register("own"))


# own is -> whether the sender waits; its verdict after the commit, and after a rollback. A refused signal is buffered
# where the sender asks for it.
IDIOM: dict[Callable[[Stage, Run, Session], None], tuple[bool, str, str]] = {
    live: (True, "delivered next", "delivered own"),
    overdue: (True, "delivered next", "refused: expired own"),
    expired: (True, "delivered next", "refused: expired own"),
    delivered: (True, "delivered next", "refused: already_delivered own"),
    behind_a_delivered_one: (True, "delivered next", "delivered own"),
    overdue_behind_a_delivered_one: (True, "delivered next", "refused: already_delivered h"),
    before_a_live_one: (True, "delivered z", "delivered own"),
    overdue_before_a_live_one: (True, "delivered z", "delivered z"),
    behind_a_live_one: (False, "delivered h", "delivered h"),
}


@pytest.mark.parametrize("end", ["commit", "rollback"])
@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("own", IDIOM, ids=lambda own: own.__name__)
def test_a_sender_beside_an_engine(
    stage: Stage,
    run: Run,
    a: Session,
    b: Session,
    own: Callable[[Stage, Run, Session], None],
    sender: str,
    end: str,
) -> None:
    """The sender comes after both calls of the engine."""
    own(stage, run, a)
    waits, after_commit, after_rollback = IDIOM[own]
    a.begin()
    a(run.remove("own"))
    assert a(run.register("next")) == "waiting"
    step = b.start(SENDERS[sender](run))
    assert stage.waits(step) == waits
    a.execute(end)
    verdict = after_commit if end == "commit" else after_rollback
    refused = verdict.startswith("refused: ")
    assert step.answer() == ("buffered" if refused and "buffering" in sender else verdict.removeprefix("refused: "))


# own is -> whether a sender that comes between the two calls waits; and its verdict
BETWEEN: dict[Callable[[Stage, Run, Session], None], tuple[bool, str]] = {
    live: (True, "delivered next"),
    overdue: (True, "delivered next"),
    expired: (False, "expired own"),
    delivered: (False, "already_delivered own"),
    behind_a_delivered_one: (True, "delivered next"),
    overdue_behind_a_delivered_one: (True, "delivered next"),
    before_a_live_one: (True, "delivered z"),
    overdue_before_a_live_one: (True, "delivered z"),
    behind_a_live_one: (False, "delivered h"),
}


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("own", BETWEEN, ids=lambda own: own.__name__)
def test_a_sender_between_the_two_calls(
    stage: Stage,
    run: Run,
    a: Session,
    b: Session,
    own: Callable[[Stage, Run, Session], None],
    sender: str,
) -> None:
    """The sender waits for the engine at its own step, and then finds the next one. The engine never waits for it."""
    own(stage, run, a)
    waits, verdict = BETWEEN[own]
    a.begin()
    a(run.remove("own"))
    step = b.start(SENDERS[sender](run))
    assert stage.waits(step) == waits
    refused = not verdict.startswith("delivered")
    buffered = refused and "buffering" in sender
    if not waits:
        assert step.answer() == ("buffered" if buffered else verdict)
    engine = a.start(run.register("next"))
    assert not stage.waits(engine)
    assert engine.answer() == ("delivered B" if buffered else "waiting")
    a.commit()
    assert step.answer() == ("buffered" if buffered else verdict)


def test_crossing_engines(stage: Stage, run: Run, a: Session, b: Session) -> None:
    """Each registers under the signal of the other's own step."""
    a(run.register("a", "x"))
    a(run.register("b", "y"))
    a.begin()
    b.begin()
    assert a(run.remove("a")) == "waiting for x"
    assert b(run.remove("b")) == "waiting for y"
    assert a(run.register("a2", "y")) == "waiting for y"
    assert b(run.register("b2", "x")) == "waiting for x"
    a.commit()
    b.commit()
    assert stage.contents(run) == ["a2 waiting for y", "b2 waiting for x"]


@pytest.mark.parametrize("sender", ["plain", "with an id", "buffering"])
def test_crossing_engines_with_a_sender_at_each(
    stage: Stage, run: Run, a: Session, b: Session, c: Session, d: Session, sender: str
) -> None:
    id = "id-1" if sender == "with an id" else None
    buffer_until = FAR if sender == "buffering" else None
    a(run.register("a", "x"))
    a(run.register("b", "y"))
    a.begin()
    b.begin()
    a(run.remove("a"))
    b(run.remove("b"))
    to_x, to_y = (
        c.start(run.deliver("X", "x", id=id, buffer_until=buffer_until)),
        d.start(run.deliver("Y", "y", id=id, buffer_until=buffer_until)),
    )
    assert stage.waits(to_x)
    assert stage.waits(to_y)
    assert a(run.register("a2", "y")) == "waiting for y"
    assert b(run.register("b2", "x")) == "waiting for x"
    a.commit()
    b.commit()
    # Each waits for the engine at the waiter, and then at the lock row for the other one's registration.
    assert to_x.answer() == "delivered b2"
    assert to_y.answer() == "delivered a2"
    assert stage.contents(run) == ["a2 delivered Y for y", "b2 delivered X for x"]


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_crossing_renames_with_a_sender_at_each(
    stage: Stage, run: Run, a: Session, b: Session, c: Session, d: Session, end: str
) -> None:
    a(run.register("a", "x"))
    a(run.register("b", "y"))
    a.begin()
    assert a(run.register("a", "y")) == "waiting for y"
    to_x = c.start(run.deliver("X", "x"))
    assert stage.waits(to_x)
    b.begin()
    rename = b.start(run.register("b", "x"))
    stage.waits(rename)
    to_y = d.start(run.deliver("Y", "y"))
    assert stage.waits(to_y)
    a.execute(end)
    assert rename.answer() == "waiting for x"
    b.commit()
    if end == "commit":
        assert (to_x.answer(), to_y.answer()) == ("delivered b", "delivered a")
    else:
        assert (to_x.answer(), to_y.answer()) == ("delivered a", "not_found")


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("next_one", [False, True])
def test_a_rolled_back_new_deadline_of_an_overdue_waiter(
    stage: Stage, run: Run, a: Session, b: Session, next_one: bool, sender: str
) -> None:
    overdue(stage, run, a)
    if next_one:
        a(run.register("z"))
    a.begin()
    assert a(run.register("own", until=stage.ahead(LATER_MS))) == "waiting"
    step = b.start(SENDERS[sender](run))
    assert stage.waits(step)
    a.rollback()
    refused = "buffered" if "buffering" in sender else "expired own"
    assert step.answer() == ("delivered z" if next_one else refused)
    if next_one:
        assert a(run.get("z")) == "delivered B"


@pytest.mark.parametrize("end", ["commit", "rollback"])
@pytest.mark.parametrize("buffers", [False, True])
def test_the_same_id_to_two_waiters(stage: Stage, run: Run, a: Session, b: Session, buffers: bool, end: str) -> None:
    """The first has delivered and removed its waiter, so that only its receipt can stop the second."""
    for key in ("w", "x"):
        a(run.register(key))
    send = run.deliver("A", id="id-1", buffer_until=FAR if buffers else None)
    a.begin()
    assert a(send) == "delivered w"
    assert a(run.remove("w")) == "delivered A"
    step = b.start(send)
    assert stage.waits(step)
    a.execute(end)
    assert step.answer() == ("replayed delivered w" if end == "commit" else "delivered w")
    assert a(run.get("x")) == "waiting"


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_the_same_id_in_a_transaction_and_in_a_single_call(
    stage: Stage, run: Run, a: Session, b: Session, end: str
) -> None:
    """The transaction moves its waiter away meanwhile: the single call comes to x, and waits at the receipt."""
    a(run.register("w"))
    a.begin()
    assert a(run.deliver("A", id="id-1")) == "delivered w"
    b(run.register("x"))
    step = b.start(run.deliver("A", id="id-1"))
    assert stage.waits(step)
    assert a(run.deliver("A", id="id-1")) == "replayed delivered w"
    a.execute(end)
    assert step.answer() == ("replayed delivered w" if end == "commit" else "delivered w")
    assert a(run.get("x")) == "waiting"


@pytest.mark.parametrize("sender", SENDERS)
def test_a_second_waiter_comes_while_a_batch_waits_at_its_lock_row(
    stage: Stage, run: Run, a: Session, b: Session, c: Session, sender: str
) -> None:
    """The batch has delivered to w and waits for a's registration before it refuses the rest: it begins again."""
    c(run.register("w"))
    a.begin()
    assert a(run.register("x")) == "waiting"
    batch = b.start(deliver_many((run, "go", "1"), (run, "go", "2"), (run, "go", "3")))
    assert stage.waits(batch)
    single = c.start(SENDERS[sender](run))
    assert stage.waits(single)
    a.commit()
    answers = (batch.answer(), single.answer())
    last = "buffered" if "buffering" in sender else "already_delivered w"
    assert answers in [
        ("delivered w, delivered x, already_delivered w", last),
        ("delivered x, already_delivered w, already_delivered w", "delivered w"),
        ("delivered w, already_delivered w, already_delivered w", "delivered x"),
    ]


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_a_run_is_removed_while_a_registration_takes_a_buffered_signal(
    stage: Stage, run: Run, a: Session, b: Session, ends: str
) -> None:
    a(run.deliver("A", id="id-1", buffer_until=FAR))
    a.begin()
    assert a(run.register("w")) == "delivered A"
    step = b.start(run.remove_all())
    assert stage.waits(step)
    a.execute(ends)
    assert step.answer() == ("1" if ends == "commit" else "0")
    assert stage.contents(run) == []
    assert a(run.deliver("A", id="id-1")) == "not_found"


@pytest.mark.parametrize("ends", ["commit", "rollback"])
@pytest.mark.parametrize("first", ["remove_run", "buffer"])
def test_a_run_is_removed_beside_buffering(
    stage: Stage, run: Run, a: Session, b: Session, first: str, ends: str
) -> None:
    a(run.deliver("A", buffer_until=FAR))
    calls = {"remove_run": run.remove_all(), "buffer": run.deliver("B", buffer_until=FAR)}
    [second] = calls.keys() - {first}
    a.begin()
    a(calls[first])
    step = b.start(calls[second])
    assert stage.waits(step)
    a.execute(ends)
    assert step.answer() == ("0" if second == "remove_run" else "buffered")
    kept = ["B"] if ends == "commit" else ["A", "B"]
    assert stage.contents(run) == (kept if first == "remove_run" else [])


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_a_first_signal_of_its_name_beside_remove_run(
    stage: Stage, run: Run, a: Session, b: Session, c: Session, ends: str
) -> None:
    """remove_run waits for a buffered signal; meanwhile one of another name is buffered, with a lock row of its own."""
    a(run.deliver("A", buffer_until=FAR))
    a.begin()
    a.execute("SELECT FROM flow_signal_v1.purge_buffered('9999-01-01')")
    step = b.start(run.remove_all())
    assert stage.waits(step)
    assert c(run.deliver("B", "other", id="id-1", buffer_until=FAR)) == "buffered"
    a.execute(ends)
    assert step.answer() == "0"
    assert stage.broken_invariants(run) == []
    assert c(run.register("w", "other")) == "delivered B for other"


def test_remove_run_beside_a_registration_that_takes_one_signal_of_two(
    stage: Stage, run: Run, a: Session, b: Session, c: Session, d: Session
) -> None:
    """All of the run goes, or what came after: not the other signal alone."""
    a(run.deliver("first", "held", buffer_until=FAR))
    a.begin()
    a(run.deliver("second", "held", buffer_until=FAR))
    step = b.start(run.remove_all())
    assert stage.waits(step)
    d(run.deliver("A", id="id-1", buffer_until=FAR))
    d(run.deliver("B", "other", buffer_until=FAR))
    c.begin()
    assert c(run.register("w")) == "delivered A"
    a.rollback()
    assert stage.waits(step)
    c.commit()
    assert step.answer() == "1"
    assert stage.contents(run) == []


def test_an_overdue_first_waiter_beside_removals_in_reverse(stage: Stage, run: Run, a: Session, b: Session) -> None:
    """The known interleaving of errors.md: one of the two gets 40P01, nothing of it has changed, and it can repeat."""
    stage.make_overdue(a, run, "first")
    a(run.register("second"))
    a.begin()
    assert a(run.remove("second")) == "waiting"
    sender = b.start(run.deliver("B"))
    assert stage.waits(sender)
    remover = a.start(run.remove("first"))
    if remover.answer() == "40P01":
        a.rollback()
        assert sender.answer() == "delivered second"
    else:
        assert (sender.answer(), remover.answer()) == ("40P01", "expired")
        a.commit()
        assert b(run.deliver("B")) == "not_found"


def test_buffering_before_a_delivery_beside_a_batch(stage: Stage, run: Run, a: Session, b: Session) -> None:
    """Another one: the transaction has a lock row when it wants a waiter's row; the batch has the row first."""
    a(run.register("w", "late"))
    a.begin()
    assert a(run.deliver("A", "early", buffer_until=FAR)) == "buffered"
    batch = b.start(deliver_many((run, "early", "B"), (run, "late", "D")))
    assert stage.waits(batch)
    sender = a.start(run.deliver("C", "late"))
    if sender.answer() == "40P01":
        a.rollback()
        assert batch.answer() == "not_found, delivered w"
    else:
        assert (batch.answer(), sender.answer()) == ("40P01", "delivered w")
        a.commit()


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK", "ROLLBACK TO s"])
def test_broadcast_beside_an_engine(stage: Stage, run: Run, a: Session, b: Session, end: str) -> None:
    """A broadcast that waits for a step reaches the one that comes in its place."""
    signal = f"stop {run.id}"
    a(run.register("own", signal))
    a.begin()
    a.execute("SAVEPOINT s")
    a(run.remove("own"))
    a(run.register("next", signal))
    step = b.start(broadcast(signal, "all"))
    assert stage.waits(step)
    a.execute(end)
    assert step.answer() == f"delivered {'next' if end == 'COMMIT' else 'own'}"
    if end == "ROLLBACK TO s":
        a.commit()
