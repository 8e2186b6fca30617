"""The calls as the database answers them, in the form that the model has."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.string import TextLoader

from tests_py.proof.history import CONTROLS, NEVER, UNKNOWN, Operation
from tests_py.proof.model import INFINITY, MINUS_INFINITY

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MICROSECOND = timedelta(microseconds=1)

TIMEOUT = "20s"
"""What takes longer than this waits for ever."""

SPECIAL = {INFINITY: "infinity", MINUS_INFINITY: "-infinity", INFINITY - 1: "10000-01-01 00:00:00+00"}

INSTANTS = {"buffer_until", "settled_before", "buffered_before", "expires_at"}
INTERVALS = {"lease", "max_wait"}
TYPES = {"run_ids": "uuid[]", "step_keys": "text[]", "signal_names": "text[]", "payloads_json": "text[]"}
TYPES |= {"delivery_ids": "text[]", "lease": "interval", "max_wait": "interval"}

WAITER = "run_id, step_key, signal_name, state, created_at, expires_at, delivered_at, payload_json"
DELIVERY = "status, run_id, step_key, delivered_at, replayed"
BUFFERED = "run_id, signal_name, position, state, buffered_at, buffered_until, delivery_id, payload_json"
COLUMNS = {
    "register_waiter": WAITER,
    "register_waiters": WAITER,
    "get_waiter": WAITER,
    "await_waiter": WAITER,
    "remove_waiter": WAITER,
    "list_waiters": WAITER,
    "claim_waiters": f"{WAITER}, claim_id, attempt",
    "deliver_signal": DELIVERY,
    "deliver_signals": DELIVERY,
    "deliver_to_step": DELIVERY,
    "broadcast_signal": DELIVERY,
    "redeem_token": DELIVERY,
    "list_buffered_signals": BUFFERED,
    "withdraw_signal": BUFFERED,
}

STATEMENTS = {"rollback to": "ROLLBACK TO SAVEPOINT s; RELEASE SAVEPOINT s", "savepoint": "SAVEPOINT s"}
STATEMENTS |= {"release": "RELEASE SAVEPOINT s", "begin": "BEGIN", "commit": "COMMIT", "rollback": "ROLLBACK"}


def instant(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=microseconds)


def to_sql(name: str, value: Any) -> Any:
    """An argument of the model as psycopg takes it."""
    if isinstance(value, tuple):
        return [to_sql(name, element) for element in value]
    if isinstance(value, int) and name in INSTANTS:
        return SPECIAL.get(value) or instant(value)
    if isinstance(value, int) and name in INTERVALS:
        return timedelta(microseconds=value)
    return value


def from_sql(value: Any) -> Any:
    """A column of an answer as the model writes it."""
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return (value - EPOCH) // MICROSECOND
    return value


@cache
def statement(function: str, names: Sequence[str]) -> bytes:
    values = ", ".join(f"p_{name} => %({name})s::{TYPES[name]}" for name in names if name in TYPES)
    others = ", ".join(f"p_{name} => %({name})s" for name in names if name not in TYPES)
    arguments = ", ".join(filter(None, (values, others)))
    return f"SELECT {COLUMNS.get(function, 'f.*')} FROM flow_signal_v1.{function}({arguments}) AS f".encode()


class Client:
    """One connection, and the history of what was asked and answered on it."""

    def __init__(self, conninfo: str, name: str, *, options: str = "") -> None:
        self.name = name
        self.connection = psycopg.connect(
            conninfo, autocommit=True, options=f"-c deadlock_timeout=20ms -c statement_timeout={TIMEOUT} {options}"
        )
        self.connection.adapters.register_loader("json", TextLoader)
        self.pid = self.connection.info.backend_pid
        self.history: list[Operation] = []

    def __call__(self, function: str, **arguments: Any) -> Any:
        """Make the call, or take the control; return its answer: rows, an SQLSTATE, or UNKNOWN."""
        invoked = clock()
        answer = self.control(function) if function in CONTROLS else self.ask(function, arguments)
        returned = NEVER if answer is UNKNOWN else clock() + 1
        self.history.append(Operation(self.name, function, arguments, answer, invoked, returned))
        return answer

    def ask(self, function: str, arguments: Mapping[str, Any]) -> Any:
        values = {name: to_sql(name, value) for name, value in arguments.items()}
        query = statement(function, tuple(arguments))
        try:
            rows = self.connection.execute(query, values).fetchall()
            while function == "purge" and rows[0][0] > 0:
                rows = self.connection.execute(query, values).fetchall()
        except psycopg.Error as error:
            return self.failure(error)
        if function == "purge":
            return ()  # until nothing is left; what it counted, the locks are part of
        return tuple(tuple(map(from_sql, row)) for row in rows)

    def control(self, function: str) -> Any:
        try:
            self.connection.execute(STATEMENTS[function].encode())
        except psycopg.Error as error:
            return self.failure(error)
        return ()

    def failure(self, error: psycopg.Error) -> Any:
        if self.connection.broken or error.sqlstate is None:
            return UNKNOWN
        if error.sqlstate == "57014":
            raise TimeoutError(f"a call does not end within {TIMEOUT}") from error
        return error.sqlstate

    def close(self) -> None:
        self.connection.close()


def clock() -> int:
    """The server runs on this machine, so this is its clock too."""
    return time.time_ns() // 1000
