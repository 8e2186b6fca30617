"""The connection of a command, and what it asks the clock of the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import psycopg
import typer
from psycopg.conninfo import conninfo_to_dict

from ._exit_code import ExitCode
from ._problem import Problem


@contextmanager
def transaction(dsn: str | None) -> Iterator[psycopg.Connection[Any]]:
    """Connect; commit when the block ends well, else roll back; disconnect."""
    with connect(dsn) as connection:
        # The functions need it, whatever the default of the database is.
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        yield connection


class TransactionPerCall:
    """A pool for a store that makes many calls: one connection, and for each call a transaction that ends with it."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        with self._connection.transaction():
            yield self._connection


def connect(dsn: str | None) -> psycopg.Connection[Any]:
    try:
        conninfo_to_dict(dsn or "")
    except psycopg.ProgrammingError as error:
        raise typer.BadParameter(str(error).strip(), param_hint="--dsn") from None
    try:
        # Any JSON text can be sent, whatever PGCLIENTENCODING is; a pooler may know no prepared statements.
        return psycopg.connect(
            dsn or "", client_encoding="UTF8", fallback_application_name="flow-signal", prepare_threshold=None
        )
    except psycopg.OperationalError as error:
        raise Problem(
            code=ExitCode.NO_CONNECTION,
            message="no connection to the database",
            detail=str(error).strip(),
            hint=None if dsn else "pass --dsn, or set PGHOST, PGPORT, PGUSER, PGDATABASE or PGSERVICE",
            sqlstate=error.sqlstate,
        ) from None


def later(connection: psycopg.Connection[Any], duration: timedelta) -> datetime:
    """Return the instant that is so much later than now by the clock of the database, which alone judges deadlines."""
    seconds = duration / timedelta(seconds=1)
    cursor = connection.execute("SELECT clock_timestamp() + make_interval(secs => %s)", [seconds], binary=True)
    [row] = cursor.fetchall()
    value: datetime = row[0]
    return value
