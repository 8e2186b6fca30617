"""A payload arrives as it was sent, to the byte; no payload, JSON null and what is no JSON are three things."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from flow_signal import (
    AsyncFlowSignalStore,
    FlowSignalWaiter,
    NewSignal,
    NewWaiter,
    PayloadTooLargeError,
    UnreadablePayloadError,
    WaiterState,
)
from tests_py.wrapper.conftest import Client

MIB = 1024 * 1024


async def delivered(store: AsyncFlowSignalStore, *args: Any, **kwargs: Any) -> FlowSignalWaiter:
    """Deliver this payload; return the waiter that got it."""
    run_id = uuid4()
    await store.register_waiter(run_id, "step", "approved")
    await store.deliver_signal(run_id, "approved", *args, **kwargs)
    waiter = await store.get_waiter(run_id, "step")
    assert waiter is not None
    assert waiter.state is WaiterState.DELIVERED
    return waiter


@pytest.mark.parametrize(
    "text",
    [
        ' {\t\n"b":1 ,\r\n "a": [ ] }  ',
        '{"a":1,"a":2}',
        "1e400",
        "-0.0",
        "1.000000000000000000000000000000000001",
        "123456789012345678901234567890",
        '"\\u0000"',
        '"\\ud800"',
        '"\\u00e9\\/\\ud83d\\ude00"',
        '"é😀\u2028\u00a0"',
        '"%s %(run_id)s %% \\\\ \' $1"',
        "null",
        "false",
        '""',
    ],
)
async def test_text_is_kept_to_the_byte(store: AsyncFlowSignalStore, text: str) -> None:
    waiter = await delivered(store, payload_json=text)
    assert waiter.payload_json == text
    assert waiter.payload == json.loads(text)


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (None, "null"),
        (False, "false"),
        (0, "0"),
        (1.5, "1.5"),
        ("", '""'),
        ("null", '"null"'),
        ('{"a": 1}', '"{\\"a\\": 1}"'),
        ("é\x00\n😀", '"é\\u0000\\n😀"'),
        ([], "[]"),
        ((1, "a", None), '[1, "a", null]'),
        ({"ключ": {"a": [1, 2]}, 1: True}, '{"ключ": {"a": [1, 2]}, "1": true}'),
        (10**400, "1" + "0" * 400),
    ],
)
async def test_a_value_is_sent_as_json(store: AsyncFlowSignalStore, payload: object, text: str) -> None:
    waiter = await delivered(store, payload)
    assert waiter.payload_json == text
    assert waiter.payload == json.loads(text)


async def test_null_is_a_payload_and_none_given_is_none(store: AsyncFlowSignalStore) -> None:
    assert (await delivered(store)).payload_json is None
    assert (await delivered(store)).payload is None
    assert (await delivered(store, None)).payload_json == "null"
    assert (await delivered(store, payload=None)).payload is None
    assert (await delivered(store, payload_json=None)).payload_json is None


async def test_a_waiter_without_a_delivery_has_no_payload(store: AsyncFlowSignalStore) -> None:
    waiter = await store.register_waiter(uuid4(), "step", "approved")
    assert (waiter.payload_json, waiter.payload) == (None, None)


async def test_a_payload_may_have_1_mib_and_no_more(store: AsyncFlowSignalStore) -> None:
    largest = '"' + "é" * (MIB // 2 - 1) + '"'
    assert (await delivered(store, payload_json=largest)).payload_json == largest
    with pytest.raises(PayloadTooLargeError):
        await delivered(store, payload_json=largest + " ")
    with pytest.raises(PayloadTooLargeError):
        await delivered(store, "x" * MIB)


@pytest.mark.parametrize("text", ["", " ", "{", "NaN", "'a'", "null null", '"\\x"', '{"a":1,}'])
async def test_text_that_is_no_json_is_refused(store: AsyncFlowSignalStore, text: str) -> None:
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        await store.deliver_signal(uuid4(), "approved", payload_json=text)


CIRCLE: list[object] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("error", "args", "kwargs"),
    [
        (ValueError, [float("nan")], {}),
        (ValueError, [{"a": [float("inf")]}], {}),
        (ValueError, [CIRCLE], {}),
        (ValueError, ["\ud800"], {}),
        (TypeError, [b"bytes"], {}),
        (TypeError, [{"a": object()}], {}),
        (TypeError, [...], {}),
        (TypeError, [None], {"payload_json": "null"}),
        (TypeError, [{}], {"payload_json": ""}),
    ],
)
async def test_what_python_cannot_write_is_refused_before_anything_is_sent(
    store: AsyncFlowSignalStore, error: type[Exception], args: list[object], kwargs: dict[str, Any]
) -> None:
    run_id = uuid4()
    await store.register_waiter(run_id, "step", "approved")
    with pytest.raises(error) as refused:
        await store.deliver_signal(run_id, "approved", *args, **kwargs)
    assert not isinstance(refused.value, psycopg.Error)
    waiter = await store.get_waiter(run_id, "step")
    assert waiter is not None
    assert waiter.state is WaiterState.WAITING


DEEP: list[object] = []
for _ in range(200_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("payload", "options"),
    [
        ({"secret": {1, 2}}, {}),
        ({"secret": b"secret"}, {}),
        ({("secret",): 1}, {}),
        ([float("nan"), "secret"], {}),
        (["secret", "\ud800"], {}),
        (["secret", DEEP], {}),
        (["secret", 10**5000], {}),
        (..., {"payload_json": "secret \ud800"}),
        (..., {"payload_json": b"secret \xff"}),
    ],
)
async def test_no_error_has_the_payload(store: AsyncFlowSignalStore, payload: object, options: dict[str, Any]) -> None:
    """Neither in its text and repr nor in what it was raised from; errors end up in logs."""
    args = () if payload is ... else (payload,)
    for call in (
        lambda: store.deliver_signal(uuid4(), "approved", *args, **options),
        lambda: store.broadcast_signal("approved", *args, **options),
        lambda: store.deliver_signals([NewSignal(uuid4(), "approved", *args, **options)]),
    ):
        with pytest.raises((TypeError, ValueError), match="payload") as refused:
            await call()
        assert "secret" not in f"{refused.value!r} {refused.value} {getattr(refused.value, '__notes__', '')}"
        assert refused.value.__context__ is None


async def test_what_writes_and_reads_payloads(client: Client) -> None:
    def dumps(value: Decimal) -> str:
        return f"{value}"

    connection = await client.connect(autocommit=True)
    store = client.store(connection, dumps=dumps)
    run_id = uuid4()
    await store.register_waiters([NewWaiter(run_id, str(number), "approved") for number in range(4)])
    await store.deliver_signal(run_id, "approved", Decimal("9.90"))
    await store.deliver_to_step(run_id, "1", Decimal("1.10"))
    await store.deliver_signals([NewSignal(run_id, "approved", Decimal("2.20"))])
    await store.deliver_signals([NewSignal(run_id, "approved", payload_json="3.30")])
    await store.register_waiter(run_id, "all", name := f"{run_id}")
    await store.broadcast_signal(name, Decimal("4.40"))
    await store.register_waiter(run_id, "none", "approved")
    await store.deliver_signal(run_id, "approved")
    await store.register_waiter(run_id, "token", "redeemed")
    token = await store.issue_token(run_id, "token")
    assert token is not None
    await store.redeem_token(token, Decimal("6.60"))
    waiters = {waiter.step_key: waiter for waiter in await store.list_waiters(run_id=run_id)}
    without = waiters.pop("none")
    read = {step_key: str(waiter.payload_as(Decimal)) for step_key, waiter in waiters.items()}
    assert read == {"0": "9.90", "1": "1.10", "2": "2.20", "3": "3.30", "all": "4.40", "token": "6.60"}
    with pytest.raises(UnreadablePayloadError, match="there is no payload"):
        without.payload_as(Decimal)
    await store.deliver_signal(run_id, "early", Decimal("5.50"), buffer_for=timedelta(days=1))
    [buffered] = await store.list_buffered_signals(run_id=run_id)
    assert str(buffered.payload_as(Decimal)) == "5.50"


@pytest.mark.parametrize(
    ("dumps", "error", "named"),
    [
        (
            lambda value: {"secret": value},
            TypeError,
            "payload as dumps wrote it: expected JSON text as str or bytes, got dict",
        ),
        (lambda value: b"secret \xff", ValueError, "payload as dumps wrote it is not UTF-8"),
        (lambda value: "secret \ud800", ValueError, "payload as dumps wrote it"),
        (lambda value: None, TypeError, "payload as dumps wrote it: expected JSON text as str or bytes, got None"),
    ],
)
async def test_what_writes_something_else(client: Client, dumps: Any, error: type[Exception], named: str) -> None:
    store = client.store(await client.connect(autocommit=True), dumps=dumps)
    with pytest.raises(error, match=named) as refused:
        await store.deliver_signal(uuid4(), "approved", 1)
    assert "secret" not in f"{refused.value!r} {refused.value}"
