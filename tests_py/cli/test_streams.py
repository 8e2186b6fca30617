"""Broken streams, odd files, encodings and environments: the documented exit code, a reason, and never a traceback.

Each is a process of its own, which a shell starts with its redirections.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from flow_signal import FlowSignalStore, NewSignal, NewWaiter
from tests_py.cli.commands import COMMANDS, command_line, read_until, started
from tests_py.importer.origin import TABLE

PATIENCE_SECONDS = 120
MIB = 1024 * 1024
RUN = str(UUID(int=1))
OTHER_RUN = str(UUID(int=2))
CLAIM = str(UUID(int=3))
ANSWER = '{"the": "answer"}'

Rows = list[tuple[Any, ...]]


@pytest.fixture
def rows(connection: psycopg.Connection[Any]) -> Callable[[], Rows]:
    """Some waiters and signals; returns all that is in the database, but for what a claim changes."""
    store = FlowSignalStore(connection)
    run = UUID(RUN)
    store.register_waiters([NewWaiter(run, "paid", "payment"), NewWaiter(run, "open", "approval")], queue="q")
    store.register_waiter(run, "caf\xe9 \u20ac", "approval")
    store.deliver_signals([NewSignal(run, "payment", payload_json=ANSWER)])
    store.deliver_signal(run, "early", payload_json=ANSWER, buffer_for=timedelta(days=1))
    connection.execute("UPDATE flow_signal.flow_signal_buffered_signals SET position = 1")
    store.register_waiter(run, "held", "held", queue="held", expires_in=timedelta(0))
    assert len(store.claim_waiters("held")) == 1
    connection.execute("UPDATE flow_signal.flow_signal_waiters SET claim_id = %s WHERE step_key = 'held'", [CLAIM])
    connection.execute(TABLE)
    connection.execute(f"INSERT INTO flow_signal_waiters VALUES ('{OTHER_RUN}', 'there', 'go')")
    query = """
        SELECT step_key, signal_name, payload_json::text, due_at FROM flow_signal.flow_signal_waiters
        UNION ALL SELECT NULL, signal_name, payload_json::text, NULL FROM flow_signal.flow_signal_buffered_signals
        UNION ALL SELECT step_key, signal_name, NULL, NULL FROM flow_signal.flow_signal_tokens
        ORDER BY 1
    """
    return lambda: connection.execute(query).fetchall()


def redirected(
    redirections: str, *arguments: str | bytes, dsn: str | None = None, **options: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run a command; check what is true of all of them."""
    environment = {**os.environ, **options.pop("env", {})}
    if dsn is not None:
        environment["FLOW_SIGNAL_DSN"] = dsn
    ended = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirections}', "sh", *command_line(), *arguments],
        stdin=options.pop("stdin", subprocess.DEVNULL) if "input" not in options else None,
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        env=environment,
        timeout=PATIENCE_SECONDS,
        check=False,
        **options,
    )
    said = (ended.stdout or b"") + ended.stderr
    for word in (b"Traceback", b"Exception ignored", b"fault of flow-signal"):
        assert word not in said, said.decode(errors="replace")
    return ended


def lines(*documents: object) -> bytes:
    return "".join(f"{json.dumps(document)}\n" for document in documents).encode()


WAITERS = lines(
    {"run_id": OTHER_RUN, "step_key": "a", "signal_name": "go"},
    {"run_id": OTHER_RUN, "step_key": "b", "signal_name": "go"},
)
BROKEN_OUTPUTS = {"closed": ">&-", "full": ">/dev/full", "only for reading": "1</dev/null"}

