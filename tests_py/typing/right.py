"""Typical uses, which type checkers in their strict modes have to accept. It is checked, not run."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
import psycopg_pool
import pydantic
import pydantic_core
from psycopg.rows import dict_row

from flow_signal import (
    AsyncFlowSignalStore,
    AsyncShardedFlowSignalStore,
    AsyncShardedWaitHub,
    AsyncWaitHub,
    BufferedSignal,
    ClaimedWaiter,
    FlowSignalStore,
    FlowSignalWaiter,
    Health,
    ImportedWaiter,
    NewSignal,
    NewWaiter,
    ShardedFlowSignalStore,
    ShardsFailedError,
    SignalDeliveryResult,
    SignalDeliveryStatus,
    SignalMismatchError,
    SignalStats,
    WaiterState,
    migrate,
)


class Approval(pydantic.BaseModel):
    by: str


class Refusal(msgspec.Struct):
    by: str


def lenders(conninfo: str) -> list[FlowSignalStore]:
    return [
        FlowSignalStore(psycopg.connect(conninfo)),
        FlowSignalStore(psycopg.Connection[dict[str, Any]].connect(conninfo, row_factory=dict_row)),
        FlowSignalStore(psycopg_pool.ConnectionPool(conninfo)),
        FlowSignalStore(psycopg_pool.NullConnectionPool(conninfo), dumps=pydantic_core.to_json),
        FlowSignalStore(psycopg.connect(conninfo), dumps=msgspec.json.encode),
        FlowSignalStore(psycopg.connect(conninfo), dumps=partial(json.dumps, default=str)),
    ]


async def async_lenders(conninfo: str) -> list[AsyncFlowSignalStore]:
    connection = await psycopg.AsyncConnection[dict[str, Any]].connect(conninfo, row_factory=dict_row)
    return [
        AsyncFlowSignalStore(connection),
        AsyncFlowSignalStore(psycopg_pool.AsyncConnectionPool(conninfo)),
        AsyncFlowSignalStore(connection, dumps=msgspec.json.encode),
    ]


def engine(store: FlowSignalStore, now: datetime) -> FlowSignalWaiter | None:
    run_id = uuid4()
    waiter: FlowSignalWaiter = store.register_waiter(
        str(run_id), "approve", "approval", expires_at=now, wake_channel="w", queue="q"
    )
    store.register_waiter(run_id, "approve", "approval", expires_in=timedelta(days=7))
    state: WaiterState = waiter.state
    if state is WaiterState.DELIVERED:
        approval: Approval = waiter.payload_as(Approval.model_validate_json)
        refusal: Refusal = waiter.payload_as(msgspec.json.Decoder(Refusal).decode)
        print(approval.by, refusal.by, waiter.payload["by"])
    claimed: list[ClaimedWaiter] = store.claim_waiters("q", limit=10, lease=timedelta(minutes=1))
    for each in claimed:
        kept: bool = store.extend_claim(each.run_id, each.step_key, each.claim_id, timedelta(minutes=5))
        if kept:
            store.remove_waiter(each.run_id, each.step_key, claim_id=each.claim_id)
    many: list[FlowSignalWaiter] = store.register_waiters(
        (NewWaiter(run_id, str(n), "go", expires_in=timedelta(1)) for n in range(3)), queue="q"
    )
    print(many, store.remove_run(run_id) + 1)
    return store.await_waiter(run_id, "approve", max_wait=timedelta(seconds=1))


def sender(store: FlowSignalStore, run_id: UUID, body: bytes) -> SignalDeliveryStatus:
    result: SignalDeliveryResult = store.deliver_signal(run_id, "approval", {"approved": True}, delivery_id="17")
    store.deliver_signal(run_id, "approval", None)
    store.deliver_signal(run_id, "approval", payload_json=body, buffer_for=timedelta(hours=1))
    store.deliver_to_step(run_id, "approve", [1, "2"], delivery_id="18")
    store.deliver_signals([NewSignal(run_id, "approval", 1), NewSignal(str(run_id), "approval", payload_json="1")])
    names = [
        result.step_key
        for result in store.broadcast_signal("approval", payload_json=bytearray(body))
        if result.step_key
    ]
    print(names)
    return result.status


def upkeep(store: FlowSignalStore) -> tuple[Health, list[SignalStats], str]:
    after: tuple[UUID, str] | None = None
    while page := store.list_waiters(state=WaiterState.WAITING, after=after):
        after = (page[-1].run_id, page[-1].step_key)
    signals: list[BufferedSignal] = store.list_buffered_signals()
    for signal in signals:
        store.withdraw_signal(signal.run_id, signal.signal_name, signal.position)
    imported: list[ImportedWaiter] = store.import_waiters([], dry_run=True)
    deleted: int = store.purge(datetime.now(timezone.utc)) + store.purge(older_than=timedelta(days=30), limit=10)
    print(imported, deleted + store.purge_buffered(older_than=timedelta(days=90)), migrate.script(transaction=False))
    return store.health(), store.signal_stats(), store.version()


async def server(conninfo: str, connect: Callable[[], Awaitable[psycopg.AsyncConnection[Any]]]) -> None:
    async with (
        AsyncWaitHub(conninfo, look_interval=timedelta(seconds=1)) as hub,
        AsyncWaitHub(connect, listen=False),
        psycopg_pool.AsyncConnectionPool(conninfo, open=False) as pool,
    ):
        store = AsyncFlowSignalStore(pool)
        try:
            waiter = await store.register_waiter(uuid4(), "approve", "approval", wake_channel=hub.channel)
        except SignalMismatchError as error:
            print(error.sqlstate, error.diag.message_detail)
            return
        found = await store.get_waiter(waiter.run_id, "approve")
        assert found is not None
        waiter = await hub.wait(waiter.run_id, "approve", timeout=25)
        waiter = await store.wait(waiter.run_id, "approve", timeout=timedelta(seconds=1), wake_channel="w")
        print(waiter.payload, hub.closed)


def sharded(conninfos: list[str]) -> list[Health]:
    store = ShardedFlowSignalStore([psycopg_pool.ConnectionPool(conninfo) for conninfo in conninfos], dumps=json.dumps)
    run_id: UUID = store.new_run_id(store.shard_of(uuid4()))
    waiter: FlowSignalWaiter = store.register_waiter(run_id, "approve", "approval")
    claimed: list[ClaimedWaiter] = store.claim_waiters("q", lease=timedelta(minutes=1))
    alone: FlowSignalStore = store.shards[0]
    try:
        many: list[SignalDeliveryResult] = store.deliver_signals([NewSignal(waiter.run_id, "approval", 1)])
        print(many, claimed, sum(store.purge(older_than=timedelta(days=30))), alone.health().problems)
    except ShardsFailedError as failed:
        print({shard: str(error) for shard, error in failed.errors.items()}, [*failed.results])
    return store.health()


async def sharded_server(conninfos: list[str]) -> None:
    async with AsyncShardedWaitHub(conninfos, look_interval=timedelta(seconds=1)) as hub:
        store = AsyncShardedFlowSignalStore([psycopg_pool.AsyncConnectionPool(conninfo) for conninfo in conninfos])
        waiter = await store.register_waiter(uuid4(), "approve", "approval", wake_channel=hub.channel)
        waiter = await hub.wait(waiter.run_id, "approve", timeout=25)
        stats: list[list[SignalStats]] = await store.signal_stats()
        print(waiter.payload, stats, hub.closed)
