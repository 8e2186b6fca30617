"""When a wait is over, and how long to pause before the next look: everything about waiting but the I/O."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from math import inf, isnan
from time import monotonic
from uuid import UUID

from psycopg.sql import SQL, Composed, Identifier

from ._answering import ANSWER_SECONDS
from ._calls import Call, Look, look_call, waiter_call
from .errors import WaiterExpiredError, WaiterNotFoundError
from .inputs import as_text, as_uuid, wrong_type
from .results import FlowSignalWaiter, WaiterState

LONG_POLL_SECONDS = 5.0
"""One call of await_waiter: short enough for the usual statement timeouts, and for vacuum, which its snapshot stops."""
LOOK_SECONDS = 1.0
"""Between two looks while listening: a notification may be lost, as behind a transaction pooler."""
GRACE_SECONDS = 2.0
"""For the answer of the last look, which begins when the timeout is over."""
LONGEST_CHANNEL = 63


def checked_channel(channel: str) -> str:
    """Return the name of a channel; refuse as register_waiter does what NOTIFY would not take."""
    size = len(as_text("wake_channel", channel).encode(errors="replace"))
    if size > LONGEST_CHANNEL or not channel.strip():
        raise ValueError(
            f"wake_channel {channel[:80]!r} is not a channel name: "
            f"it has {size} bytes; NOTIFY takes 1 to {LONGEST_CHANNEL}, not only white space"
        )
    return channel


def listen(channel: str) -> Composed:
    return SQL("LISTEN {}").format(Identifier(channel))


def unlisten(channel: str) -> Composed:
    return SQL("UNLISTEN {}").format(Identifier(channel))


def seconds(name: str, value: float | timedelta | None) -> float | None:
    """Return a number of seconds or a timedelta as seconds."""
    if value is None:
        return None
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong_type(name, value, "seconds or a timedelta")
    if isnan(value):
        raise ValueError(f"{name} is not a number of seconds: {value}")
    return value


def timed_out(run_id: UUID, step_key: str, timeout: float | None) -> TimeoutError:
    return TimeoutError(f"step {step_key!r} of run {run_id} still waits after {timeout:g} s")


def unanswered(run_id: UUID, step_key: str, timeout: float | None) -> TimeoutError:
    return TimeoutError(
        f"whether step {step_key!r} of run {run_id} still waits after {timeout:g} s is not known: "
        "the database did not answer"
    )


def seconds_left(look: Look) -> float | None:
    """From the look to the deadline, by the clock of the database; None without a deadline."""
    if look.waiter is None or look.waiter.expires_at is None:
        return None
    return (look.waiter.expires_at - look.looked_at).total_seconds()


def is_overdue(looks: Sequence[Look]) -> bool:
    """Whether a look has found a waiter past its deadline, which await_waiter has to confirm."""
    return any(look.waiter is not None and look.waiter.state is WaiterState.EXPIRED for look in looks)


def delivered(run_id: UUID, step_key: str, waiter: FlowSignalWaiter | None) -> FlowSignalWaiter | None:
    """Return a delivered waiter and None for a waiting one; raise what became of any other."""
    if waiter is None:
        raise WaiterNotFoundError(run_id, step_key)
    if waiter.state is WaiterState.EXPIRED:
        raise WaiterExpiredError(waiter)
    return waiter if waiter.state is WaiterState.DELIVERED else None


class Wait:
    """One wait for one waiter."""

    def __init__(self, run_id: UUID | str, step_key: str, timeout: float | timedelta | None) -> None:
        self._key = (as_uuid("run_id", run_id), as_text("step_key", step_key))
        self._timeout = seconds("timeout", timeout)
        self._ends_at = inf if self._timeout is None else monotonic() + self._timeout
        self._due_at = inf

    def poll(self) -> Call[FlowSignalWaiter]:
        """A call of await_waiter, to be read by `settled`."""
        run_id, step_key = self._key
        max_wait = timedelta(seconds=min(LONG_POLL_SECONDS, self._left()))
        return waiter_call("await_waiter", run_id=run_id, step_key=step_key, max_wait=max_wait)

    def settled(self, waiters: Sequence[FlowSignalWaiter]) -> FlowSignalWaiter | None:
        """Return the waiter if it is delivered and None if the wait goes on; else raise why it does not."""
        settled = delivered(*self._key, waiters[0] if waiters else None)
        if settled is None and self.is_over():
            raise timed_out(*self._key, self._timeout)
        return settled

    def look(self) -> Call[Look]:
        """A look at the waiter, to be read by `seen`."""
        return look_call([(*self._key, None)])

    def seen(self, looks: Sequence[Look]) -> FlowSignalWaiter | None:
        """As `settled`, with the rows of a look: none when the waiter waits without a deadline."""
        self._due_at = inf
        if not looks:
            if self.is_over():
                raise timed_out(*self._key, self._timeout)
            return None
        [look] = looks
        left = seconds_left(look)
        if left is not None:
            self._due_at = monotonic() + left
        return self.settled([] if look.waiter is None else [look.waiter])

    def pause(self) -> float:
        """The seconds until the next look, if no notification comes."""
        return min(LOOK_SECONDS, self._left(), max(0.0, self._due_at - monotonic()))

    def patience(self) -> float:
        """The seconds that a call may take."""
        return min(LONG_POLL_SECONDS + ANSWER_SECONDS, self._left() + GRACE_SECONDS)

    def pool_timeout(self) -> float | None:
        """The seconds that a pool may take to lend a connection; None leaves it to the pool."""
        return None if self._timeout is None else max(GRACE_SECONDS, self._left())

    def is_over(self) -> bool:
        """Whether the timeout is."""
        return monotonic() >= self._ends_at

    def unanswered(self) -> TimeoutError:
        return unanswered(*self._key, self._timeout)

    def _left(self) -> float:
        return max(0.0, self._ends_at - monotonic())