# The exit code when standard output fails: 12 where something was changed, the verdict where there is one.
READ, CHANGED = 1, 12
UNPRINTED: list[tuple[int, list[str]]] = [
    (READ, []),
    (READ, ["--help"]),
    (READ, ["--version"]),
    (READ, ["get", "--help"]),
    (READ, ["version"]),
    (READ, ["version", "--json"]),
    (READ, ["sql"]),
    (READ, ["sql", "--uninstall"]),
    (CHANGED, ["migrate"]),
    (CHANGED, ["migrate", "--json"]),
    (READ, ["get", RUN, "paid"]),
    (READ, ["get", RUN, "paid", "--json"]),
    (3, ["get", RUN, "none"]),
    (READ, ["wait", RUN, "paid"]),
    (READ, ["wait", RUN, "paid", "--json"]),
    (9, ["wait", RUN, "open", "--timeout", "0s"]),
    (READ, ["list"]),
    (READ, ["list", "--all", "--json"]),
    (READ, ["list-buffered"]),
    (READ, ["stats"]),
    (READ, ["stats", "--json"]),
    (READ, ["health"]),
    (READ, ["health", "--json"]),
    (READ, ["remove", RUN, "paid"]),
    (READ, ["remove", RUN, "paid", "--json"]),
    (3, ["remove", RUN, "none"]),
    (READ, ["claim", "q"]),
    (READ, ["claim", "q", "--json"]),
    (READ, ["claim", "nobody"]),
    (CHANGED, ["register", RUN, "new", "go"]),
    (CHANGED, ["register", RUN, "new", "go", "--json"]),
    (CHANGED, ["register", "--from", "-"]),
    (CHANGED, ["register", "--from", "-", "--json"]),
    (CHANGED, ["register", "--from", "-", "--atomic"]),
    (CHANGED, ["register", "--from", "-", "--atomic", "--json"]),
    (CHANGED, ["deliver", RUN, "approval"]),
    (CHANGED, ["deliver", RUN, "approval", "--json"]),
    (CHANGED, ["deliver", RUN, "early", "--buffer-for", "1w"]),
    (3, ["deliver", RUN, "unknown"]),
    (4, ["deliver", RUN, "payment", "--json"]),
    (6, ["deliver", RUN, "payment", "{"]),
    (CHANGED, ["deliver-step", RUN, "open", "--json"]),
    (4, ["deliver-step", RUN, "paid"]),
    (READ, ["token", RUN, "open"]),
    (READ, ["token", RUN, "open", "--json"]),
    (3, ["redeem", "fst_"]),
    (CHANGED, ["extend", RUN, "held", "--claim-id", CLAIM, "--lease", "5m"]),
    (CHANGED, ["extend", RUN, "held", "--claim-id", CLAIM, "--lease", "0s", "--json"]),
    (3, ["extend", RUN, "paid", "--claim-id", CLAIM, "--lease", "5m"]),
    (READ, ["withdraw", RUN, "early", "1"]),
    (READ, ["withdraw", RUN, "early", "1", "--json"]),
    (CHANGED, ["purge-buffered", "--before", "0s", "--json"]),
    (CHANGED, ["broadcast", "approval"]),
    (CHANGED, ["broadcast", "approval", "--json"]),
    (CHANGED, ["remove-run", RUN]),
    (CHANGED, ["remove-run", RUN, "--json"]),
    (CHANGED, ["purge", "--before", "1w"]),
    (CHANGED, ["purge", "--before", "1w", "--json", "--all"]),
    (CHANGED, ["import-floworchestrator", "--from-schema", "public"]),
    (READ, ["import-floworchestrator", "--from-schema", "public", "--dry-run"]),
]


@pytest.mark.parametrize(
    ("code", "arguments", "kind"),
    [
        pytest.param(code, arguments, kind, id=f"{' '.join(arguments)} {kind}")
        for number, (code, arguments) in enumerate(UNPRINTED)
        # Not all with all: what differs is in one place of the code.
        for kind in ([*BROKEN_OUTPUTS][number % 3],)
    ],
)
def test_standard_output_fails(
    database: str, rows: Callable[[], Rows], code: int, arguments: list[str], kind: str
) -> None:
    before = rows()
    ended = redirected(BROKEN_OUTPUTS[kind], *arguments, dsn=database, input=WAITERS)
    assert ended.returncode == code, ended.stderr
    if code in (READ, CHANGED):
        reason = b"No space left on device" if kind == "full" else b"Bad file descriptor"
        assert b"standard output: " + reason in ended.stderr
    if code == READ:
        assert rows() == before
    if code == READ and {"remove", "claim", "withdraw", "token"}.intersection(arguments):
        assert b"nothing was changed" in ended.stderr


def test_every_command_was_there() -> None:
    """But for those with a server of their own, which are below."""
    assert {arguments[0] for _, arguments in UNPRINTED if arguments} >= {*COMMANDS} - {"demo", "serve"}


