"""What the calls return. All instants are aware datetimes in UTC, taken from the clock of the database."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any
from uuid import UUID


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
    payload_json: str | None
    """The payload as JSON text, exactly as sent; None when nothing was delivered, or a signal without a payload."""

    @property
    def payload(self) -> Any:
        """The payload as `json.loads` reads it, anew at each access.

        None for JSON null as well as for no payload: payload_json and state tell them apart.
        """
        return None if self.payload_json is None else json.loads(self.payload_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalDeliveryResult:
    """What became of a signal: one row of type flow_signal_v1.delivery."""

    status: SignalDeliveryStatus
    run_id: UUID
    step_key: str | None
    """The step whose waiter decided the status; None when there is none (not found, buffered)."""
    delivered_at: datetime | None
    """When that waiter got its payload, in this call or before; None when it has none."""
    replayed: bool
    """The delivery id was recorded before: this is what became of that signal, and nothing was written now."""
