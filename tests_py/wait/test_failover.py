"""A hub and its waits survive a failover; what a wait says on a standby."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus

from flow_signal import AsyncFlowSignalStore, AsyncWaitHub, FlowSignalStore, WaiterExpiredError
from tests_py.wait.conftest import start_wait, until
from tests_py.wait.standby import Pair, hosts, primary_and_standby


@pytest.fixture
def servers() -> Iterator[Pair]:
    """A primary and a standby for one test, which may hurt them."""
    with primary_and_standby() as servers:
        yield servers


@pytest.fixture(scope="module")
def kept_servers() -> Iterator[Pair]:
    """A primary and a standby for tests that leave them as they are."""
    with primary_and_standby() as servers:
        yield servers


@pytest.mark.parametrize("is_callable", [False, True])
@pytest.mark.parametrize("listen", [True, False])
async def test_a_hub_goes_on_with_the_promoted_standby(
    servers: Pair, is_callable: bool, listen: bool, caplog: pytest.LogCaptureFixture
) -> None:
    conninfo = hosts(servers.conninfo, servers.standby.conninfo())

    async def connect() -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(conninfo)

    look_interval = 3600 if listen else 0.1
    async with AsyncWaitHub(connect if is_callable else conninfo, listen=listen, look_interval=look_interval) as hub:
        run_ids = [uuid4(), uuid4(), uuid4()]
        async with await psycopg.AsyncConnection.connect(servers.conninfo, autocommit=True) as connection:
            store = AsyncFlowSignalStore(connection)
            for run_id in run_ids:
                await store.register_waiter(run_id, "step", "approved", wake_channel=hub.channel)
            before, during, after = [await start_wait(hub, store, run_id) for run_id in run_ids]
            await store.deliver_signal(run_ids[0], "approved", 0)
        assert (await before).payload == 0
        await asyncio.to_thread(servers.catch_up)

        await asyncio.to_thread(servers.primary.stop)
        if listen:
            await until(lambda: has_failed(hub, 3))  # it finds a server that is still in recovery
        await asyncio.to_thread(servers.promote)
        async with await psycopg.AsyncConnection.connect(servers.standby.conninfo(), autocommit=True) as connection:
            store = AsyncFlowSignalStore(connection)
            await store.deliver_signal(run_ids[1], "approved", 1)
            assert (await during).payload == 1
            await store.deliver_signal(run_ids[2], "approved", 2)
            assert (await after).payload == 2
        assert hub.closed is None
    assert "lost its connection" in caplog.text
    assert ("cannot connect" in caplog.text) == listen


async def has_failed(hub: AsyncWaitHub, times: int) -> bool:
    return hub._failures > times


async def test_a_hub_finds_the_primary(kept_servers: Pair) -> None:
    async with (
        AsyncWaitHub(hosts(kept_servers.standby.conninfo(), kept_servers.conninfo), look_interval=3600) as hub,
        await psycopg.AsyncConnection.connect(kept_servers.conninfo, autocommit=True) as connection,
    ):
        store = AsyncFlowSignalStore(connection)
        run_id = uuid4()
        await store.register_waiter(run_id, "step", "approved", wake_channel=hub.channel)
        task = await start_wait(hub, store, run_id)
        await store.deliver_signal(run_id, "approved", 1)
        assert (await task).payload == 1


async def test_a_hub_needs_a_primary_to_begin_with(kept_servers: Pair) -> None:
    with pytest.raises(psycopg.OperationalError):
        async with AsyncWaitHub(kept_servers.standby.conninfo()):
            pass
    hub = AsyncWaitHub(lambda: psycopg.AsyncConnection.connect(kept_servers.standby.conninfo()))
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        await hub.__aenter__()
    assert hub.closed is not None


async def test_a_hub_that_does_not_listen_reads_from_a_standby(kept_servers: Pair) -> None:
    async with (
        AsyncWaitHub(kept_servers.standby.conninfo(), listen=False, look_interval=0.05) as hub,
        await psycopg.AsyncConnection.connect(kept_servers.conninfo, autocommit=True) as connection,
    ):
        store = AsyncFlowSignalStore(connection)
        run_id, late = uuid4(), uuid4()
        deadline = datetime.now(timezone.utc)
        await store.register_waiter(run_id, "step", "approved")
        await store.register_waiter(late, "step", "approved", expires_at=deadline)
        await asyncio.to_thread(kept_servers.catch_up)
        task = asyncio.create_task(hub.wait(run_id, "step"))
        with pytest.raises(WaiterExpiredError):
            await hub.wait(late, "step")
        await store.deliver_signal(run_id, "approved", 1)
        assert (await task).payload == 1


@pytest.mark.parametrize("autocommit", [True, False])
async def test_a_store_cannot_listen_on_a_standby(kept_servers: Pair, autocommit: bool) -> None:
    """The error is that of LISTEN, and the connection is as it was."""
    async with await psycopg.AsyncConnection.connect(
        kept_servers.standby.conninfo(), autocommit=autocommit
    ) as connection:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction, match="LISTEN"):
            await AsyncFlowSignalStore(connection).wait(uuid4(), "step", wake_channel="worker 1")
        assert connection.autocommit is autocommit
        assert connection.info.transaction_status == TransactionStatus.IDLE
    with psycopg.connect(kept_servers.standby.conninfo(), autocommit=autocommit) as sync_connection:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction, match="LISTEN"):
            FlowSignalStore(sync_connection).wait(uuid4(), "step", wake_channel="worker 1")
        assert sync_connection.autocommit is autocommit
        assert sync_connection.info.transaction_status == TransactionStatus.IDLE


async def test_a_store_polls_a_standby(kept_servers: Pair) -> None:
    run_id = uuid4()
    read_only = make_conninfo(kept_servers.standby.conninfo(), options="-c default_transaction_read_only=on")
    async with (
        await psycopg.AsyncConnection.connect(kept_servers.conninfo, autocommit=True) as connection,
        await psycopg.AsyncConnection.connect(read_only) as standby_connection,
    ):
        store = AsyncFlowSignalStore(connection)
        waiter = await store.register_waiter(run_id, "step", "approved", expires_at=soon())
        await asyncio.to_thread(kept_servers.catch_up)
        with pytest.raises(WaiterExpiredError) as ended:
            await AsyncFlowSignalStore(standby_connection).wait(run_id, "step")
        assert ended.value.waiter.created_at == waiter.created_at
        await store.register_waiter(run_id, "other", "paid")
        await asyncio.to_thread(kept_servers.catch_up)
        task = asyncio.create_task(AsyncFlowSignalStore(standby_connection).wait(run_id, "other"))
        await store.deliver_signal(run_id, "paid", 1)
        assert (await task).payload == 1


def soon() -> datetime:
    return datetime.now(timezone.utc) + timedelta(seconds=0.3)
