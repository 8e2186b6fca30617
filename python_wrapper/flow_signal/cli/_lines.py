"""JSON lines: one waiter or signal a line, whose keys are the parameters of the SQL function without p_."""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Generic, NoReturn, TypeVar
from uuid import UUID

import typer

from ..inputs import NewSignal, NewWaiter
from ._exit_code import ExitCode
from ._options import instant
from ._problem import Problem

Row = TypeVar("Row", NewWaiter, NewSignal)

LONGEST_LINE = 8 * 1024 * 1024
"""Bytes: a payload of the largest size fits, escaped as it may be."""


@dataclass(frozen=True, slots=True)
class Line(Generic[Row]):
    """One line of a file that is not blank."""

    number: int
    size: int
    row: Row | Problem


def read_lines(file: BinaryIO, read: Callable[[str], Row]) -> Iterator[Line[Row]]:
    """Read a file of any length, holding one line of it."""
    number = 0
    while content := _read(file):
        number += 1
        row: Row | Problem
        try:
            if len(content) == LONGEST_LINE and not content.endswith(b"\n") and _skip_line(file):
                raise ValueError(f"it is longer than {LONGEST_LINE} bytes")
            text = content.removeprefix(BOM_UTF8 if number == 1 else b"").decode()
            if not text.strip(" \t\r\n"):
                continue
            row = read(text)
        except (ValueError, RecursionError, typer.BadParameter) as error:
            row = Problem(code=ExitCode.REFUSED, message=_reason(error), line=number)
        yield Line(number, len(content), row)


def _read(file: BinaryIO) -> bytes:
    try:
        return file.readline(LONGEST_LINE)
    except OSError as error:
        raise Problem(code=ExitCode.FAILED, message=f"the file cannot be read: {error.strerror or error}") from None


def _skip_line(file: BinaryIO) -> bool:
    """Skip the rest of a line; return whether there was any."""
    skipped = False
    while part := _read(file):
        skipped = True
        if part.endswith(b"\n"):
            break
    return skipped


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"it is no JSON: {error.msg}: character {error.pos + 1}"
    if isinstance(error, UnicodeError):
        return f"it is not encoded in UTF-8: {error}"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def read_waiter(line: str) -> NewWaiter:
    """Read the arguments of register_waiter."""
    members = _Members(line, required=("run_id", "step_key", "signal_name"), optional=("expires_at",))
    expires_at = members.text_or_none("expires_at")
    return NewWaiter(
        members.uuid("run_id"),
        members.text("step_key"),
        members.text("signal_name"),
        expires_at=None if expires_at is None else instant(expires_at),
    )


def read_signal(line: str) -> NewSignal:
    """Read the arguments of deliver_signal; a payload stays exactly as it stands there."""
    members = _Members(line, required=("run_id", "signal_name"), optional=("payload", "payload_json", "delivery_id"))
    payload, payload_json = members.sources.get("payload"), members.text_or_none("payload_json")
    if payload is not None and payload_json is not None:
        raise ValueError("payload and payload_json are two forms of one payload: give one of them")
    return NewSignal(
        members.uuid("run_id"),
        members.text("signal_name"),
        payload_json=payload if payload_json is None else payload_json,
        delivery_id=members.text_or_none("delivery_id"),
    )


class _Members:
    """The members of a JSON object."""

    def __init__(self, line: str, *, required: tuple[str, ...], optional: tuple[str, ...]) -> None:
        self._values: dict[str, object] = {}
        self.sources: dict[str, str] = {}
        """The text of each value as it stands in the line."""
        for name, value, source in _parsed(line):
            if name not in required + optional:
                raise ValueError(f'key "{name}" is unknown: there are {", ".join(required + optional)}')
            if name in self.sources:
                raise ValueError(f'key "{name}" stands there twice')
            self._values[name], self.sources[name] = value, source
        for name in required:
            if name not in self.sources:
                raise ValueError(f'key "{name}" is missing')

    def text_or_none(self, name: str) -> str | None:
        """Return a string; None for null and for a key that is not there."""
        return None if self._values.get(name) is None else self.text(name)

    def text(self, name: str) -> str:
        value = self._values[name]
        if not isinstance(value, str):
            raise ValueError(f"{name} is no string")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{name} has half of a surrogate pair") from None
        return value

    def uuid(self, name: str) -> UUID:
        text = self.text(name)
        try:
            return UUID(text)
        except ValueError:
            raise ValueError(f'{name} "{text}" is no UUID') from None


def _parsed(line: str) -> list[tuple[str, object, str]]:
    """Return the name, the value and the source of the value of each member of a JSON object."""
    members = []
    mark, end = _mark(line, 0)
    if mark != "{":
        raise ValueError("it is no JSON object")
    if line.startswith("}", end):
        mark, end = _mark(line, end)
    while mark != "}":
        name, end = _DECODER.raw_decode(line, end)
        mark, start = _mark(line, end)
        if not isinstance(name, str) or mark != ":":
            raise json.JSONDecodeError("Expecting a name and a colon", line, end)
        value, end = _DECODER.raw_decode(line, start)
        members.append((name, value, line[start:end]))
        mark, end = _mark(line, end)
        if mark not in (",", "}"):
            raise json.JSONDecodeError("Expecting a comma or the end", line, end)
    if end != len(line):
        raise json.JSONDecodeError("Extra data", line, end)
    return members


def _mark(line: str, start: int) -> tuple[str, int]:
    """Return the punctuation mark that stands there, if any, and where what follows it begins."""
    found = _MARK.match(line, start)
    assert found
    return found[1], found.end()


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"it is no JSON: {constant}")


_MARK = re.compile(r"[ \t\r\n]*([{}:,]?)[ \t\r\n]*")
_DECODER = json.JSONDecoder(parse_int=float, parse_constant=_refuse)  # int refuses numbers of many digits
