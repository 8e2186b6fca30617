"""A call that names a run is made on the database of the run and on no other, with the answer of a store there."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from uuid import uuid4

import pytest

from flow_signal import AsyncShardedFlowSignalStore, SignalDeliveryStatus, SignalMismatchError, WaiterState
from flow_signal._routing import shard_of
from tests_py.sharded.conftest import SHARDS, Databases, run_of

PAST = datetime.now(timezone.utc) - timedelta(hours=1)
HOUR = timedelta(hours=1)


async def test_each_run_is_in_its_database_alone(store: AsyncShardedFlowSignalStore, databases: Databases) -> None:
    run_ids = [uuid4() for _ in range(16)] + [run_of(shard) for shard in range(SHARDS)]
    for run_id in run_ids:
        waiter = await store.register_waiter(run_id, "step", "approved")
        assert (waiter.run_id, waiter.state) == (run_id, WaiterState.WAITING)
    expected = [{(run_id, "step") for run_id in run_ids if shard_of(run_id, SHARDS) == n} for n in range(SHARDS)]
    assert all(expected)
    assert databases.steps() == expected


@pytest.mark.parametrize("shard", range(SHARDS))
async def test_each_call_finds_its_run(store: AsyncShardedFlowSignalStore, databases: Databases, shard: int) -> None:
    run_id = run_of(shard)
    await store.register_waiter(run_id, "step", "approved")
    assert (await store.deliver_signal(str(run_id), "approved", {"n": 1})).status is SignalDeliveryStatus.DELIVERED
    found = await store.get_waiter(run_id, "step")
    assert found is not None
    assert found.payload == {"n": 1}
    assert await store.await_waiter(run_id, "step") == found
    assert await store.wait(run_id, "step", timeout=60) == found
    assert await store.wait(run_id, "step", timeout=60, wake_channel="channel") == found
    assert await store.list_waiters(run_id=run_id) == [found]

    await store.register_waiter(run_id, "other", "approved")
    assert (await store.deliver_to_step(run_id, "other", 2)).step_key == "other"

    await store.register_waiter(run_id, "human", "answered")
    token, void = await store.issue_token(run_id, "human"), await store.issue_token(run_id, "human")
    assert token is not None
    assert void is not None
    described = await store.describe_token(token)
    assert described is not None
    assert described.signal_name == "answered"
    redeemed = await store.redeem_token(token, 3)
    assert (redeemed.status, redeemed.run_id, redeemed.step_key) == (SignalDeliveryStatus.DELIVERED, run_id, "human")
    assert await store.revoke_tokens(run_id, "human") == 1
    assert (await store.redeem_token("no token")).status is SignalDeliveryStatus.NOT_FOUND
    assert await store.describe_token("no token") is None

    await store.deliver_signal(run_id, "early", 4, buffer_for=HOUR)
    [buffered] = await store.list_buffered_signals(run_id=run_id)
    assert await store.withdraw_signal(run_id, "early", buffered.position) == buffered

    await store.register_waiter(run_id, "late", "approved", expires_at=PAST, queue="queue")
    [claimed] = await store.claim_waiters("queue")
    assert await store.extend_claim(run_id, "late", claimed.claim_id, HOUR)
    removed = await store.remove_waiter(run_id, "late", claim_id=claimed.claim_id)
    assert removed is not None
    assert removed.state is WaiterState.EXPIRED
    assert [bool(steps) for steps in databases.steps()] == [number == shard for number in range(SHARDS)]
    assert await store.remove_run(run_id) == 3


async def test_a_refusal_is_that_of_the_database_and_names_the_shard(store: AsyncShardedFlowSignalStore) -> None:
    run_id = run_of(2)
    await store.register_waiter(run_id, "step", "approved")
    await store.deliver_signal(run_id, "approved")
    with pytest.raises(SignalMismatchError, match=r"^shard 2: ") as refused:
        await store.register_waiter(run_id, "step", "other")
    assert refused.value.sqlstate == "WS001"
    assert str(refused.value).startswith(f"shard 2: {refused.value.diag.message_primary}")
