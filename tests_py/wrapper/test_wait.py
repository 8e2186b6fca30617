"""wait returns the delivered waiter, and says by distinct exceptions why there is none."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.pq import TransactionStatus
from psycopg.sql import SQL

from flow_signal import (
    AsyncFlowSignalStore,
    FlowSignalStore,
    WaiterExpiredError,
    WaiterNotFoundError,
    WaiterState,
)

from .conftest import Client, Coroutines, one_session

PATIENCE_SECONDS = 60
# A session that waits in await_waiter, or in psycopg for a notification after a look.
WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND (wait_event = 'PgSleep' OR state = 'idle' AND query LIKE '%AS looked_at%')
"""

Then = Callable[[Callable[[FlowSignalStore], Any]], Future[Any]]


@pytest.fixture
def then(database: str) -> Iterator[Then]:
    """Calls the function with another store, in a thread, as soon as somebody waits."""

    def call(act: Callable[[FlowSignalStore], Any], limit: float) -> Any:
        with psycopg.connect(database, autocommit=True) as connection:
            while (row := connection.execute(WAITING).fetchone()) and not row[0]:
                assert time.monotonic() < limit, "nobody waits"
                time.sleep(0.001)
            return act(FlowSignalStore(connection))

    with ThreadPoolExecutor() as threads:
        yield lambda act: threads.submit(call, act, time.monotonic() + PATIENCE_SECONDS)


CHANNELS = pytest.mark.parametrize("channel", [None, "worker 1"])


def deliver(run_id: UUID, *payload: object) -> Callable[[FlowSignalStore], Any]:
    return lambda others: others.deliver_signal(run_id, "approved", *payload)


@one_session
@CHANNELS
@pytest.mark.parametrize("payload", [({"by": "finance"},), (None,), ()])
async def test_a_delivery_ends_the_wait(
    client: Client, then: Then, channel: str | None, payload: tuple[object, ...]
) -> None:
    run_id = uuid4()
    store = client.store(await client.connect(autocommit=True))
    await store.register_waiter(run_id, "a/step", "approved", wake_channel=channel)
    delivery = then(deliver(run_id, *payload))
    waiter = await store.wait(run_id, "a/step", wake_channel=channel, timeout=PATIENCE_SECONDS)
    assert waiter == await store.get_waiter(run_id, "a/step")
    assert waiter.delivered_at == delivery.result().delivered_at
    assert waiter.payload == (payload[0] if payload else None)
    assert (waiter.payload_json is None) == (not payload)


async def test_a_delivery_ends_a_wait_through_any_connection(client: Client, then: Then) -> None:
    run_id = uuid4()
    store = client.store(await client.connect(autocommit=True))
    await store.register_waiter(run_id, "step", "approved")
    then(deliver(run_id, 1))
    assert (await store.wait(run_id, "step")).payload == 1


@one_session
@CHANNELS
async def test_a_delivery_that_came_before(client: Client, channel: str | None) -> None:
    run_id = uuid4()
    store = client.store(await client.connect(autocommit=True))
    await store.register_waiter(run_id, "step", "approved", wake_channel=channel)
    await store.deliver_signal(run_id, "approved", 1)
    assert (await store.wait(run_id, "step", wake_channel=channel, timeout=0)).payload == 1


@one_session
@CHANNELS
async def test_a_deadline_is_not_a_timeout(client: Client, channel: str | None) -> None:
    run_id = uuid4()
    store = client.store(await client.connect(autocommit=True))
    deadline = datetime.now(timezone.utc) + timedelta(seconds=0.3)
    await store.register_waiter(run_id, "step", "approved", expires_at=deadline, wake_channel=channel)
    with pytest.raises(WaiterExpiredError, match=r"step 'step' of run .* expired") as ended:
        await store.wait(run_id, "step", wake_channel=channel, timeout=PATIENCE_SECONDS)
    assert ended.value.waiter == await store.get_waiter(run_id, "step")
    assert ended.value.waiter.state is WaiterState.EXPIRED
    assert not isinstance(ended.value, TimeoutError)


