"""`deliver --from` and `register --from`: many lines, batch by batch."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any, BinaryIO, Generic, TypeVar

import psycopg
import typer

from .._sync_store import FlowSignalStore
from ..inputs import NewSignal, NewWaiter
from ..results import FlowSignalWaiter, SignalDeliveryResult
from ._connection import transaction
from ._exit_code import ExitCode
from ._lines import Line, Row, read_lines, read_signal, read_waiter
from ._options import opened, reason
from ._output import Output, document
from ._problem import Problem, problem_of, telling
from ._progress import progress
from ._stream import write

Result = TypeVar("Result", FlowSignalWaiter, SignalDeliveryResult)

BATCH_LINES = 1000
BATCH_BYTES = 8 * 1024 * 1024
"""A batch has to fit into memory, here and in the database."""


def register_lines(
    path: Path, *, wake_channel: str | None, queue: str | None, atomic: bool, dsn: str | None, output: Output
) -> None:
    """Register a waiter for each line."""

    def send(rows: list[NewWaiter]) -> list[FlowSignalWaiter]:
        if len(rows) > 1:
            return store.register_waiters(rows, wake_channel=wake_channel, queue=queue)
        [row] = rows
        return [
            store.register_waiter(
                row.run_id,
                row.step_key,
                row.signal_name,
                expires_at=row.expires_at,
                wake_channel=wake_channel,
                queue=queue,
            )
        ]

    with _opened(path) as file, transaction(dsn) as connection:
        store = FlowSignalStore(connection)
        Bulk(connection, send, atomic, output).apply(file, read_waiter)


def deliver_lines(
    path: Path,
    *,
    buffer_until: datetime | None,
    buffer_for: timedelta | None,
    atomic: bool,
    dsn: str | None,
    output: Output,
) -> None:
    """Deliver a signal for each line."""

    def send(rows: list[NewSignal]) -> list[SignalDeliveryResult]:
        if len(rows) > 1:
            return store.deliver_signals(rows, buffer_until=buffer_until, buffer_for=buffer_for)
        [row] = rows
        return [
            store.deliver_signal(
                row.run_id,
                row.signal_name,
                payload_json=row.payload_json,
                delivery_id=row.delivery_id,
                buffer_until=buffer_until,
                buffer_for=buffer_for,
            )
        ]

    with _opened(path) as file, transaction(dsn) as connection:
        store = FlowSignalStore(connection)
        Bulk(connection, send, atomic, output).apply(file, read_signal)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        source = opened(path)
    except OSError as error:
        raise typer.BadParameter(reason(error, path), param_hint="--from") from None
    with source as file:
        yield file


class Bulk(Generic[Row, Result]):
    """Sends the lines of a file in their order, and prints what became of them."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        send: Callable[[list[Row]], list[Result]],
        atomic: bool,
        output: Output,
    ) -> None:
        self._connection = connection
        self._send: Callable[[list[Row]], list[Result]] = send
        self._atomic = atomic
        self._output = output
        self._lines = 0
        self._refused = 0
        self._verdicts: Counter[str] = Counter()
        self._how_far = "no line is applied"

    def apply(self, file: BinaryIO, read: Callable[[str], Row]) -> None:
        """Send all lines; raise typer.Exit with the exit code."""
        with SpooledTemporaryFile(BATCH_BYTES, "w+", encoding="utf-8") as documents:
            if self._atomic:
                with telling(lambda: self._how_far, unprinted=ExitCode.FAILED):
                    self._apply_all_or_none(file, read, documents)
            else:
                with telling(lambda: self._how_far):
                    self._apply(file, read, sys.stdout)
            code = ExitCode.OK
            if self._refused:
                code = ExitCode.REFUSED if self._atomic else ExitCode.SOME_REFUSED
            with telling(lambda: self._how_far, unprinted=code or ExitCode.NOT_PRINTED):
                if self._atomic and not self._refused:
                    documents.seek(0)
                    for text in documents:
                        write(text, sys.stdout)
                self._summarize()
        raise typer.Exit(code)

    def _apply_all_or_none(self, file: BinaryIO, read: Callable[[str], Row], documents: IO[str]) -> None:
        """Send all lines in one transaction; what became of them goes to documents: its commit may fail."""
        # On a broken connection psycopg lets the Rollback through.
        with suppress(psycopg.Rollback), self._connection.transaction() as whole:
            self._apply(file, read, documents)
            if self._refused:
                self._verdicts.clear()
                raise psycopg.Rollback(whole)
            self._how_far = "whether the lines are applied is unknown"
        if not self._refused:
            self._how_far = "all lines are applied"

    def _apply(self, file: BinaryIO, read: Callable[[str], Row], documents: IO[str]) -> None:
        size = 0
        with progress("lines", self._output, _size(file)) as show:
            for batch in _batches(read_lines(file, read)):
                for line, outcome in self._settle(batch):
                    self._print(line, outcome, documents)
                    size += line.size
                show(size, self._lines)

    def _settle(self, lines: list[Line[Row]]) -> Iterator[tuple[Line[Row], Result | Problem]]:
        """Send these lines, those of a refused batch by halves, so that a refused line costs few calls."""
        rows = [line.row for line in lines if not isinstance(line.row, Problem)]
        first, last = lines[0].number, lines[-1].number
        outcomes: list[Result | Problem] = []
        try:
            if rows:
                with self._connection.transaction():
                    outcomes.extend(self._send(rows))
                    self._tell(f"whether lines {first} to {last} are done is unknown, later ones are not")
        except psycopg.Error as error:
            problem = problem_of(error)
            if problem.code is not ExitCode.REFUSED:
                raise
            if len(lines) > 1:
                middle = len(lines) // 2
                yield from self._settle(lines[:middle])
                yield from self._settle(lines[middle:])
                return
            problem.line = last
            outcomes.append(problem)
        self._tell(f"lines up to {last} are done, later ones are not")
        following = iter(outcomes)
        for line in lines:
            yield line, line.row if isinstance(line.row, Problem) else next(following)

    def _tell(self, how_far: str) -> None:
        if not self._atomic:
            self._how_far = how_far

    def _print(self, line: Line[Row], outcome: Result | Problem, documents: IO[str]) -> None:
        self._lines += 1
        if isinstance(outcome, Problem):
            self._refused += 1
            if self._output.as_json:
                write(json.dumps(outcome.document()) + "\n", sys.stdout)
            else:
                self._output.problem(outcome)
            return
        self._verdicts[_verdict(outcome)] += 1
        if self._output.as_json:
            write(json.dumps({"line": line.number, **document(outcome)}) + "\n", documents)

    def _summarize(self) -> None:
        counts = {"lines": self._lines, "refused": self._refused, **self._verdicts}
        if self._output.as_json:
            write(json.dumps(counts) + "\n", sys.stderr)
            return
        from ._terminal import BAD, GOOD, NOTABLE

        terminal = self._output.terminal
        if not self._refused:
            terminal.say(("all lines are applied", GOOD))
        elif self._atomic:
            terminal.say(("no line is applied, since some were refused", BAD))
        else:
            terminal.say(("some lines were refused, the others are applied", NOTABLE))
        terminal.values(counts)


def _verdict(result: FlowSignalWaiter | SignalDeliveryResult) -> str:
    if isinstance(result, FlowSignalWaiter):
        return result.state
    return "replayed" if result.replayed else result.status


def _batches(lines: Iterable[Line[Row]]) -> Iterator[list[Line[Row]]]:
    batch: list[Line[Row]] = []
    size = 0
    for line in lines:
        batch.append(line)
        size += line.size
        if len(batch) == BATCH_LINES or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _size(file: BinaryIO) -> int | None:
    """Return the size of a file that has one."""
    try:
        status = os.fstat(file.fileno())
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
