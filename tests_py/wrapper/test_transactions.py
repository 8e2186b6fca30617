"""With a connection a call is part of the caller's transaction; with a pool it is committed before it returns."""

from __future__ import annotations

from datetime import datetime
from uuid import uuid4

import psycopg
import psycopg_pool
import pytest
from psycopg.pq import TransactionStatus

from flow_signal import AsyncFlowSignalStore, FlowSignalStore, SignalDeliveryStatus, WaiterState

from .conftest import Client


async def test_the_caller_commits(client: Client) -> None:
    run_id = uuid4()
    connection = await client.connect()
    store = client.store(connection)
    others = client.store(await client.connect(autocommit=True))

    await store.register_waiter(run_id, "step", "approved")
    assert connection.info.transaction_status == TransactionStatus.INTRANS
    assert await others.get_waiter(run_id, "step") is None
    await connection.commit()
    assert await others.get_waiter(run_id, "step") is not None


async def test_a_rollback_undoes_every_call(client: Client) -> None:
    run_id, other_id = uuid4(), uuid4()
    connection = await client.connect()
    store = client.store(connection)
    await store.register_waiter(run_id, "step", "approved")
    await connection.commit()

    await store.register_waiter(other_id, "step", "approved")
    await store.deliver_signal(run_id, "approved", 1)
    removed = await store.remove_waiter(run_id, "step")
    await connection.rollback()

    assert removed is not None
    assert await store.get_waiter(other_id, "step") is None
    waiter = await store.get_waiter(run_id, "step")
    assert waiter is not None
    assert waiter.delivered_at is None


async def test_reading_ends_no_transaction_either(client: Client) -> None:
    connection = await client.connect()
    store = client.store(connection)
    await store.get_waiter(uuid4(), "step")
    await store.version()
    assert connection.info.transaction_status == TransactionStatus.INTRANS


@pytest.mark.parametrize("autocommit", [True, False])
async def test_the_connection_stays_as_it_was(client: Client, autocommit: bool) -> None:
    connection = await client.connect(autocommit=autocommit, row_factory=psycopg.rows.dict_row, prepare_threshold=7)
    store = client.store(connection)
    await store.register_waiter(uuid4(), "step", "approved")
    await store.deliver_signal(uuid4(), "approved", 1)
    assert connection.autocommit is autocommit
    assert connection.prepare_threshold == 7
    assert await client.rows(connection, "SELECT '{\"a\": 1}'::json AS j, 'x'::text AS t") == [
        {"j": {"a": 1}, "t": "x"}
    ]


async def test_an_error_leaves_the_transaction_to_the_caller(client: Client) -> None:
    connection = await client.connect()
    store = client.store(connection)
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        await store.get_waiter(uuid4(), " ")
    assert connection.info.transaction_status == TransactionStatus.INERROR
    await connection.rollback()
    await store.version()


async def test_a_naive_datetime_or_a_nan_begins_no_transaction(client: Client) -> None:
    connection = await client.connect()
    with pytest.raises(ValueError, match="JSON"):
        await client.store(connection).deliver_signal(uuid4(), "approved", float("nan"))
    with pytest.raises(ValueError, match="no time zone"):
        await client.store(connection).register_waiter(uuid4(), "step", "approved", expires_at=datetime(2040, 1, 1))
    assert connection.info.transaction_status == TransactionStatus.IDLE


async def test_a_pool_commits_each_call(client: Client) -> None:
    run_id = uuid4()
    store = client.store(await client.pool(min_size=1, max_size=1))
    others = client.store(await client.connect(autocommit=True))

    await store.register_waiter(run_id, "step", "approved")
    assert await others.get_waiter(run_id, "step") is not None
    await store.deliver_signal(run_id, "approved", 1)
    assert (await others.deliver_signal(run_id, "approved")).status is SignalDeliveryStatus.ALREADY_DELIVERED
    await store.remove_waiter(run_id, "step")
    assert await others.get_waiter(run_id, "step") is None


async def test_a_pool_gets_its_connection_back_after_an_error(client: Client) -> None:
    store = client.store(await client.pool(min_size=1, max_size=1, timeout=10))
    for _ in range(2):
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            await store.get_waiter(uuid4(), " ")
    await store.version()


async def test_a_block_of_the_caller_undoes_its_calls_alone(client: Client) -> None:
    run_id = uuid4()
    connection = await client.connect()
    store = client.store(connection)
    await store.register_waiter(run_id, "step", "approved")
    async with client.transaction(connection):
        await store.deliver_signal(run_id, "approved", 1)
        raise psycopg.Rollback
    waiter = await store.get_waiter(run_id, "step")
    assert waiter is not None
    assert waiter.state is WaiterState.WAITING


async def test_pipeline_mode(client: Client) -> None:
    run_id = uuid4()
    connection = await client.connect()
    store = client.store(connection)
    async with client.pipeline(connection):
        await connection.execute("SELECT 1")
        await store.register_waiter(run_id, "step", "approved")
        await connection.execute("SELECT 2")
        result = await store.deliver_signal(run_id, "approved", {"n": 1})
        assert result.status is SignalDeliveryStatus.DELIVERED
        waiter = await store.get_waiter(run_id, "step")
        assert waiter is not None
        assert waiter.payload == {"n": 1}
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            await store.get_waiter(run_id, " ")


def mypy_accepts_the_pools_of_psycopg(
    pool: psycopg_pool.ConnectionPool, async_pool: psycopg_pool.AsyncNullConnectionPool
) -> None:
    FlowSignalStore(pool)
    AsyncFlowSignalStore(async_pool)
