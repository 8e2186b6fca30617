"""What a call sends and how its rows are read: everything about it but the I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any, Generic, TypeVar
from uuid import UUID

import psycopg
from psycopg.adapt import AdaptersMap, Buffer, Dumper, Loader
from psycopg.pq import Format
from psycopg.rows import BaseRowFactory, kwargs_row, scalar_row
from psycopg.types.array import ArrayBinaryLoader, ListBinaryDumper
from psycopg.types.bool import BoolBinaryLoader
from psycopg.types.datetime import DatetimeBinaryDumper, IntervalBinaryLoader
from psycopg.types.numeric import (
    Float8BinaryLoader,
    Int4BinaryLoader,
    Int4Dumper,
    Int8,
    Int8BinaryLoader,
    Int8Dumper,
)
from psycopg.types.string import StrDumper, TextBinaryLoader
from psycopg.types.uuid import UUIDBinaryDumper, UUIDBinaryLoader

from .inputs import CHECKS
from .results import (
    BufferedSignal,
    BufferedSignalState,
    ClaimedWaiter,
    FlowSignalToken,
    FlowSignalWaiter,
    Health,
    ImportedWaiter,
    ImportOutcome,
    SignalDeliveryResult,
    SignalDeliveryStatus,
    SignalStats,
    TokenState,
    WaiterState,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One call of one SQL function, or one look at one view."""

    query: str
    arguments: dict[str, Any] = field(repr=False)
    row_factory: BaseRowFactory[T]


def waiter_call(function: str, /, **arguments: Any) -> Call[FlowSignalWaiter]:
    """A call that returns rows of type flow_signal_v1.waiter."""
    return _call(function, arguments, _names(FlowSignalWaiter), kwargs_row(_waiter))


def claim_call(function: str, /, **arguments: Any) -> Call[ClaimedWaiter]:
    """A call that returns rows of type flow_signal_v1.claimed_waiter."""
    return _call(function, arguments, _names(ClaimedWaiter), kwargs_row(_claimed_waiter))


def import_call(function: str, /, **arguments: Any) -> Call[ImportedWaiter]:
    """A call that returns rows of type flow_signal_v1.imported_waiter."""
    return _call(function, arguments, _names(ImportedWaiter), kwargs_row(_imported_waiter))


def delivery_call(function: str, /, **arguments: Any) -> Call[SignalDeliveryResult]:
    """A call that returns rows of type flow_signal_v1.delivery."""
    return _call(function, arguments, _names(SignalDeliveryResult), kwargs_row(_delivery))


def buffered_signal_call(function: str, /, **arguments: Any) -> Call[BufferedSignal]:
    """A call that returns rows of type flow_signal_v1.buffered_signal."""
    return _call(function, arguments, _names(BufferedSignal), kwargs_row(_buffered_signal))


def token_call(function: str, /, **arguments: Any) -> Call[FlowSignalToken]:
    """A call that returns rows of type flow_signal_v1.token."""
    return _call(function, arguments, _names(FlowSignalToken), kwargs_row(_token))


def issue_call(function: str, /, **arguments: Any) -> Call[str | None]:
    """A call that returns a token, or NULL."""
    return _call(function, arguments, [function], scalar_row)


def text_call(function: str, /, **arguments: Any) -> Call[str]:
    """A call that returns text."""
    return _call(function, arguments, [function], scalar_row)


def truth_call(function: str, /, **arguments: Any) -> Call[bool]:
    """A call that returns whether it was so."""
    return _call(function, arguments, [function], scalar_row)


def count_call(function: str, /, **arguments: Any) -> Call[int]:
    """A call that returns a number of rows."""
    return _call(function, arguments, [function], scalar_row)


def signal_stats_view() -> Call[SignalStats]:
    """A look at view flow_signal_v1.signal_stats."""
    return _view("signal_stats ORDER BY signal_name", _names(SignalStats), kwargs_row(SignalStats))


