"""A token beside every call that can change its waiter: each pair of calls, in both orders.

The waiter's row decides: redeem_token and revoke_tokens lock it before the token, issue_token locks it against removal.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests_py.concurrency.calls import Call, Run, broadcast, deliver_many, describe, purge, redeem
from tests_py.concurrency.situations import FAR
from tests_py.concurrency.stage import Session, Stage

ENDS = pytest.mark.parametrize("end", ["commit", "rollback"])


@pytest.fixture
def token(run: Run, c: Session) -> str:
    """One of step w, which waits."""
    c(run.register("w"))
    return c(run.issue("w"))


@ENDS
@pytest.mark.parametrize(("payload", "second"), [("A", "replayed delivered w"), ("B", "WS002")])
def test_the_same_token_twice(
    stage: Stage, run: Run, token: str, a: Session, b: Session, payload: str, second: str, end: str
) -> None:
    a.begin()
    assert a(redeem(token, "A")) == "delivered w"
    step = b.start(redeem(token, payload))
    assert stage.waits(step)
    a.execute(end)
    assert step.answer() == (second if end == "commit" else "delivered w")
    assert b(run.get("w")) == ("delivered A" if end == "commit" else f"delivered {payload}")


@ENDS
def test_two_tokens_of_one_step(stage: Stage, run: Run, token: str, a: Session, b: Session, end: str) -> None:
    other = a(run.issue("w"))
    a.begin()
    assert a(redeem(token, "A")) == "delivered w"
    step = b.start(redeem(other, "B"))
    assert stage.waits(step)
    a.execute(end)
    assert step.answer() == ("already_delivered w" if end == "commit" else "delivered w")
    assert b(redeem(token, "A")) == ("replayed delivered w" if end == "commit" else "already_delivered w")


SENDERS: dict[str, Callable[[Run], Call]] = {
    "deliver_signal": lambda run: run.deliver("B"),
    "with an id": lambda run: run.deliver("B", id="id-1"),
    "deliver_to_step": lambda run: run.deliver_to_step("B", "w"),
    "deliver_signals": lambda run: deliver_many((run, "go", "B")),
}


@ENDS
@pytest.mark.parametrize("sender", SENDERS)
def test_a_signal_beside_a_redemption(
    stage: Stage, run: Run, token: str, a: Session, b: Session, sender: str, end: str
) -> None:
    a.begin()
    assert a(redeem(token, "A")) == "delivered w"
    step = b.start(SENDERS[sender](run))
    assert stage.waits(step)
    a.execute(end)
    assert step.answer() == ("already_delivered w" if end == "commit" else "delivered w")


@ENDS
@pytest.mark.parametrize("sender", SENDERS)
def test_a_redemption_beside_a_signal(
    stage: Stage, run: Run, token: str, a: Session, b: Session, sender: str, end: str
) -> None:
    a.begin()
    assert a(SENDERS[sender](run)) == "delivered w"
    step = b.start(redeem(token, "A"))
    assert stage.waits(step)
    a.execute(end)
    assert step.answer() == ("already_delivered w" if end == "commit" else "delivered w")


@ENDS
def test_a_redemption_beside_a_broadcast(stage: Stage, run: Run, a: Session, b: Session, end: str) -> None:
    signal = f"stop {run.id}"
    a(run.register("w", signal))
    token = a(run.issue("w"))
    a.begin()
    assert a(broadcast(signal, "B")) == "delivered w"
    step = b.start(redeem(token, "A"))
    assert stage.waits(step)
    a.execute(end)
    assert step.answer() == ("already_delivered w" if end == "commit" else "delivered w")


@ENDS
@pytest.mark.parametrize("then", ["nothing", "register", "register for another signal"])
def test_a_redemption_beside_a_removal(
    stage: Stage, run: Run, token: str, a: Session, b: Session, then: str, end: str
) -> None:
    """A step that is registered anew, also under the same signal, is another registration."""
    a.begin()
    assert a(run.remove("w")) == "waiting"
    if then != "nothing":
        a(run.register("w", "go" if then == "register" else "other"))
    step = b.start(redeem(token, "A"))
    assert stage.waits(step)
    a.execute(end)
    assert step.answer() == ("not_found" if end == "commit" else "delivered w")
    if end == "commit":
        assert (
            stage.contents(run)
            == {
                "nothing": [],
                "register": ["w waiting"],
                "register for another signal": ["w waiting for other"],
            }[then]
        )


@ENDS
def test_a_removal_beside_a_redemption(stage: Stage, run: Run, token: str, a: Session, b: Session, end: str) -> None:
    a.begin()
    a(redeem(token, "A"))
    step = b.start(run.remove("w"))
    assert stage.waits(step)
    a.execute(end)
    assert step.answer() == ("delivered A" if end == "commit" else "waiting")
    assert a(redeem(token, "A")) == ("replayed delivered w" if end == "commit" else "not_found")


def test_a_retry_waits_and_finds_the_waiter_removed(
    stage: Stage, run: Run, token: str, a: Session, b: Session, c: Session
) -> None:
    a.begin()
    a(redeem(token, "A"))
    a(run.remove("w"))
    a(run.register("w"))
    step = b.start(redeem(token, "A"))
    assert stage.waits(step)
    a.commit()
    assert step.answer() == "replayed delivered w"
    assert c(run.get("w")) == "waiting"


@ENDS
@pytest.mark.parametrize("back", [False, True])
def test_a_redemption_beside_a_move_to_another_signal(
    stage: Stage, run: Run, token: str, a: Session, b: Session, back: bool, end: str
) -> None:
    """A step that is moved away and back again is another registration, too."""
    a.begin()
    assert a(run.register("w", "other")) == "waiting for other"
    if back:
        assert a(run.register("w")) == "waiting"
    step = b.start(redeem(token, "A"))
    assert stage.waits(step)
    a.execute(end)
    assert step.answer() == ("not_found" if end == "commit" else "delivered w")


@ENDS
def test_a_move_beside_a_redemption(stage: Stage, run: Run, token: str, a: Session, b: Session, end: str) -> None:
    a.begin()
    a(redeem(token, "A"))
    step = b.start(run.register("w", "other"))
    assert stage.waits(step)
    a.execute(end)
    assert step.answer() == ("WS001" if end == "commit" else "waiting for other")
    assert a(redeem(token, "A")) == ("replayed delivered w" if end == "commit" else "not_found")


@ENDS
def test_a_redemption_beside_a_new_deadline(stage: Stage, run: Run, a: Session, b: Session, end: str) -> None:
    """The registration stays the same one, also when it had expired."""
    stage.make_overdue(a, run, "w")
    token = a(run.issue("w"))
    a.begin()
    assert a(run.register("w", until=FAR)) == "waiting"
    step = b.start(redeem(token, "A"))
    assert stage.waits(step)
    a.execute(end)
    assert step.answer() == ("delivered w" if end == "commit" else "expired w")


@ENDS
def test_an_issue_beside_a_removal(stage: Stage, run: Run, a: Session, b: Session, end: str) -> None:
    a(run.register("w"))
    a.begin()
    a(run.remove("w"))
    step = b.start(run.issue("w"))
    assert stage.waits(step)
    a.execute(end)
    if end == "commit":
        assert step.answer() == "none"
    else:
        assert b(redeem(step.answer(), "B")) == "delivered w"


@ENDS
def test_an_issue_beside_a_move(stage: Stage, run: Run, a: Session, b: Session, end: str) -> None:
    """It finds the new row, and its token is for that."""
    a(run.register("w"))
    a.begin()
    a(run.register("w", "other"))
    step = b.start(run.issue("w"))
    assert stage.waits(step)
    a.execute(end)
    assert a(describe(step.answer())) == ("waiting other" if end == "commit" else "waiting go")
    assert b(redeem(step.answer(), "B")) == "delivered w"


@ENDS
@pytest.mark.parametrize("call", ["remove", "move", "remove_run"])
def test_the_end_of_a_registration_beside_an_issue(
    stage: Stage, run: Run, a: Session, b: Session, call: str, end: str
) -> None:
    """The token is there first, so it dies with the registration; removing the run leaves nothing."""
    a(run.register("w"))
    a.begin()
    token = a(run.issue("w"))
    calls = {"remove": run.remove("w"), "move": run.register("w", "other"), "remove_run": run.remove_all()}
    step = b.start(calls[call])
    assert stage.waits(step)
    a.execute(end)
    step.answer()
    assert b(redeem(token, "B")) == "not_found"
    assert stage.tokens(run) == (1 if end == "commit" and call != "remove_run" else 0)


def test_an_issue_and_a_delivery_do_not_wait_for_one_another(stage: Stage, run: Run, a: Session, b: Session) -> None:
    a(run.register("w"))
    a.begin()
    token = a(run.issue("w"))
    delivery = b.start(run.deliver("B"))
    assert not stage.waits(delivery)
    assert delivery.answer() == "delivered w"
    a.commit()
    a(run.register("x"))
    b.begin()
    assert b(run.deliver("C")) == "delivered x"
    issue = a.start(run.issue("x"))
    assert not stage.waits(issue)
    b.commit()
    assert a(redeem(token, "A")) == "already_delivered w"
    assert a(redeem(issue.answer(), "A")) == "already_delivered x"


@ENDS
def test_a_redemption_beside_a_revocation(stage: Stage, run: Run, token: str, a: Session, b: Session, end: str) -> None:
    a.begin()
    assert a(run.revoke("w")) == "1"
    step = b.start(redeem(token, "B"))
    assert stage.waits(step)
    a.execute(end)
    assert step.answer() == ("not_found" if end == "commit" else "delivered w")


@ENDS
def test_a_revocation_beside_a_redemption(stage: Stage, run: Run, token: str, a: Session, b: Session, end: str) -> None:
    a.begin()
    a(redeem(token, "A"))
    step = b.start(run.revoke("w"))
    assert stage.waits(step)
    a.execute(end)
    assert step.answer() == ("0" if end == "commit" else "1")
    assert b(redeem(token, "A")) == ("replayed delivered w" if end == "commit" else "not_found")


def test_a_revocation_beside_a_move(stage: Stage, run: Run, token: str, a: Session, b: Session) -> None:
    """It revokes the token of the new row as well, which it finds when it has waited."""
    a.begin()
    a(run.register("w", "other"))
    later = a(run.issue("w"))
    step = b.start(run.revoke("w"))
    assert stage.waits(step)
    a.commit()
    assert step.answer() == "2"
    assert [a(redeem(t, "A")) for t in (token, later)] == ["not_found", "not_found"]


@pytest.mark.parametrize("then", ["remove", "move", "remove and register the next one"])
def test_an_engine_that_revokes_first(stage: Stage, run: Run, token: str, a: Session, b: Session, then: str) -> None:
    """The redemption waits at the step's row and has no token locked: the engine never waits for it."""
    a.begin()
    assert a(run.revoke("w")) == "1"
    step = b.start(redeem(token, "B"))
    assert stage.waits(step)
    engine = a.start(run.register("w", "other") if then == "move" else run.remove("w"))
    assert not stage.waits(engine)
    if then == "remove and register the next one":
        a(run.register("next"))
    a.commit()
    assert step.answer() == "not_found"


