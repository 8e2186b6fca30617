"""The options that several commands share, and how their values are read."""

from __future__ import annotations

import re
import sys
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TypeVar
from uuid import UUID

import typer

from ._connection import DSN_VARIABLE
from ._exit_code import ExitCode
from ._problem import Problem

T = TypeVar("T")

# typer itself exports no name for it.
UsageError: Any = typer.BadParameter.__base__

UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
LONGEST = timedelta(days=365_000)

STANDARD_INPUT = Path("-")
LONGEST_PAYLOAD = 8 * 1024 * 1024
"""Bytes to read at most: far more than the database takes, which itself says how much that is."""


def duration(text: str) -> timedelta:
    """Read 90s, 5m, 2h, 1d, 1w or 1h30m."""
    if not re.fullmatch(r"(\d{1,12}(ms|[smhdw]))+", text, re.ASCII):
        raise typer.BadParameter(f"{text!r} is no duration: write for example 500ms, 30s, 5m, 2h, 1d, 1w or 1h30m")
    parts = re.findall(r"(\d+)(ms|[smhdw])", text)
    try:
        total = sum((timedelta(**{UNITS[unit]: int(number)}) for number, unit in parts), timedelta())
    except OverflowError:
        total = timedelta.max
    if total > LONGEST:
        raise typer.BadParameter(f"{text!r} is too long: at most {LONGEST.days}d")
    return total


def instant(text: str) -> datetime:
    """Read an ISO 8601 instant."""
    try:
        value = datetime.fromisoformat(re.sub(r"[Zz]$", "+00:00", text))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no instant: write for example 2030-01-31T12:00:00Z") from None
    if value.utcoffset() is None:
        raise typer.BadParameter(f"{text!r} has no time zone: end it with Z or an offset such as +02:00")
    return value


def age_or_instant(text: str) -> timedelta | datetime:
    """Read 30d or an ISO 8601 instant."""
    if not re.match(r"\d", text):
        raise typer.BadParameter(
            f"{text!r} is neither an age nor an instant: write for example 30d or 2030-01-31T12:00:00Z"
        )
    return duration(text) if re.match(r"\d+[a-z]", text) else instant(text)


def payload_text(payload: str | None, file: Path | None) -> str | None:
    """Return the payload exactly as it is given, from the argument, a file or standard input."""
    if payload is not None and file is not None:
        raise typer.BadParameter("give one of PAYLOAD and --payload-file, not both")
    if payload not in (None, "-"):
        return payload
    if payload is None and file is None:
        return None
    try:
        with opened(file or STANDARD_INPUT) as source:
            content = source.read(LONGEST_PAYLOAD + 1)
    except OSError as error:
        raise typer.BadParameter(reason(error, file), param_hint="--payload-file") from None
    if len(content) > LONGEST_PAYLOAD:
        raise Problem(
            code=ExitCode.REFUSED,
            message=f"the payload is longer than {LONGEST_PAYLOAD} bytes",
            hint="store the data elsewhere and send a reference to it",
        )
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"the payload is not encoded in UTF-8: {error.reason} at byte {error.start}") from None


def opened(path: Path) -> AbstractContextManager[BinaryIO]:
    """Open a file to read, or standard input for -."""
    return nullcontext(sys.stdin.buffer) if path == STANDARD_INPUT else path.open("rb")


def reason(error: OSError, path: Path | None) -> str:
    """Say which file is concerned, and why."""
    name = "standard input" if path in (None, STANDARD_INPUT) else path
    return f"{name}: {error.strerror or error}"


def one_of(name: str, value: object, other_name: str, other_value: object) -> None:
    """Refuse two options that say the same thing."""
    if value is not None and other_value is not None:
        raise typer.BadParameter(f"give one of {name} and {other_name}, not both")


def needed(name: str, value: T | None) -> T:
    """Return the value of an argument that only --from can replace."""
    if value is None:
        raise UsageError(f"Missing argument '{name}'.")
    return value


def refuse_with_from(**values: object) -> None:
    """Refuse what comes from the lines of the file."""
    for name, value in values.items():
        if value is not None:
            shown = name if name.isupper() else f"--{name.replace('_', '-')}"
            raise typer.BadParameter(f"with --from, {shown} comes from the file")


def refuse_without_from(atomic: bool) -> None:
    """Refuse what means nothing for a single call."""
    if atomic:
        raise typer.BadParameter("--atomic goes with --from")


RUN: Any = typer.Argument(metavar="RUN", help="The run's id, a UUID.", show_default=False)
STEP: Any = typer.Argument(metavar="STEP", help="The step's key, unique in the run.", show_default=False)
SIGNAL: Any = typer.Argument(metavar="SIGNAL", help="The signal's name.", show_default=False)
Run = Annotated[UUID, RUN]
Step = Annotated[str, STEP]
Signal = Annotated[str, SIGNAL]
OptionalRun = Annotated[UUID | None, RUN]
OptionalStep = Annotated[str | None, STEP]
OptionalSignal = Annotated[str | None, SIGNAL]
Payload = Annotated[
    str | None,
    typer.Argument(
        metavar="PAYLOAD",
        help="JSON text, kept byte for byte; - reads standard input. One that begins with - goes after --.",
        show_default=False,
    ),
]
PayloadFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Read the payload from a file.", show_default=False),
]
DeliveryId = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        help="Makes it safe to repeat the command: the same id and payload reach no second waiter.",
        show_default=False,
    ),
]
From = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="FILE",
        help="Read many from a file of JSON lines; - reads standard input. A line that is refused is reported, and the "
        "others are applied, up to 1000 in a transaction. With --json, one document a line.",
        show_default=False,
    ),
]
Atomic = Annotated[
    bool,
    typer.Option("--atomic", help="With --from: apply all lines in one transaction, or none.", show_default=False),
]
Dsn = Annotated[
    str | None,
    typer.Option(
        "--dsn",
        envvar=DSN_VARIABLE,
        metavar="CONNINFO",
        help="The database: a connection string or URI of libpq. What it leaves out comes from libpq's own "
        "environment (PGHOST, PGSERVICE, ...).",
        show_default=False,
    ),
]
FromNow = Annotated[
    timedelta | None,
    typer.Option(
        parser=duration,
        metavar="DURATION",
        help="The same from now, by the clock of the database: 30s, 5m, 2h, 1d, 1w.",
        show_default=False,
    ),
]
"""Beside an option that takes the instant itself."""
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document; errors as JSON on standard error.", show_default=False)
]
JsonLines = Annotated[
    bool,
    typer.Option(
        "--json", help="Print one JSON document a line; errors as JSON on standard error.", show_default=False
    ),
]
