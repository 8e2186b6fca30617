"""How the tests run the command line, in this process or in another one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import pytest
import typer.main

from flow_signal.cli import main
from flow_signal.cli._app import app
from tests_py.embedded.owners import deadline

WAITER = (
    "run_id",
    "step_key",
    "signal_name",
    "state",
    "created_at",
    "expires_at",
    "delivered_at",
    "payload_json",
)
COMMANDS = sorted(getattr(typer.main.get_command(app), "commands"))  # noqa: B009
DELIVERY = ("status", "run_id", "step_key", "delivered_at", "replayed")
PROBLEM = ("error", "sqlstate", "message", "detail", "hint")


@dataclass(frozen=True)
class Outcome:
    code: object
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one line of JSON on standard output, with nothing on standard error."""
        assert self.err == ""
        return one_document(self.out)

    @property
    def problem(self) -> dict[str, Any]:
        """The one line of JSON on standard error, with nothing on standard output."""
        assert self.out == ""
        return one_document(self.err)


def one_document(text: str) -> dict[str, Any]:
    assert text.count("\n") == 1
    assert text.endswith("\n")
    document: dict[str, Any] = json.loads(text)
    return document


class Command(Protocol):
    def __call__(self, *arguments: str, stdin: bytes = ...) -> Outcome: ...


def run_here(
    arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Outcome:
    monkeypatch.setattr("sys.argv", ["flow-signal", *arguments])
    with pytest.raises(SystemExit) as ending:
        main()
    captured = capsysbinary.readouterr()
    return Outcome(ending.value.code, captured.out.decode(), captured.err.decode())


def command_line(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "flow_signal", *arguments]


@contextmanager
def started(*arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a process of its own, which ends at the latest with the block."""
    process = subprocess.Popen(
        command_line(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **options.pop("env", {})},
        **options,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[str], end: str) -> str:
    """Return what the process prints up to and with the line that contains end."""
    assert process.stdout
    lines = []
    with deadline(process):
        for line in process.stdout:
            lines.append(line)
            if end in line:
                return "".join(lines)
    raise AssertionError(f"no {end!r} in:\n{''.join(lines)}")
