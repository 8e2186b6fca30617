"""When a wait is over, and how long to pause before the next look: everything about waiting but the I/O."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from math import inf
from time import monotonic
from uuid import UUID

from psycopg.sql import SQL, Composed, Identifier

from ._calls import Call, Look, look_call
from .errors import WaiterExpiredError, WaiterNotFoundError
from .results import FlowSignalWaiter, WaiterState

LONG_POLL_SECONDS = 5.0
"""One call of await_waiter: short enough for the usual statement timeouts, and for vacuum, which its snapshot stops."""
LOOK_SECONDS = 1.0
"""Between two looks while listening: a notification may be lost, as behind a transaction pooler."""


def listen(channel: str) -> Composed:
    return SQL("LISTEN {}").format(Identifier(channel))


def unlisten(channel: str) -> Composed:
    return SQL("UNLISTEN {}").format(Identifier(channel))


def seconds(timeout: float | timedelta | None) -> float | None:
    return timeout.total_seconds() if isinstance(timeout, timedelta) else timeout


def timed_out(run_id: UUID, step_key: str, timeout: float | timedelta | None) -> TimeoutError:
    return TimeoutError(f"step {step_key!r} of run {run_id} still waits after {seconds(timeout):g} s")


def seconds_left(look: Look) -> float | None:
    """From the look to the deadline, by the clock of the database; None without a deadline."""
    if look.waiter is None or look.waiter.expires_at is None:
        return None
    return (look.waiter.expires_at - look.looked_at).total_seconds()


def delivered(run_id: UUID, step_key: str, waiter: FlowSignalWaiter | None) -> FlowSignalWaiter | None:
    """Return a delivered waiter and None for a waiting one; raise what became of any other."""
    if waiter is None:
        raise WaiterNotFoundError(run_id, step_key)
    if waiter.state is WaiterState.EXPIRED:
        raise WaiterExpiredError(waiter)
    return waiter if waiter.state is WaiterState.DELIVERED else None


class Wait:
    """One wait for one waiter."""

    def __init__(self, run_id: UUID, step_key: str, timeout: float | timedelta | None) -> None:
        self._key = (run_id, step_key)
        self._timeout = timeout
        limit = seconds(timeout)
        self._ends_at = inf if limit is None else monotonic() + limit
        self._due_at = inf

    def settled(self, waiter: FlowSignalWaiter | None) -> FlowSignalWaiter | None:
        """Return the waiter if it is delivered and None if the wait goes on; else raise why it does not."""
        settled = delivered(*self._key, waiter)
        if settled is None:
            self._check_time()
        return settled

    def look(self) -> Call[Look]:
        """A look at the waiter, to be read by `seen`."""
        return look_call([(*self._key, None)])

    def seen(self, looks: Sequence[Look]) -> FlowSignalWaiter | None:
        """As `settled`, with the rows of a look."""
        if not looks:
            self._due_at = inf
            self._check_time()
            return None
        left = seconds_left(looks[0])
        self._due_at = inf if left is None else monotonic() + left
        return self.settled(looks[0].waiter)

    def long_poll(self) -> timedelta:
        """How long the next call of await_waiter may take."""
        return timedelta(seconds=self._at_most(LONG_POLL_SECONDS))

    def pause(self) -> float:
        """The seconds until the next look, if no notification comes."""
        return min(self._at_most(LOOK_SECONDS), max(0.0, self._due_at - monotonic()))

    def _at_most(self, longest: float) -> float:
        return min(longest, max(0.0, self._ends_at - monotonic()))

    def _check_time(self) -> None:
        if monotonic() >= self._ends_at:
            raise timed_out(*self._key, self._timeout)