def health_view() -> Call[Health]:
    """A look at view flow_signal_v1.health."""
    return _view("health", _names(Health), kwargs_row(_health))


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a look at a waiter has found: that it is no longer waiting, or its deadline."""

    run_id: UUID
    step_key: str
    waiter: FlowSignalWaiter | None
    """None: there is no such waiter."""
    looked_at: datetime
    """By the clock of the database."""


def look_call(keys: Iterable[tuple[UUID, str, datetime | None]]) -> Call[Look]:
    """A call of get_waiter for each (run_id, step_key, deadline as known).

    It returns the waiters that are gone, no longer waiting, or have another deadline than the known one.
    """
    run_ids, step_keys, deadlines = zip(*keys, strict=True)
    if len(run_ids) == 1:
        arguments = {"run_id": run_ids[0], "step_key": step_keys[0], "deadline": deadlines[0]}
        return Call(query=_LOOK_AT_ONE, arguments=arguments, row_factory=kwargs_row(_look))
    arguments = {"run_ids": [*run_ids], "step_keys": [*step_keys], "deadlines": [*deadlines]}
    return Call(query=_LOOK_AT_MANY, arguments=arguments, row_factory=kwargs_row(_look))


def confirm_call(keys: Iterable[tuple[UUID, str]]) -> Call[Look]:
    """A call of await_waiter, without waiting, for each (run_id, step_key) that a look has found to be expired.

    It tells whether that is so for good: not while a delivery that was made in time is not yet committed.
    """
    run_ids, step_keys = zip(*keys, strict=True)
    arguments = {"run_ids": [*run_ids], "step_keys": [*step_keys]}
    return Call(query=_CONFIRM, arguments=arguments, row_factory=kwargs_row(_look))


def _call(function: str, arguments: dict[str, Any], columns: list[str], row_factory: BaseRowFactory[T]) -> Call[T]:
    inputs = []
    for name, value in arguments.items():
        if name in CHECKS:
            arguments[name] = CHECKS[name](name, value)
            inputs.append(f"p_{name} => %({name})s")
        elif isinstance(value, timedelta):
            inputs.append(f"p_{name} => clock_timestamp() + %({name})s")
        elif name == "expires_in":  # of some waiters, the others in expires_at
            inputs[-1] = _EXPIRES_AT_OR_IN
        else:
            inputs.append(f"p_{name} => %({name})s")
    query = f"SELECT {', '.join(columns)} FROM flow_signal_v1.{function}({', '.join(inputs)})"
    return Call(query=query, arguments=arguments, row_factory=row_factory)


_EXPIRES_AT_OR_IN = """p_expires_at => ARRAY(
    SELECT coalesce(t.instant, clock_timestamp() + t.span)
    FROM unnest(%(expires_at)s::timestamptz[], %(expires_in)s::interval[]) WITH ORDINALITY AS t (instant, span, n)
    ORDER BY t.n
)"""


def _view(source: str, columns: list[str], row_factory: BaseRowFactory[T]) -> Call[T]:
    return Call(
        query=f"SELECT {', '.join(columns)} FROM flow_signal_v1.{source}", arguments={}, row_factory=row_factory
    )


@cache
def _names(result: type[Any]) -> list[str]:
    return [field.name for field in fields(result)]


def _waiter(*, state: str, **columns: Any) -> FlowSignalWaiter:
    return FlowSignalWaiter(state=WaiterState(state), **columns)


def _claimed_waiter(*, state: str, **columns: Any) -> ClaimedWaiter:
    return ClaimedWaiter(state=WaiterState(state), **columns)


def _imported_waiter(*, outcome: str, **columns: Any) -> ImportedWaiter:
    return ImportedWaiter(outcome=ImportOutcome(outcome), **columns)


def _delivery(*, status: str, **columns: Any) -> SignalDeliveryResult:
    return SignalDeliveryResult(status=SignalDeliveryStatus(status), **columns)


def _buffered_signal(*, state: str, **columns: Any) -> BufferedSignal:
    return BufferedSignal(state=BufferedSignalState(state), **columns)


def _token(*, state: str, **columns: Any) -> FlowSignalToken:
    return FlowSignalToken(state=TokenState(state), **columns)


def _health(*, problems: list[str], **columns: Any) -> Health:
    return Health(problems=tuple(problems), **columns)


_LOOK = """
SELECT
    k.run_id, k.step_key, w.signal_name, w.state, w.created_at, w.expires_at, w.delivered_at, w.payload_json,
    clock_timestamp() AS looked_at
