# Generated from _async_store.py, so change that and run `make format`.

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from functools import lru_cache
from inspect import signature
from typing import Any, Protocol, TypeVar
from uuid import UUID

import psycopg
from psycopg import Connection, Cursor, Error, IsolationLevel, OperationalError, ProgrammingError
from psycopg.pq import TransactionStatus
from psycopg.rows import BaseRowFactory, tuple_row
from psycopg.sql import Composed

from ._answering import answer
from ._calls import (
    ADAPTERS,
    Call,
    buffered_signal_call,
    claim_call,
    count_call,
    delivery_call,
    health_view,
    import_call,
    issue_call,
    signal_stats_view,
    text_call,
    token_call,
    truth_call,
    waiter_call,
)
from ._connections import refuse_wrong_kind
from ._waiting import GRACE_SECONDS, Wait, checked_channel, is_overdue, listen, unlisten
from .inputs import (
    NO_PAYLOAD,
    Dumps,
    ForeignWaiter,
    NewSignal,
    NewWaiter,
    after_key,
    foreign_columns,
    given,
    instant,
    past_instant,
    payload_text,
    signal_columns,
    waiter_columns,
)
from .results import (
    BufferedSignal,
    BufferedSignalState,
    ClaimedWaiter,
    FlowSignalToken,
    FlowSignalWaiter,
    Health,
    ImportedWaiter,
    SignalDeliveryResult,
    SignalStats,
    WaiterState,
)

T = TypeVar("T")


class Pool(Protocol):
    """What the store needs of a psycopg_pool.ConnectionPool."""

    def connection(self) -> AbstractContextManager[Connection[Any]]:
        """Lend a connection; commit when the block ends well, else roll back."""


@lru_cache
def _cursor_class(factory: object) -> type[Cursor[Any]]:
    """The connection's class of cursors, which may trace each call, with the adapters of the store.

    Those that send another kind of query are left out, as are functions that make cursors.
    """
    base: type[Cursor[Any]] = Cursor
    if isinstance(factory, type) and issubclass(factory, Cursor):
        base = Cursor if issubclass(factory, (psycopg.ClientCursor, psycopg.RawCursor)) else factory
    return type("_Cursor", (base,), {"__slots__": (), "adapters": ADAPTERS})


def _cursor(connection: Connection[Any], row_factory: BaseRowFactory[T]) -> Cursor[T]:
    factory: Any = connection.cursor_factory
    return _cursor_class(factory)(connection, row_factory=row_factory)


