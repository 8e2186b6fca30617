"""A process of the demo, which does what it is told line by line: `python -m flow_signal.cli._actor CONNINFO`.

Its parent holds the other ends of its standard input and output. However the parent ends, this process ends with it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from queue import SimpleQueue
from typing import Any

import psycopg
from psycopg import sql

from .._sync_store import FlowSignalStore
from ..results import FlowSignalWaiter, SignalDeliveryResult, WaiterState
from ._output import document
from ._problem import problem_of

Connection = psycopg.Connection[Any]
Result = FlowSignalWaiter | SignalDeliveryResult | None


def main() -> None:
    orders: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_read, args=[orders], daemon=True).start()
    with psycopg.connect(sys.argv[1], autocommit=True) as connection:
        while True:
            _answer(_perform(connection, **json.loads(orders.get())))


def _read(orders: SimpleQueue[str]) -> None:
    for line in sys.stdin:
        orders.put(line)
    os._exit(0)


def _answer(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


def _perform(connection: Connection, call: str, **arguments: Any) -> dict[str, Any]:
    """Make a call; return its result or error, and when it began, when its COMMIT was sent, and when it ended.

    In seconds of the monotonic clock, which the processes of a machine share.
    """
    result: Result = None
    error = None
    began = committing = time.monotonic()
    try:
        if call == "wait":
            result = _wait(connection, **arguments)
        else:
            with connection.transaction():
                result = CALLS[call](connection, **arguments)
                committing = time.monotonic()
    except psycopg.Error as psycopg_error:
        error = problem_of(psycopg_error).document()
    ended = time.monotonic()
    return {
        "result": result and document(result),
        "error": error,
        "began": began,
        "committing": committing,
        "ended": ended,
    }


def _register(
    connection: Connection, run_id: str, step_key: str, signal_name: str, expires_in: float | None = None, **more: Any
) -> FlowSignalWaiter:
    within = None if expires_in is None else timedelta(seconds=expires_in)
    return FlowSignalStore(connection).register_waiter(run_id, step_key, signal_name, expires_in=within, **more)


def _deliver(
    connection: Connection, run_id: str, signal_name: str, buffer_for: float | None = None, **more: Any
) -> SignalDeliveryResult:
    within = None if buffer_for is None else timedelta(seconds=buffer_for)
    return FlowSignalStore(connection).deliver_signal(run_id, signal_name, buffer_for=within, **more)


def _get(connection: Connection, run_id: str, step_key: str) -> FlowSignalWaiter | None:
    return FlowSignalStore(connection).get_waiter(run_id, step_key)


CALLS: dict[str, Callable[..., Result]] = {"register": _register, "deliver": _deliver, "get": _get}


def _wait(
    connection: Connection, run_id: str, step_key: str, channel: str, poll_seconds: float
) -> FlowSignalWaiter | None:
    """Say that the wait begins; return when it is over. The row is the truth, a notification only saves time."""
    connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
    waiter = _get(connection, run_id, step_key)
    _answer({"waits": True})
    while waiter and waiter.state is WaiterState.WAITING:
        for _ in connection.notifies(timeout=poll_seconds, stop_after=1):
            pass
        waiter = _get(connection, run_id, step_key)
    return waiter


if __name__ == "__main__":
    main()
