"""What each command does in the database, prints and returns when nothing is wrong with its input."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from flow_signal.embedded import EmbeddedServer
from flow_signal.migrate import script
from sql.build import ROOT, build, read
from tests_py.build.scripts import UNINSTALL
from tests_py.cli.commands import DELIVERY, WAITER, Command

EXACT = '{ "b":1.50, "a": [1e3,12345678901234567890], "a":"\\u00e4\xe9\u20ac" }\n'


@pytest.fixture
def empty_database(server: EmbeddedServer) -> Any:
    name = f"empty_{uuid4().hex}"
    with psycopg.connect(server.conninfo(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        yield server.conninfo(name)
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_register_shows_the_waiter(cli: Command, run: str) -> None:
    outcome = cli("register", run, "ask boss", "approval")
    assert outcome.code == 0
    assert outcome.err == ""
    lines = outcome.out.splitlines()
    assert lines[0] == 'waiting for signal "approval"'
    assert [line.split()[0] for line in lines[1:]] == list(WAITER)
    assert f"run_id        {run}" in lines
    assert "step_key      ask boss" in lines
    assert "expires_at    (none)" in lines


def test_register_as_json(cli: Command, run: str) -> None:
    document = cli("register", run, "ask", "approval", "--json").document
    assert tuple(document) == WAITER
    created_at = datetime.fromisoformat(document.pop("created_at"))
    assert created_at.utcoffset() == timedelta(0)
    assert document == {
        "run_id": run,
        "step_key": "ask",
        "signal_name": "approval",
        "state": "waiting",
        "expires_at": None,
        "delivered_at": None,
        "payload_json": None,
    }


def test_register_on_a_delivered_step_succeeds_and_shows_it(cli: Command, run: str) -> None:
    cli("register", run, "ask", "approval")
    cli("deliver", run, "approval", '{"ok": true}')
    outcome = cli("register", run, "ask", "approval")
    assert outcome.code == 0
    assert outcome.out.startswith('delivered: signal "approval" has come\n')
    assert 'payload_json  {"ok": true}\n' in outcome.out
    document = cli("register", run, "ask", "approval", "--json").document
    assert (document["state"], document["payload_json"]) == ("delivered", '{"ok": true}')


def test_register_with_an_instant(cli: Command, run: str) -> None:
    document = cli("register", run, "ask", "approval", "--expires-at", "2999-12-31T23:00:00.25Z", "--json").document
    assert document["expires_at"] == "2999-12-31T23:00:00.250000+00:00"
    document = cli("register", run, "ask", "approval", "--expires-at", "2999-12-31T23:00+02:00", "--json").document
    assert document["expires_at"] == "2999-12-31T21:00:00.000000+00:00"


def test_register_past_the_deadline_succeeds_and_shows_it(cli: Command, run: str) -> None:
    outcome = cli("register", run, "ask", "approval", "--expires-in", "0s")
    assert outcome.code == 0
    assert outcome.out.startswith('expired: signal "approval" did not come before the deadline\n')


def test_relative_deadline_counts_from_the_clock_of_the_database(
    cli: Command, run: str, connection: psycopg.Connection[Any]
) -> None:
    before = connection.execute("SELECT clock_timestamp()", binary=True).fetchone()
    document = cli("register", run, "ask", "approval", "--expires-in", "1h30m", "--json").document
    assert before
    deadline = datetime.fromisoformat(document["expires_at"])
    created_at = datetime.fromisoformat(document["created_at"])
    assert before[0] <= deadline - timedelta(minutes=90) <= created_at


def test_register_with_a_wake_channel(cli: Command, run: str, connection: psycopg.Connection[Any]) -> None:
    connection.execute("LISTEN here")
    cli("register", run, "ask", "approval", "--wake-channel", "here")
    cli("deliver", run, "approval")
    [notification] = connection.notifies(timeout=60, stop_after=1)
    assert notification.payload == f"{run}/ask"


def test_register_with_a_queue(cli: Command, run: str, connection: psycopg.Connection[Any]) -> None:
    cli("register", run, "ask", "approval", "--queue", "mine")
    assert connection.execute("SELECT queue FROM flow_signal.flow_signal_waiters").fetchall() == [("mine",)]


def test_deliver(cli: Command, run: str) -> None:
    cli("register", run, "ask", "approval")
    outcome = cli("deliver", run, "approval", "--json")
    assert outcome.code == 0
    assert tuple(outcome.document) == DELIVERY
    assert outcome.document["status"] == "delivered"
    assert outcome.document["run_id"] == run
    assert outcome.document["step_key"] == "ask"
    assert outcome.document["replayed"] is False
    assert cli("get", run, "ask", "--json").document["payload_json"] is None


@pytest.mark.parametrize(
    ("prepare", "code", "status", "headline"),
    [
        ([["register", "ask", "go"]], 0, "delivered", 'delivered to step "ask"'),
        (
            [["register", "ask", "go"], ["deliver", "go"]],
            4,
            "already_delivered",
            'already delivered: step "ask" has a payload',
        ),
        (
            [["register", "ask", "go", "--expires-in", "0s"]],
            5,
            "expired",
            'expired: step "ask" is past its deadline',
        ),
        ([], 3, "not_found", "not found: the run has no such waiter"),
    ],
)
def test_verdict_and_its_exit_code(
    cli: Command, run: str, prepare: list[list[str]], code: int, status: str, headline: str
) -> None:
    for form in ([], ["--json"]):
        cli("remove", run, "ask")
        for command, *arguments in prepare:
            cli(command, run, *arguments)
        outcome = cli("deliver", run, "go", *form)
        assert outcome.code == code
        assert outcome.err == ""
        if form:
            assert outcome.document["status"] == status
        else:
            assert outcome.out.splitlines()[0] == headline


def test_deliver_to_a_step(cli: Command, run: str) -> None:
    cli("register", run, "a", "approval")
    cli("register", run, "b", "approval")
    cli("register", run, "late", "approval", "--expires-in", "0s")
    outcome = cli("deliver-step", run, "b", '{"ok": true}', "--delivery-id", "x", "--json")
    assert (outcome.code, tuple(outcome.document)) == (0, DELIVERY)
    assert (outcome.document["status"], outcome.document["step_key"]) == ("delivered", "b")
    assert cli("get", run, "a", "--json").document["state"] == "waiting"
    assert cli("get", run, "b", "--json").document["payload_json"] == '{"ok": true}'
    again = cli("deliver-step", run, "b", '{"ok": true}', "--delivery-id", "x", "--json")
    assert (again.code, again.document["replayed"]) == (0, True)
    for step, code, headline in (
        ("b", 4, 'already delivered: step "b" has a payload'),
        ("late", 5, 'expired: step "late" is past its deadline'),
        ("none", 3, "not found: the run has no such waiter"),
    ):
        outcome = cli("deliver-step", run, step)
        assert (outcome.code, outcome.err) == (code, "")
        assert outcome.out.splitlines()[0] == headline
    assert cli("deliver-step", run, "a", "-", "--json", stdin=b"{").problem["sqlstate"] == "22P02"


@pytest.mark.parametrize("source", ["argument", "file", "stdin", "stdin as file"])
def test_payload_is_kept_byte_for_byte(cli: Command, run: str, tmp_path: Path, source: str) -> None:
    file = tmp_path / "payload.json"
    file.write_bytes(EXACT.encode())
    arguments = {
        "argument": [EXACT],
        "file": ["--payload-file", str(file)],
        "stdin": ["-"],
        "stdin as file": ["--payload-file", "-"],
    }[source]
    cli("register", run, "ask", "approval")
    stdin = EXACT.encode() if source.startswith("stdin") else b""
    assert cli("deliver", run, "approval", *arguments, stdin=stdin).code == 0
    assert cli("get", run, "ask", "--json").document["payload_json"] == EXACT


def test_payload_that_begins_with_a_dash(cli: Command, run: str) -> None:
    cli("register", run, "ask", "approval")
    assert cli("deliver", "--json", "--", run, "approval", "-5").code == 0
    assert cli("get", run, "ask", "--json").document["payload_json"] == "-5"


def test_deliver_again_under_the_same_delivery_id(cli: Command, run: str) -> None:
    cli("register", run, "ask", "approval")
    first = cli("deliver", run, "approval", "1", "--delivery-id", "x", "--json").document
    again = cli("deliver", run, "approval", "1", "--delivery-id", "x", "--json")
    assert again.code == 0
    assert again.document == {**first, "replayed": True}
    in_words = cli("deliver", run, "approval", "1", "--delivery-id", "x")
    assert in_words.out.startswith('delivered to step "ask" (by this delivery id or token, before)\n')
    assert in_words.out.endswith("replayed      true\n")


@pytest.mark.parametrize("until", [["--buffer-for", "1h"], ["--buffer-until", "2999-01-01T00:00:00Z"]])
def test_buffered_signal_is_taken_by_the_next_waiter(cli: Command, run: str, until: list[str]) -> None:
    outcome = cli("deliver", run, "approval", "7", *until, "--json")
    assert outcome.code == 0
    assert outcome.document["status"] == "buffered"
    document = cli("register", run, "ask", "approval", "--json").document
    assert (document["state"], document["payload_json"]) == ("delivered", "7")


def test_buffer_time_that_has_passed_keeps_nothing(cli: Command, run: str) -> None:
    assert cli("deliver", run, "approval", "7", "--buffer-for", "0s").code == 3


def test_get_and_remove(cli: Command, run: str) -> None:
    registered = cli("register", run, "ask", "approval")
    assert cli("get", run, "ask") == registered
    assert cli("remove", run, "ask") == registered
    for command in ("get", "remove"):
        outcome = cli(command, run, "ask")
        assert (outcome.code, outcome.out) == (3, "")
        assert outcome.err == f'error: step "ask" of run {run} has no waiter\n'
        assert cli(command, run, "ask", "--json").problem["error"] == "not_found"


def test_get_writes_nothing(cli: Command, run: str, database: str, connection: psycopg.Connection[Any]) -> None:
    cli("register", run, "ask", "approval")
    name = conninfo_to_dict(database)["dbname"]
    connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert cli("get", run, "ask").code == 0
    assert cli("remove", run, "ask").code == 1


def test_weeks(cli: Command, run: str) -> None:
    document = cli("register", run, "ask", "approval", "--expires-in", "1w1d", "--json").document
    distance = datetime.fromisoformat(document["expires_at"]) - datetime.fromisoformat(document["created_at"])
    assert timedelta(days=8) - timedelta(minutes=1) < distance <= timedelta(days=8)


def test_the_connection_string_of_the_environment(
    cli: Command, bare: Command, run: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("register", run, "ask", "approval")
    monkeypatch.setenv("FLOW_SIGNAL_DSN", database)
    assert bare("get", run, "ask").code == 0
    assert bare("version", "--json").document["database"] is not None
    assert bare("get", run, "ask", "--dsn", "host=/nowhere").code == 7


def test_version_option(bare: Command) -> None:
    release = importlib.metadata.version("flow-signal")
    outcome = bare("--version")
    assert (outcome.code, outcome.out, outcome.err) == (0, f"flow-signal {release}\n", "")


def test_version_of_the_package(bare: Command) -> None:
    release = importlib.metadata.version("flow-signal")
    assert bare("version").out.split() == ["package", release, "database", "not", "asked"]
    assert bare("version", "--json").document == {"package": release, "database": None}


def test_version_of_the_database(cli: Command, bare: Command, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    release = importlib.metadata.version("flow-signal")
    assert cli("version").out.split() == ["package", release, "database", release]
    for name, value in conninfo_to_dict(database).items():
        monkeypatch.setenv({"dbname": "PGDATABASE"}.get(name, f"PG{name.upper()}"), str(value))
    assert bare("version", "--json").document == {"package": release, "database": release}


def test_migrate_installs_and_then_changes_nothing(bare: Command, empty_database: str, run: str) -> None:
    at = ("--dsn", empty_database)
    release = importlib.metadata.version("flow-signal")
    not_yet = bare("version", *at, "--json")
    assert (not_yet.code, not_yet.document["database"]) == (3, None)
    assert bare("version", *at).out.split()[2:] == ["database", "not", "installed"]

    first = bare("migrate", *at)
    assert first.code == 0
    assert "migrations/0001_waiters.sql installed\n" in first.out
    name = conninfo_to_dict(empty_database)["dbname"]
    assert first.out.splitlines()[-1] == f"{release} is installed in database {name}"
    assert bare("register", run, "ask", "approval", *at).code == 0

    assert bare("migrate", *at).out == f"{release} is installed in database {name}\n"
    assert bare("migrate", *at, "--json").document["notices"][-1] == (
        f"flow-signal: {release} is installed in database {name}"
    )


def test_sql_prints_the_script(bare: Command) -> None:
    outcome = bare("sql")
    assert (outcome.code, outcome.out, outcome.err) == (0, script(), "")


def test_sql_uninstall_prints_the_script_that_removes(bare: Command) -> None:
    outcome = bare("sql", "--uninstall")
    assert (outcome.code, outcome.out, outcome.err) == (0, UNINSTALL, "")


def test_sql_prints_the_script_for_other_tools_and_that_of_the_roles(bare: Command) -> None:
    outcome = bare("sql", "--no-transaction")
    assert (outcome.code, outcome.out, outcome.err) == (0, build(kind="no transaction"), "")
    outcome = bare("sql", "--roles")
    assert (outcome.code, outcome.out, outcome.err) == (0, read(ROOT / "sql/roles.sql"), "")
    assert bare("sql", "--roles", "--uninstall").code == 2


def test_settings_of_the_database_do_not_matter(
    cli: Command, run: str, database: str, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = conninfo_to_dict(database)["dbname"]
    for setting in (
        "default_transaction_isolation = 'serializable'",
        "DateStyle = 'German'",
        "IntervalStyle = 'sql_standard'",
        "TimeZone = 'Asia/Kathmandu'",
    ):
        connection.execute(f"ALTER DATABASE {name} SET {setting}")
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    document = cli("register", run, "ask", "approval", "--expires-in", "1d", "--json").document
    assert document["created_at"].endswith("+00:00")
    assert cli("deliver", run, "approval", '"\u20ac"').code == 0
    assert cli("get", run, "ask", "--json").document["payload_json"] == '"\u20ac"'


def test_module_and_script_are_the_same_command() -> None:
    for command in ([sys.executable, "-m", "flow_signal"], [str(Path(sys.executable).with_name("flow-signal"))]):
        outcome = subprocess.run([*command, "version", "--json"], capture_output=True, text=True, check=True)
        assert '"package"' in outcome.stdout
