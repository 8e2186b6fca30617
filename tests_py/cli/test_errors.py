"""Whatever goes wrong: its exit code, and the reason on standard error alone, as text or as JSON."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from flow_signal.cli._exit_code import ExitCode
from flow_signal.cli._problem import problem_of
from flow_signal.embedded import EmbeddedServer
from tests_py.cli.commands import COMMANDS, PROBLEM, Command, Outcome, started
from tests_py.embedded.owners import wait_until

REFUSED = [
    (["deliver", "{run}", "approval", "{"], "22P02"),
    (["deliver", "{run}", "approval", '"' + "x" * 1048576 + '"'], "WS003"),
    (["deliver", "{run}", " ", "1"], "22023"),
    (["deliver", "{run}", "used", "2", "--delivery-id", "x"], "WS002"),
    (["register", "{run}", "", "approval"], "22023"),
    (["register", "{run}", "s" * 257, "approval"], "22023"),
    (["register", "{run}", "ask", "approval", "--wake-channel", "c" * 64], "22023"),
    (["register", "{run}", "used", "approval"], "WS001"),
    (["get", "{run}", ""], "22023"),
    (["remove", "{run}", ""], "22023"),
]


@pytest.mark.parametrize(("command", "sqlstate"), REFUSED)
def test_refused_input(
    cli: Command, run: str, connection: psycopg.Connection[Any], command: list[str], sqlstate: str
) -> None:
    cli("register", run, "used", "used")
    cli("deliver", run, "used", "1", "--delivery-id", "x")
    cli("register", run, "ask", "approval")
    before = connection.execute("TABLE flow_signal.flow_signal_waiters").fetchall()
    arguments = [argument.format(run=run) if argument == "{run}" else argument for argument in command]

    outcome = cli(*arguments, "--json")
    assert outcome.code == 6
    assert tuple(outcome.problem) == PROBLEM
    assert outcome.problem["error"] == "refused"
    assert outcome.problem["sqlstate"] == sqlstate
    problem = outcome.problem
    assert all(problem[part] for part in PROBLEM)

    in_words = cli(*arguments)
    assert (in_words.code, in_words.out) == (6, "")
    assert in_words.err.splitlines() == [
        f"error: {problem['message']} ({sqlstate})",
        f"detail: {problem['detail']}",
        f"hint: {problem['hint']}",
    ]
    assert connection.execute("TABLE flow_signal.flow_signal_waiters").fetchall() == before


def test_text_that_no_database_takes(cli: Command, run: str) -> None:
    outcome = cli("deliver", run, "approval", "-", "--json", stdin=b"[1\x00]")
    assert outcome.code == 6
    assert "NUL" in outcome.problem["message"]


WRONG_USAGE = [
    (["gte"], "No such command 'gte'"),
    (["get"], "Missing argument 'RUN'"),
    (["get", "{run}"], "Missing argument 'STEP'"),
    (["get", "1", "ask"], "Invalid value for 'RUN'"),
    (["get", "{run}", "ask", "again"], "unexpected extra argument"),
    (["get", "{run}", "ask", "--all"], "No such option: --all"),
    (
        ["get", "{run}", "ask", "--dsn", "nonsense"],
        "string of --dsn or FLOW_SIGNAL_DSN is wrong: missing",
    ),
    (["register", "{run}", "ask", "go", "--expires-in", "5"], "'5' is no duration"),
    (["register", "{run}", "ask", "go", "--expires-in", "-5s"], "'-5s' is no duration"),
    (["register", "{run}", "ask", "go", "--expires-in", "5 s"], "'5 s' is no duration"),
    (["register", "{run}", "ask", "go", "--expires-in", "365001d"], "'365001d' is too long: at most 365000d"),
    (["register", "{run}", "ask", "go", "--expires-in", "999999999999d"], "is too long"),
    (["register", "{run}", "ask", "go", "--expires-at", "soon"], "'soon' is no instant"),
    (["register", "{run}", "ask", "go", "--expires-at", "infinity"], "'infinity' is no instant"),
    (["register", "{run}", "ask", "go", "--expires-at", "2030-01-31T12:00"], "has no time zone"),
    (
        ["register", "{run}", "ask", "go", "--expires-in", "5s", "--expires-at", "2030-01-31T12:00Z"],
        "one of --expires-at and --expires-in, not both",
    ),
    (["deliver", "{run}", "go", "--buffer-for", "5"], "'5' is no duration"),
    (
        ["deliver", "{run}", "go", "--buffer-for", "5s", "--buffer-until", "2030-01-31T12:00Z"],
        "one of --buffer-until and --buffer-for, not both",
    ),
    (["deliver", "{run}", "go", "1", "--payload-file", "x"], "one of PAYLOAD and --payload-file, not both"),
    (["deliver", "{run}", "go", "-", "--payload-file", "x"], "one of PAYLOAD and --payload-file, not both"),
    (["deliver", "{run}", "go", "--payload-file", "/nowhere"], "/nowhere: No such file or directory"),
    (["deliver", "{run}", "go", "\udcff"], "an argument is not encoded in UTF-8"),
    (["serve", "--port", "65536"], "--port"),
    (["list", "--state", "x" * 100_000], "xxx... (1000"),
]


@pytest.mark.parametrize(("command", "message"), WRONG_USAGE)
def test_wrong_usage(cli: Command, bare: Command, run: str, command: list[str], message: str) -> None:
    arguments = [run if argument == "{run}" else argument for argument in command]
    runner = cli if command[-1] == "\udcff" else bare
    outcome = runner(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("error: ")
    assert message in outcome.err
    problem = runner(*arguments, "--json").problem
    assert (problem["error"], problem["sqlstate"]) == ("usage", None)
    assert message in problem["message"]


def test_payload_that_is_not_utf8(bare: Command, run: str) -> None:
    outcome = bare("deliver", run, "go", "-", stdin=b'"\xe9"')
    assert outcome.code == 2
    assert "the payload is not encoded in UTF-8" in outcome.err


@pytest.mark.parametrize("command", [["get", "ask"], ["deliver", "ask"], ["migrate"], ["version"]])
def test_no_connection(bare: Command, run: str, tmp_path: Path, command: list[str]) -> None:
    name, *rest = command
    arguments = [name, *([run, *rest] if rest else []), "--dsn", f"host={tmp_path} connect_timeout=5"]
    outcome = bare(*arguments)
    assert (outcome.code, outcome.out) == (7, "")
    assert outcome.err.startswith("error: no connection to the database\ndetail: ")
    problem = bare(*arguments, "--json").problem
    assert problem["error"] == "no_connection"
    assert str(tmp_path) in problem["detail"]


def test_no_connection_by_the_environment(
    bare: Command, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGHOST", str(tmp_path))
    problem = bare("get", run, "ask", "--json").problem
    assert "PGHOST" in problem["hint"]


@pytest.mark.parametrize(
    "command",
    [
        ["get", "{run}", "ask"],
        ["wait", "{run}", "ask"],
        ["remove", "{run}", "ask"],
        ["register", "{run}", "ask", "go"],
        ["deliver", "{run}", "go"],
        ["deliver", "--from", "-"],
        ["broadcast", "go"],
        ["token", "{run}", "ask"],
        ["redeem", "fst_"],
        ["claim", "q"],
        ["list"],
        ["list-buffered"],
        ["stats"],
        ["health"],
        ["remove-run", "{run}"],
        ["purge", "--before", "1d"],
    ],
)
def test_nothing_installed(bare: Command, run: str, server: EmbeddedServer, command: list[str]) -> None:
    arguments = [run if argument == "{run}" else argument for argument in command]
    line = f'{{"run_id": "{run}", "signal_name": "go"}}'.encode()
    outcome = bare(*arguments, "--dsn", server.conninfo("template1"), "--json", stdin=line)
    assert outcome.code == 3
    assert outcome.problem["error"] == "not_found"
    assert outcome.problem["hint"] == "install flow-signal in this database: flow-signal migrate"


def test_an_earlier_release_is_installed(cli: Command, run: str, connection: psycopg.Connection[Any]) -> None:
    connection.execute("DROP FUNCTION flow_signal_v1.get_waiter")
    outcome = cli("get", run, "ask", "--json")
    assert outcome.code == 1
    assert "flow-signal migrate" in outcome.problem["hint"]


def test_role_without_the_right(cli: Command, bare: Command, run: str, database: str) -> None:
    at = f"{database} options='-c role=flow_signal_sender'"
    problem = bare("get", run, "ask", "--dsn", at, "--json")
    assert problem.code == 1
    assert problem.problem["sqlstate"] == "42501"


class Blocked:
    """A command that waits for a waiter that another session has locked."""

    def __init__(self, database: str, run: str, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._command = started("deliver", run, "approval", "--json", "--dsn", database)
        self._lock = psycopg.connect(database)
        self._lock.execute("SELECT FROM flow_signal.flow_signal_waiters FOR UPDATE")

    def __enter__(self) -> Blocked:
        self.process = self._command.__enter__()
        wait_until(self._pid)
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()
        self._command.__exit__(None, None, None)

    def _pid(self) -> int | None:
        row = self._connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"
            " AND datname = current_database()"
        ).fetchone()
        return row and row[0]

    def end(self, function: str) -> None:
        self._connection.execute(f"SELECT {function}(%s)", [self._pid()])

    def outcome(self) -> Outcome:
        out, err = self.process.communicate(timeout=60)
        return Outcome(self.process.returncode, out, err)


@pytest.fixture
def blocked(cli: Command, database: str, run: str, connection: psycopg.Connection[Any]) -> Any:
    cli("register", run, "ask", "approval")
    with Blocked(database, run, connection) as blocked:
        yield blocked


def test_connection_lost(blocked: Blocked) -> None:
    blocked.end("pg_terminate_backend")
    outcome = blocked.outcome()
    assert outcome.code == 8
    assert outcome.problem["error"] == "connection_lost"


def test_canceled(blocked: Blocked) -> None:
    blocked.end("pg_cancel_backend")
    outcome = blocked.outcome()
    assert outcome.code == 1
    assert (outcome.problem["error"], outcome.problem["sqlstate"]) == ("failed", "57014")


def test_interrupted_by_the_keyboard(blocked: Blocked, cli: Command, run: str) -> None:
    blocked.process.send_signal(signal.SIGINT)
    outcome = blocked.outcome()
    assert outcome.code == 130
    assert outcome.problem["error"] == outcome.problem["message"] == "interrupted"
    assert outcome.problem["detail"] == "nothing was changed"
    assert cli("get", run, "ask", "--json").document["state"] == "waiting"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (psycopg.OperationalError("consuming input failed"), ExitCode.CONNECTION_LOST),
        (psycopg.errors.ConnectionFailure("server connection crashed"), ExitCode.CONNECTION_LOST),
        (psycopg.errors.DeadlockDetected("deadlock detected"), ExitCode.FAILED),
    ],
)
def test_connection_lost_or_not(error: psycopg.Error, code: ExitCode) -> None:
    assert problem_of(error).code is code


def test_every_exit_code_is_in_the_help(bare: Command) -> None:
    outcome = bare("--help")
    assert outcome.code == 0
    for code in ExitCode:
        assert f" {code}  {code.meaning}" in outcome.out


def test_every_command_is_in_the_help(bare: Command) -> None:
    text = bare("--help").out
    listed = {line.split()[1] for line in text[text.index("Commands") :].splitlines() if line.startswith("\u2502 ")}
    assert {*COMMANDS} <= listed
    for command in COMMANDS:
        outcome = bare(command, "--help")
        assert (outcome.code, outcome.err) == (0, "")
        assert f"Usage: flow-signal {command}" in outcome.out


def test_no_command_gets_the_help(bare: Command) -> None:
    outcome = bare()
    assert (outcome.code, outcome.out.strip()) == (2, bare("--help").out.strip())
