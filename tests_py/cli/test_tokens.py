"""flow-signal token and redeem: a token is printed once, and answers one step once."""

from __future__ import annotations

import re

import pytest

from tests_py.cli.commands import DELIVERY, Command, Outcome


@pytest.fixture
def token(cli: Command, run: str) -> str:
    cli("register", run, "ask", "approval", "--expires-in", "1h")
    shown = cli("token", run, "ask")
    assert (shown.code, shown.err) == (0, "")
    assert re.fullmatch(r"fst_[0-9a-f]{32}_[0-9a-f]{64}\n", shown.out)
    return shown.out.strip()


def test_token_as_json(cli: Command, run: str, token: str) -> None:
    document = cli("token", run, "ask", "--expires-in", "1h", "--json").document
    assert list(document) == ["token"]
    assert document["token"] != token
    assert cli("redeem", document["token"], "--json").document["status"] == "delivered"


def test_redeem(cli: Command, run: str, token: str) -> None:
    shown = cli("redeem", token, '{"by" : "manager"}')
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.startswith('delivered to step "ask"\n')
    assert cli("get", run, "ask", "--json").document["payload_json"] == '{"by" : "manager"}'
    again = cli("redeem", token, '{"by" : "manager"}')
    assert again.code == 0
    assert again.out.startswith('delivered to step "ask" (by this delivery id or token, before)\n')
    other = cli("redeem", token, "2", "--json")
    assert (other.code, other.problem["sqlstate"]) == (6, "WS002")
    assert token not in other.err


def test_the_token_from_standard_input(cli: Command, token: str) -> None:
    """A command line can be read by everybody on the machine."""
    document = cli("redeem", "-", "1", "--json", stdin=f"{token}\n".encode()).document
    assert tuple(document) == DELIVERY
    assert document["status"] == "delivered"
    assert cli("redeem", "-", "-", stdin=b"").code == 2


def test_verdicts(cli: Command, run: str, token: str) -> None:
    unusable = cli("redeem", token[:-1])
    assert (unusable.code, unusable.err) == (3, "")
    assert unusable.out.startswith("not found: this token is void, or was never issued\n")
    assert cli("redeem", token[:-1], "--json").document["run_id"] is None
    assert cli("redeem", token, "{").code == 6
    cli("deliver", run, "approval")
    assert cli("redeem", token).code == 4
    assert cli("register", run, "late", "approval", "--expires-at", "2001-01-01T00:00:00Z").code == 0
    late = cli("token", run, "late").out.strip()
    assert cli("redeem", late).code == 5


def test_no_waiter(cli: Command, run: str) -> None:
    assert cli("token", run, "ask") == Outcome(3, "", f'error: step "ask" of run {run} has no waiter\n')
    assert cli("token", run, "ask", "--expires-in", "1h", "--expires-at", "2990-01-01T00:00:00Z").code == 2
