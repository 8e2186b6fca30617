"""`list` and `list-buffered`: what is in the database, page by page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar
from uuid import UUID

import typer

from .._sync_store import FlowSignalStore
from ..results import BufferedSignal, BufferedSignalState, FlowSignalWaiter, WaiterState
from ._connection import TransactionPerCall, transaction
from ._options import Dsn, JsonLines, one_of
from ._output import Output, document

Row = TypeVar("Row", FlowSignalWaiter, BufferedSignal)

OfRun = Annotated[UUID | None, typer.Option("--run", metavar="RUN", help="Only those of this run.")]
OfSignal = Annotated[str | None, typer.Option("--signal", metavar="SIGNAL", help="Only those of this signal.")]
Limit = Annotated[int | None, typer.Option(metavar="N", help="The most to show, 1 to 10000; 100 if not given.")]
All = Annotated[bool, typer.Option("--all", help="Show all, page by page, however many there are.")]


def list_waiters(
    run: OfRun = None,
    signal: OfSignal = None,
    state: Annotated[WaiterState | None, typer.Option(help="Only those in this state.")] = None,
    limit: Limit = None,
    show_all: All = False,
    dsn: Dsn = None,
    as_json: JsonLines = False,
) -> None:
    """Show waiters, ordered by run and step key."""
    one_of("--limit", limit, "--all", show_all or None)

    def page(after: FlowSignalWaiter | None, limit: int | None) -> list[FlowSignalWaiter]:
        key = (after.run_id, after.step_key) if after else None
        return store.list_waiters(run_id=run, signal_name=signal, state=state, after=key, limit=limit)

    with transaction(dsn) as connection:
        store = FlowSignalStore(TransactionPerCall(connection))
        names = ["state", "created_at", "expires_at", "run_id", "signal_name", "step_key"]
        _show(page, limit, show_all, names, Output(as_json))


def list_buffered(
    run: OfRun = None,
    signal: OfSignal = None,
    state: Annotated[BufferedSignalState | None, typer.Option(help="Only those in this state.")] = None,
    limit: Limit = None,
    show_all: All = False,
    dsn: Dsn = None,
    as_json: JsonLines = False,
) -> None:
    """Show signals that are kept for their waiter, and dead letters, ordered by run, signal and position."""
    one_of("--limit", limit, "--all", show_all or None)

    def page(after: BufferedSignal | None, limit: int | None) -> list[BufferedSignal]:
        key = (after.run_id, after.signal_name, after.position) if after else None
        return store.list_buffered_signals(run_id=run, signal_name=signal, state=state, after=key, limit=limit)

    with transaction(dsn) as connection:
        store = FlowSignalStore(TransactionPerCall(connection))
        names = ["state", "buffered_until", "run_id", "signal_name", "position", "delivery_id"]
        _show(page, limit, show_all, names, Output(as_json))


def _show(
    page: Callable[[Row | None, int | None], list[Row]],
    limit: int | None,
    show_all: bool,
    names: list[str],
    output: Output,
) -> None:
    """Print the first page, or one after another until the last or until the reader has left."""
    rows = first = page(None, limit)
    while rows and _print(rows, names, rows is first, output) and show_all:
        rows = page(rows[-1], limit)
    if output.as_json:
        return
    if not first:
        output.terminal.say("there are none")
    elif not show_all and page(first[-1], 1):
        output.terminal.say("there are more: --all shows them")


def _print(rows: list[Row], names: list[str], heading: bool, output: Output) -> bool:
    """Print a page; return whether the reader was still there."""
    if output.as_json:
        return all(output.json(document(row)) for row in rows)
    terminal = output.terminal
    terminal.table(names, ([getattr(row, name) for name in names] for row in rows), heading=heading)
    return terminal.has_reader
