"""A token answers one step; its text is the caller's alone."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from uuid import uuid4

import psycopg
import pytest

from flow_signal import (
    AsyncFlowSignalStore,
    DeliveryIdReusedError,
    FlowSignalToken,
    SignalDeliveryResult,
    SignalDeliveryStatus,
    TokenState,
)

NEXT_YEAR = datetime.now(timezone.utc) + timedelta(days=365)
NOT_FOUND = SignalDeliveryResult(
    status=SignalDeliveryStatus.NOT_FOUND, run_id=None, step_key=None, delivered_at=None, replayed=False
)


async def issued(store: AsyncFlowSignalStore) -> tuple[str, str]:
    """A run whose step waits, and a token of it."""
    run_id = str(uuid4())
    await store.register_waiter(run_id, "step", "approved")
    token = await store.issue_token(run_id, "step")
    assert token is not None
    return run_id, token


async def test_a_token_is_redeemed(store: AsyncFlowSignalStore) -> None:
    run_id, token = await issued(store)
    description = await store.describe_token(token)
    assert description == FlowSignalToken(signal_name="approved", state=TokenState.WAITING, expires_at=None)
    assert type(description.state) is TokenState
    result = await store.redeem_token(token, {"by": "manager"})
    waiter = await store.get_waiter(run_id, "step")
    assert waiter is not None
    assert waiter.payload == {"by": "manager"}
    assert result == SignalDeliveryResult(
        status=SignalDeliveryStatus.DELIVERED,
        run_id=waiter.run_id,
        step_key="step",
        delivered_at=waiter.delivered_at,
        replayed=False,
    )
    again = await store.redeem_token(token, payload_json=b'{"by": "manager"}')
    assert (again.status, again.delivered_at, again.replayed) == (result.status, result.delivered_at, True)
    description = await store.describe_token(token)
    assert description is not None
    assert description.state is TokenState.REDEEMED
    with pytest.raises(DeliveryIdReusedError) as caught:
        await store.redeem_token(token)
    assert token not in str(caught.value)


async def test_no_payload_is_not_null(store: AsyncFlowSignalStore) -> None:
    run_id, token = await issued(store)
    await store.redeem_token(token, None)
    waiter = await store.get_waiter(run_id, "step")
    assert waiter is not None
    assert waiter.payload_json == "null"


async def test_deadlines(store: AsyncFlowSignalStore) -> None:
    run_id, _ = await issued(store)
    token = await store.issue_token(run_id, "step", expires_at=NEXT_YEAR)
    assert token is not None
    description = await store.describe_token(token)
    assert description is not None
    assert description.expires_at == NEXT_YEAR
    token = await store.issue_token(run_id, "step", expires_in=timedelta(0))
    assert token is not None
    assert await store.describe_token(token) is None
    assert await store.redeem_token(token) == NOT_FOUND
    with pytest.raises(ValueError, match="time zone"):
        await store.issue_token(run_id, "step", expires_at=datetime(2990, 1, 1))


async def test_void_tokens(store: AsyncFlowSignalStore) -> None:
    run_id, token = await issued(store)
    assert await store.revoke_tokens(run_id, "step") == 1
    assert await store.revoke_tokens(run_id, "step") == 0
    assert await store.describe_token(token) is None
    assert await store.redeem_token(token, 1) == NOT_FOUND
    assert await store.redeem_token("no token", 1) == NOT_FOUND
    assert await store.issue_token(uuid4(), "step") is None


async def test_wrong_types(store: AsyncFlowSignalStore) -> None:
    with pytest.raises(TypeError, match="token"):
        await store.redeem_token(b"token")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="token"):
        await store.describe_token(None)  # type: ignore[arg-type]


async def test_a_token_of_a_rolled_back_transaction(database: str) -> None:
    async with await psycopg.AsyncConnection.connect(database) as connection:
        store = AsyncFlowSignalStore(connection)
        run_id, _ = await issued(store)
        await connection.commit()
        token = await store.issue_token(run_id, "step")
        assert token is not None
        await connection.rollback()
        assert await store.redeem_token(token) == NOT_FOUND
