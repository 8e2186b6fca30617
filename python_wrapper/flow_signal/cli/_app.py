"""The commands."""

from __future__ import annotations

import os
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, NoReturn
from uuid import UUID

import psycopg
import typer
from typer.core import TyperGroup

from .. import __version__
from .._sync_store import FlowSignalStore
from ..errors import WaiterExpiredError, WaiterNotFoundError
from ..results import FlowSignalWaiter, SignalDeliveryResult, SignalDeliveryStatus, WaiterState
from ._bulk import deliver_lines, register_lines
from ._claims import claim, claim_is_over, extend
from ._connection import TransactionPerCall, transaction
from ._exit_code import ExitCode
from ._import import import_floworchestrator
from ._install import migrate as run_migrate
from ._install import print_sql
from ._list import list_buffered, list_waiters
from ._options import (
    STANDARD_INPUT,
    Atomic,
    DeliveryId,
    Dsn,
    From,
    FromNow,
    Json,
    OptionalRun,
    OptionalSignal,
    OptionalStep,
    Payload,
    PayloadFile,
    Run,
    Step,
    UsageError,
    duration,
    instant,
    needed,
    one_of,
    payload_text,
    reason,
    refuse_with_from,
    refuse_without_from,
)
from ._output import Output, headline, if_somebody_reads
from ._problem import Problem, telling
from ._stream import write
from ._tokens import token
from ._upkeep import broadcast, health, purge, purge_buffered, remove_run, stats, withdraw

# What makes libpq connect elsewhere than to its built-in default.
SERVER_VARIABLES = ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE", "PGPORT")


class Commands(TyperGroup):
    """All commands; their help ends with the exit codes."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        super().format_help(ctx, formatter)
        terminal = Output(as_json=False).terminal
        terminal.say(" Exit codes:")
        for code in ExitCode:
            terminal.say(f"{code:>4}  {code.meaning}")


app = typer.Typer(cls=Commands, pretty_exceptions_enable=False)


def command() -> int:
    """Run the command of sys.argv; return its exit code."""
    try:
        code: int = app(prog_name="flow-signal", standalone_mode=False) or ExitCode.OK
    except UsageError as error:
        path = error.ctx.command_path if error.ctx else "flow-signal"
        raise Problem(code=ExitCode.USAGE, message=error.format_message(), hint=f"{path} --help") from None
    if code == ExitCode.INTERRUPTED:  # typer makes this of a KeyboardInterrupt
        raise KeyboardInterrupt
    return code


def show_version(asked: bool) -> None:
    if asked:
        write(f"flow-signal {__version__}\n", sys.stdout)
        raise typer.Exit


@app.callback(invoke_without_command=True)
def flow_signal(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the release of this package.")
    ] = False,
) -> None:
    """Park workflow steps in PostgreSQL and wake each exactly once by a signal.

    A command is one call of one SQL function in one transaction; wait, --all and --from make one after another.
    """
    if ctx.invoked_subcommand is None:
        ctx.get_help()
        raise typer.Exit(ExitCode.USAGE)


@app.command()
def migrate(dsn: Dsn = None, as_json: Json = False) -> None:
    """Install flow-signal in a database, or upgrade it there; on the same release, change nothing."""
    run_migrate(dsn, as_json)


@app.command()
def sql(
    no_transaction: Annotated[
        bool, typer.Option("--no-transaction", help="For another tool, which runs it in its own transaction.")
    ] = False,
    roles: Annotated[
        bool, typer.Option("--roles", help="Print the script that makes the cluster's roles instead.")
    ] = False,
    uninstall: Annotated[
        bool, typer.Option("--uninstall", help="Print the script that removes flow-signal instead.")
    ] = False,
) -> None:
    """Print the installation script, for `psql -f` and for those who review it."""
    print_sql(no_transaction=no_transaction, roles=roles, uninstall=uninstall)


@app.command()
def register(
    run: OptionalRun = None,
    step: OptionalStep = None,
    signal: OptionalSignal = None,
    expires_at: Annotated[
        datetime | None,
        typer.Option(parser=instant, metavar="ISO", help="The deadline, with a time zone.", show_default=False),
    ] = None,
    expires_in: Annotated[
        timedelta | None,
        typer.Option(
            parser=duration,
            metavar="DURATION",
            help="The deadline from now, by the clock of the database: 30s, 5m, 2h, 1d, 1w.",
            show_default=False,
        ),
    ] = None,
    wake_channel: Annotated[
        str | None,
        typer.Option(metavar="CHANNEL", help="NOTIFY this channel on delivery.", show_default=False),
    ] = None,
    queue: Annotated[
        str | None,
        typer.Option(metavar="QUEUE", help="Hand the wait out by this queue when it is over.", show_default=False),
    ] = None,
    file: From = None,
    atomic: Atomic = False,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Park a step of a run until a signal comes.

    Shows the waiter. A step that has its signal already, or gets a buffered one, is delivered and shows the payload.

    With --from, a line is a JSON object of run_id, step_key, signal_name and, if need be, expires_at.
    """
    one_of("--expires-at", expires_at, "--expires-in", expires_in)
    if file is not None:
        refuse_with_from(RUN=run, STEP=step, SIGNAL=signal, expires_at=expires_at, expires_in=expires_in)
        register_lines(file, wake_channel=wake_channel, queue=queue, atomic=atomic, dsn=dsn, output=Output(as_json))
        return
    refuse_without_from(atomic)
    run_id, step_key, signal_name = needed("RUN", run), needed("STEP", step), needed("SIGNAL", signal)
    with transaction(dsn) as connection:
        waiter = FlowSignalStore(connection).register_waiter(
            run_id,
            step_key,
            signal_name,
            expires_at=expires_at,
            expires_in=expires_in,
            wake_channel=wake_channel,
            queue=queue,
        )
    with telling(lambda: headline(waiter)):
        Output(as_json).result(waiter)


