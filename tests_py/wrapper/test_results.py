"""What goes in and comes out are values: frozen, comparable, to be copied and sent to another process."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, fields, replace
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from flow_signal import (
    BufferedSignal,
    BufferedSignalState,
    FlowSignalWaiter,
    Health,
    NewSignal,
    NewWaiter,
    SignalDeliveryResult,
    SignalDeliveryStatus,
    SignalStats,
    UnreadablePayloadError,
    WaiterExpiredError,
    WaiterState,
)

WAITER = FlowSignalWaiter(
    run_id=UUID(int=1),
    step_key="step",
    signal_name="approved",
    state=WaiterState.DELIVERED,
    created_at=datetime(2026, 1, 1, tzinfo=timezone.utc),
    expires_at=None,
    delivered_at=datetime(2026, 1, 2, tzinfo=timezone.utc),
    payload_json='{"by": ["finance"]}',
)
RESULT = SignalDeliveryResult(
    status=SignalDeliveryStatus.NOT_FOUND, run_id=UUID(int=1), step_key=None, delivered_at=None, replayed=False
)

BUFFERED = BufferedSignal(
    run_id=UUID(int=1),
    signal_name="approved",
    position=1,
    state=BufferedSignalState.DEAD,
    buffered_at=datetime(2026, 1, 1, tzinfo=timezone.utc),
    buffered_until=datetime(2026, 1, 2, tzinfo=timezone.utc),
    delivery_id=None,
    payload_json='{"by": ["finance"]}',
)
STATS = SignalStats(
    signal_name="approved",
    waiting=1,
    overdue=0,
    delivered=1,
    buffered=0,
    dead=0,
    oldest_waiting_since=datetime(2026, 1, 1, tzinfo=timezone.utc),
    wait_p50=timedelta(seconds=1),
    wait_p95=timedelta(seconds=1),
)
HEALTH = Health(
    checked_at=datetime(2026, 1, 1, tzinfo=timezone.utc),
    version="1.0.0",
    waiters_estimate=1,
    buffered_signals_estimate=0,
    total_bytes=8192,
    dead_rows_estimate=0,
    oldest_due_at=None,
    oldest_dead_at=None,
    oldest_snapshot_xids=None,
    notify_queue_usage=0.0,
    receipts_estimate=0,
    tokens_estimate=0,
    lock_rows_estimate=1,
    toast_bytes=0,
    dead_bytes_estimate=0,
    overdue_estimate=0,
    oldest_overdue_at=None,
    oldest_buffered_at=None,
    oldest_settled_at=None,
    oldest_snapshot_holder=None,
    problems=(),
)
NEW_WAITER = NewWaiter(UUID(int=1), "step", "approved")
NEW_SIGNAL = NewSignal(UUID(int=1), "approved", 1)


def test_the_words_are_those_of_the_database() -> None:
    assert [*WaiterState] == ["waiting", "delivered", "expired"]
    assert [*SignalDeliveryStatus] == ["delivered", "already_delivered", "not_found", "expired", "buffered"]
    assert [*BufferedSignalState] == ["buffered", "dead"]
    assert (str(WaiterState.EXPIRED), f"{SignalDeliveryStatus.NOT_FOUND}") == ("expired", "not_found")


@pytest.mark.parametrize("value", [WAITER, RESULT, BUFFERED, STATS, HEALTH, NEW_WAITER, NEW_SIGNAL])
def test_a_result_survives_copy_and_pickle(value: object) -> None:
    assert copy.deepcopy(value) == copy.copy(value) == pickle.loads(pickle.dumps(value)) == value
    assert {value: 1}[copy.copy(value)] == 1


@pytest.mark.parametrize("value", [WAITER, RESULT, BUFFERED, STATS, HEALTH, NEW_WAITER, NEW_SIGNAL])
def test_a_result_cannot_be_changed(value: Any) -> None:
    [name, *_] = fields(value)
    with pytest.raises(FrozenInstanceError):
        setattr(value, name.name, "other")
    assert not hasattr(value, "__dict__")
    assert replace(value, **{name.name: "other"}) != value


@pytest.mark.parametrize("value", [WAITER, BUFFERED])
def test_two_readers_of_a_payload_do_not_share_it(value: FlowSignalWaiter | BufferedSignal) -> None:
    value.payload["by"].append("me")
    assert value.payload == {"by": ["finance"]}


def test_a_signal_without_a_payload_is_not_one_with_null() -> None:
    assert NewSignal(UUID(int=1), "approved") != NewSignal(UUID(int=1), "approved", None)


def test_the_repr_has_no_payload() -> None:
    """Nor have the texts of errors that hold a waiter: both end up in logs."""
    secret = NewSignal(UUID(int=1), "approved", {"by": ["finance"]}, delivery_id="id")
    as_json = NewSignal(UUID(int=1), "approved", payload_json='{"by": ["finance"]}')
    for value in (WAITER, BUFFERED, secret, as_json, WaiterExpiredError(WAITER), [WAITER], {1: secret}):
        assert "finance" not in f"{value!r} {value}"
    assert "payload" not in repr(WAITER)
    assert "step_key='step'" in repr(WAITER)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000 + "]" * 200_000,
        "7" * 5_000,
        '{"finance": ' + "7" * 5_000 + "}",
    ],
)
@pytest.mark.parametrize("value", [WAITER, BUFFERED])
def test_a_payload_that_python_cannot_read(value: FlowSignalWaiter | BufferedSignal, text: str) -> None:
    unreadable = replace(value, payload_json=text)
    with pytest.raises(UnreadablePayloadError, match="payload_json has its text") as refused:
        _ = unreadable.payload
    assert isinstance(refused.value, ValueError)
    assert len(str(refused.value)) < 300
    assert refused.value.__context__ is None
    assert unreadable.payload_json == text
    assert type(pickle.loads(pickle.dumps(refused.value))) is UnreadablePayloadError