FROM {keys} AS k (run_id, step_key, deadline)
LEFT JOIN LATERAL flow_signal_v1.get_waiter(p_run_id => k.run_id, p_step_key => k.step_key) AS w ON true
WHERE w.state IS DISTINCT FROM 'waiting' OR w.expires_at IS DISTINCT FROM k.deadline
"""
_LOOK_AT_MANY = _LOOK.format(keys="unnest(%(run_ids)s::uuid[], %(step_keys)s::text[], %(deadlines)s::timestamptz[])")
_LOOK_AT_ONE = _LOOK.format(keys="(VALUES (%(run_id)s::uuid, %(step_key)s::text, %(deadline)s::timestamptz))")
"""The planner sees through it, which saves a third of the time of a wake-up."""

_CONFIRM = """
SELECT
    k.run_id, k.step_key, w.signal_name, w.state, w.created_at, w.expires_at, w.delivered_at, w.payload_json,
    clock_timestamp() AS looked_at
FROM unnest(%(run_ids)s::uuid[], %(step_keys)s::text[]) AS k (run_id, step_key)
LEFT JOIN LATERAL flow_signal_v1.await_waiter(
    p_run_id => k.run_id, p_step_key => k.step_key, p_max_wait => '0'
) AS w ON true
"""


def _look(*, run_id: UUID, step_key: str, state: str | None, looked_at: datetime, **columns: Any) -> Look:
    waiter = None if state is None else _waiter(run_id=run_id, step_key=step_key, state=state, **columns)
    return Look(run_id=run_id, step_key=step_key, waiter=waiter, looked_at=looked_at)


class _TextDumper(StrDumper):
    """Text, without NUL, that can also be an element of an array, all of which are binary."""

    format = Format.BINARY


class _SpanDumper(Dumper):
    """interval, of microseconds alone: a day of the server's has 23 or 25 hours when the clocks change."""

    format = Format.BINARY
    oid = psycopg.adapters.types["interval"].oid

    def dump(self, obj: timedelta) -> Buffer | None:
        return (obj // timedelta(microseconds=1)).to_bytes(8, "big", signed=True) + bytes(8)


class _TextLoader(TextBinaryLoader):
    """Text as str, also from a database of encoding SQL_ASCII, to which psycopg sends UTF-8."""

    def load(self, data: Buffer) -> str:
        text = super().load(data)
        return text if isinstance(text, str) else text.decode()


class _InstantLoader(Loader):
    """timestamptz in UTC: in the session's time zone the years 1 and 9999 have instants that datetime cannot hold."""

    format = Format.BINARY
    _EPOCH = datetime(2000, 1, 1, tzinfo=timezone.utc)

    def load(self, data: Buffer) -> datetime:
        return self._EPOCH + timedelta(microseconds=int.from_bytes(data, "big", signed=True))


ADAPTERS = AdaptersMap(psycopg.adapters)
"""psycopg's own types, whatever the caller has registered; binary, so that no session setting changes a value."""
ADAPTERS.register_dumper(UUID, UUIDBinaryDumper)
ADAPTERS.register_dumper(datetime, DatetimeBinaryDumper)
ADAPTERS.register_dumper(timedelta, _SpanDumper)
ADAPTERS.register_dumper(int, Int4Dumper)
ADAPTERS.register_dumper(Int8, Int8Dumper)
ADAPTERS.register_dumper(str, _TextDumper)
ADAPTERS.register_dumper(list, ListBinaryDumper)
ADAPTERS.register_loader("uuid", UUIDBinaryLoader)
ADAPTERS.register_loader("bool", BoolBinaryLoader)
ADAPTERS.register_loader("int4", Int4BinaryLoader)
ADAPTERS.register_loader("int8", Int8BinaryLoader)
ADAPTERS.register_loader("float8", Float8BinaryLoader)
ADAPTERS.register_loader("interval", IntervalBinaryLoader)
ADAPTERS.register_loader("timestamptz", _InstantLoader)
ADAPTERS.register_loader("text", _TextLoader)
ADAPTERS.register_loader("json", _TextLoader)
ADAPTERS.register_loader(ADAPTERS.types.get_oid("text[]"), ArrayBinaryLoader)
