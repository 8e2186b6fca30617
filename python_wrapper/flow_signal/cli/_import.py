"""`import-floworchestrator`: page by page, each in a transaction of its own."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any

import psycopg
import typer
from psycopg import sql

from ._connection import transaction
from ._exit_code import ExitCode
from ._options import Dsn, JsonLines
from ._output import Output
from ._problem import telling
from ._progress import progress
from ._stream import write

Row = tuple[Any, ...]

COLUMNS = ("run_id", "step_key", "outcome", "detail")
OUTCOMES = ("imported", "changed", "present", "conflict", "refused")
LEFT_THERE = ("conflict", "refused")

COUNT = "SELECT count(*) FROM {}"
PAGE = """
SELECT run_id::text, step_key, outcome, detail
FROM flow_signal_v1.import_floworchestrator(
    p_schema => %s, p_after_run_id => %s, p_after_step_key => %s, p_dry_run => %s
)
"""


def import_floworchestrator(
    from_schema: Annotated[
        str, typer.Option(metavar="SCHEMA", help="Where that table is, in the same database.", show_default=False)
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would become of each; change nothing.")] = False,
    dsn: Dsn = None,
    as_json: JsonLines = False,
) -> None:
    """Take over the waiters of FlowOrchestrator's table flow_signal_waiters.

    Shows those that are not taken over just as they are. A step that waits here already stays as it is, so that a
    repeat brings only what is new. Stop the writers there before the last run.
    """
    output = Output(as_json)
    outcomes = dict.fromkeys(OUTCOMES, 0)
    unprinted = ExitCode.FAILED if dry_run else ExitCode.NOT_PRINTED
    with transaction(dsn) as connection:
        with connection.transaction():
            [(total,)] = connection.execute(sql.SQL(COUNT).format(sql.Identifier(from_schema, "flow_signal_waiters")))
        with (
            telling(lambda: _how_far(outcomes), unprinted=unprinted),
            progress("waiters", output, total) as show,
        ):
            heading = True
            for page in _pages(connection, from_schema, dry_run):
                for outcome, count in Counter(outcome for _, _, outcome, _ in page).items():
                    outcomes[outcome] += count
                told = [row for row in page if row[3] is not None]
                if as_json:
                    for row in told:
                        output.json(dict(zip(COLUMNS, row, strict=True)))
                elif told:
                    output.terminal.table(COLUMNS, told, heading=heading)
                    heading = False
                done = sum(outcomes.values())
                show(done, done)
    code = ExitCode.SOME_REFUSED if any(outcomes[outcome] for outcome in LEFT_THERE) else ExitCode.OK
    with telling(lambda: _how_far(outcomes), unprinted=code or unprinted):
        _summarize(outcomes, dry_run, output)
    raise typer.Exit(code)


def _how_far(outcomes: dict[str, int]) -> str:
    return f"a repeat goes on: {sum(outcomes.values()):,} waiters are done"


def _pages(connection: psycopg.Connection[Any], schema: str, dry_run: bool) -> Iterator[list[Row]]:
    run_id = step_key = None
    while True:
        with connection.transaction():
            page = connection.execute(PAGE, [schema, run_id, step_key, dry_run]).fetchall()
        if not page:
            return
        yield page
        run_id, step_key, *_ = page[-1]


def _summarize(outcomes: dict[str, int], dry_run: bool, output: Output) -> None:
    if output.as_json:
        write(json.dumps(outcomes) + "\n", sys.stderr)
        return
    from ._terminal import FAINT, GOOD, NOTABLE

    if dry_run:
        output.terminal.say(("a dry run: nothing was changed", FAINT))
    elif any(outcomes[outcome] for outcome in LEFT_THERE):
        output.terminal.say(("some waiters could not be taken over", NOTABLE))
    else:
        output.terminal.say(("all waiters are here", GOOD))
    output.terminal.values(outcomes)
