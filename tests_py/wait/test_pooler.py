"""Behind a transaction pooler a hub does not listen, and finds out by looking in batches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import datetime, timedelta, timezone
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from flow_signal import AsyncFlowSignalStore, AsyncWaitHub, WaiterExpiredError
from flow_signal.embedded import EmbeddedServer
from tests_py.wait.conftest import has_looked, start_wait
from tests_py.wrapper.pgbouncer import pgbouncer


@pytest.fixture(scope="module")
def pooled_database(server: EmbeddedServer, database: str) -> Iterator[str]:
    with pgbouncer(server) as folder:
        yield make_conninfo(database, host=folder)


@pytest.fixture(params=["direct", "pgbouncer"])
async def hub(request: pytest.FixtureRequest, database: str) -> AsyncIterator[AsyncWaitHub]:
    conninfo = database if request.param == "direct" else request.getfixturevalue("pooled_database")
    async with AsyncWaitHub(conninfo, listen=False, look_interval=0.05) as hub:
        yield hub


async def test_waits_end_by_looking(hub: AsyncWaitHub, store: AsyncFlowSignalStore) -> None:
    assert hub.channel is None
    run_ids = [uuid4() for _ in range(300)]
    for run_id in run_ids:
        await store.register_waiter(run_id, "step", "approved", wake_channel=hub.channel)
    tasks = [asyncio.create_task(hub.wait(run_id, "step")) for run_id in run_ids]
    await has_looked(hub, store)
    for number, run_id in enumerate(run_ids):
        await store.deliver_signal(run_id, "approved", number)
    assert [waiter.payload for waiter in await asyncio.gather(*tasks)] == [*range(300)]


async def test_a_deadline(hub: AsyncWaitHub, store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    deadline = datetime.now(timezone.utc) + timedelta(seconds=0.2)
    await store.register_waiter(run_id, "step", "approved", expires_at=deadline)
    with pytest.raises(WaiterExpiredError):
        await hub.wait(run_id, "step")


async def test_the_hub_does_not_listen(
    hub: AsyncWaitHub, store: AsyncFlowSignalStore, connection: psycopg.AsyncConnection
) -> None:
    await has_looked(hub, store)
    cursor = await connection.execute(
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
    )
    assert await cursor.fetchall() == []


async def test_sessions_that_the_pooler_loses(
    hub: AsyncWaitHub, store: AsyncFlowSignalStore, connection: psycopg.AsyncConnection
) -> None:
    run_id = uuid4()
    await store.register_waiter(run_id, "step", "approved")
    task = await start_wait(hub, store, run_id)
    await connection.execute(
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    await store.deliver_signal(run_id, "approved", 1)
    assert (await task).payload == 1


async def test_each_look_may_find_another_session(
    pooled_database: str, store: AsyncFlowSignalStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is prepared in a session, which would be missing in the next one."""
    async with AsyncExitStack() as stack:
        for _ in range(4):  # at once, so that the pooler opens as many sessions; from then on it takes them in turn
            connection = await psycopg.AsyncConnection.connect(pooled_database)
            await stack.enter_async_context(connection)
            await connection.execute("SELECT 1")
    async with AsyncWaitHub(pooled_database, listen=False) as hub:
        for _ in range(20):
            await has_looked(hub, store)
    assert "lost its connection" not in caplog.text


async def test_a_hub_that_listens_in_vain_still_finds_out(pooled_database: str, store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    async with AsyncWaitHub(pooled_database, look_interval=0.05) as hub:
        await store.register_waiter(run_id, "step", "approved", wake_channel=hub.channel)
        task = await start_wait(hub, store, run_id)
        await store.deliver_signal(run_id, "approved", 1)
        assert (await task).payload == 1