@one_session
@CHANNELS
@pytest.mark.parametrize("timeout", [0, 0.05, timedelta(milliseconds=50), -1])
async def test_a_timeout_leaves_the_waiter(client: Client, channel: str | None, timeout: float | timedelta) -> None:
    run_id = uuid4()
    store = client.store(await client.connect(autocommit=True))
    await store.register_waiter(run_id, "step", "approved", wake_channel=channel)
    with pytest.raises(TimeoutError, match="still waits after"):
        await store.wait(run_id, "step", wake_channel=channel, timeout=timeout)
    waiter = await store.get_waiter(run_id, "step")
    assert waiter is not None
    assert waiter.state is WaiterState.WAITING


@one_session
@CHANNELS
async def test_no_waiter(client: Client, channel: str | None) -> None:
    run_id = uuid4()
    store = client.store(await client.connect(autocommit=True))
    with pytest.raises(WaiterNotFoundError, match=f"step 'step' of run {run_id} has no waiter") as ended:
        await store.wait(run_id, "step", wake_channel=channel)
    assert (ended.value.run_id, ended.value.step_key) == (run_id, "step")


@one_session
@CHANNELS
async def test_a_waiter_is_removed_meanwhile(client: Client, then: Then, channel: str | None) -> None:
    run_id = uuid4()
    store = client.store(await client.connect(autocommit=True))
    await store.register_waiter(run_id, "step", "approved", wake_channel=channel)
    then(lambda others: others.remove_waiter(run_id, "step"))
    with pytest.raises(WaiterNotFoundError):
        await store.wait(run_id, "step", wake_channel=channel)


@one_session
async def test_the_wait_does_not_need_the_notification(client: Client, then: Then) -> None:
    run_id = uuid4()
    store = client.store(await client.connect(autocommit=True))
    await store.register_waiter(run_id, "step", "approved")
    then(deliver(run_id, 1))
    assert (await store.wait(run_id, "step", wake_channel="another")).payload == 1


@one_session
async def test_a_pool_gets_its_connection_back_as_it_was(client: Client, then: Then) -> None:
    run_id = uuid4()
    pool = await client.pool(min_size=1, max_size=1)
    store = client.store(pool)
    await store.register_waiter(run_id, "step", "approved", wake_channel="worker 1")
    then(deliver(run_id, 1))
    assert (await store.wait(run_id, "step", wake_channel="worker 1")).payload == 1
    connection: Any = await pool.getconn()
    if not client.is_async:
        connection = Coroutines(connection)
    assert connection.autocommit is False
    assert await client.rows(connection, "SELECT pg_listening_channels()") == []
    await connection.rollback()
    await pool.putconn(getattr(connection, "target", connection))


@one_session
@pytest.mark.parametrize("autocommit", [True, False])
async def test_a_connection_stays_as_it_was(client: Client, autocommit: bool) -> None:
    run_id = uuid4()
    connection = await client.connect(autocommit=autocommit)
    store = client.store(connection)
    with pytest.raises(WaiterNotFoundError):
        await store.wait(run_id, "step", wake_channel='a "quoted" channel')
    assert connection.autocommit is autocommit
    assert connection.info.transaction_status == TransactionStatus.IDLE
    assert await client.rows(connection, "SELECT pg_listening_channels()") == []


@CHANNELS
async def test_a_transaction_cannot_wait(client: Client, channel: str | None) -> None:
    """It would keep its own registration from the sender, which waits for its end."""
    run_id = uuid4()
    connection = await client.connect()
    store = client.store(connection)
    await store.register_waiter(run_id, "step", "approved")
    with pytest.raises(psycopg.ProgrammingError, match="needs a connection outside a transaction: commit first"):
        await store.wait(run_id, "step", wake_channel=channel, timeout=PATIENCE_SECONDS)
    assert connection.info.transaction_status == TransactionStatus.INTRANS
    await connection.commit()
    await store.deliver_signal(run_id, "approved", 1)
    with pytest.raises(psycopg.ProgrammingError, match="commit first"):
        await store.wait(run_id, "step", wake_channel=channel)
    await connection.commit()
    for _ in range(2):  # the first one leaves no transaction behind
        assert (await store.wait(run_id, "step")).payload == 1


