"""flow-signal wait: how it ends, told by the exit code."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests_py.cli.commands import PROBLEM, WAITER, Command, Outcome, one_document, started
from tests_py.embedded.owners import wait_until
from tests_py.wait.links import link_to

PATIENCE_SECONDS = 60


@contextmanager
def waiting(
    database: str, connection: psycopg.Connection[Any], run: str, *options: str
) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own, at a moment when it waits in the database."""
    query = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    with started("wait", "--dsn", database, run, "ask", *options) as process:
        wait_until(lambda: connection.execute(query).fetchall() != [])
        yield process


def outcome(process: subprocess.Popen[str]) -> Outcome:
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    return Outcome(process.returncode, out, err)


def test_the_signal_has_come_before(cli: Command, run: str) -> None:
    cli("register", run, "ask", "approval")
    cli("deliver", run, "approval", "[1, 2]")
    shown = cli("wait", run, "ask")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out == cli("get", run, "ask").out
    assert shown.out.startswith('delivered: signal "approval" has come\n')
    document = cli("wait", run, "ask", "--json", "--timeout", "0s").document
    assert tuple(document) == WAITER
    assert (document["state"], document["payload_json"]) == ("delivered", "[1, 2]")


@pytest.mark.parametrize("options", [(), ("--timeout", "1h")])
def test_the_signal_comes(
    cli: Command, run: str, database: str, connection: psycopg.Connection[Any], options: tuple[str, ...]
) -> None:
    cli("register", run, "ask", "approval")
    with waiting(database, connection, run, "--json", *options) as process:
        cli("deliver", run, "approval", '{"ok":  true}')
        shown = outcome(process)
    assert shown.code == 0
    assert shown.document["payload_json"] == '{"ok":  true}'


def test_the_deadline_has_passed_before(cli: Command, run: str) -> None:
    cli("register", run, "ask", "approval", "--expires-in", "0s")
    shown = cli("wait", run, "ask")
    assert (shown.code, shown.err) == (5, "")
    assert shown.out.startswith('expired: signal "approval" did not come before the deadline\n')


def test_the_deadline_passes(cli: Command, run: str) -> None:
    cli("register", run, "ask", "approval", "--expires-in", "200ms")
    shown = cli("wait", run, "ask", "--json")
    assert shown.code == 5
    assert shown.document["state"] == "expired"


@pytest.mark.parametrize("timeout", ["0s", "50ms"])
def test_the_timeout_is_over(cli: Command, run: str, timeout: str) -> None:
    cli("register", run, "ask", "approval")
    shown = cli("wait", run, "ask", "--timeout", timeout)
    assert (shown.code, shown.out) == (9, "")
    assert shown.err.startswith(f"error: step 'ask' of run {run} still waits after 0")
    problem = cli("wait", run, "ask", "--timeout", timeout, "--json").problem
    assert tuple(problem) == PROBLEM
    assert problem["error"] == "timed_out"
    assert cli("get", run, "ask", "--json").document["state"] == "waiting"


def test_there_is_no_waiter(cli: Command, run: str) -> None:
    assert cli("wait", run, "ask") == Outcome(3, "", f'error: step "ask" of run {run} has no waiter\n')
    assert cli("wait", run, "ask", "--json").problem["error"] == "not_found"


def test_the_waiter_is_removed(cli: Command, run: str, database: str, connection: psycopg.Connection[Any]) -> None:
    cli("register", run, "ask", "approval")
    with waiting(database, connection, run, "--json") as process:
        cli("remove", run, "ask")
        shown = outcome(process)
    assert shown.code == 3
    assert shown.problem["error"] == "not_found"


def test_interrupted_by_the_keyboard(
    cli: Command, run: str, database: str, connection: psycopg.Connection[Any]
) -> None:
    cli("register", run, "ask", "approval")
    with waiting(database, connection, run) as process:
        process.send_signal(signal.SIGINT)
        interrupted = f'error: interrupted while waiting for step "ask" of run {run}\ndetail: nothing was changed\n'
        assert outcome(process) == Outcome(130, "", interrupted)
    assert cli("get", run, "ask", "--json").document["state"] == "waiting"


def test_the_connection_breaks(cli: Command, run: str, database: str, connection: psycopg.Connection[Any]) -> None:
    cli("register", run, "ask", "approval")
    with waiting(database, connection, run, "--json") as process:
        sleeper = "datname = current_database() AND wait_event = 'PgSleep'"
        connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {sleeper}")
        shown = outcome(process)
    assert shown.code == 8
    assert one_document(shown.err)["error"] == "connection_lost"


@pytest.mark.parametrize("ends", ["by its timeout", "by the keyboard"])
def test_a_link_that_forwards_nothing_any_more(
    cli: Command, run: str, database: str, connection: psycopg.Connection[Any], ends: str
) -> None:
    """It does not say that the step still waits, which it does not know."""
    cli("register", run, "ask", "approval")
    with link_to(database) as link:
        timeout = "3s" if ends == "by its timeout" else "1h"
        with waiting(link.conninfo, connection, run, "--timeout", timeout) as process:
            link.cut(for_good=True)
            if ends == "by the keyboard":
                process.send_signal(signal.SIGINT)
            shown = outcome(process)
        assert link.connections == 1  # no message to cancel the query, which nobody would answer
    if ends == "by its timeout":
        assert (shown.code, shown.out) == (9, "")
        assert shown.err.endswith("is not known: the database did not answer\n")
    else:
        interrupted = f'error: interrupted while waiting for step "ask" of run {run}\ndetail: nothing was changed\n'
        assert shown == Outcome(130, "", interrupted)


def test_each_look_is_a_transaction_of_its_own(
    cli: Command, run: str, database: str, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that lasts as long as the wait would keep vacuum from its work, and the settings of the database."""
    name = conninfo_to_dict(database)["dbname"]
    connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_isolation = serializable')
    monkeypatch.setattr("flow_signal._waiting.LONG_POLL_SECONDS", 0.01)
    cli("register", run, "ask", "approval")
    query = f"SELECT xact_commit FROM pg_stat_database WHERE datname = '{name}'"
    [[before]] = connection.execute(query).fetchall()
    assert cli("wait", run, "ask", "--timeout", "200ms").code == 9

    def commits() -> int:
        [[after]] = connection.execute(query).fetchall()
        return int(after) - int(before)

    wait_until(lambda: commits() > 5)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["not-a-uuid", "ask"], 2, "uuid"),
        (["{run}", "ask", "--timeout", "30"], 2, "'30' is no duration"),
        (["{run}", ""], 6, "step key"),
    ],
)
def test_what_is_refused(cli: Command, run: str, arguments: list[str], code: int, message: str) -> None:
    shown = cli("wait", *(argument.format(run=run) for argument in arguments))
    assert (shown.code, shown.out) == (code, "")
    assert message in shown.err.lower()


def test_the_help(bare: Command) -> None:
    shown = bare("wait", "--help")
    assert shown.code == 0
    assert "Usage: flow-signal wait" in shown.out
    assert "--timeout" in shown.out
