"""The connection of a command, and what it asks the clock of the database."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ._exit_code import ExitCode
from ._problem import Problem, problem_of
from ._stream import NotPrinted

DSN_VARIABLE = "FLOW_SIGNAL_DSN"


@contextmanager
def transaction(dsn: str | None) -> Iterator[psycopg.Connection[Any]]:
    """Connect; commit when the block ends well, else roll back; disconnect."""
    how_far = "nothing was sent"
    try:
        with connect(dsn) as connection:
            # The functions need it, whatever the default of the database is.
            connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
            how_far = "nothing was changed"
            yield connection
            how_far = "whether the call took effect is unknown"
    except (KeyboardInterrupt, NotPrinted) as error:
        problem = problem_of(error)
        problem.detail = how_far
        raise problem from None


class TransactionPerCall:
    """A pool for a store that makes many calls: one connection, and for each call a transaction that ends with it."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        with self._connection.transaction():
            yield self._connection


def connect(dsn: str | None) -> psycopg.Connection[Any]:
    """Connect, and ask for a password at the terminal if the server wants one that nothing else has given."""
    return _connected(dsn or "")[0]


def reachable(dsn: str | None) -> str:
    """Return a connection string that has just worked, with the password that was asked for."""
    connection, conninfo = _connected(dsn or "")
    connection.close()
    return conninfo


def _connected(conninfo: str) -> tuple[psycopg.Connection[Any], str]:
    try:
        conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError as error:
        raise Problem(
            code=ExitCode.USAGE,
            message=f"the connection string of --dsn or {DSN_VARIABLE} is wrong: {str(error).strip()}",
            hint="write for example postgresql://user@host/database",
        ) from None
    try:
        try:
            return _connect(conninfo), conninfo
        except psycopg.OperationalError as error:
            if not (error.pgconn and error.pgconn.needs_password):
                raise
            password = _ask_for_password(error.pgconn.user.decode(errors="replace"))
            if password is None:
                raise
            conninfo = make_conninfo(conninfo, password=password)
            return _connect(conninfo), conninfo
    except psycopg.OperationalError as error:
        raise Problem(
            code=ExitCode.NO_CONNECTION,
            message="no connection to the database",
            detail=str(error).strip(),
            hint=None if conninfo else f"pass --dsn, or set {DSN_VARIABLE}, or PGHOST, PGPORT, PGUSER and PGDATABASE",
            sqlstate=error.sqlstate,
        ) from None


def _connect(conninfo: str) -> psycopg.Connection[Any]:
    # Any JSON text can be sent, whatever PGCLIENTENCODING is; a pooler may know no prepared statements.
    return psycopg.connect(
        conninfo, client_encoding="UTF8", fallback_application_name="flow-signal", prepare_threshold=None
    )


def _ask_for_password(user: str) -> str | None:
    """Return what is typed at the terminal; None if there is no terminal, or nobody types."""
    try:
        if os.name == "posix":  # else getpass would read standard input
            os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
        return getpass.getpass(f"Password for user {user}: ")
    except (OSError, EOFError):
        return None


def later(connection: psycopg.Connection[Any], duration: timedelta) -> datetime:
    """Return the instant that is so much later than now by the clock of the database, which alone judges deadlines."""
    seconds = duration / timedelta(seconds=1)
    cursor = connection.execute("SELECT clock_timestamp() + make_interval(secs => %s)", [seconds], binary=True)
    [row] = cursor.fetchall()
    value: datetime = row[0]
    return value