class RunCalls:
    """The calls that name their runs, each by a `Call`; a store says where that is made."""

    _dumps: Dumps | None

    def register_waiter(
        self,
        run_id: UUID | str,
        step_key: str,
        signal_name: str,
        *,
        expires_at: datetime | None = None,
        expires_in: timedelta | None = None,
        wake_channel: str | None = None,
        queue: str | None = None,
    ) -> FlowSignalWaiter:
        """Park a step of a run until the signal comes; take the oldest buffered signal at once if there is one.

        A repeat with the same run_id and step_key returns a delivered waiter with its payload as it is, and gives any
        other waiter the new signal name, deadline, wake channel and queue.

        :param run_id: a UUID, or its text; likewise in all other calls.
        :param step_key: the step, unique within the run; at most 256 characters, like signal_name and queue.
        :param expires_at: the deadline, an aware datetime, judged by the clock of the database; None waits for ever.
        :param expires_in: the deadline from now, by the clock of the database, in place of expires_at.
        :param wake_channel: NOTIFY this channel (at most 63 bytes) on delivery, with payload `run_id/step_key`.
        :param queue: hand the wait out by claim_waiters when it is over.
        :raises SignalMismatchError: the step holds the payload of another signal.
        :raises ValueError: expires_at has no time zone.
        :raises psycopg.errors.FeatureNotSupported: the transaction is REPEATABLE READ or SERIALIZABLE.
        """
        [waiter] = self._fetch(
            waiter_call(
                "register_waiter",
                run_id=run_id,
                step_key=step_key,
                signal_name=signal_name,
                **given(
                    expires_at=instant(expires_at, expires_in, "expires_at", "expires_in"),
                    wake_channel=wake_channel,
                    queue=queue,
                ),
            )
        )
        return waiter

    def deliver_signal(
        self,
        run_id: UUID | str,
        signal_name: str,
        payload: object = NO_PAYLOAD,
        *,
        payload_json: str | bytes | bytearray | None = None,
        delivery_id: str | None = None,
        buffer_until: datetime | None = None,
        buffer_for: timedelta | None = None,
    ) -> SignalDeliveryResult:
        """Send a signal to a run: the oldest of its live waiters for that signal gets the payload.

        The payload comes in one of two forms, or not at all: a signal without a payload is not one with a JSON null.

        :param payload: any JSON value as `json.dumps` takes it; None is JSON null, a str is a JSON string.
        :param payload_json: the payload as JSON text, or the UTF-8 bytes of it, kept exactly as it is; None is the
            same as not given.
        :param delivery_id: what a retry repeats so as not to reach a second waiter, together with the same payload;
            at most 256 characters.
        :param buffer_until: keep the signal for the next waiter until then if nobody waits; an aware datetime.
        :param buffer_for: the same from now, by the clock of the database, in place of buffer_until.
        :raises TypeError: both forms of the payload were given, or payload is not a JSON value; nothing was sent.
        :raises ValueError: payload has a NaN, an infinity or a cycle, or buffer_until no time zone; nothing was sent.
        :raises DeliveryIdReusedError: the delivery id is recorded with another payload.
        :raises PayloadTooLargeError: the payload is over 1 MiB of JSON text.
        :raises TooManyBufferedError: nobody waits, and no more signals of that run and name are buffered.
        :raises psycopg.errors.InvalidTextRepresentation: payload_json is not JSON.
        :raises psycopg.errors.FeatureNotSupported: the transaction is REPEATABLE READ or SERIALIZABLE.
        """
        [result] = self._fetch(
            delivery_call(
                "deliver_signal",
                run_id=run_id,
                signal_name=signal_name,
                **given(
                    payload_json=payload_text(payload, payload_json, self._dumps),
                    delivery_id=delivery_id,
                    buffer_until=instant(buffer_until, buffer_for, "buffer_until", "buffer_for"),
                ),
            )
        )
        return result

    def deliver_to_step(
        self,
        run_id: UUID | str,
        step_key: str,
        payload: object = NO_PAYLOAD,
        *,
        payload_json: str | bytes | bytearray | None = None,
        delivery_id: str | None = None,
    ) -> SignalDeliveryResult:
        """Send the signal that a step waits for to exactly that step, though others may wait for the same name.

        The payload is given as in `deliver_signal`, which also says what it may raise. Nothing is buffered.

        :param delivery_id: what a retry repeats together with the same payload; each step's answer needs one of its
            own, for an id that another step of the run was answered with says only that.
        """
        [result] = self._fetch(
            delivery_call(
                "deliver_to_step",
                run_id=run_id,
                step_key=step_key,
                **given(payload_json=payload_text(payload, payload_json, self._dumps), delivery_id=delivery_id),
            )
        )
        return result

    def issue_token(
        self,
        run_id: UUID | str,
        step_key: str,
        *,
        expires_at: datetime | None = None,
        expires_in: timedelta | None = None,
    ) -> str | None:
        """Return a token with which its holder can answer this step, once; None if the step is not registered.

        The text is stored nowhere: send it on, after the commit. It is void as soon as the waiter is removed or moved
        to another signal.

        :param expires_at: the token's own deadline, an aware datetime; None: as long as the waiter is there.
        :param expires_in: the same from now, by the clock of the database, in place of expires_at.
        :raises ValueError: expires_at has no time zone.
        """
        [token] = self._fetch(
            issue_call(
                "issue_token",
                run_id=run_id,
                step_key=step_key,
                **given(expires_at=instant(expires_at, expires_in, "expires_at", "expires_in")),
            )
        )
        return token

    def revoke_tokens(self, run_id: UUID | str, step_key: str) -> int:
        """Make all tokens of a step void that were not redeemed; return how many.

        :raises psycopg.errors.FeatureNotSupported: the transaction is REPEATABLE READ or SERIALIZABLE.
        """
        [revoked] = self._fetch(count_call("revoke_tokens", run_id=run_id, step_key=step_key))
        return revoked

    def redeem_token(
        self, token: str, payload: object = NO_PAYLOAD, *, payload_json: str | bytes | bytearray | None = None
    ) -> SignalDeliveryResult:
        """Send a signal to the step that the token was issued for.

        A token that is void or was never issued is not found, whatever the text. A redeemed token with the same
        payload gets the first answer again. The payload is given as in `deliver_signal`, which also says what it may
        raise.

        :raises DeliveryIdReusedError: the token was redeemed with another payload.
        """
        [result] = self._fetch(
            delivery_call(
                "redeem_token", token=token, **given(payload_json=payload_text(payload, payload_json, self._dumps))
            )
        )
        return result

    def describe_token(self, token: str) -> FlowSignalToken | None:
        """Return what may be shown before the token is redeemed; None if it is void. Reads only."""
        tokens = self._fetch(token_call("describe_token", token=token))
        return tokens[0] if tokens else None

    def get_waiter(self, run_id: UUID | str, step_key: str) -> FlowSignalWaiter | None:
        """Return the waiter of a step, or None; reads only, so that a hot standby will do."""
        waiters = self._fetch(waiter_call("get_waiter", run_id=run_id, step_key=step_key))
        return waiters[0] if waiters else None

    def remove_waiter(
        self, run_id: UUID | str, step_key: str, *, claim_id: UUID | str | None = None
    ) -> FlowSignalWaiter | None:
        """Forget the waiter of a step and return what it was, a payload of the last moment included; None if none.

        :param claim_id: remove only what this claim handed out: None is returned when the lease is over and another
            worker has the waiter, or when the step was registered anew.
        :raises psycopg.errors.SerializationFailure: the transaction is REPEATABLE READ or SERIALIZABLE and the waiter
            has changed since it began.
        """
        waiters = self._fetch(
            waiter_call("remove_waiter", run_id=run_id, step_key=step_key, **given(claim_id=claim_id))
        )
        return waiters[0] if waiters else None

    def extend_claim(self, run_id: UUID | str, step_key: str, claim_id: UUID | str, lease: timedelta) -> bool:
        """Keep a claimed waiter for longer; return whether the claim was still the caller's.

        :param lease: counted from now, up to a day; 0 gives the waiter back at once.
        """
        [kept] = self._fetch(
            truth_call("extend_claim", run_id=run_id, step_key=step_key, claim_id=claim_id, lease=lease)
        )
        return kept

    def await_waiter(
        self, run_id: UUID | str, step_key: str, *, max_wait: timedelta | None = None
    ) -> FlowSignalWaiter | None:
        """Return the waiter of a step, or None, when it is no longer waiting, at the latest after max_wait.

        The call holds a connection and a snapshot of the database; `wait` does so for seconds at most.

        :param max_wait: 0 to 5 minutes; None leaves it to the database: 30 seconds.
        :raises psycopg.errors.FeatureNotSupported: the transaction is REPEATABLE READ or SERIALIZABLE.
        """
        waiters = self._fetch(waiter_call("await_waiter", run_id=run_id, step_key=step_key, **given(max_wait=max_wait)))
        return waiters[0] if waiters else None

    def register_waiters(
        self, waiters: Iterable[NewWaiter], *, wake_channel: str | None = None, queue: str | None = None
    ) -> list[FlowSignalWaiter]:
        """Park many steps, all or none, as if by `register_waiter` one after another.

        Returns one waiter for each, in the same order.

        :param wake_channel: NOTIFY this channel when one of them is delivered.
        :param queue: hand the waits out by claim_waiters when they are over.
        :raises SignalMismatchError: a step holds the payload of another signal.
        :raises ValueError: an expires_at has no time zone; nothing was sent.
        :raises psycopg.errors.FeatureNotSupported: the transaction is REPEATABLE READ or SERIALIZABLE.
        """
        return self._fetch(
            waiter_call("register_waiters", **waiter_columns(waiters), **given(wake_channel=wake_channel, queue=queue))
        )

    def deliver_signals(
        self,
        signals: Iterable[NewSignal],
        *,
        buffer_until: datetime | None = None,
        buffer_for: timedelta | None = None,
    ) -> list[SignalDeliveryResult]:
        """Send many signals, all or none, as if by `deliver_signal` one after another.

        Returns what became of each, in the same order.

        :param buffer_until: keep each signal for which nobody waits until then; an aware datetime.
        :param buffer_for: the same from now, by the clock of the database, in place of buffer_until.
        :raises TypeError: a signal has both forms of the payload, or one that is not a JSON value; nothing was sent.
        :raises ValueError: a payload has a NaN, an infinity or a cycle, or buffer_until no time zone; nothing was sent.
        :raises DeliveryIdReusedError: a delivery id is recorded with another payload.
        :raises PayloadTooLargeError: a payload is over 1 MiB of JSON text.
        :raises psycopg.errors.InvalidTextRepresentation: a payload_json is not JSON.
        :raises psycopg.errors.FeatureNotSupported: the transaction is REPEATABLE READ or SERIALIZABLE.
        """
        return self._fetch(
            delivery_call(
                "deliver_signals",
                **signal_columns(signals, self._dumps),
                **given(buffer_until=instant(buffer_until, buffer_for, "buffer_until", "buffer_for")),
            )
        )

    def remove_run(self, run_id: UUID | str) -> int:
        """Forget all waiters and buffered signals of a run; return how many waiters those were."""
        [removed] = self._fetch(count_call("remove_run", run_id=run_id))
        return removed

    def withdraw_signal(self, run_id: UUID | str, signal_name: str, position: int) -> BufferedSignal | None:
        """Take a buffered signal back and return it; None if it is not there, or a waiter has taken it.

        Its delivery id is forgotten: the next retry is a new signal.

        :param position: the place that list_buffered_signals has given.
        :raises psycopg.errors.FeatureNotSupported: the transaction is REPEATABLE READ or SERIALIZABLE.
        """
        signals = self._fetch(
            buffered_signal_call("withdraw_signal", run_id=run_id, signal_name=signal_name, position=position)
        )
        return signals[0] if signals else None

    def import_waiters(self, waiters: Iterable[ForeignWaiter], *, dry_run: bool = False) -> list[ImportedWaiter]:
        """Take over waiters of another store; return what became of each, in the same order.

        A step that waits here already stays as it is, so that a repeat brings only what is new.

        :param dry_run: say it and change nothing.
        :raises psycopg.errors.FeatureNotSupported: the transaction is REPEATABLE READ or SERIALIZABLE.
        """
        return self._fetch(
            import_call("import_waiters", **foreign_columns(waiters), **({"dry_run": True} if dry_run else {}))
        )

    def _fetch(self, call: Call[T]) -> list[T]:
        raise NotImplementedError


