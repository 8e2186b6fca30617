"""The embedded server behind `serve` and `demo`."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
from psycopg.conninfo import conninfo_to_dict

from ..embedded import EmbeddedServer, EmbeddedServerError
from ..migrate import migrate
from ._exit_code import ExitCode
from ._output import Output
from ._problem import Problem
from ._terminal import CODE, FAINT, GOOD, Terminal

TO_TRY = """
DSN={dsn}
RUN={run_id}
{flow_signal} register $RUN confirm confirmation --dsn $DSN
{psql} $DSN <<END
SELECT * FROM flow_signal_v1.deliver_signal(
    '$RUN', 'confirmation', '{{"from": "psql"}}');
END
{python} <<END
import uuid, psycopg
from flow_signal import FlowSignalStore
store = FlowSignalStore(psycopg.connect('$DSN'))
print(store.get_waiter(uuid.UUID('$RUN'), 'confirm').payload)
END
"""


@contextmanager
def running(server: EmbeddedServer) -> Iterator[None]:
    """Start a server and install flow-signal there; stop it when the block ends."""
    try:
        server.start()
    except EmbeddedServerError as error:
        message, _, detail = str(error).partition("\n")
        raise Problem(code=ExitCode.FAILED, message=message, detail=detail) from None
    try:
        migrate(server.conninfo())
        yield
    finally:
        server.stop()


def catch_the_end() -> int:
    """Return a descriptor that can be read from the first Ctrl-C or SIGTERM on, which do nothing else from now on."""
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.detach())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    return woken.detach()


def stay(server: EmbeddedServer, end: int) -> None:
    """Return when the descriptor `end` can be read; raise Problem if the server ends before."""
    try:
        while True:
            with psycopg.connect(server.conninfo()) as connection:
                readable, _, _ = select.select([end, connection.fileno()], [], [])
            if end in readable:
                return
    except psycopg.OperationalError as error:
        raise Problem(code=ExitCode.FAILED, message="the server has ended", detail=str(error)) from None


def server_version(server: EmbeddedServer) -> str:
    with psycopg.connect(server.conninfo()) as connection:
        number = connection.info.server_version
    return f"{number // 10000}.{number % 10000}"


def serve(data_dir: Path | None, port: int, output: Output) -> None:
    """Run a server until Ctrl-C or SIGTERM."""
    if not output.as_json:
        output.terminal.say(("PostgreSQL starts ...", FAINT))
    server = EmbeddedServer(data_dir=data_dir, port=port)
    with running(server):
        end = catch_the_end()
        if output.as_json:
            output.json({"dsn": uri(server), "data_dir": str(server.data_dir), "kept": data_dir is not None})
        else:
            terminal = output.terminal
            terminal.say((f"PostgreSQL {server_version(server)} with flow-signal runs until Ctrl-C", GOOD))
            terminal.value("dsn", uri(server))
            terminal.value("data_dir", f"{server.data_dir}, {'kept' if data_dir else 'gone at the end'}")
            show_what_to_try(server, uuid4(), terminal)
        stay(server, end)


def show_what_to_try(server: EmbeddedServer, run_id: UUID, terminal: Terminal) -> None:
    """Print shell commands that work as they are."""
    commands = TO_TRY.format(
        dsn=uri(server), run_id=run_id, flow_signal=own("flow-signal"), psql=psql(server), python=own("python")
    )
    terminal.say()
    terminal.say("Try it in another terminal:")
    terminal.say((commands, CODE))
    terminal.say("Any other language makes the same SELECT through its driver, with this DSN.")


def uri(server: EmbeddedServer) -> str:
    """Return the address of a server with a TCP port, password included."""
    parts = conninfo_to_dict(server.conninfo(tcp=True))
    return "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**parts)


def psql(server: EmbeddedServer) -> str:
    """Return how to call psql: the server's own, if it has one."""
    program = server.bin_dir / "psql"
    return str(program) if program.exists() and not shutil.which("psql") else "psql"


def own(program: str) -> str:
    """Return how to call a program of this Python environment from a shell in this folder."""
    path = Path(sys.executable).parent / program
    if shutil.which(program) == str(path):
        return program
    return min(str(path), os.path.relpath(path), key=len)
