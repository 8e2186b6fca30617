"""What concerns more than one step: `broadcast`, `remove-run`, `stats`, `health`, `withdraw` and the purges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, fields
from datetime import datetime, timedelta
from typing import Annotated, Any

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
from ._output import Output, document, if_somebody_reads
from ._problem import Problem, telling
from ._progress import progress

Before = Annotated[
    Any,
    typer.Option(
        parser=age_or_instant,
        metavar="AGE|ISO",
        help="Those longer ago than this, by the clock of the database (30d, 12h), or before an instant.",
        show_default=False,
    ),
]
PurgeLimit = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="The most to delete in a call, 1 to 100000; 10000 if not given.", show_default=False
    ),
]
PurgeAll = Annotated[
    bool, typer.Option("--all", help="Call until none is left, each time in a transaction of its own.")
]


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


def remove_run(run: Run, dsn: Dsn = None, as_json: Json = False) -> None:
    """Forget all waiters and buffered signals of a run, and tell how many waiters those were."""
    with transaction(dsn) as connection:
        removed = FlowSignalStore(connection).remove_run(run)
    _show_count("removed", removed, Output(as_json))


def stats(dsn: Dsn = None, as_json: JsonLines = False) -> None:
    """Show the numbers of each signal: who waits, what is kept, and how long waits take."""
    with transaction(dsn) as connection:
        rows = FlowSignalStore(connection).signal_stats()
    output = Output(as_json)
    if as_json:
        for row in rows:
            output.json(document(row))
        return
    output.terminal.table([field.name for field in fields(SignalStats)], map(astuple, rows))


def health(dsn: Dsn = None, as_json: Json = False) -> None:
    """Show what monitoring needs to know; the exit code tells whether somebody should look at it."""
    with transaction(dsn) as connection:
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
        terminal.values(values)
    if health.problems:
        raise typer.Exit(ExitCode.UNWELL)


def purge(
    before: Before,
    limit: PurgeLimit = None,
    purge_all: PurgeAll = False,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Delete waiters that were settled and buffered signals that were dead before an instant; never a live waiter."""
    _purge(lambda store, instant: store.purge(instant, limit=limit), before, purge_all, dsn, Output(as_json))


def purge_buffered(
    before: Before,
    limit: PurgeLimit = None,
    purge_all: PurgeAll = False,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Delete buffered signals that are kept since before an instant, also those that a waiter could still take."""
    _purge(lambda store, instant: store.purge_buffered(instant, limit=limit), before, purge_all, dsn, Output(as_json))


def _purge(
    call: Callable[[FlowSignalStore, datetime], int],
    before: timedelta | datetime,
    purge_all: bool,
    dsn: str | None,
    output: Output,
) -> None:
    deleted = 0
    with transaction(dsn) as connection:
        pool = TransactionPerCall(connection)
        with pool.connection():  # once, so that --all has an end
            instant = later(connection, -before) if isinstance(before, timedelta) else before
        with telling(lambda: f"at least {deleted} are deleted"), progress("deleted", output) as show:
            while count := call(FlowSignalStore(pool), instant):
                deleted += count
                show(0, deleted)
                if not purge_all:
                    break
    _show_count("deleted", deleted, output)


def withdraw(
    run: Run,
    signal: Signal,
    position: Annotated[int, typer.Argument(metavar="POSITION", help="The signal's place, which list-buffered shows.")],
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Take a buffered signal back, and show it; its delivery id is forgotten."""
    with transaction(dsn) as connection:
        withdrawn = FlowSignalStore(connection).withdraw_signal(run, signal, position)
        if withdrawn is None:
            message = f'signal "{signal}" of run {run} has no buffered signal at position {position}'
            raise Problem(code=ExitCode.NOT_FOUND, message=message)
        Output(as_json).result(withdrawn)  # before the commit: a payload that was not printed stays
        if_somebody_reads()


def _show_count(name: str, count: int, output: Output) -> None:
    with telling(lambda: f"{name}: {count}"):
        if output.as_json:
            output.json({name: count})
        else:
            output.terminal.value(name, count)