class FlowSignalStore(RunCalls):
    """Waiters and signals in the database of a psycopg connection or pool.

    With a connection each call joins the caller's transaction; the store never commits, rolls back or changes a
    setting. With a pool each call takes a connection of its own and is committed before it returns.

    Rows come as the classes of `flow_signal.results`, whatever row factory, cursor factory, adapters and session
    settings the connection has. The store keeps no state and may be shared as freely as its connection or pool.

    Errors: see `flow_signal.errors`.
    """

    def __init__(self, conn_or_pool: Connection[Any] | Pool, *, dumps: Dumps | None = None) -> None:
        """Make a store.

        :param dumps: what writes each `payload` as JSON, in place of `json.dumps`: `msgspec.json.encode`,
            `orjson.dumps`, `pydantic_core.to_json`. `payload_as` of a waiter reads it back.
        """
        refuse_wrong_kind(conn_or_pool, Connection)
        self._dumps = dumps
        self._lend: Callable[..., AbstractContextManager[Connection[Any]]]
        self._is_pooled = not isinstance(conn_or_pool, Connection)
        if isinstance(conn_or_pool, Connection):
            lent = nullcontext(conn_or_pool)  # may be entered again and again
            self._lend = lambda timeout=None: lent
        elif "timeout" in signature(conn_or_pool.connection).parameters:
            self._lend = conn_or_pool.connection
        else:
            self._lend = lambda timeout=None: conn_or_pool.connection()

    def wait(
        self,
        run_id: UUID | str,
        step_key: str,
        *,
        timeout: float | timedelta | None = None,
        wake_channel: str | None = None,
    ) -> FlowSignalWaiter:
        """Return the waiter of a step as soon as it is delivered.

        The registration must be committed: with a connection of the caller's, commit first. The wait takes a
        connection, outside a transaction. To wait for many waiters at once use a hub.

        The timeout holds whatever the network does. A call that is not answered ends the wait, and a wait that is
        cancelled or interrupted does not wait for an answer; both close the connection.

        :param timeout: seconds until the caller gives up; the waiter goes on waiting. None: never. 0: one look.
        :param wake_channel: the channel that the waiter was registered with, for an answer within milliseconds of the
            sender's commit; the connection should not listen for the caller too. None: looks every 5 to 100 ms by
            await_waiter; a pool lends a connection for 5 seconds at a time, so that many waits take turns.
        :raises WaiterExpiredError: the deadline passed before a signal came.
        :raises WaiterNotFoundError: there is no such waiter, or not any more.
        :raises TimeoutError: the timeout is over, and the waiter still waits, or the database does not answer.
        :raises psycopg.OperationalError: the connection is lost, or a call was not answered within 15 seconds.
        :raises psycopg.ProgrammingError: the connection is in a transaction: a delivery would wait for its end.
        """
        wait = Wait(run_id, step_key, timeout)
        channel = None if wake_channel is None else checked_channel(wake_channel)
        try:
            if channel is not None:
                with self._lend(timeout=wait.pool_timeout()) as connection:
                    return _listen_and_look(connection, wait, channel)
            while True:
                with self._lend(timeout=wait.pool_timeout()) as connection:
                    if not self._is_pooled:
                        _refuse_transaction(connection)
                    waiters = answer(fetch_and_commit, connection, wait.poll(), within=wait.patience())
                if settled := wait.settled(waiters):
                    return settled
        except OperationalError as error:
            if wait.is_over():
                raise wait.unanswered() from error
            raise

    def claim_waiters(
        self, queue: str, *, limit: int | None = None, lease: timedelta | None = None
    ) -> list[ClaimedWaiter]:
        """Return waits of a queue that are over, delivered or expired, oldest due first, each to one caller only.

        A waiter handed out as expired stays expired. `remove_waiter` with the claim_id acknowledges; a waiter that is
        not removed is handed out again after the lease, with another claim_id and the next attempt.

        :param limit: the most to return, 1 to 10000; None leaves it to the database: 100.
        :param lease: for how long they are the caller's, up to a day; None leaves it to the database: a minute.
        :raises psycopg.errors.FeatureNotSupported: the transaction is REPEATABLE READ or SERIALIZABLE.
        """
        return self._fetch(claim_call("claim_waiters", queue=queue, **given(limit=limit, lease=lease)))

    def broadcast_signal(
        self, signal_name: str, payload: object = NO_PAYLOAD, *, payload_json: str | bytes | bytearray | None = None
    ) -> list[SignalDeliveryResult]:
        """Send a signal to every live waiter of that name in every run; return who got it.

        The payload is given as in `deliver_signal`, which also says what it may raise.
        """
        return self._fetch(
            delivery_call(
                "broadcast_signal",
                signal_name=signal_name,
                **given(payload_json=payload_text(payload, payload_json, self._dumps)),
            )
        )

    def list_waiters(
        self,
        *,
        run_id: UUID | str | None = None,
        signal_name: str | None = None,
        state: WaiterState | None = None,
        after: tuple[UUID | str, str] | None = None,
        limit: int | None = None,
    ) -> list[FlowSignalWaiter]:
        """Return waiters, ordered by run id and step key; reads only, so that a hot standby will do.

        :param run_id: only those of this run; likewise signal_name and state.
        :param after: begin behind this run id and step key: those of the last waiter of the page before.
        :param limit: the most to return, 1 to 10000; None leaves it to the database: 100.
        """
        return self._fetch(
            waiter_call(
                "list_waiters",
                **given(run_id=run_id, signal_name=signal_name, state=state),
                **after_key(after, "run_id", "step_key"),
                **given(limit=limit),
            )
        )

    def list_buffered_signals(
        self,
        *,
        run_id: UUID | str | None = None,
        signal_name: str | None = None,
        state: BufferedSignalState | None = None,
        after: tuple[UUID | str, str, int] | None = None,
        limit: int | None = None,
    ) -> list[BufferedSignal]:
        """Return buffered signals, dead letters included, ordered by run id, signal name and position.

        :param run_id: only those of this run; likewise signal_name and state.
        :param after: begin behind this run id, signal name and position: those of the last signal of the page before.
        :param limit: the most to return, 1 to 10000; None leaves it to the database: 100.
        """
        return self._fetch(
            buffered_signal_call(
                "list_buffered_signals",
                **given(run_id=run_id, signal_name=signal_name, state=state),
                **after_key(after, "run_id", "signal_name", "position"),
                **given(limit=limit),
            )
        )

    def purge(
        self,
        settled_before: datetime | None = None,
        *,
        older_than: timedelta | None = None,
        limit: int | None = None,
    ) -> int:
        """Delete waiters that were settled and buffered signals that were dead before an instant; return how many.

        A live waiter is never deleted. A call is over after some quarter of a second: repeat it until it returns 0,
        each time in a transaction of its own.

        :param settled_before: an aware datetime, by the clock of the database.
        :param older_than: the same as an age from now, by the clock of the database, in place of settled_before.
        :param limit: the most to delete, 1 to 100000; None leaves it to the database: 10000.
        :raises ValueError: settled_before has no time zone.
        :raises psycopg.errors.FeatureNotSupported: the transaction is REPEATABLE READ or SERIALIZABLE.
        """
        before = past_instant(settled_before, older_than, "settled_before")
        [deleted] = self._fetch(count_call("purge", settled_before=before, **given(limit=limit)))
        return deleted

    def purge_buffered(
        self,
        buffered_before: datetime | None = None,
        *,
        older_than: timedelta | None = None,
        limit: int | None = None,
    ) -> int:
        """Delete buffered signals that are kept since before an instant, live ones included; return how many.

        Repeat it until it returns 0, each time in a transaction of its own.

        :param buffered_before: an aware datetime, by the clock of the database.
        :param older_than: the same as an age from now, by the clock of the database, in place of buffered_before.
        :param limit: the most to delete, 1 to 100000; None leaves it to the database: 10000.
        """
        before = past_instant(buffered_before, older_than, "buffered_before")
        [deleted] = self._fetch(count_call("purge_buffered", buffered_before=before, **given(limit=limit)))
        return deleted

    def signal_stats(self) -> list[SignalStats]:
        """Return the numbers of each signal name, ordered by it; reads all waiters and buffered signals for it."""
        return self._fetch(signal_stats_view())

    def health(self) -> Health:
        """Return what monitoring needs to know, in milliseconds however many waiters there are."""
        [health] = self._fetch(health_view())
        return health

    def version(self) -> str:
        """Return the release of flow-signal that is installed in the database."""
        [version] = self._fetch(text_call("version"))
        return version

    def _fetch(self, call: Call[T]) -> list[T]:
        with self._lend() as connection:
            return fetch(connection, call)


