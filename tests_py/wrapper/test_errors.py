"""Each refusal is raised as one class, told by SQLSTATE, with the facts of the database in diag."""

from __future__ import annotations

import pickle
import re
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors

from flow_signal import (
    AsyncFlowSignalStore,
    DeliveryIdReusedError,
    PayloadTooLargeError,
    SignalMismatchError,
    TooManyBufferedError,
    WaiterState,
)
from sql.build import build

from .conftest import Client

OWN: dict[str, tuple[type[psycopg.Error], type[psycopg.Error]]] = {
    "WS001": (SignalMismatchError, psycopg.IntegrityError),
    "WS002": (DeliveryIdReusedError, psycopg.IntegrityError),
    "WS003": (PayloadTooLargeError, psycopg.DataError),
    "WS004": (TooManyBufferedError, psycopg.IntegrityError),
}


@pytest.mark.parametrize("code", OWN)
def test_psycopg_knows_the_class_of_each_code(code: str) -> None:
    error, base = OWN[code]
    assert errors.lookup(code) is error
    assert issubclass(error, base)
    assert error.sqlstate == code


def test_every_code_that_the_sql_raises_has_a_class() -> None:
    """But WS099, by which a call tells itself to begin again."""
    assert set(re.findall(r"'(WS\d{3})'", build())) - {"WS099"} == set(OWN)


async def test_a_delivered_step_registers_for_another_signal(store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    await store.register_waiter(run_id, "step", "approved")
    await store.deliver_signal(run_id, "approved", 1)
    with pytest.raises(SignalMismatchError) as refused:
        await store.register_waiter(run_id, "step", "paid")
    assert_explained(refused.value, "WS001", "approved")
    waiter = await store.get_waiter(run_id, "step")
    assert waiter is not None
    assert (waiter.signal_name, waiter.payload) == ("approved", 1)


async def test_a_delivery_id_comes_again_with_another_payload(store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    await store.register_waiter(run_id, "step", "approved")
    await store.deliver_signal(run_id, "approved", payload_json='{"n":1}', delivery_id="id 7")
    with pytest.raises(DeliveryIdReusedError) as refused:
        await store.deliver_signal(run_id, "approved", payload_json='{"n": 1}', delivery_id="id 7")
    assert_explained(refused.value, "WS002", "id 7")


async def test_a_payload_is_too_large(store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    await store.register_waiter(run_id, "step", "approved")
    with pytest.raises(PayloadTooLargeError) as refused:
        await store.deliver_signal(run_id, "approved", payload_json=" " * 1048576 + "1")
    assert_explained(refused.value, "WS003", "1048577")
    waiter = await store.get_waiter(run_id, "step")
    assert waiter is not None
    assert waiter.state is WaiterState.WAITING


@pytest.mark.parametrize(
    ("error", "method", "args", "kwargs", "named"),
    [
        (errors.InvalidParameterValue, "register_waiter", (uuid4(), "step", "\u00a0"), {}, "signal name"),
        (errors.InvalidParameterValue, "register_waiter", (uuid4(), "x" * 257, "approved"), {}, "step key"),
        (errors.InvalidParameterValue, "register_waiter", (uuid4(), "s", "n"), {"wake_channel": "é" * 32}, "channel"),
        (errors.InvalidParameterValue, "register_waiter", (uuid4(), "s", "n"), {"queue": ""}, "queue"),
        (errors.InvalidParameterValue, "deliver_signal", (uuid4(), "n"), {"delivery_id": ""}, "delivery id"),
        (errors.InvalidParameterValue, "claim_waiters", ("",), {}, "queue"),
        (errors.InvalidParameterValue, "claim_waiters", ("q",), {"limit": 0}, "limit"),
        (errors.InvalidParameterValue, "claim_waiters", ("q",), {"lease": timedelta(days=2)}, "lease"),
        (errors.InvalidParameterValue, "await_waiter", (uuid4(), "s"), {"max_wait": timedelta(hours=1)}, "wait"),
        (errors.InvalidTextRepresentation, "deliver_signal", (uuid4(), "n"), {"payload_json": "{"}, "payload"),
    ],
)
async def test_standard_conditions_have_the_classes_of_psycopg(
    store: AsyncFlowSignalStore,
    error: type[psycopg.Error],
    method: str,
    args: tuple[object, ...],
    kwargs: dict[str, object],
    named: str,
) -> None:
    with pytest.raises(error) as refused:
        await getattr(store, method)(*args, **kwargs)
    assert type(refused.value) is error
    assert_explained(refused.value, error.sqlstate, named)


async def test_a_nul_character_never_reaches_the_database(store: AsyncFlowSignalStore) -> None:
    with pytest.raises(psycopg.DataError, match="NUL") as refused:
        await store.deliver_signal(uuid4(), "approved", payload_json="1\x00")
    assert refused.value.sqlstate is None


@pytest.mark.parametrize("level", [psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE])
async def test_an_isolation_level_that_cannot_keep_the_promise(client: Client, level: psycopg.IsolationLevel) -> None:
    run_id = uuid4()
    connection = await client.connect()
    await connection.set_isolation_level(level)
    store = client.store(connection)
    with pytest.raises(errors.FeatureNotSupported) as refused:
        await store.register_waiter(run_id, "step", "approved")
    assert_explained(refused.value, "0A000", "register_waiter")
    await connection.rollback()
    with pytest.raises(errors.FeatureNotSupported):
        await store.deliver_signal(run_id, "approved")
    await connection.rollback()
    assert await store.get_waiter(run_id, "step") is None


async def test_a_waiter_changes_under_a_repeatable_read(client: Client) -> None:
    run_id = uuid4()
    connection = await client.connect()
    await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
    others = client.store(await client.connect(autocommit=True))
    await others.register_waiter(run_id, "step", "approved")
    await client.store(connection).get_waiter(run_id, "step")
    await others.deliver_signal(run_id, "approved", 1)
    with pytest.raises(errors.SerializationFailure):
        await client.store(connection).remove_waiter(run_id, "step")


@pytest.mark.parametrize("method", ["version", "list_waiters", "signal_stats", "health"])
async def test_a_database_without_flow_signal(client: Client, database: str, method: str) -> None:
    client.conninfo = psycopg.conninfo.make_conninfo(database, dbname="postgres")
    store = client.store(await client.connect(autocommit=True))
    with pytest.raises(errors.InvalidSchemaName):
        await getattr(store, method)()


async def test_a_role_without_the_right(client: Client) -> None:
    connection = await client.connect()
    await connection.execute("SET LOCAL ROLE flow_signal_reader")
    with pytest.raises(errors.InsufficientPrivilege):
        await client.store(connection).deliver_signal(uuid4(), "approved")


async def test_an_error_can_be_pickled(store: AsyncFlowSignalStore) -> None:
    with pytest.raises(PayloadTooLargeError) as refused:
        await store.deliver_signal(uuid4(), "approved", "x" * 1048576)
    again = pickle.loads(pickle.dumps(refused.value))
    assert type(again) is PayloadTooLargeError
    assert again.diag.message_hint == refused.value.diag.message_hint


def assert_explained(error: psycopg.Error, sqlstate: str | None, named: str) -> None:
    """MESSAGE names the value, DETAIL has the facts, HINT the next step."""
    assert error.sqlstate == error.diag.sqlstate == sqlstate
    assert named in (error.diag.message_primary or "")
    assert error.diag.message_detail
    assert error.diag.message_hint
