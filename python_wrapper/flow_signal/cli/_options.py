"""The options that several commands share, and how their values are read."""

from __future__ import annotations

import re
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
LONGEST = timedelta(days=365_000)


def duration(text: str) -> timedelta:
    """Read 90s, 5m, 2h, 1d or 1h30m."""
    if not re.fullmatch(r"(\d{1,12}(ms|[smhd]))+", text, re.ASCII):
        raise typer.BadParameter(f"{text!r} is no duration: write for example 500ms, 30s, 5m, 2h, 1d or 1h30m")
    parts = re.findall(r"(\d+)(ms|[smhd])", text)
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


def payload_text(payload: str | None, file: Path | None) -> str | None:
    """Return the payload exactly as it is given, from the argument, a file or standard input."""
    if payload is not None and file is not None:
        raise typer.BadParameter("give one of PAYLOAD and --payload-file, not both")
    if payload not in (None, "-"):
        return payload
    if payload is None and file is None:
        return None
    try:
        content = sys.stdin.buffer.read() if file is None or str(file) == "-" else file.read_bytes()
        return content.decode()
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="--payload-file") from None
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"the payload is not encoded in UTF-8: {error}") from None


Run = Annotated[UUID, typer.Argument(metavar="RUN", help="The run's id, a UUID.", show_default=False)]
Step = Annotated[str, typer.Argument(metavar="STEP", help="The step's key, unique in the run.", show_default=False)]
Signal = Annotated[str, typer.Argument(metavar="SIGNAL", help="The signal's name.", show_default=False)]
Dsn = Annotated[
    str | None,
    typer.Option(
        "--dsn",
        metavar="CONNINFO",
        help="The database: a connection string or URI of libpq. What it leaves out comes from libpq's own "
        "environment (PGHOST, PGSERVICE, ...).",
        show_default=False,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document; errors as JSON on standard error.", show_default=False)
]
