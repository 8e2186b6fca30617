"""What needs a terminal of the command's own: the prompt for a password. And what a shell completes."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Iterator

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flow_signal.embedded import EmbeddedServer
from flow_signal.migrate import migrate
from tests_py.cli.commands import command_line


@pytest.fixture(scope="module")
def guarded() -> Iterator[tuple[str, str]]:
    """The address of a server that wants a password, without it, and the password."""
    with EmbeddedServer(port=0) as server:
        migrate(server.conninfo())
        parameters = conninfo_to_dict(server.conninfo(tcp=True))
        password = str(parameters.pop("password"))
        yield make_conninfo("", **parameters), password


def on_own_terminal(typed: bytes, *arguments: str) -> tuple[int, str]:
    """Run a command on a terminal that is its own, and type there when it asks; return its exit code and output."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(command_line()[0], [*command_line(), *arguments])
    received = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not part:
            break
        received += part
        if part.endswith(b": "):
            os.write(terminal, typed)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), received.decode()


@pytest.mark.parametrize("command", ["version", "migrate"])
def test_a_password_is_asked_for(guarded: tuple[str, str], command: str) -> None:
    address, password = guarded
    code, shown = on_own_terminal(password.encode() + b"\n", command, "--dsn", address)
    assert shown.startswith("Password for user postgres: ")
    assert (code, password in shown) == (0, False)
    assert "error" not in shown


@pytest.mark.parametrize(("typed", "code"), [(b"wrong\n", 7), (b"\n", 7), (b"\x04", 7), (b"\x03", 130)])
def test_a_password_that_will_not_do(guarded: tuple[str, str], typed: bytes, code: int) -> None:
    address, _ = guarded
    ended, shown = on_own_terminal(typed, "version", "--dsn", address)
    assert ended == code
    assert "Traceback" not in shown
    assert "error: " in shown
    assert shown.count("Password for user") == 1


def test_nobody_is_asked_without_a_terminal(guarded: tuple[str, str]) -> None:
    address, _ = guarded
    ended = subprocess.run(
        command_line("version", "--dsn", address),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
        timeout=60,
    )
    assert ended.returncode == 7
    assert "no password supplied" in ended.stderr


def test_a_password_that_is_given_is_not_asked_for(guarded: tuple[str, str]) -> None:
    address, password = guarded
    code, shown = on_own_terminal(b"", "version", "--dsn", make_conninfo(address, password=password))
    assert (code, "Password" in shown) == (0, False)


def test_a_shell_completes_commands() -> None:
    """As bash runs it, by the script that --show-completion prints."""
    script = subprocess.run(
        ["bash", "-c", '"$@" --show-completion; exit $?', "bash", *command_line()],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "_FLOW_SIGNAL_COMPLETE=complete_bash" in script
    ended = subprocess.run(
        command_line(),
        env={**os.environ, "_FLOW_SIGNAL_COMPLETE": "complete_bash", "COMP_WORDS": "flow-signal li", "COMP_CWORD": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.split() == ["list", "list-buffered"]