@pytest.mark.parametrize("kind", BROKEN_OUTPUTS)
def test_what_the_shell_completes_cannot_be_printed(kind: str) -> None:
    shell = {"_FLOW_SIGNAL_COMPLETE": "complete_bash", "COMP_WORDS": "flow-signal l", "COMP_CWORD": "1"}
    ended = redirected(BROKEN_OUTPUTS[kind], env=shell)
    assert ended.returncode == 1
    assert ended.stderr.startswith(b"error: standard output: ")


@pytest.mark.parametrize("command", [["claim", "q"], ["remove", RUN, "paid"], ["remove", RUN, "paid", "--json"]])
def test_a_payload_without_a_reader_is_not_lost(database: str, rows: Callable[[], Rows], command: list[str]) -> None:
    before = rows()
    reading, writing = os.pipe()
    os.close(reading)
    ended = redirected("", *command, dsn=database, stdout=writing)
    os.close(writing)
    assert (ended.returncode, rows()) == (1, before)
    assert b"nobody reads standard output" in ended.stderr


def test_what_was_done_is_told_on_standard_error(database: str, rows: Callable[[], Rows]) -> None:
    ended = redirected(">/dev/full", "deliver", RUN, "approval", ANSWER, dsn=database)
    assert ended.stderr.decode().splitlines() == [
        "error: standard output: No space left on device",
        'detail: delivered to step "open"',
    ]
    ended = redirected(">/dev/full", "deliver", RUN, "approval", ANSWER, "--json", dsn=database)
    problem = json.loads(ended.stderr)
    assert problem["error"] == "not_printed"
    assert ANSWER not in ended.stderr.decode()


@pytest.mark.parametrize(
    ("options", "code", "how_far", "steps"),
    [
        (["--json"], 12, "lines up to 3 are done, later ones are not", ["a", "b"]),
        ([], 11, "lines up to 3 are done, later ones are not", ["a", "b"]),
        (["--atomic", "--json"], 1, "no line is applied", []),
        (["--atomic"], 6, "no line is applied", []),
    ],
)
def test_some_lines_are_refused_and_not_printed(
    database: str, connection: psycopg.Connection[Any], options: list[str], code: int, how_far: str, steps: list[str]
) -> None:
    ended = redirected(">/dev/full", "register", "--from", "-", *options, dsn=database, input=WAITERS + b"{}\n")
    assert (ended.returncode, how_far in ended.stderr.decode()) == (code, True)
    assert [waiter.step_key for waiter in FlowSignalStore(connection).list_waiters()] == steps


@pytest.mark.parametrize(
    ("redirections", "code", "arguments"),
    [
        ("2>&-", 3, ["get", RUN, "none"]),
        ("2>/dev/full", 3, ["get", RUN, "none", "--json"]),
        ("2>/dev/full", 6, ["deliver", RUN, "go", "{"]),
        ("2</dev/null", 6, ["deliver", RUN, "go", "{", "--json"]),
        ("2>&-", 2, ["gte"]),
        ("2>&-", 0, ["register", "--from", "-", "--json"]),
        ("2>/dev/full", 0, ["register", "--from", "-", "--json"]),
        (">&- 2>&-", 12, ["register", "--from", "-", "--json"]),
        ("<&- >&- 2>&-", 1, ["register", "--from", "-"]),
        ("<&- >&- 2>&-", 12, ["register", RUN, "new", "go"]),
    ],
)
def test_standard_error_fails(database: str, redirections: str, code: int, arguments: list[str]) -> None:
    assert redirected(redirections, *arguments, dsn=database, input=WAITERS).returncode == code


@pytest.mark.parametrize(
    ("redirections", "code", "arguments"),
    [
        ("<&-", 2, ["deliver", RUN, "go", "-"]),
        ("0>/dev/null", 2, ["deliver", RUN, "go", "--payload-file", "-"]),
        ("<&-", 2, ["broadcast", "go", "-"]),
        ("0>/dev/null", 2, ["redeem", "-"]),
        ("<&-", 1, ["deliver", "--from", "-"]),
        ("0>/dev/null", 1, ["deliver", "--from", "-", "--json"]),
        ("0>/dev/null", 1, ["register", "--from", "-", "--atomic"]),
        ("<&-", 0, ["register", RUN, "step", "go"]),
    ],
)
def test_standard_input_fails(database: str, redirections: str, code: int, arguments: list[str]) -> None:
    ended = redirected(redirections, *arguments, dsn=database)
    assert ended.returncode == code
    assert (b"Bad file descriptor" in ended.stderr) is (code != 0)


