"""Results are values: frozen, comparable, to be copied and sent to another process."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, replace
from datetime import datetime, timezone
from uuid import UUID

import pytest

from flow_signal import FlowSignalWaiter, SignalDeliveryResult, SignalDeliveryStatus, WaiterState

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


def test_the_words_are_those_of_the_database() -> None:
    assert [*WaiterState] == ["waiting", "delivered", "expired"]
    assert [*SignalDeliveryStatus] == ["delivered", "already_delivered", "not_found", "expired", "buffered"]
    assert (str(WaiterState.EXPIRED), f"{SignalDeliveryStatus.NOT_FOUND}") == ("expired", "not_found")


@pytest.mark.parametrize("value", [WAITER, RESULT])
def test_a_result_survives_copy_and_pickle(value: object) -> None:
    assert copy.deepcopy(value) == copy.copy(value) == pickle.loads(pickle.dumps(value)) == value
    assert {value: 1}[copy.copy(value)] == 1


def test_a_result_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        WAITER.step_key = "other"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        RESULT.replayed = True  # type: ignore[misc]
    assert not hasattr(WAITER, "__dict__")
    assert not hasattr(RESULT, "__dict__")
    assert replace(WAITER, step_key="other").step_key == "other"


def test_two_readers_of_a_payload_do_not_share_it() -> None:
    WAITER.payload["by"].append("me")
    assert WAITER.payload == {"by": ["finance"]}
