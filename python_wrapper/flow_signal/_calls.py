"""What a call sends and how its rows are read: everything about it but the I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta, timezone
from functools import cache, lru_cache
from typing import Any, Generic, TypeVar
from uuid import UUID

import psycopg
from psycopg.adapt import AdaptersMap, Buffer, Dumper, Loader
from psycopg.pq import Format
from psycopg.rows import BaseRowFactory, RowMaker
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
from psycopg.types.string import StrBinaryDumper, TextBinaryLoader
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


@dataclass(slots=True, kw_only=True)
class Call(Generic[T]):
    """One call of one SQL function, or one look at one view."""

    query: str
    arguments: dict[str, Any] = field(repr=False)
    row_factory: BaseRowFactory[T]


def waiter_call(function: str, /, **arguments: Any) -> Call[FlowSignalWaiter]:
    """A call that returns rows of type flow_signal_v1.waiter."""
    return _call(function, arguments, _WAITER)


def claim_call(function: str, /, **arguments: Any) -> Call[ClaimedWaiter]:
    """A call that returns rows of type flow_signal_v1.claimed_waiter."""
    return _call(function, arguments, _CLAIMED_WAITER)


def import_call(function: str, /, **arguments: Any) -> Call[ImportedWaiter]:
    """A call that returns rows of type flow_signal_v1.imported_waiter."""
    return _call(function, arguments, _IMPORTED_WAITER)


def delivery_call(function: str, /, **arguments: Any) -> Call[SignalDeliveryResult]:
    """A call that returns rows of type flow_signal_v1.delivery."""
    return _call(function, arguments, _DELIVERY)


def buffered_signal_call(function: str, /, **arguments: Any) -> Call[BufferedSignal]:
    """A call that returns rows of type flow_signal_v1.buffered_signal."""
    return _call(function, arguments, _BUFFERED_SIGNAL)


def token_call(function: str, /, **arguments: Any) -> Call[FlowSignalToken]:
    """A call that returns rows of type flow_signal_v1.token."""
    return _call(function, arguments, _TOKEN)


def issue_call(function: str, /, **arguments: Any) -> Call[str | None]:
    """A call that returns a token, or NULL."""
    return _call(function, arguments, _single(function))


def text_call(function: str, /, **arguments: Any) -> Call[str]:
    """A call that returns text."""
    return _call(function, arguments, _single(function))


def truth_call(function: str, /, **arguments: Any) -> Call[bool]:
    """A call that returns whether it was so."""
    return _call(function, arguments, _single(function))


def count_call(function: str, /, **arguments: Any) -> Call[int]:
    """A call that returns a number of rows."""
    return _call(function, arguments, _single(function))


def signal_stats_view() -> Call[SignalStats]:
    """A look at view flow_signal_v1.signal_stats."""
    return _view("signal_stats ORDER BY signal_name", _SIGNAL_STATS)


def health_view() -> Call[Health]:
    """A look at view flow_signal_v1.health."""
    return _view("health", _HEALTH)


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
        return Call(query=_LOOK_AT_ONE, arguments=arguments, row_factory=_LOOK_ROWS)
    arguments = {"run_ids": [*run_ids], "step_keys": [*step_keys], "deadlines": [*deadlines]}
    return Call(query=_LOOK_AT_MANY, arguments=arguments, row_factory=_LOOK_ROWS)


def confirm_call(keys: Iterable[tuple[UUID, str]]) -> Call[Look]:
    """A call of await_waiter, without waiting, for each (run_id, step_key) that a look has found to be expired.

    It tells whether that is so for good: not while a delivery that was made in time is not yet committed.
    """
    run_ids, step_keys = zip(*keys, strict=True)
    arguments = {"run_ids": [*run_ids], "step_keys": [*step_keys]}
    return Call(query=_CONFIRM, arguments=arguments, row_factory=_LOOK_ROWS)


class _Rows(Generic[T]):
    """The columns to ask for, and what to make of each row of them; a row factory of psycopg."""

    def __init__(self, columns: Iterable[str], make: Callable[..., T], **conversions: Callable[[Any], object]) -> None:
        self.columns = tuple(columns)
        self._make = make
        self._conversions = conversions.items()

    def __call__(self, cursor: Any) -> RowMaker[T]:
        # psycopg leaves the text of an SQL_ASCII database as bytes, though it sends UTF-8 there.
        is_ascii = cursor.connection.pgconn.parameter_status(b"client_encoding") == b"SQL_ASCII"
        return self._decoded_row if is_ascii else self._row

    def _row(self, values: Sequence[Any]) -> T:
        named = dict(zip(self.columns, values, strict=True))
        for name, convert in self._conversions:
            named[name] = convert(named[name])
        return self._make(**named)

    def _decoded_row(self, values: Sequence[Any]) -> T:
        return self._row([_decoded(value) for value in values])


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(element) for element in value]
    return value.decode() if isinstance(value, bytes) else value


def _rows(result: Callable[..., T], **conversions: Callable[[Any], object]) -> _Rows[T]:
    """Rows with a column for each field of the class."""
    return _Rows((field.name for field in fields(result)), result, **conversions)  # type: ignore[arg-type]


@cache
def _single(column: str) -> _Rows[Any]:
    return _Rows([column], lambda **columns: columns[column])


_WAITER = _rows(FlowSignalWaiter, state=WaiterState)
_CLAIMED_WAITER = _rows(ClaimedWaiter, state=WaiterState)
_IMPORTED_WAITER = _rows(ImportedWaiter, outcome=ImportOutcome)
_DELIVERY = _rows(SignalDeliveryResult, status=SignalDeliveryStatus)
_BUFFERED_SIGNAL = _rows(BufferedSignal, state=BufferedSignalState)
_TOKEN = _rows(FlowSignalToken, state=TokenState)
_SIGNAL_STATS = _rows(SignalStats)
_HEALTH = _rows(Health, problems=tuple)


def _call(function: str, arguments: dict[str, Any], rows: _Rows[T]) -> Call[T]:
    spans = []
    for name, value in arguments.items():
        if check := CHECKS.get(name):
            arguments[name] = check(name, value)
        elif isinstance(value, timedelta):
            spans.append(name)
    query = _query(function, rows, tuple(arguments), tuple(spans))
    return Call(query=query, arguments=arguments, row_factory=rows)


@lru_cache(1000)
def _query(function: str, rows: _Rows[Any], names: tuple[str, ...], spans: tuple[str, ...]) -> str:
    """The call with these arguments, of which `spans` are instants as a time from now."""
    inputs = []
    for name in names:
        if name in spans:
            inputs.append(f"p_{name} => clock_timestamp() + %({name})s")
        elif name == "expires_in":  # of some waiters, the others in expires_at
            inputs[-1] = _EXPIRES_AT_OR_IN
        else:
            inputs.append(f"p_{name} => %({name})s")
    return f"SELECT {', '.join(rows.columns)} FROM flow_signal_v1.{function}({', '.join(inputs)})"


_EXPIRES_AT_OR_IN = """p_expires_at => ARRAY(
    SELECT coalesce(t.instant, clock_timestamp() + t.span)
    FROM unnest(%(expires_at)s::timestamptz[], %(expires_in)s::interval[]) WITH ORDINALITY AS t (instant, span, n)
    ORDER BY t.n
)"""


def _view(source: str, rows: _Rows[T]) -> Call[T]:
    """A look at a view; the function before it says by its schema, as in all other calls, if that is not there."""
    query = f"SELECT {', '.join(rows.columns)} FROM flow_signal_v1.version() AS installed, flow_signal_v1.{source}"
    return Call(query=query, arguments={}, row_factory=rows)


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


def _look(*, run_id: UUID, step_key: str, looked_at: datetime, state: str | None, **columns: Any) -> Look:
    waiter = None
    if state is not None:
        waiter = FlowSignalWaiter(run_id=run_id, step_key=step_key, state=WaiterState(state), **columns)
    return Look(run_id=run_id, step_key=step_key, waiter=waiter, looked_at=looked_at)


_LOOK_ROWS = _Rows([*_WAITER.columns, "looked_at"], _look)


class _SpanDumper(Dumper):
    """interval, of microseconds alone: a day of the server's has 23 or 25 hours when the clocks change."""

    format = Format.BINARY
    oid = psycopg.adapters.types["interval"].oid

    def dump(self, obj: timedelta) -> Buffer | None:
        return (obj // timedelta(microseconds=1)).to_bytes(8, "big", signed=True) + bytes(8)


class _InstantLoader(Loader):
    """timestamptz in UTC: in the session's time zone the years 1 and 9999 have instants that datetime cannot hold."""

    format = Format.BINARY
    _EPOCH = datetime(2000, 1, 1, tzinfo=timezone.utc)

    def load(self, data: Buffer) -> datetime:
        return self._EPOCH + timedelta(0, 0, int.from_bytes(data, "big", signed=True))  # microseconds


ADAPTERS = AdaptersMap(psycopg.adapters)
"""psycopg's own types, whatever the caller has registered; binary, so that no session setting changes a value."""
ADAPTERS.register_dumper(UUID, UUIDBinaryDumper)
ADAPTERS.register_dumper(datetime, DatetimeBinaryDumper)
ADAPTERS.register_dumper(timedelta, _SpanDumper)
ADAPTERS.register_dumper(int, Int4Dumper)
ADAPTERS.register_dumper(Int8, Int8Dumper)
ADAPTERS.register_dumper(str, StrBinaryDumper)
ADAPTERS.register_dumper(list, ListBinaryDumper)
ADAPTERS.register_loader("uuid", UUIDBinaryLoader)
ADAPTERS.register_loader("bool", BoolBinaryLoader)
ADAPTERS.register_loader("int4", Int4BinaryLoader)
ADAPTERS.register_loader("int8", Int8BinaryLoader)
ADAPTERS.register_loader("float8", Float8BinaryLoader)
ADAPTERS.register_loader("interval", IntervalBinaryLoader)
ADAPTERS.register_loader("timestamptz", _InstantLoader)
ADAPTERS.register_loader("text", TextBinaryLoader)
ADAPTERS.register_loader("json", TextBinaryLoader)
ADAPTERS.register_loader(ADAPTERS.types.get_oid("text[]"), ArrayBinaryLoader)