@ENDS
def test_an_engine_that_issues_and_removes(
    stage: Stage, run: Run, token: str, a: Session, b: Session, end: str
) -> None:
    """Its lock is against removal only: a redemption passes, and then the engine waits for it."""
    a.begin()
    a(run.issue("w"))
    b.begin()
    assert b(redeem(token, "B")) == "delivered w"
    step = a.start(run.remove("w"))
    assert stage.waits(step)
    b.execute(end)
    assert step.answer() == ("delivered B" if end == "commit" else "waiting")
    a.commit()


@ENDS
def test_a_redemption_beside_remove_run(stage: Stage, run: Run, token: str, a: Session, b: Session, end: str) -> None:
    a.begin()
    assert a(run.remove_all()) == "1"
    step = b.start(redeem(token, "B"))
    assert stage.waits(step)
    a.execute(end)
    assert step.answer() == ("not_found" if end == "commit" else "delivered w")


@ENDS
def test_remove_run_beside_a_redemption(stage: Stage, run: Run, token: str, a: Session, b: Session, end: str) -> None:
    a.begin()
    a(redeem(token, "A"))
    step = b.start(run.remove_all())
    assert stage.waits(step)
    a.execute(end)
    assert step.answer() == "1"
    assert b(redeem(token, "A")) == "not_found"
    assert stage.tokens(run) == 0


