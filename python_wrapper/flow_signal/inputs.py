"""What the calls take: payloads, instants and the rows of the batch calls.

What a call cannot send is refused before anything is sent: with a TypeError, a ValueError, or psycopg's DataError for
a number or a span that is out of range. Each names the argument.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, TypeVar
from uuid import UUID

from psycopg import DataError
from psycopg.types.numeric import Int8

T = TypeVar("T")

Dumps = Callable[[Any], "str | bytes | bytearray"]
"""What writes a payload as JSON text, or as the UTF-8 bytes of it."""

LONGEST = datetime.max - datetime.min
"""Between two instants that the database takes."""


class NoPayload(Enum):
    """What a payload is by default, since None is one: JSON null."""

    NO_PAYLOAD = "no payload"


NO_PAYLOAD = NoPayload.NO_PAYLOAD


@dataclass(frozen=True, slots=True)
class NewWaiter:
    """A step to be parked by `register_waiters`."""

    run_id: UUID | str
    step_key: str
    """The step, unique within the run; at most 256 characters, like signal_name."""
    signal_name: str
    _: KW_ONLY
    expires_at: datetime | None = None
    """The deadline, an aware datetime, judged by the clock of the database; None waits for ever."""
    expires_in: timedelta | None = None
    """The deadline from now, by the clock of the database, in place of expires_at."""


@dataclass(frozen=True, slots=True)
class NewSignal:
    """A signal to be sent by `deliver_signals`, its payload in one of two forms or none at all."""

    run_id: UUID | str
    signal_name: str
    payload: object = field(default=NO_PAYLOAD, repr=False)
    """Any JSON value as `json.dumps` takes it; None is JSON null, a str is a JSON string."""
    _: KW_ONLY
    payload_json: str | bytes | bytearray | None = field(default=None, repr=False)
    """The payload as JSON text, kept exactly as it is; None is the same as not given."""
    delivery_id: str | None = None
    """What a retry repeats so as not to reach a second waiter, together with the same payload."""


@dataclass(frozen=True, slots=True)
class ForeignWaiter:
    """A waiter of another store, to be taken over by `import_waiters`. All instants are aware datetimes."""

    run_id: UUID | str
    step_key: str
    signal_name: str
    _: KW_ONLY
    created_at: datetime
    expires_at: datetime | None = None
    delivered_at: datetime | None = None
    """When it was delivered; None when it still waits."""
    payload_json: str | bytes | bytearray | None = field(default=None, repr=False)
    """The payload as JSON text, kept exactly as it is."""


def waiter_columns(waiters: Iterable[NewWaiter]) -> dict[str, list[Any]]:
    """The waiters as one array for each column."""
    run_ids, step_keys, signal_names, deadlines = [], [], [], []
    for number, row in enumerate(waiters):
        where = f"waiters[{number}]"
        _check_row(where, row, NewWaiter)
        run_ids.append(as_uuid(f"{where}.run_id", row.run_id))
        step_keys.append(as_text(f"{where}.step_key", row.step_key))
        signal_names.append(as_text(f"{where}.signal_name", row.signal_name))
        deadlines.append(instant(row.expires_at, row.expires_in, "expires_at", "expires_in", where=f"{where}."))
    columns: dict[str, list[Any]] = {"run_ids": run_ids, "step_keys": step_keys, "signal_names": signal_names}
    if any(deadline is not None for deadline in deadlines):
        columns["expires_at"] = [None if isinstance(deadline, timedelta) else deadline for deadline in deadlines]
    if any(isinstance(deadline, timedelta) for deadline in deadlines):
        columns["expires_in"] = [deadline if isinstance(deadline, timedelta) else None for deadline in deadlines]
    return columns


def signal_columns(signals: Iterable[NewSignal], dumps: Dumps | None) -> dict[str, list[Any]]:
    """The signals as one array for each column."""
    run_ids, signal_names, payloads, delivery_ids = [], [], [], []
    for number, row in enumerate(signals):
        where = f"signals[{number}]"
        _check_row(where, row, NewSignal)
        run_ids.append(as_uuid(f"{where}.run_id", row.run_id))
        signal_names.append(as_text(f"{where}.signal_name", row.signal_name))
        payloads.append(payload_text(row.payload, row.payload_json, dumps, where=f"{where}."))
        delivery_ids.append(None if row.delivery_id is None else as_text(f"{where}.delivery_id", row.delivery_id))
    columns: dict[str, list[Any]] = {
        "run_ids": run_ids,
        "signal_names": signal_names,
        "payloads_json": payloads,
    }
    if any(delivery_id is not None for delivery_id in delivery_ids):
        columns["delivery_ids"] = delivery_ids
    return columns


def foreign_columns(waiters: Iterable[ForeignWaiter]) -> dict[str, list[Any]]:
    """The waiters of another store as one array for each column."""
    columns: dict[str, list[Any]] = {
        "run_ids": [],
        "step_keys": [],
        "signal_names": [],
        "created_at": [],
        "expires_at": [],
        "delivered_at": [],
        "payloads_json": [],
    }
    for number, row in enumerate(waiters):
        where = f"waiters[{number}]"
        _check_row(where, row, ForeignWaiter)
        columns["run_ids"].append(as_uuid(f"{where}.run_id", row.run_id))
        columns["step_keys"].append(as_text(f"{where}.step_key", row.step_key))
        columns["signal_names"].append(as_text(f"{where}.signal_name", row.signal_name))
        for name in ("created_at", "expires_at", "delivered_at"):
            columns[name].append(_instant(f"{where}.{name}", getattr(row, name)))
        columns["payloads_json"].append(payload_text(NO_PAYLOAD, row.payload_json, where=f"{where}."))
    return columns


def _check_row(where: str, row: object, kind: type[object]) -> None:
    if not isinstance(row, kind):
        raise wrong_type(where, row, f"a {kind.__name__}")


def given(**optional: Any) -> dict[str, Any]:
    """The arguments that were given; for the others the defaults of the SQL function hold."""
    return {name: value for name, value in optional.items() if value is not None}


def instant(
    value: object, span: timedelta | None, name: str, span_name: str, *, where: str = ""
) -> datetime | timedelta | None:
    """Return the one that was given of an instant and a span from now; None when neither was."""
    if span is not None:
        if value is not None:
            raise TypeError(f"{where}{name} and {span_name} are two forms of one instant: pass one of them")
        return as_span(where + span_name, span)
    return _instant(where + name, value, f"; pass a timedelta as {span_name}")


def _instant(name: str, value: object, for_timedelta: str = "") -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise wrong_type(name, value, "an aware datetime", for_timedelta if isinstance(value, timedelta) else "")
    if value.utcoffset() is None:
        raise ValueError(f"{name} {value!r} has no time zone: pass an aware datetime")
    return value


def past_instant(value: datetime | None, age: timedelta | None, name: str) -> datetime | timedelta:
    """Return the instant, or the age as a span from now; one of them has to be given."""
    given_one = instant(value, age, name, "older_than")
    if given_one is None:
        raise TypeError(f"pass {name}, an aware datetime, or older_than, a timedelta")
    return -given_one if isinstance(given_one, timedelta) else given_one


def payload_text(
    payload: object, payload_json: str | bytes | bytearray | None, dumps: Dumps | None = None, *, where: str = ""
) -> str | None:
    """The one payload of the two forms as JSON text, or None when neither was given."""
    if payload is NO_PAYLOAD:
        return None if payload_json is None else _json_text(f"{where}payload_json", payload_json)
    if payload_json is not None:
        raise TypeError(f"{where}payload and payload_json are two forms of one payload: pass one of them")
    if dumps is not None:
        return _json_text(f"{where}payload as dumps wrote it", dumps(payload))
    error: Exception
    try:
        text = json.dumps(payload, ensure_ascii=False, allow_nan=False)
    except TypeError as refused:
        error = TypeError(f"{where}payload is not a JSON value: {refused}")
    except ValueError as refused:
        error = ValueError(f"{where}payload is not a JSON value: {refused}")
    except RecursionError:
        error = ValueError(f"{where}payload is nested too deeply for json.dumps: pass payload_json")
    else:
        return _encodable(f"{where}payload", text)
    # Not from the error of json: later releases note in it where in the payload it was.
    raise error


def _json_text(name: str, value: object) -> str:
    if isinstance(value, str):
        return _encodable(name, value)
    if not isinstance(value, (bytes, bytearray)):
        is_value = isinstance(value, (dict, list, tuple, int, float)) and name.endswith("payload_json")
        use = "; pass a JSON value as payload" if is_value else ""
        raise wrong_type(name, value, "JSON text as str or bytes", use)
    try:
        return _encodable(name, value.decode())
    except UnicodeDecodeError as error:
        place = error.start
    # Not from the error of the decoder, which holds the payload.
    raise ValueError(f"{name} is not UTF-8: byte {place} of {len(value)}")


def _encodable(name: str, value: str) -> str:
    if "\0" in value:
        raise DataError(f"{name} has a NUL character, which no text of PostgreSQL holds")
    if value.isascii():
        return value
    try:
        value.encode()
        return value
    except UnicodeEncodeError as error:
        place, reason = error.start, error.reason
    # The error of the encoder would hold the text, and show it by its repr.
    raise UnicodeEncodeError(
        "utf-8", value[place], 0, 1, f"{reason}; it is character {place} of {len(value)} of {name}"
    )


def as_uuid(name: str, value: object) -> UUID:
    if isinstance(value, UUID):
        return value
    if not isinstance(value, str):
        raise wrong_type(name, value, "a UUID or its text")
    try:
        return UUID(value)
    except ValueError:
        raise ValueError(f"{name} {value[:80]!r} is not a UUID") from None


def as_text(name: str, value: object) -> str:
    if isinstance(value, str):
        return _encodable(name, value)
    raise wrong_type(name, value, "a str")


def as_span(name: str, value: object) -> timedelta:
    if not isinstance(value, timedelta):
        raise wrong_type(name, value, "a timedelta")
    if abs(value) > LONGEST:
        raise DataError(f"{name} {value} is out of range: it may be up to {LONGEST.days} days")
    return value


def as_int4(name: str, value: object) -> int:
    return _as_int(name, value, 31)


def as_int8(name: str, value: object) -> Int8:
    return Int8(_as_int(name, value, 63))


def _as_int(name: str, value: object, bits: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(name, value, "an int")
    if not -(2**bits) <= value < 2**bits:
        raise DataError(f"{name} is out of range: it has to fit into {bits + 1} bits")
    return value


def after_key(after: object, *names: str) -> dict[str, Any]:
    """The key behind which a page begins, as one argument for each part."""
    if after is None:
        return {}
    if not isinstance(after, (tuple, list)) or len(after) != len(names):
        raise wrong_type("after", after, f"a tuple of {', '.join(names)}")
    return {f"after_{name}": part for name, part in zip(names, after, strict=True)}


def wrong_type(name: str, value: object, expected: str, use: str = "") -> TypeError:
    got = "None" if value is None else type(value).__name__
    return TypeError(f"{name}: expected {expected}, got {got}{use}")


CHECKS: dict[str, Callable[[str, object], object]] = {
    "run_id": as_uuid,
    "step_key": as_text,
    "signal_name": as_text,
    "claim_id": as_uuid,
    "position": as_int8,
    "queue": as_text,
    "wake_channel": as_text,
    "delivery_id": as_text,
    "token": as_text,
    "state": as_text,
    "after_run_id": as_uuid,
    "after_step_key": as_text,
    "after_signal_name": as_text,
    "after_position": as_int8,
    "limit": as_int4,
    "lease": as_span,
    "max_wait": as_span,
}
"""What makes an argument of a call fit to be sent; the arguments that are not here come from a function above."""
