"""What reaches the terminal, the pipe or the file, and what a command loads for it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from typing import IO

import pytest

from tests_py.cli.commands import Command, command_line
from tests_py.embedded.owners import deadline

ESCAPE = "\x1b"


def on_terminal(*arguments: str, columns: int = 80, stdout: IO[bytes] | None = None, **environment: str) -> str:
    """Return what a terminal of that width receives of the command; its own line ends removed."""
    primary, secondary = pty.openpty()
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    with (
        subprocess.Popen(
            command_line(*arguments),
            stdout=stdout or secondary,
            stderr=secondary,
            env={**inherited, "TERM": "xterm-256color", **environment},
        ) as process,
        deadline(process),
    ):
        os.close(secondary)
        received = b""
        while True:
            try:
                part = os.read(primary, 65536)
            except OSError:  # how Linux says that the other end is closed
                break
            if not part:
                break
            received += part
    os.close(primary)
    return received.decode().replace("\r\n", "\n")


def test_colours_on_a_terminal(cli: Command, run: str, database: str) -> None:
    plain = cli("register", run, "ask", "approval").out
    shown = on_terminal("get", run, "ask", "--dsn", database)
    assert f"{ESCAPE}[1;32mwaiting for" in shown
    assert on_terminal("get", run, "ask", "--dsn", database, NO_COLOR="1") == plain
    assert on_terminal("get", run, "ask", "--dsn", database, TERM="dumb") == plain


def test_colours_of_errors(run: str) -> None:
    missing = ("get", run, "ask", "--dsn", "nonsense")
    assert ESCAPE in on_terminal(*missing)
    assert ESCAPE not in on_terminal(*missing, NO_COLOR="1")


def test_no_colours_in_a_pipe(cli: Command, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for outcome in (
        cli("register", run, "ask", "approval"),
        cli("deliver", run, "other"),
        cli("get", run, "none"),
        cli("--help"),
    ):
        assert ESCAPE not in outcome.out + outcome.err


def test_narrow_terminal_cuts_nothing(cli: Command, run: str, database: str) -> None:
    step = "a-step-with-a-rather-long-key"
    plain = cli("register", run, step, "approval").out
    assert on_terminal("get", run, step, "--dsn", database, columns=20, NO_COLOR="1") == plain


def test_long_values_stay_on_one_line_in_a_pipe(cli: Command, run: str) -> None:
    payload = json.dumps("x" * 1000)
    cli("deliver", run, "approval", payload, "--buffer-for", "1h")
    assert f"payload_json  {payload}\n" in cli("register", run, "ask", "approval").out


def test_control_characters_do_not_reach_the_terminal(cli: Command, run: str) -> None:
    outcome = cli("register", run, "\x1b[2J\x07\x9b[/bold]:smile:", "approval")
    assert "step_key      \\x1b[2J\\x07\\x9b[/bold]:smile:\n" in outcome.out
    assert ESCAPE not in cli("get", run, "\x1b[2J?").err


def test_characters_that_the_output_cannot_encode(cli: Command, run: str, database: str) -> None:
    cli("register", run, "\u20ac", "approval")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for form in ([], ["--json"]):
        command = command_line("get", run, "\u20ac", "--dsn", database, *form)
        outcome = subprocess.run(command, env=environment, capture_output=True, check=True)
        assert rb"\u20ac" in outcome.stdout


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["sql"], 0),
        (["version"], 0),
        (["version", "--json"], 0),
        (["deliver", "{run}", "approval"], 3),
        (["deliver", "{run}", "approval", "--json"], 3),
    ],
)
def test_reader_that_has_left(run: str, database: str, command: list[str], code: int) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    arguments = [run if argument == "{run}" else argument for argument in command]
    at = ["--dsn", database] if command[0] == "deliver" else []
    process = subprocess.run(
        command_line(*arguments, *at), stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert (process.returncode, process.stderr) == (code, "")


@pytest.mark.parametrize(
    ("form", "unneeded"),
    [([], ["flow_signal.embedded"]), (["--json"], ["flow_signal.embedded", "rich"])],
)
def test_a_command_loads_no_more_than_it_needs(
    cli: Command, run: str, database: str, form: list[str], unneeded: list[str]
) -> None:
    cli("register", run, "ask", "approval")
    program = (
        "import sys\n"
        "from flow_signal.cli import main\n"
        f"sys.argv = {['flow-signal', 'get', run, 'ask', '--dsn', database, *form]!r}\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as ending:\n"
        "    assert ending.code == 0\n"
        f"sys.exit(', '.join(name for name in {unneeded!r} if name in sys.modules) or 0)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
