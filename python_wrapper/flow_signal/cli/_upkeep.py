"""What concerns more than one step of a run: `broadcast`, `remove-run`, `stats`, `health` and `purge`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, fields
from datetime import timedelta
from typing import Annotated, Any

import psycopg
import typer

from .._sync_store import FlowSignalStore
from ..results import SignalStats
from ._connection import TransactionPerCall, later, transaction
from ._exit_code import ExitCode
from ._options import (
    Dsn,
    Json,
    JsonLines,
    Payload,
    PayloadFile,
    Run,
    Signal,
    age_or_instant,
    payload_text,
)
from ._output import Output, document
from ._problem import problem_of, telling
from ._progress import progress


def broadcast(
    signal: Signal,
    payload: Payload = None,
    payload_file: PayloadFile = None,
    dsn: Dsn = None,
    as_json: JsonLines = False,
) -> None:
    """Send a signal to every live waiter of that name in every run, and show who got it."""
    payload_json = payload_text(payload, payload_file)
    with transaction(dsn) as connection:
        results = FlowSignalStore(connection).broadcast_signal(signal, payload_json=payload_json)
    output = Output(as_json)
    with telling(lambda: f"{len(results)} waiters got the signal"):
        if as_json:
            for result in results:
                output.json(document(result))
            return
        output.terminal.table(["run_id", "step_key"], ([result.run_id, result.step_key] for result in results))


@contextmanager
def installed() -> Iterator[None]:
    """Tell that a view is missing as it is told of a function."""
    try:
        yield
    except psycopg.errors.UndefinedTable:
        raise problem_of(psycopg.errors.InvalidSchemaName("flow-signal is not installed in this database")) from None


def remove_run(run: Run, dsn: Dsn = None, as_json: Json = False) -> None:
    """Forget all waiters and buffered signals of a run, and tell how many waiters those were."""
    with transaction(dsn) as connection:
        removed = FlowSignalStore(connection).remove_run(run)
    output = Output(as_json)
    with telling(lambda: f"{removed} waiters are removed"):
        if as_json:
            output.json({"removed": removed})
        else:
            output.terminal.value("removed", removed)


def stats(dsn: Dsn = None, as_json: JsonLines = False) -> None:
    """Show the numbers of each signal: who waits, what is kept, and how long waits take."""
    with transaction(dsn) as connection, installed():
        rows = FlowSignalStore(connection).signal_stats()
    output = Output(as_json)
    if as_json:
        for row in rows:
            output.json(document(row))
        return
    output.terminal.table([field.name for field in fields(SignalStats)], map(astuple, rows))


def health(dsn: Dsn = None, as_json: Json = False) -> None:
    """Show what monitoring needs to know; the exit code tells whether somebody should look at it."""
    with transaction(dsn) as connection, installed():
        health = FlowSignalStore(connection).health()
    values = document(health)
    output = Output(as_json)
    if as_json:
        output.json(values)
    else:
        from ._terminal import BAD, GOOD

        terminal = output.terminal
        for problem in health.problems:
            terminal.say((problem, BAD))
        if not health.problems:
            terminal.say(("all is well", GOOD))
        del values["problems"]
        for name, value in values.items():
            terminal.value(name, value, width=max(map(len, values)) + 2)
    if health.problems:
        raise typer.Exit(ExitCode.UNWELL)


def purge(
    before: Annotated[
        Any,
        typer.Option(
            parser=age_or_instant,
            metavar="AGE|ISO",
            help="Those settled longer ago than this, by the clock of the database (30d, 12h), or before an instant.",
            show_default=False,
        ),
    ],
    limit: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="The most to delete in a call, 1 to 100000; 10000 if not given.", show_default=False
        ),
    ] = None,
    purge_all: Annotated[
        bool, typer.Option("--all", help="Call until none is left, each time in a transaction of its own.")
    ] = False,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Delete waiters that were settled and buffered signals that were dead before an instant; never a live waiter."""
    output = Output(as_json)
    deleted = 0
    with transaction(dsn) as connection:
        pool = TransactionPerCall(connection)
        with pool.connection():
            settled_before = later(connection, -before) if isinstance(before, timedelta) else before
        with telling(lambda: f"at least {deleted} are deleted"), progress("deleted", output) as show:
            while count := FlowSignalStore(pool).purge(settled_before, limit=limit):
                deleted += count
                show(0, deleted)
                if not purge_all:
                    break
    with telling(lambda: f"{deleted} are deleted"):
        if as_json:
            output.json({"deleted": deleted})
        else:
            output.terminal.value("deleted", deleted)
