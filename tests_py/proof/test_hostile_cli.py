"""Hostile input on the command line: a documented exit code and SQLSTATE, never a traceback, no payload in any text.

Most commands run in this process; every fifteenth is a process of its own, with streams that are closed, full or odd.
The short form is a fixed sample; FLOW_SIGNAL_PROOF=long gives 1,500 inputs of a new seed, which a failure names.
"""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import psycopg
import pytest
import typer.main

from flow_signal.cli._exit_code import ExitCode
from tests_py.cli.commands import PROBLEM, Outcome, command_line, run_here
from tests_py.proof import soak
from tests_py.proof.hostile import BLANKS, IDS, INSTANTS, NUMBERS, ODD_TEXTS, SECRET, SIGNALS, STEPS, UUIDS, Values
from tests_py.proof.hostile_calls import IMPOSSIBLE, OWN, RAISED, SCENE, Tables

INPUTS = 75
MOST_CHARACTERS = 4_000
DOCUMENTED = set().union(OWN, *RAISED.values()) - IMPOSSIBLE
UNCHANGED = {ExitCode.USAGE, ExitCode.REFUSED, ExitCode.NO_CONNECTION}

DURATIONS = [
    "0s",
    "1ms",
    "5",
    "-5s",
    "5 s",
    "365001d",
    "999999999999999999999d",
    "1.5s",
    "1e3s",
    "",
    "s",
    "\u0661s",
    "nan",
    "1d2h",
]
DURATIONS += ["1d", "1s1", "0x1s", "infs", "1\u00a0s", "1h", "24h1s", "365000d"]
ENDLESS = {"--timeout": ["0s", "20ms", "", "-1s", "x", "5", "9e9"]}
"""Never so long that the test would wait for it."""

STREAMS = [
    "",
    "",
    ">&-",
    ">/dev/full",
    "2>&-",
    "2>/dev/full",
    "<&-",
    "<&- >&- 2>&-",
    ">/dev/full 2>/dev/full",
    "1</dev/null",
    "</",
]

COMMANDS: dict[str, tuple[list[str], dict[str, str]]] = {
    "register": (
        ["run", "step", "signal"],
        {"--expires-at": "iso", "--expires-in": "duration", "--wake-channel": "text", "--queue": "queue"},
    ),
    "deliver": (
        ["run", "signal", "payload"],
        {"--delivery-id": "id", "--buffer-until": "iso", "--buffer-for": "duration", "--payload-file": "file"},
    ),
    "deliver-step": (["run", "step", "payload"], {"--delivery-id": "id", "--payload-file": "file"}),
    "get": (["run", "step"], {}),
    "remove": (["run", "step"], {"--claim-id": "run"}),
    "wait": (["run", "step"], {"--timeout": "timeout"}),
    "claim": (["queue"], {"--limit": "number", "--lease": "duration"}),
    "extend": (["run", "step"], {"--claim-id": "run", "--lease": "duration"}),
    "broadcast": (["signal", "payload"], {"--payload-file": "file"}),
    "list": ([], {"--run": "run", "--signal": "signal", "--state": "state", "--limit": "number", "--all": ""}),
    "list-buffered": ([], {"--run": "run", "--signal": "signal", "--state": "state", "--limit": "number", "--all": ""}),
    "remove-run": (["run"], {}),
    "purge": ([], {"--before": "duration", "--limit": "number", "--all": ""}),
    "withdraw": (["run", "signal", "number"], {}),
    "purge-buffered": ([], {"--before": "iso", "--limit": "number", "--all": ""}),
    "import-floworchestrator": ([], {"--from-schema": "schema", "--dry-run": ""}),
}
BULK = {"register": ["run_id", "step_key", "signal_name", "expires_at"]}
BULK["deliver"] = ["run_id", "signal_name", "payload", "payload_json", "delivery_id"]
NEEDED = {"--claim-id", "--lease", "--before", "--from-schema", "--timeout"}


