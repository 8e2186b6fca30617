"""One process waits for thousands of waiters over one connection."""

from __future__ import annotations

import asyncio
import copy
import heapq
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice
from types import TracebackType
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ._answering import ANSWER_SECONDS, answer_async
from ._async_store import fetch, fetch_and_commit
from ._calls import Look, confirm_call, look_call
from ._waiting import (
    GRACE_SECONDS,
    checked_channel,
    delivered,
    is_overdue,
    listen,
    seconds,
    seconds_left,
    timed_out,
    unanswered,
)
from .errors import HubClosedError
from .inputs import as_text, as_uuid, wrong_type
from .results import FlowSignalWaiter, WaiterState

CHUNK = 1000
"""The most waiters of one look: what it returns, payloads included, has to fit into memory."""
ROUND_CHUNK = 100
"""The most waiters of a round that are looked at together with one that was asked for, whose answer they delay."""
CONNECT_SECONDS = 10
FIRST_BACKOFF_SECONDS = 0.05
LONGEST_BACKOFF_SECONDS = 10.0
LOOK_SECONDS = 10.0
POLL_SECONDS = 0.5
OVERDUE_SECONDS = 0.1
"""Between two looks at a waiter that is overdue, but has a delivery that is not yet committed."""

logger = logging.getLogger("flow_signal")

Outcome = FlowSignalWaiter | Exception | None
"""A settled waiter, no waiter, or why it is not known."""

TIMED_OUT = TimeoutError()
UNANSWERED = TimeoutError()


class _Wait:
    """The tasks that wait for one waiter."""

    __slots__ = ("deadline", "due_at", "futures", "run_id", "step_key")

    def __init__(self, run_id: UUID, step_key: str) -> None:
        self.run_id = run_id
        self.step_key = step_key
        self.deadline: datetime | None = None
        """As the last look found it."""
        self.due_at: float | None = None
        """The deadline by the clock of the event loop."""
        self.futures: set[asyncio.Future[Outcome]] = set()


