"""flow-signal claim and extend: what they take, and what they leave."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests_py.cli.commands import WAITER, Command, Outcome

NOTHING = "no wait in this queue is over, or others have them\n"


@pytest.fixture
def over(cli: Command, run: str) -> str:
    """A run with two steps in queue q whose waits are over, and one that still waits."""
    cli("register", run, "late", "approval", "--queue", "q", "--expires-at", "2001-01-01T00:00:00Z")
    cli("register", run, "paid", "payment", "--queue", "q")
    cli("register", run, "open", "parcel", "--queue", "q")
    cli("deliver", run, "payment", "{}")
    return run


def claimed(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(waiter["step_key"], waiter["state"]) for waiter in document["waiters"]]


def test_claim_shows_the_waiters(cli: Command, over: str) -> None:
    shown = cli("claim", "q")
    assert (shown.code, shown.err) == (0, "")
    first, second = shown.out.split("\n\n")
    assert first.startswith('expired: signal "approval" did not come before the deadline\n')
    get = cli("get", over, "paid").out
    assert second.startswith(get)
    assert [line.split()[0] for line in second.removeprefix(get).splitlines()] == ["claim_id", "attempt"]
    assert cli("claim", "q") == Outcome(0, NOTHING, "")


def test_claim_as_json(cli: Command, over: str) -> None:
    document = cli("claim", "q", "--json").document
    assert list(document) == ["waiters"]
    assert claimed(document) == [("late", "expired"), ("paid", "delivered")]
    assert [tuple(waiter) for waiter in document["waiters"]] == 2 * [(*WAITER, "claim_id", "attempt")]
    assert document["waiters"][1]["payload_json"] == "{}"
    assert [waiter["attempt"] for waiter in document["waiters"]] == [1, 1]
    assert cli("claim", "q", "--json").document == {"waiters": []}


def test_an_empty_queue(cli: Command, over: str) -> None:
    assert cli("claim", "Q") == Outcome(0, NOTHING, "")
    assert len(cli("claim", "q", "--json").document["waiters"]) == 2


def test_limit(cli: Command, over: str) -> None:
    assert claimed(cli("claim", "q", "--limit", "1", "--json").document) == [("late", "expired")]
    assert claimed(cli("claim", "q", "--limit", "1", "--json").document) == [("paid", "delivered")]


@pytest.mark.parametrize(("options", "seconds"), [([], 60), (["--lease", "1h30m"], 5400)])
def test_lease(cli: Command, over: str, connection: psycopg.Connection[Any], options: list[str], seconds: int) -> None:
    cli("claim", "q", *options)
    query = """
        SELECT count(*) FROM flow_signal.flow_signal_waiters
        WHERE due_at - clock_timestamp() BETWEEN (%s - 30) * interval '1 s' AND %s * interval '1 s'
    """
    assert connection.execute(query, [seconds, seconds]).fetchall() == [(2,)]


def test_remove_acknowledges(cli: Command, over: str) -> None:
    cli("claim", "q", "--lease", "1ms")
    cli("remove", over, "late")
    assert claimed(cli("claim", "q", "--json").document) == [("paid", "delivered")]


def claim_late(cli: Command, *options: str) -> str:
    """The id of the claim that has step late."""
    [claim_id] = {waiter["claim_id"] for waiter in cli("claim", "q", "--json", *options).document["waiters"]}
    return str(claim_id)


def test_a_claim_that_is_over_removes_nothing(cli: Command, over: str) -> None:
    first = claim_late(cli, "--lease", "1ms")
    second = claim_late(cli, "--lease", "1h")
    late = cli("remove", over, "late", "--claim-id", first, "--json")
    assert late.code == 3
    assert late.problem["error"] == "not_found"
    assert late.problem["message"] == f'claim {first} no longer has step "late" of run {over}'
    assert cli("remove", over, "late", "--claim-id", second).code == 0
    assert cli("get", over, "late").code == 3


def test_extend(cli: Command, over: str) -> None:
    claim = claim_late(cli, "--lease", "1ms")
    held = ("extend", over, "late", "--claim-id", claim, "--lease")
    assert cli(*held, "1h") == Outcome(0, "extended      true\n", "")
    assert claimed(cli("claim", "q", "--json").document) == [("paid", "delivered")]
    assert cli(*held, "0s", "--json").document == {"given_back": True}
    assert claimed(cli("claim", "q", "--json").document) == [("late", "expired")]
    lost = cli(*held, "1h")
    assert (lost.code, lost.out) == (3, "")
    assert lost.err.startswith(f"error: claim {claim} no longer has step ")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--claim-id", "x", "--lease", "1m"], 2, "--claim-id"),
        (["--lease", "1m"], 2, "--claim-id"),
        (["--claim-id", str(UUID(int=1))], 2, "--lease"),
        (["--claim-id", str(UUID(int=1)), "--lease", "25h"], 6, "lease"),
    ],
)
def test_what_extend_refuses(cli: Command, over: str, options: list[str], code: int, message: str) -> None:
    shown = cli("extend", over, "late", *options)
    assert (shown.code, shown.out) == (code, "")
    assert message in shown.err


def test_claim_settles_what_is_overdue(cli: Command, over: str) -> None:
    cli("claim", "q")
    assert cli("deliver", over, "approval").code == 5


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([""], 6, "queue"),
        (["q", "--limit", "0"], 6, "limit 0 is out of range"),
        (["q", "--limit", "99999999999"], 6, "out of range"),
        (["q", "--lease", "0s"], 6, "lease"),
        (["q", "--lease", "25h"], 6, "lease"),
        (["q", "--lease", "soon"], 2, "'soon' is no duration"),
        (["q", "--limit", "few"], 2, "--limit"),
        ([], 2, "queue"),
    ],
)
def test_what_is_refused(cli: Command, over: str, arguments: list[str], code: int, message: str) -> None:
    shown = cli("claim", *arguments)
    assert (shown.code, shown.out) == (code, "")
    assert message in shown.err.lower()
    assert len(cli("claim", "q", "--json").document["waiters"]) == 2


def test_the_help(bare: Command) -> None:
    shown = bare("claim", "--help")
    assert shown.code == 0
    assert "Usage: flow-signal claim" in shown.out
    assert all(option in shown.out for option in ("--limit", "--lease", "--json"))