class Lines:
    """Command lines, and what comes by standard input."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.values = Values(dice)

    def line(self) -> tuple[list[str], bytes]:
        dice = self.dice
        command = dice.choice(list(COMMANDS))
        positional, options = COMMANDS[command]
        stdin = b""
        arguments = [command]
        if command in BULK and dice.random() < 0.4:
            arguments += ["--from", "-", *dice.choice([[], ["--atomic"]])]
            stdin = self.bulk(command)
            positional = []
        kinds = [*positional, *options]
        hostile = set(dice.sample(kinds, min(len(kinds), dice.choice([0, 1, 1, 1, 2]))))
        for name, kind in options.items():
            if name in hostile or name in NEEDED or dice.random() < 0.15:
                value = self.hostile(kind) if name in hostile else self.good(kind)
                arguments += [name] if kind == "" else [f"{name}={value}"]
        values = [self.hostile(kind) if kind in hostile else self.good(kind) for kind in positional]
        if positional[-1:] == ["payload"] and dice.random() < 0.5:
            stdin = values[-1].encode("utf-8", "surrogatepass")
            values[-1] = "-"
            arguments += values if dice.random() < 0.8 else values[:-1]
        else:
            arguments += ["--", *values]
        if dice.random() < 0.6:
            arguments.insert(1, "--json")
        return [as_argument(argument) for argument in arguments], stdin

    def good(self, kind: str) -> str:
        choices = {"run": self.values.runs, "step": STEPS, "signal": SIGNALS, "queue": ["q"], "id": IDS, "text": ["c"]}
        choices |= {"iso": ["2999-01-01T00:00:00Z"], "duration": ["1h"], "timeout": ["0s"], "number": ["3"]}
        choices |= {"payload": [self.values.payload()], "file": ["/dev/null"], "state": ["waiting", "dead"]}
        return self.dice.choice({**choices, "schema": ["engine"], "": [""]}[kind])

    def hostile(self, kind: str) -> str:
        dice = self.dice
        choices = {"run": UUIDS, "iso": [*INSTANTS, *DURATIONS], "duration": [*DURATIONS, *INSTANTS]}
        choices |= {"timeout": ENDLESS["--timeout"], "number": NUMBERS, "payload": [self.values.json()]}
        choices |= {"file": ["/", "/nowhere", "", "-", "/proc/self/mem", "\ud800", "x" * 300, "/dev/null"]}
        return dice.choice(choices.get(kind, [*BLANKS, *ODD_TEXTS]))

    def bulk(self, command: str) -> bytes:
        dice = self.dice
        kinds = {"run_id": "run", "step_key": "step", "signal_name": "signal", "expires_at": "iso", "delivery_id": "id"}
        made = []
        for _ in range(dice.choice([0, 1, 2, 5])):
            row: dict[str, Any] = {}
            for name in BULK[command]:
                kind = kinds.get(name, "payload")
                if name in {"run_id", "step_key", "signal_name"} or dice.random() < 0.3:
                    row[name] = self.good(kind)
                if dice.random() < 0.15:
                    row[name] = dice.choice([self.hostile(kind), None, 1, 1e400, [SECRET], {SECRET: 1}, True])
            data = json.dumps(row).encode()
            if dice.random() < 0.2:
                data = dice.choice(
                    [data[:-1], data + data, b"\xff" + data, b"[]", b"", b"null", SECRET.encode(), b"[" * 50_000]
                )
            made.append(data)
        return dice.choice([b"\n", b"\n", b"\r\n", b"\n\n"]).join(made) + dice.choice([b"\n", b""])


def as_argument(text: str) -> str:
    """As the system hands it over: without a NUL, what is no UTF-8 as lone surrogates."""
    return text.replace("\0", "").encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")


def objections(arguments: list[str], outcome: Outcome, before: Any, after: Any) -> Iterator[str]:
    try:
        code = ExitCode(outcome.code)  # type: ignore[call-arg, arg-type]
    except ValueError:
        yield f"exit code {outcome.code}"
        return
    for word in ("Traceback", "Exception ignored", "fault of flow-signal"):
        if word in outcome.out + outcome.err:
            yield word
    if SECRET in outcome.err:
        yield "a payload in a text"
    if len(outcome.err) > MOST_CHARACTERS:
        yield f"{len(outcome.err)} characters of errors"
    if code in UNCHANGED and before != after and "--from" not in arguments:
        yield "an error changes the tables"
    if "--json" in arguments:
        for text in outcome.err.splitlines():
            problem = json.loads(text)
            if "lines" in problem:  # what became of all, which is not on standard output
                continue
            if tuple(key for key in problem if key != "line") != PROBLEM:
                yield f"{list(problem)}"
            elif problem["sqlstate"] and problem["sqlstate"] not in DOCUMENTED:
                yield f"{problem['sqlstate']} is not documented"


@pytest.mark.time_limit(3600)
def test_hostile_command_lines(
    database: str, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    for name in os.environ:
        if name.startswith("PG"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("FLOW_SIGNAL_DSN", database)
    monkeypatch.setenv("PGOPTIONS", "-c statement_timeout=20s")
    # Typer makes all commands anew each time, which takes longer than the rest together.
    monkeypatch.setattr("typer.main.get_command", cache(typer.main.get_command))
    seed = soak.seed() if soak.LONG else 1
    lines = Lines(random.Random(seed))
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(SCENE.encode())
    tables = Tables(database, lines.values.runs)

    found, counts, before = [], Counter[str](), tables.refill()
    for number in range(soak.scaled(INPUTS, 20)):
        if number % 30 == 29:
            found += tables.unsound()
            before = tables.refill()
        arguments, stdin = lines.line()
        redirections = ""
        if number % 15 == 14 and all(len(argument) < 100_000 for argument in arguments):
            redirections = lines.dice.choice(STREAMS)
            outcome = in_a_process(arguments, stdin, redirections)
            if outcome.code == 255 or redirections.startswith("</"):
                continue  # the shell could not redirect so
        else:
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            outcome = run_here(arguments, monkeypatch, capsysbinary)
        after = tables.contents()
        counts[f"exit code {outcome.code}"] += 1
        texts = list(objections(arguments, outcome, before, after))
        if texts:
            shown = [argument[:200] for argument in arguments]
            found.append(f"{texts}: {shown!a} {redirections} < {stdin[:300]!a}: {outcome.code} {outcome.err[:600]!a}")
        before = after
    tables.connection.close()
    print(seed, counts.total(), dict(counts))
    assert not found, f"seed {seed}, {len(found)}:\n" + "\n\n".join(found[:10])
    assert counts["exit code 0"] > counts.total() / 20
    assert counts["exit code 6"] > counts.total() / 20


def in_a_process(arguments: list[str], stdin: bytes, redirections: str) -> Outcome:
    ended = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirections}', "sh", *command_line(*arguments)],
        input=stdin,
        capture_output=True,
        timeout=120,
        check=False,
    )
    return Outcome(ended.returncode, ended.stdout.decode(errors="replace"), ended.stderr.decode(errors="replace"))
