"""What the calls return. All instants are aware datetimes in UTC, taken from the clock of the database."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, TypeVar
from uuid import UUID

from .errors import UnreadablePayloadError

P = TypeVar("P")


class WaiterState(str, Enum):
    """What a waiter is at the time of the call."""

    WAITING = "waiting"
    """A signal can still be delivered to it."""
    DELIVERED = "delivered"
    """A signal was delivered to it."""
    EXPIRED = "expired"
    """Nothing was delivered to it before its deadline."""

    __str__ = str.__str__


class SignalDeliveryStatus(str, Enum):
    """What became of a signal."""

    DELIVERED = "delivered"
    """The oldest live waiter got it."""
    ALREADY_DELIVERED = "already_delivered"
    """Nobody waits; a waiter of this signal has a payload already."""
    NOT_FOUND = "not_found"
    """The run has no waiter of this signal."""
    EXPIRED = "expired"
    """Nobody waits; the deadline of a waiter of this signal has passed."""
    BUFFERED = "buffered"
    """Nobody waits; the signal is kept for the next waiter."""

    __str__ = str.__str__


class TokenState(str, Enum):
    """What the holder of a token can expect of it."""

    WAITING = "waiting"
    """It can be redeemed."""
    REDEEMED = "redeemed"
    """It was redeemed: the same payload gets the first answer again."""
    DELIVERED = "delivered"
    """Another signal was faster."""
    EXPIRED = "expired"
    """The deadline of the waiter has passed."""

    __str__ = str.__str__


class ImportOutcome(str, Enum):
    """What became of a waiter of another store."""

    IMPORTED = "imported"
    """It waits here now, as it did there."""
    CHANGED = "changed"
    """The same, but not quite as it was."""
    PRESENT = "present"
    """Its step waits here already."""
    CONFLICT = "conflict"
    """Its step waits here for something else."""
    REFUSED = "refused"
    """It cannot be kept here."""

    __str__ = str.__str__


class BufferedSignalState(str, Enum):
    """What a buffered signal is at the time of the call."""

    BUFFERED = "buffered"
    """The next waiter of its run and name gets it."""
    DEAD = "dead"
    """No waiter came in time; it stays as a dead letter until it is purged."""

    __str__ = str.__str__


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSignalWaiter:
    """A parked step: one row of type flow_signal_v1.waiter."""

    run_id: UUID
    step_key: str
    signal_name: str
    state: WaiterState
    created_at: datetime
    expires_at: datetime | None
    """The deadline; None waits for ever."""
    delivered_at: datetime | None
    payload_json: str | None = field(repr=False)
    """The payload as JSON text, exactly as sent; None when nothing was delivered, or a signal without a payload."""

    @property
    def payload(self) -> Any:
        """The payload as `json.loads` reads it, anew at each access.

        None for JSON null as well as for no payload: payload_json and state tell them apart.

        :raises UnreadablePayloadError: `json.loads` does not read it, though it is valid JSON.
        """
        return _loaded(self.payload_json)

    def payload_as(self, loads: Callable[[str], P]) -> P:
        """Return the payload as `loads` reads its text: `Model.model_validate_json`, `msgspec.json.Decoder(T).decode`.

        :raises UnreadablePayloadError: there is no payload. What `loads` raises is its own, and may show the payload.
        """
        return _loaded_as(self.payload_json, loads)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedWaiter(FlowSignalWaiter):
    """A wait that is over, and the caller's for a while: one row of type flow_signal_v1.claimed_waiter."""

    claim_id: UUID
    """What `remove_waiter` and `extend_claim` take, so that they do nothing once another worker has the waiter."""
    attempt: int
    """The how many-th claim of this waiter it is, from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalDeliveryResult:
    """What became of a signal: one row of type flow_signal_v1.delivery."""

    status: SignalDeliveryStatus
    run_id: UUID | None
    """The run that was addressed; None only when a token was not found."""
    step_key: str | None
    """The step whose waiter decided the status; None when there is none (not found, buffered)."""
    delivered_at: datetime | None
    """When that waiter got its payload, in this call or before; None when it has none."""
    replayed: bool
    """The delivery id or token was used before: this is what became of that signal, and nothing was written now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSignalToken:
    """What may be shown to the holder of a token: one row of type flow_signal_v1.token."""

    signal_name: str
    state: TokenState
    expires_at: datetime | None
    """Until when the token can be redeemed; None for ever, and None when it was redeemed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferedSignal:
    """A signal that came before its waiter: one row of type flow_signal_v1.buffered_signal."""

    run_id: UUID
    signal_name: str
    position: int
    """Its place among the signals of its run and name: the lowest is the oldest and is taken first."""
    state: BufferedSignalState
    buffered_at: datetime
    buffered_until: datetime
    """Until when a waiter can take it."""
    delivery_id: str | None
    payload_json: str | None = field(repr=False)
    """The payload as JSON text, exactly as sent; None for a signal without a payload."""

    @property
    def payload(self) -> Any:
        """The payload as `json.loads` reads it, anew at each access; None for JSON null as well as for no payload.

        :raises UnreadablePayloadError: `json.loads` does not read it, though it is valid JSON.
        """
        return _loaded(self.payload_json)

    def payload_as(self, loads: Callable[[str], P]) -> P:
        """Return the payload as `loads` reads its text: `Model.model_validate_json`, `msgspec.json.Decoder(T).decode`.

        :raises UnreadablePayloadError: there is no payload. What `loads` raises is its own, and may show the payload.
        """
        return _loaded_as(self.payload_json, loads)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedWaiter:
    """What became of a waiter of another store: one row of type flow_signal_v1.imported_waiter."""

    run_id: UUID | None
    step_key: str | None
    outcome: ImportOutcome
    detail: str | None
    """Why; None when it was imported as it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalStats:
    """The waiters and buffered signals of one signal name, in all runs: one row of view flow_signal_v1.signal_stats."""

    signal_name: str
    waiting: int
    """How many waiters a signal can still be delivered to."""
    overdue: int
    """How many waiters are expired."""
    delivered: int
    buffered: int
    """How many signals are kept for their next waiter."""
    dead: int
    """How many signals were kept for a waiter that did not come in time."""
    oldest_waiting_since: datetime | None
    """When the oldest of the waiting was registered; None when none waits."""
    wait_p50: timedelta | None
    """From registration to delivery: half of the delivered waited no longer; None when none is delivered."""
    wait_p95: timedelta | None
    """The same for 95 of 100."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The state of the installation, for monitoring: the one row of view flow_signal_v1.health."""

    checked_at: datetime
    version: str
    """The release of flow-signal that is installed in the database."""
    waiters_estimate: int
    """How many waiters there are, by the statistics of the database."""
    buffered_signals_estimate: int
    """The same for buffered signals, dead letters included."""
    total_bytes: int
    """What the tables take on disk, with their indexes."""
    dead_rows_estimate: int
    """Rows that vacuum has still to remove."""
    oldest_due_at: datetime | None
    """Since when the wait that is due the longest is not claimed; None when none is due."""
    oldest_dead_at: datetime | None
    """Since when the oldest dead letter is dead; None when there is none."""
    oldest_snapshot_xids: int | None
    """The age, in transactions, of the oldest snapshot that keeps vacuum from its work; None when there is none."""
    notify_queue_usage: float
    """How full the notification queue of the server is, from 0 to 1."""
    receipts_estimate: int
    tokens_estimate: int
    lock_rows_estimate: int
    toast_bytes: int
    """The part of total_bytes that holds long payloads."""
    dead_bytes_estimate: int
    """What the rows take that vacuum has still to remove, long payloads included."""
    overdue_estimate: int
    """How many waiters without a queue are past their deadline."""
    oldest_overdue_at: datetime | None
    """The earliest such deadline in a sample of the table; None when there is none."""
    oldest_buffered_at: datetime | None
    """Since when the oldest live buffered signal in a sample waits for its waiter; None when none does."""
    oldest_settled_at: datetime | None
    """When the oldest waiter, receipt or token in a sample that purge would delete was settled; None: there is none."""
    oldest_snapshot_holder: str | None
    """The session, standby, replication slot or prepared transaction that has the oldest snapshot."""
    problems: tuple[str, ...]
    """What somebody should look at, one sentence each; empty when all is well."""


def _loaded(payload_json: str | None) -> Any:
    try:
        return None if payload_json is None else json.loads(payload_json)
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as error:
        reason = str(error)
    # Not from the error of json, which may hold the payload.
    raise UnreadablePayloadError(f"json.loads cannot read the payload: {reason}; payload_json has its text")


def _loaded_as(payload_json: str | None, loads: Callable[[str], P]) -> P:
    if payload_json is None:
        raise UnreadablePayloadError("there is no payload: nothing was delivered, or a signal without a payload")
    return loads(payload_json)
