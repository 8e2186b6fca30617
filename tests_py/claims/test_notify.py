"""Who is told by NOTIFY of a delivery: the channel that a waiter asked for, at the commit, and nobody else.

Notifications come in the order of the commits, so that one sent at the end shows that none is still to come.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests_py.concurrency.calls import Call, Run
from tests_py.concurrency.stage import Session, Stage

LATER_MS = 3_600_000
CHANNEL = 'Wake me; "now"'
END = "end"


class Listener:
    def __init__(self, connection: psycopg.Connection[Any], sender: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._sender = sender
        for channel in (CHANNEL, END):
            connection.execute(psycopg.sql.SQL("LISTEN {}").format(psycopg.sql.Identifier(channel)))

    def heard(self) -> list[str]:
        """The payloads that came on CHANNEL since the last call."""
        self._sender.execute("SELECT pg_notify(%s, '')", [END])
        payloads: list[str] = []
        for notification in self._connection.notifies(timeout=60):
            if notification.channel == END:
                return payloads
            payloads.append(notification.payload)
        raise AssertionError("no notification came")


@pytest.fixture
def listener(database: str, connection: psycopg.Connection[Any]) -> Iterator[Listener]:
    with psycopg.connect(database, autocommit=True) as listening:
        yield Listener(listening, connection)


PATHS = ["to the head", "with an id", "behind a settled head", "behind one that is overdue", "from the buffer"]


def prepared(path: str, stage: Stage, run: Run, session: Session, channel: str | None) -> Call:
    """Bring a run so far that the returned call makes the delivery to step w, by that path of the code."""
    if path == "from the buffer":
        session(run.deliver("A", buffer_until=stage.ahead(LATER_MS)))
        return run.register("w", channel=channel)
    if path == "behind a settled head":
        session(run.register("h"))
        session(run.deliver("H"))
    if path == "behind one that is overdue":
        session(run.register("h", until=stage.ahead(-1), channel=CHANNEL))
    session(run.register("w", channel=channel))
    return run.deliver("A", id="id-1" if path == "with an id" else None)


@pytest.mark.parametrize("path", PATHS)
def test_a_delivery_tells_the_channel(stage: Stage, run: Run, a: Session, listener: Listener, path: str) -> None:
    call = prepared(path, stage, run, a, CHANNEL)
    assert listener.heard() == []
    assert a(call) in ("delivered w", "delivered A")
    assert listener.heard() == [f"{run.id}/w"]
    a(call)
    assert listener.heard() == []


@pytest.mark.parametrize("path", PATHS)
def test_a_waiter_without_a_channel_tells_nobody(
    stage: Stage, run: Run, a: Session, listener: Listener, path: str, connection: psycopg.Connection[Any]
) -> None:
    call = prepared(path, stage, run, a, None)
    assert a(call) in ("delivered w", "delivered A")
    assert listener.heard() == []


@pytest.mark.parametrize("path", PATHS)
def test_only_a_commit_tells(stage: Stage, run: Run, a: Session, listener: Listener, path: str) -> None:
    call = prepared(path, stage, run, a, CHANNEL)
    a.begin()
    assert a(call) in ("delivered w", "delivered A")
    assert listener.heard() == []
    a.rollback()
    assert listener.heard() == []
    a.begin()
    a(call)
    assert listener.heard() == []
    a.commit()
    assert listener.heard() == [f"{run.id}/w"]


@pytest.mark.parametrize("outcome", ["already_delivered w", "expired w", "not_found", "buffered"])
def test_what_is_no_delivery_tells_nobody(stage: Stage, run: Run, a: Session, listener: Listener, outcome: str) -> None:
    if outcome != "not_found" and outcome != "buffered":
        a(run.register("w", until=stage.ahead(-1) if outcome == "expired w" else None, channel=CHANNEL))
    if outcome == "already_delivered w":
        a(run.deliver("A"))
        assert listener.heard() == [f"{run.id}/w"]
    buffer_until = stage.ahead(LATER_MS) if outcome == "buffered" else None
    assert a(run.deliver("B", buffer_until=buffer_until)) == outcome
    assert listener.heard() == []


def test_claims_and_removals_tell_nobody(stage: Stage, run: Run, a: Session, listener: Listener) -> None:
    a(run.register("w", until=stage.ahead(-1), channel=CHANNEL, queue=run.queue))
    a(run.claim())
    a(run.remove("w"))
    assert listener.heard() == []


def test_the_longest_step_key_is_told_in_full(stage: Stage, run: Run, a: Session, listener: Listener) -> None:
    step = "\N{GRINNING FACE}" * 256
    a(run.register(step, channel=CHANNEL))
    a(run.deliver("A"))
    assert listener.heard() == [f"{run.id}/{step}"]


def test_the_channel_is_asked_for_while_the_signal_is_sent(
    stage: Stage, run: Run, a: Session, b: Session, listener: Listener
) -> None:
    """The sender knows of no channel; the engine waits for it, and gets the payload in place of a notification."""
    a(run.register("w"))
    a.begin()
    assert a(run.deliver("A")) == "delivered w"
    engine = b.start(run.register("w", channel=CHANNEL))
    assert stage.waits(engine)
    a.commit()
    assert engine.answer() == "delivered A"
    assert listener.heard() == []


@pytest.mark.parametrize("known", [True, False])
def test_the_signal_is_sent_while_the_channel_is_asked_for(
    stage: Stage, run: Run, a: Session, b: Session, listener: Listener, known: bool
) -> None:
    """The sender waits for the engine, known to it before or not, and tells the channel."""
    if known:
        a(run.register("w"))
    a.begin()
    assert a(run.register("w", channel=CHANNEL)) == "waiting"
    sender = b.start(run.deliver("B"))
    assert stage.waits(sender)
    a.commit()
    assert sender.answer() == "delivered w"
    assert listener.heard() == [f"{run.id}/w"]


def test_a_new_channel_takes_the_place_of_the_old_one(stage: Stage, run: Run, a: Session, listener: Listener) -> None:
    for first, second, told in (("other", CHANNEL, 1), (CHANNEL, None, 0)):
        step = f"{first} {second}"
        a(run.register(step, step, channel=first))
        a(run.register(step, step, channel=second))
        a(run.deliver(step, step))
        assert len(listener.heard()) == told
