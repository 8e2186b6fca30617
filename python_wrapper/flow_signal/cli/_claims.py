"""`claim` and `extend`: the waits of a queue that are over, for the workers of a shell."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated
from uuid import UUID

import typer

from .._sync_store import FlowSignalStore
from ._connection import transaction
from ._exit_code import ExitCode
from ._options import Dsn, Json, Run, Step, duration
from ._output import Output, document, if_somebody_reads
from ._problem import Problem, telling


def claim(
    queue: Annotated[
        str, typer.Argument(metavar="QUEUE", help="The queue that steps were registered with.", show_default=False)
    ],
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", help="The most to take, 1 to 10000; 100 if not given.", show_default=False),
    ] = None,
    lease: Annotated[
        timedelta | None,
        typer.Option(
            parser=duration,
            metavar="DURATION",
            help="For how long nobody else gets them, up to 1d; 1m if not given.",
            show_default=False,
        ),
    ] = None,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Take waits of a queue that are over, delivered or expired, oldest due first.

    remove --claim-id acknowledges one; what is not removed is handed out again after the lease, as the next attempt. It
    is not an error if there is none.
    """
    output = Output(as_json)
    with transaction(dsn) as connection:
        waiters = FlowSignalStore(connection).claim_waiters(queue, limit=limit, lease=lease)
        # before the commit: what was not printed can be claimed at once
        if as_json:
            output.json({"waiters": [document(waiter) for waiter in waiters]})
        else:
            for position, waiter in enumerate(waiters):
                if position:
                    output.terminal.say()
                output.result(waiter)
            if not waiters:
                output.terminal.say("no wait in this queue is over, or others have them")
        if_somebody_reads()


def extend(
    run: Run,
    step: Step,
    claim_id: Annotated[UUID, typer.Option(metavar="ID", help="What claim has shown.", show_default=False)],
    lease: Annotated[
        timedelta,
        typer.Option(
            parser=duration,
            metavar="DURATION",
            help="For how long from now, up to 1d; 0s gives the waiter back at once.",
            show_default=False,
        ),
    ],
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Keep a claimed waiter for longer, or give it back."""
    with transaction(dsn) as connection:
        if not FlowSignalStore(connection).extend_claim(run, step, claim_id, lease):
            raise claim_is_over(run, step, claim_id)
    output = Output(as_json)
    said = "extended" if lease else "given_back"
    with telling(lambda: said):
        if as_json:
            output.json({said: True})
        else:
            output.terminal.value(said, True)


def claim_is_over(run: UUID, step: str, claim_id: UUID) -> Problem:
    return Problem(
        code=ExitCode.NOT_FOUND,
        message=f'claim {claim_id} no longer has step "{step}" of run {run}',
        detail="the waiter was removed, registered anew, given back, or claimed by another worker",
    )
