"""`token`: a link to one step, for somebody who knows nothing else."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from .._sync_store import FlowSignalStore
from ._connection import transaction
from ._exit_code import ExitCode
from ._options import Dsn, FromNow, Json, Run, Step, instant, one_of
from ._output import Output, if_somebody_reads
from ._problem import Problem


def token(
    run: Run,
    step: Step,
    expires_at: Annotated[
        datetime | None,
        typer.Option(
            parser=instant, metavar="ISO", help="The token's own deadline, with a time zone.", show_default=False
        ),
    ] = None,
    expires_in: FromNow = None,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Print a token with which its holder can answer this step, once. It is stored nowhere."""
    one_of("--expires-at", expires_at, "--expires-in", expires_in)
    with transaction(dsn) as connection:
        issued = FlowSignalStore(connection).issue_token(run, step, expires_at=expires_at, expires_in=expires_in)
        if issued is None:
            raise Problem(code=ExitCode.NOT_FOUND, message=f'step "{step}" of run {run} has no waiter')
        output = Output(as_json)
        if as_json:
            output.json({"token": issued})
        else:
            output.terminal.say(issued)
        if_somebody_reads()  # before the commit: a token that was not printed is of no use
