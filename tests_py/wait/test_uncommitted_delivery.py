"""No wait says that a waiter is expired while a delivery that was made in time is not yet committed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from flow_signal import (
    AsyncFlowSignalStore,
    AsyncWaitHub,
    FlowSignalStore,
    WaiterExpiredError,
    WaiterState,
)
from tests_py.wait.conftest import until

PATIENCE_SECONDS = 60
ENDS = pytest.mark.parametrize("end", ["commit", "rollback"])


async def deliver_in_time(
    store: AsyncFlowSignalStore, sender: psycopg.AsyncConnection, wake_channel: str | None
) -> UUID:
    """Deliver just before the deadline; return after it, the delivery not yet being committed."""
    run_id = uuid4()
    deadline = datetime.now(timezone.utc) + timedelta(seconds=1)
    await store.register_waiter(run_id, "step", "approved", expires_at=deadline, wake_channel=wake_channel)
    result = await AsyncFlowSignalStore(sender).deliver_signal(run_id, "approved", 1)
    assert result.status == "delivered"

    async def is_past() -> bool:
        waiter = await store.get_waiter(run_id, "step")
        return waiter is not None and waiter.state is WaiterState.EXPIRED

    await until(is_past)
    return run_id


async def ends_with(wait: asyncio.Future[Any], end: str) -> None:
    if end == "commit":
        assert (await wait).payload == 1
    else:
        with pytest.raises(WaiterExpiredError):
            await wait


@ENDS
@pytest.mark.parametrize("listen", [True, False])
async def test_a_hub(database: str, store: AsyncFlowSignalStore, end: str, listen: bool) -> None:
    async with (
        AsyncWaitHub(database, listen=listen, look_interval=3600) as hub,
        await psycopg.AsyncConnection.connect(database) as sender,
    ):
        run_id = await deliver_in_time(store, sender, hub.channel)
        task = asyncio.create_task(hub.wait(run_id, "step"))
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await hub.wait(run_id, "step", timeout=0.2)
        assert not task.done()
        await getattr(sender, end)()
        await ends_with(task, end)


@ENDS
@pytest.mark.parametrize("channel", [None, "worker 1"])
async def test_a_store(database: str, store: AsyncFlowSignalStore, end: str, channel: str | None) -> None:
    async with (
        await psycopg.AsyncConnection.connect(database) as connection,
        await psycopg.AsyncConnection.connect(database) as sender,
    ):
        run_id = await deliver_in_time(store, sender, channel)
        waiting = AsyncFlowSignalStore(connection)
        with pytest.raises(TimeoutError):
            await waiting.wait(run_id, "step", wake_channel=channel, timeout=0.3)
        task = asyncio.create_task(waiting.wait(run_id, "step", wake_channel=channel, timeout=PATIENCE_SECONDS))
        await asyncio.sleep(0.1)
        assert not task.done()
        await getattr(sender, end)()
        await ends_with(task, end)


@ENDS
@pytest.mark.parametrize("channel", [None, "worker 1"])
async def test_a_sync_store(database: str, store: AsyncFlowSignalStore, end: str, channel: str | None) -> None:
    with psycopg.connect(database) as connection, ThreadPoolExecutor() as threads:
        async with await psycopg.AsyncConnection.connect(database) as sender:
            run_id = await deliver_in_time(store, sender, channel)
            call: Callable[[], Any] = lambda: FlowSignalStore(connection).wait(  # noqa: E731
                run_id, "step", wake_channel=channel, timeout=PATIENCE_SECONDS
            )
            wait = asyncio.get_running_loop().run_in_executor(threads, call)
            began = time.monotonic()
            while time.monotonic() < began + 0.3:
                await asyncio.sleep(0.01)
                assert not wait.done()
            await getattr(sender, end)()
            await ends_with(wait, end)