@ENDS
def test_purge_waits_for_no_token(stage: Stage, run: Run, a: Session, b: Session, end: str) -> None:
    """The token's deadline has passed when the redemption, which came in time, is still uncommitted."""
    a(run.register("w"))
    until = stage.ahead(500)
    token = a(run.issue("w", until=until))
    a.begin()
    assert a(redeem(token, "A")) == "delivered w"
    stage.await_passing(until)
    step = b.start(purge())
    assert not stage.waits(step)
    a.execute(end)
    assert stage.tokens(run) == 1
    assert b(redeem(token, "A")) == ("replayed delivered w" if end == "commit" else "not_found")


@ENDS
def test_a_redemption_beside_purge(stage: Stage, run: Run, token: str, a: Session, b: Session, end: str) -> None:
    """Purge never takes a token that can be redeemed."""
    a.begin()
    a(run.remove("w"))
    a(purge())
    assert stage.tokens(run) == 1
    a.execute(end)
    b(purge())
    assert b(redeem(token, "A")) == ("not_found" if end == "commit" else "delivered w")
    assert stage.tokens(run) == (0 if end == "commit" else 1)


def test_a_token_is_found_from_the_commit_on(stage: Stage, run: Run, a: Session, b: Session) -> None:
    """A stranger must not make the server write or wait: so nobody waits for an issue that is not committed."""
    a.begin()
    a(run.register("w"))
    token = a(run.issue("w"))
    step = b.start(redeem(token, "B"))
    assert not stage.waits(step)
    assert step.answer() == "not_found"
    a.commit()
    assert b(redeem(token, "B")) == "delivered w"