@CHANNELS
async def test_a_failed_transaction_cannot_wait_either(client: Client, channel: str | None) -> None:
    connection = await client.connect()
    store = client.store(connection)
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        await store.get_waiter(uuid4(), " ")
    with pytest.raises(psycopg.ProgrammingError, match="commit first"):
        await store.wait(uuid4(), "step", wake_channel=channel)


@one_session
@CHANNELS
async def test_a_closed_connection_is_told_as_such(client: Client, channel: str | None) -> None:
    connection = await client.connect()
    await connection.close()
    with pytest.raises(psycopg.OperationalError, match="closed"):
        await client.store(connection).wait(uuid4(), "step", wake_channel=channel)


@one_session
@pytest.mark.parametrize("is_pooled", [True, False])
@pytest.mark.parametrize(
    ("channel", "named"),
    [
        ("", "it has 0 bytes"),
        (" \t", "it has 2 bytes"),
        ("é" * 32, "it has 64 bytes"),
        ("nul\x00", "NUL"),
        ("euro €", "encode"),
    ],
)
async def test_a_channel_that_cannot_be_listened_to(client: Client, is_pooled: bool, channel: str, named: str) -> None:
    """The connection stays as it was."""
    lender: Any
    if is_pooled:
        lender = await client.pool(min_size=1, max_size=1, kwargs={"client_encoding": "LATIN1"})
    else:
        lender = await client.connect(client_encoding="LATIN1")
    with pytest.raises((ValueError, psycopg.DataError), match=named) as refused:
        await client.store(lender).wait(uuid4(), "step", wake_channel=channel)
    assert getattr(refused.value, "sqlstate", None) is None
    connection = await lender.getconn() if is_pooled else lender
    if is_pooled and not client.is_async:
        connection = Coroutines(connection)
    assert connection.autocommit is False
    assert connection.isolation_level is None
    assert connection.info.transaction_status == TransactionStatus.IDLE
    if is_pooled:
        await lender.putconn(getattr(connection, "target", connection))


@one_session
async def test_a_listening_connection_that_cannot_be_restored_is_closed(
    client: Client, then: Then, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The delivered waiter is returned all the same."""
    run_id = uuid4()
    connection = await client.connect()
    store = client.store(connection)
    await store.register_waiter(run_id, "step", "approved")
    await connection.commit()
    await store.deliver_signal(run_id, "approved", 1)
    await connection.commit()
    module = "flow_signal._async_store" if client.is_async else "flow_signal._sync_store"
    monkeypatch.setattr(f"{module}.unlisten", lambda channel: SQL("UNLISTEN nonsense nonsense"))
    assert (await store.wait(run_id, "step", wake_channel="worker 1")).payload == 1
    assert connection.closed


@one_session
async def test_any_isolation_level_will_do_while_listening(client: Client) -> None:
    run_id = uuid4()
    connection = await client.connect()
    await connection.set_isolation_level(psycopg.IsolationLevel.SERIALIZABLE)
    others = client.store(await client.connect(autocommit=True))
    await others.register_waiter(run_id, "step", "approved", expires_at=datetime.now(timezone.utc))
    with pytest.raises(WaiterExpiredError):
        await client.store(connection).wait(run_id, "step", wake_channel="worker 1")
    assert connection.isolation_level == psycopg.IsolationLevel.SERIALIZABLE


async def test_the_end_of_a_wait_can_be_pickled(store: AsyncFlowSignalStore) -> None:
    waiter = await store.register_waiter(uuid4(), "step", "approved")
    expired = pickle.loads(pickle.dumps(WaiterExpiredError(waiter)))
    assert expired.waiter == waiter
    missing = pickle.loads(pickle.dumps(WaiterNotFoundError(waiter.run_id, "step")))
    assert (missing.run_id, missing.step_key) == (waiter.run_id, "step")