def fetch(connection: Connection[Any], call: Call[T]) -> list[T]:
    """Make one call on a connection and return its rows."""
    cursor = _cursor(connection, call.row_factory)
    cursor.execute(call.query, call.arguments, binary=True)
    return cursor.fetchall()


def fetch_and_commit(connection: Connection[Any], call: Call[T]) -> list[T]:
    """Make one call in a transaction of its own."""
    with connection.transaction():
        return fetch(connection, call)


def _execute(connection: Connection[Any], command: Composed) -> None:
    _cursor(connection, tuple_row).execute(command)


def _refuse_transaction(connection: Connection[Any]) -> None:
    if connection.info.transaction_status not in (TransactionStatus.IDLE, TransactionStatus.UNKNOWN):
        raise ProgrammingError("a wait needs a connection outside a transaction: commit first")


def _listen_and_look(connection: Connection[Any], wait: Wait, channel: str) -> FlowSignalWaiter:
    _refuse_transaction(connection)
    autocommit, isolation_level = connection.autocommit, connection.isolation_level
    connection.set_autocommit(True)
    try:
        connection.set_isolation_level(IsolationLevel.READ_COMMITTED)  # for await_waiter
        try:
            answer(_execute, connection, listen(channel), within=wait.patience())
            settled = _look_until_settled(connection, wait)
        except Exception:
            _unlisten(connection, channel)
            raise
        except BaseException:  # cancelled or interrupted: UNLISTEN would wait for the network
            connection.close()
            raise
        _unlisten(connection, channel)
        return settled
    finally:
        if not connection.closed:
            connection.set_isolation_level(isolation_level)
            connection.set_autocommit(autocommit)


def _look_until_settled(connection: Connection[Any], wait: Wait) -> FlowSignalWaiter:
    while True:
        looks = answer(fetch, connection, wait.look(), within=wait.patience())
        if is_overdue(looks):
            # Not before a delivery that was made in time has ended, however it ends.
            settled = wait.settled(answer(fetch_and_commit, connection, wait.poll(), within=wait.patience()))
        else:
            settled = wait.seen(looks)
        if settled:
            return settled
        for _ in connection.notifies(timeout=wait.pause(), stop_after=1):
            pass


def _unlisten(connection: Connection[Any], channel: str) -> None:
    """Forget the channel; close a connection that will not, lest somebody else gets its notifications."""
    if connection.closed:
        return
    try:
        answer(_execute, connection, unlisten(channel), within=GRACE_SECONDS)
    except Error:
        connection.close()