def test_a_token_that_is_purged_at_its_deadline_delivers_nothing(
    stage: Stage, run: Run, a: Session, b: Session
) -> None:
    """The redemption begins in time, and waits for the purge before it touches the waiter."""
    a(run.register("w"))
    token = a(run.issue("w", until=FAR))
    a.begin()
    # as purge does, once the deadline has passed
    a.execute(f"DELETE FROM flow_signal.flow_signal_tokens WHERE run_id = '{run.id}'")
    step = b.start(redeem(token, "B"))
    assert stage.waits(step)
    a.commit()
    assert step.answer() == "not_found"
    assert a(run.get("w")) == "waiting"


HOLD = "SELECT FROM flow_signal.flow_signal_tokens WHERE run_id = %s AND token_hash = %s FOR UPDATE"
HASHES = "SELECT array_agg(token_hash ORDER BY ctid) FROM flow_signal.flow_signal_tokens WHERE run_id = %s"


@pytest.mark.parametrize("is_held", [0, 1])
def test_revoking_and_removing_the_run_when_the_step_is_gone(
    stage: Stage, run: Run, a: Session, b: Session, c: Session, is_held: int
) -> None:
    """No waiter's row makes one wait for the other; both take the tokens in the order of their hashes."""
    hashes: list[bytes] = []
    while hashes != sorted(hashes, reverse=True) or len(hashes) < 2:
        a(run.remove_all())
        a(run.register("w"))
        for _ in range(2):
            a(run.issue("w"))
        a(run.remove("w"))
        [(hashes,)] = a.connection.execute(HASHES, [run.id]).fetchall()
    a.begin()
    a.connection.execute(HOLD, [run.id, hashes[is_held]])
    steps = []
    for session, call in ((b, run.revoke("w")), (c, run.remove_all())):
        steps.append(session.start(call))
        assert stage.waits(steps[-1])
    a.rollback()
    assert "40P01" not in [step.answer() for step in steps]