def test_streams_that_do_not_block(database: str, connection: psycopg.Connection[Any]) -> None:
    """Programs that share a pipe leave it so; a slow reader then must not cost any output."""
    store = FlowSignalStore(connection)
    store.register_waiters(NewWaiter(UUID(RUN), f"{number:05}", "go") for number in range(2000))
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with subprocess.Popen(
        command_line("list", "--all", "--json", "--dsn", database), stdout=writing, stderr=subprocess.PIPE
    ) as process:
        os.close(writing)
        with os.fdopen(reading) as pipe:
            steps = [json.loads(line)["step_key"] for line in pipe]
        assert process.stderr
        assert process.stderr.read() == b""
    assert process.returncode == 0
    assert len(steps) == 2000


FILES: list[tuple[str, Callable[[Path], object], str]] = [
    ("missing", lambda path: None, "No such file or directory"),
    ("folder", lambda path: path.mkdir(), "Is a directory"),
    ("caf\udce9\n\x1b[2J", lambda path: None, "caf\\udce9\n\\x1b[2J: No such file or directory"),
    ("n" * 256, lambda path: None, "File name too long"),
    ("loop", lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    ("link", lambda path: path.symlink_to("/proc/self/mem"), "Input/output error"),
]


@pytest.mark.parametrize(("name", "make", "reason"), FILES)
@pytest.mark.parametrize("arguments", [["deliver", RUN, "go", "--payload-file"], ["deliver", "--from"]])
def test_a_file_that_cannot_be_read(
    database: str, tmp_path: Path, arguments: list[str], name: str, make: Callable[[Path], object], reason: str
) -> None:
    make(tmp_path / name)
    ended = redirected("", *arguments, os.fsencode(tmp_path / name), dsn=database)
    code = 1 if name == "link" and "--from" in arguments else 2
    assert (ended.returncode, ended.stdout) == (code, b"")
    assert reason in ended.stderr.decode()


@pytest.mark.parametrize("name", ["caf\udce9", "a\nb", "\x1b[2J", "-", " "])
def test_a_file_of_any_name(database: str, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(WAITERS)
    ended = redirected("", "register", "--from", os.fsencode(tmp_path / name), dsn=database)
    assert (ended.returncode, ended.stderr) == (0, b"")


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (200 * MIB, 200 * MIB))


@pytest.mark.parametrize("source", ["file", "standard input", "endless"])
def test_a_payload_of_a_gigabyte_is_not_read_whole(database: str, tmp_path: Path, source: str) -> None:
    huge = tmp_path / "huge.json"
    if source == "endless":
        huge.symlink_to("/dev/zero")
    else:
        huge.touch()
        os.truncate(huge, 1024 * MIB)
    given = ["-"] if source == "standard input" else ["--payload-file", str(huge)]
    with huge.open("rb") as stdin:
        ended = redirected(
            "", "deliver", RUN, "go", *given, "--json", dsn=database, stdin=stdin, preexec_fn=limit_memory
        )
    assert ended.returncode == 6
    assert json.loads(ended.stderr)["message"] == f"the payload is longer than {8 * MIB} bytes"


def test_the_database_says_how_long_a_payload_may_be(database: str) -> None:
    ended = redirected("", "deliver", RUN, "go", "-", "--json", dsn=database, input=b'"%s"' % (b"x" * 7 * MIB))
    assert ended.returncode == 6
    assert json.loads(ended.stderr)["sqlstate"] == "WS003"


ENCODINGS = [
    {"PYTHONIOENCODING": "ascii:strict"},
    {"PYTHONIOENCODING": "latin-1:strict"},
    {"PYTHONIOENCODING": "utf-16"},
    {"PYTHONIOENCODING": "cp037"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LC_ALL": "nonsense"},
    {"LC_ALL": "C", "PYTHONUTF8": "1"},
]


@pytest.mark.parametrize("environment", ENCODINGS)
def test_any_encoding(database: str, rows: Callable[[], Rows], environment: dict[str, str]) -> None:
    ended = redirected("", "list", "--all", dsn=database, env=environment)
    assert (ended.returncode, ended.stderr) == (0, b"")
    ended = redirected("", "get", RUN, "none \u20ac", dsn=database, env=environment)
    assert ended.returncode in (2, 3)  # 2 where the locale makes another text of the argument


@pytest.mark.parametrize(
    "arguments",
    [
        ["get", RUN, b"\xff"],
        ["register", RUN, "step", b"\xff"],
        ["deliver", RUN, "go", b'"\xff"'],
        ["deliver", RUN, "go", "1", "--delivery-id", b"\xff"],
        ["get", b"\xff", "step"],
        [b"\xff"],
        ["get", b"--\xff"],
        ["get", RUN, "step", "--dsn", b"dbname=\xff"],
        ["list", "--state", b"\xff"],
        ["register", RUN, "step", "go", "--expires-at", b"\xff"],
        ["claim", b"\xff", "--json"],
    ],
)
def test_arguments_that_are_no_text(database: str, arguments: Sequence[str | bytes]) -> None:
    ended = redirected("", *arguments, dsn=database)
    assert (ended.returncode, ended.stdout) == (2, b"")


@pytest.mark.parametrize(
    ("code", "environment"),
    [
        (2, {"FLOW_SIGNAL_DSN": "nonsense"}),
        (2, {"FLOW_SIGNAL_DSN": "dbname=\udcff"}),
        (7, {"FLOW_SIGNAL_DSN": "host=/nowhere"}),
        (7, {"FLOW_SIGNAL_DSN": "postgresql://127.0.0.1:1/x"}),
        (7, {"FLOW_SIGNAL_DSN": "service=none"}),
        (7, {"FLOW_SIGNAL_DSN": "host=/nowhere", "PGPORT": "x"}),
        (7, {"PGSERVICE": "none"}),
        (7, {"PGSSLMODE": "nonsense"}),
        (7, {"PGOPTIONS": "-c nonsense.=1 -c =="}),
        (3, {"PGCLIENTENCODING": "nonsense"}),
        (3, {"COLUMNS": "0"}),
        (3, {"COLUMNS": "-1", "LINES": "x"}),
        (3, {"TERM": "nonsense", "FORCE_COLOR": "1"}),
        (3, {"HOME": "/nowhere", "TMPDIR": "/nowhere"}),
    ],
)
def test_any_environment(database: str, code: int, environment: dict[str, str]) -> None:
    ended = redirected("", "get", RUN, "none", env={"FLOW_SIGNAL_DSN": database, **environment})
    assert (ended.returncode, ended.stdout) == (code, b"")
    assert ended.stderr.startswith((b"error: ", b"\x1b[1;31merror: "))


def test_the_folder_is_gone(database: str, tmp_path: Path) -> None:
    gone = tmp_path / str(uuid4())
    gone.mkdir()
    ended = redirected("", "get", RUN, "none", dsn=database, cwd=gone, preexec_fn=gone.rmdir)
    assert ended.returncode == 3


@pytest.mark.parametrize("redirections", [">&-", ">/dev/full"])
def test_a_server_whose_address_cannot_be_told_ends(redirections: str, temporary_folder: Path) -> None:
    ended = redirected(redirections, "serve")
    assert ended.returncode == 1
    assert b"standard output: " in ended.stderr


def test_a_demo_that_cannot_be_shown_ends(temporary_folder: Path) -> None:
    assert redirected(">/dev/full", "demo").returncode == 1
    assert list(temporary_folder.iterdir()) == []


def test_a_server_without_standard_input(temporary_folder: Path) -> None:
    with started("serve", preexec_fn=lambda: os.close(0)) as process:
        assert "runs until Ctrl-C" in read_until(process, "dsn")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_SECONDS)
        assert (process.returncode, err) == (0, "")


def test_a_full_disk(database: str, connection: psycopg.Connection[Any], tmp_path: Path) -> None:
    """What is printed into a file that may not grow."""

    def limit_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    store = FlowSignalStore(connection)
    store.register_waiters(NewWaiter(UUID(RUN), f"{number:05}", "go") for number in range(200))
    with (tmp_path / "list").open("wb") as file:
        ended = redirected("", "list", dsn=database, stdout=file, preexec_fn=limit_files)
    assert ended.returncode == 1
    assert b"standard output: File too large" in ended.stderr
