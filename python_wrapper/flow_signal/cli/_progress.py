"""How far a long command has come."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ._output import Output


@contextmanager
def progress(what: str, output: Output, total: int | None = None) -> Iterator[Callable[[int, int], object]]:
    """Show a bar on standard error if that is a terminal; what is yielded takes the part of the total and a count."""
    if not sys.stderr.isatty() or (output.as_json and sys.stdout.isatty()):
        yield lambda completed, count: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(what), BarColumn(), TextColumn("{task.fields[count]:,}"), TimeElapsedColumn())
    with Progress(*columns, console=output.errors, transient=True) as bar:
        task = bar.add_task(what, total=total, count=0)
        yield lambda completed, count: bar.update(task, completed=completed, count=count)