@app.command()
def deliver(
    run: OptionalRun = None,
    signal: OptionalSignal = None,
    payload: Payload = None,
    payload_file: PayloadFile = None,
    delivery_id: DeliveryId = None,
    buffer_until: Annotated[
        datetime | None,
        typer.Option(
            parser=instant,
            metavar="ISO",
            help="While nobody waits, keep the signal for the next waiter until then.",
            show_default=False,
        ),
    ] = None,
    buffer_for: FromNow = None,
    file: From = None,
    atomic: Atomic = False,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Send a signal to a run: its oldest live waiter for that signal gets the payload.

    With --from, a line is a JSON object of run_id, signal_name and, if need be, payload or payload_json, delivery_id.

    payload is any JSON value, kept byte for byte; payload_json is the same as a string.
    """
    one_of("--buffer-until", buffer_until, "--buffer-for", buffer_for)
    if file is not None:
        refuse_with_from(RUN=run, SIGNAL=signal, PAYLOAD=payload, payload_file=payload_file, delivery_id=delivery_id)
        deliver_lines(
            file, buffer_until=buffer_until, buffer_for=buffer_for, atomic=atomic, dsn=dsn, output=Output(as_json)
        )
        return
    refuse_without_from(atomic)
    run_id, signal_name = needed("RUN", run), needed("SIGNAL", signal)
    payload_json = payload_text(payload, payload_file)
    with transaction(dsn) as connection:
        result = FlowSignalStore(connection).deliver_signal(
            run_id,
            signal_name,
            payload_json=payload_json,
            delivery_id=delivery_id,
            buffer_until=buffer_until,
            buffer_for=buffer_for,
        )
    _end_with_verdict(result, as_json)


@app.command()
def deliver_step(
    run: Run,
    step: Step,
    payload: Payload = None,
    payload_file: PayloadFile = None,
    delivery_id: DeliveryId = None,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Send to exactly this step the signal that it waits for, though other steps may wait for the same name."""
    payload_json = payload_text(payload, payload_file)
    with transaction(dsn) as connection:
        result = FlowSignalStore(connection).deliver_to_step(
            run, step, payload_json=payload_json, delivery_id=delivery_id
        )
    _end_with_verdict(result, as_json)


@app.command()
def redeem(
    token: Annotated[
        str, typer.Argument(metavar="TOKEN", help="The token; - reads it from standard input.", show_default=False)
    ],
    payload: Payload = None,
    payload_file: PayloadFile = None,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Send a signal to the step that a token was issued for; the same again shows the first answer."""
    if token == "-":
        if payload == "-" or payload_file == STANDARD_INPUT:
            raise typer.BadParameter("TOKEN and the payload cannot both be read from standard input")
        try:
            token = sys.stdin.readline().rstrip("\r\n")
        except OSError as error:
            raise typer.BadParameter(reason(error, None), param_hint="TOKEN") from None
    payload_json = payload_text(payload, payload_file)
    with transaction(dsn) as connection:
        result = FlowSignalStore(connection).redeem_token(token, payload_json=payload_json)
    _end_with_verdict(result, as_json)


def _end_with_verdict(result: SignalDeliveryResult, as_json: bool) -> NoReturn:
    code = {
        SignalDeliveryStatus.DELIVERED: ExitCode.OK,
        SignalDeliveryStatus.BUFFERED: ExitCode.OK,
        SignalDeliveryStatus.ALREADY_DELIVERED: ExitCode.ALREADY_DELIVERED,
        SignalDeliveryStatus.EXPIRED: ExitCode.EXPIRED,
        SignalDeliveryStatus.NOT_FOUND: ExitCode.NOT_FOUND,
    }[result.status]
    with telling(lambda: headline(result), unprinted=code or ExitCode.NOT_PRINTED):
        Output(as_json).result(result)
    raise typer.Exit(code)


@app.command()
def get(run: Run, step: Step, dsn: Dsn = None, as_json: Json = False) -> None:
    """Show the waiter of a step."""
    with transaction(dsn) as connection:
        waiter = FlowSignalStore(connection).get_waiter(run, step)
    _show_found(waiter, run, step, as_json)


@app.command()
def remove(
    run: Run,
    step: Step,
    claim_id: Annotated[
        UUID | None,
        typer.Option(
            metavar="ID",
            help="Only if this claim still has the waiter: a worker that is too late then removes nothing.",
            show_default=False,
        ),
    ] = None,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Forget the waiter of a step, and show what it was."""
    with transaction(dsn) as connection:
        waiter = FlowSignalStore(connection).remove_waiter(run, step, claim_id=claim_id)
        if waiter is None and claim_id is not None:
            raise claim_is_over(run, step, claim_id)
        _show_found(waiter, run, step, as_json)  # before the commit: a payload that was not printed stays
        if_somebody_reads()


@app.command()
def wait(
    run: Run,
    step: Step,
    timeout: Annotated[
        timedelta | None,
        typer.Option(
            parser=duration,
            metavar="DURATION",
            help="Give up after this time, while the step goes on waiting: 500ms, 30s, 5m; 0s looks once. "
            "Without it, wait for ever.",
            show_default=False,
        ),
    ] = None,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Wait until the signal of a step has come or its deadline has passed, and show the waiter.

    The exit code tells them apart, also from a timeout (9) and from a step without a waiter (3).
    """
    waiter = None
    with transaction(dsn) as connection:
        try:
            waiter = FlowSignalStore(TransactionPerCall(connection)).wait(run, step, timeout=timeout)
        except KeyboardInterrupt:
            message = f'interrupted while waiting for step "{step}" of run {run}'
            raise Problem(code=ExitCode.INTERRUPTED, message=message, detail="nothing was changed") from None
        except WaiterExpiredError as error:
            waiter = error.waiter
        except WaiterNotFoundError:
            pass
        except TimeoutError as error:
            raise Problem(code=ExitCode.TIMED_OUT, message=str(error)) from None
    _show_found(waiter, run, step, as_json)
    if waiter is not None and waiter.state is WaiterState.EXPIRED:
        raise typer.Exit(ExitCode.EXPIRED)


app.command()(token)
app.command()(claim)
app.command()(extend)
app.command()(broadcast)
app.command("list")(list_waiters)
app.command()(list_buffered)
app.command()(stats)
app.command()(health)
app.command()(remove_run)
app.command()(purge)
app.command()(withdraw)
app.command()(purge_buffered)
app.command()(import_floworchestrator)


def _show_found(waiter: FlowSignalWaiter | None, run: Run, step: str, as_json: bool) -> None:
    if waiter is None:
        raise Problem(code=ExitCode.NOT_FOUND, message=f'step "{step}" of run {run} has no waiter')
    Output(as_json).result(waiter)


@app.command()
def version(dsn: Dsn = None, as_json: Json = False) -> None:
    """Show the release of this package and, with --dsn or libpq's environment, the one in the database."""
    releases: dict[str, str | None] = {"package": __version__, "database": None}
    asked = dsn is not None or any(name in os.environ for name in SERVER_VARIABLES)
    if asked:
        with transaction(dsn) as connection:
            try:
                releases["database"] = FlowSignalStore(connection).version()
            except psycopg.errors.InvalidSchemaName:
                connection.rollback()
    output = Output(as_json)
    if as_json:
        output.json(releases)
    else:
        output.terminal.value("package", releases["package"])
        output.terminal.value("database", releases["database"] or ("not installed" if asked else "not asked"))
    if asked and releases["database"] is None:
        raise typer.Exit(ExitCode.NOT_FOUND)


@app.command()
def serve(
    data_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep the data in this folder; without it they are gone at the end."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The TCP port on 127.0.0.1; 0 takes a free one.")] = 0,
    as_json: Json = False,
) -> None:
    """Start a PostgreSQL server with flow-signal installed, until Ctrl-C."""
    from ._server import serve

    serve(data_dir, port, Output(as_json))


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the server running afterwards, until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """Play a story with a server and processes of its own: park, deliver, wake, and what can go wrong."""
    from ._demo import play

    if not play(keep, Output(as_json)):
        raise typer.Exit(ExitCode.FAILED)
