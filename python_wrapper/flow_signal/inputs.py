"""What the calls take: payloads, instants and the rows of the batch calls."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from datetime import datetime
from enum import Enum
from typing import Any, TypeVar
from uuid import UUID

T = TypeVar("T")


class NoPayload(Enum):
    """What a payload is by default, since None is one: JSON null."""

    NO_PAYLOAD = "no payload"


NO_PAYLOAD = NoPayload.NO_PAYLOAD


@dataclass(frozen=True, slots=True)
class NewWaiter:
    """A step to be parked by `register_waiters`."""

    run_id: UUID
    step_key: str
    """The step, unique within the run; at most 256 characters, like signal_name."""
    signal_name: str
    _: KW_ONLY
    expires_at: datetime | None = None
    """The deadline, an aware datetime, judged by the clock of the database; None waits for ever."""


@dataclass(frozen=True, slots=True)
class NewSignal:
    """A signal to be sent by `deliver_signals`, its payload in one of two forms or none at all."""

    run_id: UUID
    signal_name: str
    payload: object = NO_PAYLOAD
    """Any JSON value as `json.dumps` takes it; None is JSON null, a str is a JSON string."""
    _: KW_ONLY
    payload_json: str | None = None
    """The payload as JSON text, kept exactly as it is; None is the same as not given."""
    delivery_id: str | None = None
    """What a retry repeats so as not to reach a second waiter, together with the same payload."""


def waiter_columns(waiters: Iterable[NewWaiter]) -> dict[str, list[Any]]:
    """The waiters as one array for each column."""
    rows = list(waiters)
    return {
        "run_ids": [row.run_id for row in rows],
        "step_keys": [row.step_key for row in rows],
        "signal_names": [row.signal_name for row in rows],
        **given(expires_at=_column(instant(row.expires_at) for row in rows)),
    }


def signal_columns(signals: Iterable[NewSignal]) -> dict[str, list[Any]]:
    """The signals as one array for each column."""
    rows = list(signals)
    return {
        "run_ids": [row.run_id for row in rows],
        "signal_names": [row.signal_name for row in rows],
        "payloads_json": [payload_text(row.payload, row.payload_json) for row in rows],
        **given(delivery_ids=_column(row.delivery_id for row in rows)),
    }


def _column(values: Iterable[T | None]) -> list[T | None] | None:
    """The values, or None if there is none."""
    column = list(values)
    return column if any(value is not None for value in column) else None


def given(**optional: Any) -> dict[str, Any]:
    """The arguments that were given; for the others the defaults of the SQL function hold."""
    return {name: value for name, value in optional.items() if value is not None}


def instant(value: datetime | None) -> datetime | None:
    """Return value; raise ValueError if it means another instant in another time zone."""
    if value is not None and value.utcoffset() is None:
        raise ValueError(f"{value!r} has no time zone: pass an aware datetime")
    return value


def payload_text(payload: object, payload_json: str | None) -> str | None:
    """The one payload of the two forms as JSON text, or None when neither was given."""
    if payload is NO_PAYLOAD:
        return payload_json
    if payload_json is not None:
        raise TypeError("payload and payload_json are two forms of one payload: pass one of them")
    return json.dumps(payload, ensure_ascii=False, allow_nan=False)
