"""What bounds the time that the network has for an answer: a link that forwards nothing any more tells nobody."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from contextlib import suppress
from contextvars import copy_context
from threading import Thread
from typing import Any, TypeVar

from psycopg import AsyncConnection, Connection, OperationalError

C = TypeVar("C")
Q = TypeVar("Q")
T = TypeVar("T")

ANSWER_SECONDS = 10.0
"""The longest that a call takes whose answer is not waited for on purpose."""


async def answer_async(
    ask: Callable[[AsyncConnection[Any], Q], Coroutine[Any, Any, T]],
    connection: AsyncConnection[Any],
    question: Q,
    *,
    within: float,
) -> T:
    """Return what `ask` returns; if that takes longer, or the task is cancelled meanwhile, close the connection.

    psycopg would answer a cancellation by a message to the server, and wait for the answer. It does not hear of one
    here: `ask` runs in a task of its own, and reads the end of the stream.

    :raises psycopg.OperationalError: there was no answer in time; the connection is closed.
    """
    task = asyncio.create_task(ask(connection, question))
    try:
        await asyncio.wait([task], timeout=within)
    finally:
        in_time = task.done()
        if not in_time:
            cut(connection)
            await asyncio.wait([task])
            task.exception()  # it is expected; asyncio would log it otherwise
            await connection.close()
    if in_time:
        return task.result()
    raise no_answer(within)


def answer(ask: Callable[[Connection[Any], Q], T], connection: Connection[Any], question: Q, *, within: float) -> T:
    """Return what `ask` returns; if that takes longer, or is interrupted meanwhile, close the connection.

    psycopg would answer Ctrl-C as it does a cancellation. `ask` runs in a thread of its own, which hears of neither.

    :raises psycopg.OperationalError: there was no answer in time; the connection is closed.
    """
    future: Future[T] = Future()
    context = copy_context()  # of what traces the call

    def run() -> None:
        try:
            future.set_result(context.run(ask, connection, question))
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    try:
        wait([future], timeout=within)
    finally:
        in_time = future.done()
        if not in_time:
            cut(connection)
            wait([future])
            connection.close()
    if in_time:
        return future.result()
    raise no_answer(within)


def cut(connection: AsyncConnection[Any] | Connection[Any]) -> None:
    """Let the reader of the connection find its end; to cancel the query would take another answer."""
    with (
        suppress(OSError, OperationalError),
        socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM) as end,
    ):
        end.shutdown(socket.SHUT_RDWR)


def no_answer(within: float) -> OperationalError:
    return OperationalError(f"the server did not answer within {within:.3g} s; the connection is closed")
