"""Typical mistakes, each of which type checkers have to report on its line. It is checked, not run."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import psycopg
import psycopg_pool
import pydantic

from flow_signal import (
    AsyncFlowSignalStore,
    AsyncShardedFlowSignalStore,
    AsyncWaitHub,
    FlowSignalStore,
    NewSignal,
    NewWaiter,
    ShardedFlowSignalStore,
    SignalDeliveryStatus,
)


class Approval(pydantic.BaseModel):
    by: str


RUN = UUID(int=1)


def lenders(pool: psycopg_pool.ConnectionPool, async_pool: psycopg_pool.AsyncConnectionPool) -> None:
    FlowSignalStore(async_pool)  # wrong
    AsyncFlowSignalStore(pool)  # wrong
    AsyncFlowSignalStore(psycopg.connect(""))  # wrong
    FlowSignalStore("dbname=app")  # wrong
    FlowSignalStore(None)  # wrong
    FlowSignalStore(pool, dumps=Approval)  # wrong
    FlowSignalStore(pool, Approval.model_dump_json)  # wrong


def calls(store: FlowSignalStore) -> None:
    store.register_waiter(1, "step", "go")  # wrong
    store.register_waiter(RUN, "step")  # wrong
    store.register_waiter(RUN, "step", "go", expires_at=timedelta(days=1))  # wrong
    store.register_waiter(RUN, "step", "go", expires_in=60)  # wrong
    store.register_waiter(RUN, "step", "go", None)  # wrong
    store.register_waiter(RUN, "step", "go", wake_chanel="w")  # wrong
    store.deliver_signal(RUN, "go", payload_json={"approved": True})  # wrong
    store.deliver_signal(RUN, "go", 1, "17")  # wrong
    store.deliver_signal(RUN, "go", delivery_id=17)  # wrong
    store.deliver_signals([(RUN, "go", 1)])  # wrong
    store.register_waiters([NewSignal(RUN, "go")])  # wrong
    store.claim_waiters("queue", lease=60)  # wrong
    store.claim_waiters("queue", limit="10")  # wrong
    store.extend_claim(RUN, "step", timedelta(0))  # wrong
    store.list_waiters(state="waiting")  # wrong
    store.list_waiters(after=RUN)  # wrong
    store.purge(timedelta(days=30))  # wrong
    store.wait(RUN, "step", timeout="5")  # wrong
    NewWaiter(RUN, "step", "go", timedelta(days=1))  # wrong
    NewWaiter(RUN, "step")  # wrong


def results(store: FlowSignalStore) -> None:
    print(store.get_waiter(RUN, "step").payload)  # wrong
    store.remove_waiter(RUN, "step").step_key.upper()  # wrong
    waiter = store.wait(RUN, "step")
    waiter.step_key = "other"  # wrong
    print(waiter.expires_at.year)  # wrong
    waiter.payload_as(Approval)  # wrong
    print(waiter.payload_as(Approval.model_validate_json).buy)  # wrong
    print(waiter.delivered)  # wrong
    print(store.deliver_signal(RUN, "go").step_key.upper())  # wrong
    print(SignalDeliveryStatus.REFUSED)  # wrong
    print(store.health().problem)  # wrong


async def async_calls(store: AsyncFlowSignalStore, hub: AsyncWaitHub) -> None:
    print((await store.get_waiter(RUN, "step")).payload)  # wrong
    print(store.get_waiter(RUN, "step").payload)  # wrong
    await hub.wait(RUN)  # wrong
    await hub.wait(RUN, "step", wake_channel="w")  # wrong
    AsyncWaitHub(psycopg.connect)  # wrong
    with hub:  # wrong
        pass
    asyncio.run(store)  # wrong


def sharded(pool: psycopg_pool.ConnectionPool, async_pool: psycopg_pool.AsyncConnectionPool) -> None:
    ShardedFlowSignalStore(pool)  # wrong
    ShardedFlowSignalStore([async_pool])  # wrong
    AsyncShardedFlowSignalStore([pool])  # wrong
    ShardedFlowSignalStore([psycopg.connect("")])  # wrong
    store = ShardedFlowSignalStore([pool])
    store.new_run_id(RUN)  # wrong
    print(store.health().problems)  # wrong
    store.list_waiters(limit=None)  # wrong
