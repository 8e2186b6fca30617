"""A hub, a store to register and deliver with, and ways to hurt the hub's connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from uuid import UUID, uuid4

import psycopg
import pytest

from flow_signal import AsyncFlowSignalStore, AsyncWaitHub, FlowSignalWaiter
from flow_signal.embedded import EmbeddedServer
from tools.server import TEMPLATE

PATIENCE_SECONDS = 60
OF_HUBS = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'flow-signal hub'"


@pytest.fixture(scope="session")
def database(server: EmbeddedServer) -> Iterator[str]:
    """One database for all these tests, each of which takes run ids of its own."""
    with psycopg.connect(server.conninfo(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE test_wait TEMPLATE {TEMPLATE}")
        yield server.conninfo("test_wait")
        admin.execute("DROP DATABASE test_wait WITH (FORCE)")


@pytest.fixture(autouse=True)
async def patience() -> AsyncIterator[None]:
    """A wait that is never woken fails its test."""
    loop = asyncio.get_running_loop()

    def give_up() -> None:
        for task in asyncio.all_tasks(loop):
            task.cancel("a test took too long")

    timer = loop.call_later(2 * PATIENCE_SECONDS, give_up)
    yield
    timer.cancel()


@pytest.fixture
async def connection(database: str) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def store(connection: psycopg.AsyncConnection) -> AsyncFlowSignalStore:
    return AsyncFlowSignalStore(connection)


@pytest.fixture
async def hub(database: str) -> AsyncIterator[AsyncWaitHub]:
    """A hub that will not look again for an hour unless it has a reason to."""
    async with AsyncWaitHub(database, look_interval=3600) as hub:
        yield hub


Register = Callable[..., Awaitable[UUID]]


@pytest.fixture
def register(store: AsyncFlowSignalStore, hub: AsyncWaitHub) -> Register:
    """Registers a waiter of a new run that wakes the hub."""

    async def register(step_key: str = "step", **options: object) -> UUID:
        options.setdefault("wake_channel", hub.channel)
        waiter = await store.register_waiter(uuid4(), step_key, "approved", **options)  # type: ignore[arg-type]
        return waiter.run_id

    return register


async def start_wait(
    hub: AsyncWaitHub, store: AsyncFlowSignalStore, run_id: UUID, step_key: str = "step", timeout: float | None = None
) -> asyncio.Task[FlowSignalWaiter]:
    """Begin to wait; return when the hub has looked at the waiter and goes on waiting."""
    task = asyncio.create_task(hub.wait(run_id, step_key, timeout=timeout))
    await asyncio.sleep(0)
    await has_looked(hub, store)
    return task


async def has_looked(hub: AsyncWaitHub, store: AsyncFlowSignalStore) -> None:
    """Return when the hub has looked at all that it was asked for before: it has when it answers what is asked last."""
    run_id = uuid4()
    await store.register_waiter(run_id, "step", "approved")
    await store.deliver_signal(run_id, "approved")
    await hub.wait(run_id, "step")


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    limit = time.monotonic() + PATIENCE_SECONDS
    while not await condition():
        assert time.monotonic() < limit, "it did not come to that"
        await asyncio.sleep(0.001)


async def kill_hubs(connection: psycopg.AsyncConnection) -> None:
    """End the sessions of all hubs; return when they have ended."""
    cursor = await connection.execute(f"SELECT pg_terminate_backend(pid, {PATIENCE_SECONDS * 1000}) {OF_HUBS}")
    killed = await cursor.fetchall()
    assert killed
    assert all(row == (True,) for row in killed)