class AsyncWaitHub:
    """Waits for any number of waiters over one connection of its own, to a server or to a transaction pooler.

    ::

        async with AsyncWaitHub(conninfo) as hub:
            await store.register_waiter(run_id, "approval", "approved", wake_channel=hub.channel)
            waiter = await hub.wait(run_id, "approval", timeout=3600)

    A notification only says which waiter to look at; what a wait returns is always read from the row. So nothing is
    missed, whichever comes first of `wait` and the delivery, and whatever channel the waiter was registered with:
    the hub looks at each waiter when its wait begins, when a notification names it, when its deadline comes, every
    `look_interval`, and after each loss of the connection.

    A lost connection is made anew, after pauses of 0.05 to 10 s that double; the waits do not notice. A connection
    that does not answer within `answer_within` counts as lost. Whatever goes wrong then, the hub tries again: while
    a standby is not yet promoted it cannot listen, and `connect` may raise what it likes.

    With several hosts in the connection string the hub finds the primary, as the others do not let it listen
    (target_session_attrs is primary if it is not given).

    Logger flow_signal tells of each lost connection and each failed attempt (warning), of a new connection (info), and
    of the end of the hub by anything but its `async with` block (error). No message has a payload.

    The hub belongs to the event loop in which it was entered.
    """

    channel: str | None
    """What to register waiters with as their wake_channel; None if the hub does not listen."""

    def __init__(
        self,
        connect: str | Callable[[], Awaitable[AsyncConnection[Any]]],
        *,
        listen: bool = True,
        channel: str | None = None,
        look_interval: float | timedelta | None = None,
        answer_within: float | timedelta | None = None,
    ) -> None:
        """Make a hub, to be entered by `async with`.

        :param connect: a connection string, or what returns a new AsyncConnection at each call. The role needs what
            flow_signal_reader has.
        :param listen: False behind a transaction pooler, which cannot LISTEN: the hub finds out by looking alone.
        :param channel: the channel to listen to; None for one of the hub's own, so that no other hub is woken.
        :param look_interval: seconds between two looks at all waiters, in batches; None: 10, or 0.5 without listening.
            It costs the server some 20 microseconds a waiter.
        :param answer_within: seconds; None: 10.
        """
        if not isinstance(connect, str) and not callable(connect):
            raise wrong_type("connect", connect, "a connection string or what returns a new AsyncConnection")
        self._connect = connect
        self.channel = None
        if listen:
            self.channel = f"flow_signal_{uuid4().hex}" if channel is None else checked_channel(channel)
        self._look_interval = _interval("look_interval", look_interval, LOOK_SECONDS if listen else POLL_SECONDS)
        self._answer_within = _interval("answer_within", answer_within, ANSWER_SECONDS)
        self._waits: dict[str, _Wait] = {}  # by the payload of their notification
        self._asked: dict[str, None] = {}  # to be looked at now, in this order
        self._round: deque[str] = deque()  # to be looked at when nothing is asked for
        self._round_at = 0.0
        self._deadlines: list[tuple[float, str]] = []  # a heap; of waits that are gone too
        self._leaving: set[asyncio.Future[Outcome]] = set()  # whose timeout is over: the next look is the last
        self._failures = 0
        self._stirred = asyncio.Event()
        self._closed: HubClosedError | None = HubClosedError("the hub was not entered by `async with`")

    @property
    def closed(self) -> HubClosedError | None:
        """Why the hub serves no waits: not entered yet, closed, or ended by the `__cause__`; None while it serves."""
        return self._closed

    async def __aenter__(self) -> AsyncWaitHub:
        """Connect and listen.

        :raises psycopg.OperationalError: there is no connection to be had. Whatever else `connect` raises comes too.
        """
        self._start(await self._open())
        return self

    def _start(self, connection: AsyncConnection[Any] | None) -> None:
        """Serve waits; without a connection make one first, as after a loss."""
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._closed = None
        self._task = asyncio.create_task(self._run(), name=f"flow_signal hub {self.channel or ''}")

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End all waits with HubClosedError and close the connection."""
        self._close(HubClosedError("the hub was closed"))
        self._task.cancel()
        await asyncio.wait([self._task])
        if self._connection:
            await self._connection.close()

    async def wait(
        self, run_id: UUID | str, step_key: str, *, timeout: float | timedelta | None = None
    ) -> FlowSignalWaiter:
        """Return the waiter of a step as soon as it is delivered. Its registration must be committed.

        :param timeout: seconds until the caller gives up; the waiter goes on waiting. None: never. 0: one look.
        :raises WaiterExpiredError: the deadline passed before a signal came.
        :raises WaiterNotFoundError: there is no such waiter, or not any more.
        :raises TimeoutError: the timeout is over, and the waiter still waits, as a last look has found; or the hub
            has no connection, so that it is not known.
        :raises HubClosedError: the hub was closed.
        :raises psycopg.Error: the database refuses to say (names out of range, no right, flow-signal not installed).
        """
        if self._closed:
            raise copy.copy(self._closed) from self._closed.__cause__
        run_id, step_key = as_uuid("run_id", run_id), as_text("step_key", step_key)
        limit = seconds("timeout", timeout)
        key = f"{run_id}/{step_key}"
        if not self._waits:
            self._round_at = self._loop.time() + self._look_interval
        wait = self._waits.get(key)
        if wait is None:
            wait = self._waits[key] = _Wait(run_id, step_key)
        future: asyncio.Future[Outcome] = self._loop.create_future()
        wait.futures.add(future)
        self._ask(key)
        timers: list[asyncio.TimerHandle] = []
        if limit is not None:
            timers = [
                self._loop.call_later(max(0.0, limit), self._look_last, key, future),
                self._loop.call_later(max(0.0, limit) + GRACE_SECONDS, _resolve, future, UNANSWERED),
            ]
        try:
            outcome = await future
        finally:
            for timer in timers:
                timer.cancel()
            self._leaving.discard(future)
            wait.futures.discard(future)
            if not wait.futures and self._waits.get(key) is wait:
                del self._waits[key]
                self._asked.pop(key, None)
        if outcome is TIMED_OUT:
            raise timed_out(run_id, step_key, limit)
        if outcome is UNANSWERED:
            raise unanswered(run_id, step_key, limit)
        if isinstance(outcome, Exception):
            raise copy.copy(outcome) from outcome.__cause__
        waiter = delivered(run_id, step_key, outcome)
        assert waiter
        return waiter

    def _ask(self, key: str) -> None:
        if key in self._waits:
            self._asked[key] = None
            self._stirred.set()

    def _look_last(self, key: str, future: asyncio.Future[Outcome]) -> None:
        self._leaving.add(future)
        self._ask(key)

    def _next(self) -> list[str] | None:
        """The waiters to look at now, those asked for and due before those whose turn it is; None if there are none."""
        now = self._loop.time()
        while self._deadlines and self._deadlines[0][0] <= now:
            due_at, key = heapq.heappop(self._deadlines)
            if self._is_due(due_at, key):
                self._waits[key].deadline = self._waits[key].due_at = None
                self._asked[key] = None
        if now >= self._round_at and not self._round:
            self._round_at = now + self._look_interval
            self._round.extend(self._waits)
        if not self._asked and not self._round:
            return None
        keys = [*islice(self._asked, CHUNK)]
        for key in keys:
            del self._asked[key]
        keys += [self._round.popleft() for _ in range(min(ROUND_CHUNK, len(self._round)))]
        return [key for key in dict.fromkeys(keys) if key in self._waits]

    def _next_at(self) -> float | None:
        """When there will be something to look at, though nobody asks; by the clock of the event loop."""
        if not self._waits:
            return None
        return min(self._round_at, self._deadlines[0][0]) if self._deadlines else self._round_at

    def _schedule(self, key: str, look: Look) -> None:
        """Look again when the deadline comes."""
        wait = self._waits.get(key)
        if wait is None or look.waiter is None:
            return
        wait.deadline = look.waiter.expires_at
        left = seconds_left(look)
        wait.due_at = None if left is None else self._loop.time() + (left if left > 0 else OVERDUE_SECONDS)
        if wait.due_at is None:
            return
        if len(self._deadlines) > 2 * len(self._waits) + CHUNK:
            self._deadlines = [entry for entry in self._deadlines if self._is_due(*entry)]
            heapq.heapify(self._deadlines)
        heapq.heappush(self._deadlines, (wait.due_at, key))

    def _is_due(self, due_at: float, key: str) -> bool:
        wait = self._waits.get(key)
        return wait is not None and wait.due_at == due_at

    async def _run(self) -> None:
        try:
            while True:
                connection = self._connection = self._connection or await self._reopen()
                try:
                    self._asked = dict.fromkeys(self._waits)
                    await self._serve(connection)
                except Exception as error:
                    logger.warning("a hub lost its connection: %s", error, exc_info=_unless_expected(error))
                with suppress(Exception):
                    await connection.close()
                self._connection = None
        except BaseException as error:  # somebody else cancelled the task, or the process ends
            if not self._closed:
                failure = HubClosedError(f"the hub ended: {type(error).__name__}")
                failure.__cause__ = error
                ended = sum(len(wait.futures) for wait in self._waits.values())
                logger.error("a hub ended, and %d waits with it: %s", ended, type(error).__name__)
                self._close(failure)
            raise

    def _close(self, reason: HubClosedError) -> None:
        self._closed = self._closed or reason
        for wait in self._waits.values():
            for future in wait.futures:
                _resolve(future, self._closed)

    async def _serve(self, connection: AsyncConnection[Any]) -> None:
        """Look at what is asked for, until the connection is lost."""
        while True:
            self._stirred.clear()
            connection.pgconn.consume_input()
            while notification := connection.pgconn.notifies():
                self._ask(notification.extra.decode(errors="replace"))
            keys = self._next()
            if keys is None:
                await self._idle(connection)
            elif keys:
                await self._look(connection, keys)
            self._failures = 0

    async def _idle(self, connection: AsyncConnection[Any]) -> None:
        """Wait until something is asked for, or due, or the socket has something to read."""
        socket_number = connection.fileno()
        next_at = self._next_at()
        timer = None if next_at is None else self._loop.call_at(next_at, self._stirred.set)
        self._loop.add_reader(socket_number, self._stirred.set)
        try:
            await self._stirred.wait()
        finally:
            self._loop.remove_reader(socket_number)
            if timer:
                timer.cancel()

    async def _look(self, connection: AsyncConnection[Any], keys: list[str]) -> None:
        """Tell those who wait for these waiters what became of them.

        It is true for those alone who waited before the look; the others have asked for another one.
        """
        waits = [self._waits[key] for key in keys]
        futures = {key: [*wait.futures] for key, wait in zip(keys, waits, strict=True)}
        leaving = [future for key in keys for future in futures[key] if future in self._leaving]
        try:
            looks = await self._found(connection, waits)
        except (psycopg.DataError, ValueError) as error:  # of one of these keys
            if len(keys) > 1:
                middle = len(keys) // 2
                await self._look(connection, [key for key in keys[:middle] if key in self._waits])
                await self._look(connection, [key for key in keys[middle:] if key in self._waits])
                return
            outcomes: dict[str, Outcome] = {keys[0]: error}
        except psycopg.Error as error:
            if connection.closed or isinstance(error, psycopg.OperationalError):
                raise psycopg.OperationalError(str(error)) from error
            outcomes = dict.fromkeys(keys, error)
        else:
            outcomes = {}
            for look in looks:
                key = f"{look.run_id}/{look.step_key}"
                if look.waiter and look.waiter.state is WaiterState.WAITING:
                    self._schedule(key, look)
                else:
                    outcomes[key] = look.waiter
        for key, outcome in outcomes.items():
            for future in futures[key]:
                _resolve(future, outcome)
        for future in leaving:
            _resolve(future, TIMED_OUT)

    async def _found(self, connection: AsyncConnection[Any], waits: list[_Wait]) -> list[Look]:
        """What a look has found, but no expired waiter with a delivery that was made in time and is not yet committed.

        Such a waiter still waits.
        """
        keys = ((wait.run_id, wait.step_key, wait.deadline) for wait in waits)
        looks = await answer_async(fetch, connection, look_call(keys), within=self._answer_within)
        overdue = [look for look in looks if is_overdue([look])]
        if not overdue:
            return looks
        confirmed = await answer_async(
            fetch_and_commit,
            connection,
            confirm_call((look.run_id, look.step_key) for look in overdue),
            within=self._answer_within,
        )
        return [look for look in looks if not is_overdue([look])] + confirmed

    async def _open(self) -> AsyncConnection[Any]:
        if isinstance(self._connect, str):
            options: dict[str, Any] = {
                "fallback_application_name": "flow-signal hub",
                "connect_timeout": CONNECT_SECONDS,
            }
            if self.channel and psycopg.pq.version() >= 140000:
                options["target_session_attrs"] = "primary"  # no other server lets it listen
            options |= conninfo_to_dict(self._connect)
            # A pooler may give each statement another session, which has not prepared it.
            threshold = 5 if self.channel else None
            connection = await AsyncConnection.connect(
                make_conninfo(**options), autocommit=True, prepare_threshold=threshold
            )
        else:
            connection = await self._connect()
            if not isinstance(connection, AsyncConnection):
                raise wrong_type("what connect returns", connection, "an AsyncConnection")
        try:
            await answer_async(self._begin, connection, self.channel, within=self._answer_within)
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _begin(self, connection: AsyncConnection[Any], channel: str | None) -> None:
        await connection.set_autocommit(True)
        await connection.set_isolation_level(psycopg.IsolationLevel.READ_COMMITTED)  # for await_waiter
        if channel:
            await connection.execute("SET client_encoding TO 'UTF8'")  # has all characters of step keys
            # Takes the notifications that come with an answer; _serve takes the others.
            connection.add_notify_handler(lambda notification: self._ask(notification.payload))
            await connection.execute(listen(channel))

    async def _reopen(self) -> AsyncConnection[Any]:
        while True:
            doublings = min(self._failures, 20)  # a float does not hold 2**1024, after some hours
            pause = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2**doublings)
            self._failures += 1
            await asyncio.sleep(pause * random.uniform(0.5, 1))
            try:
                connection = await self._open()
            except Exception as error:
                logger.warning("a hub cannot connect: %s", error, exc_info=_unless_expected(error))
            else:
                logger.info("a hub has a new connection, after %d attempts", self._failures)
                return connection


def _interval(name: str, value: float | timedelta | None, default: float) -> float:
    interval = seconds(name, value)
    if interval is None:
        return default
    if interval <= 0:
        raise ValueError(f"{name} is not longer than 0: {interval:g} s")
    return interval


def _unless_expected(error: Exception) -> Exception | None:
    """The error, to be logged with its traceback, unless it is one that any lost connection has."""
    return None if isinstance(error, psycopg.Error | OSError) else error


def _resolve(future: asyncio.Future[Outcome], outcome: Outcome) -> None:
    if not future.done():
        future.set_result(outcome)
