"""An argument of the wrong type is refused before anything is sent; the text of a UUID and bytes of JSON are taken."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from enum import Enum
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from flow_signal import AsyncFlowSignalStore, NewSignal, NewWaiter, SignalDeliveryStatus, WaiterState

from .conftest import Client

RUN = UUID(int=1)
NOW = datetime.now(timezone.utc)
HOUR = timedelta(hours=1)


class Name(str, Enum):
    STEP = "step"


@pytest.mark.parametrize(
    ("error", "method", "args", "options", "named"),
    [
        (TypeError, "get_waiter", (7, "step"), {}, "run_id: expected a UUID or its text, got int"),
        (TypeError, "get_waiter", (RUN.bytes, "step"), {}, "run_id: expected a UUID or its text, got bytes"),
        (TypeError, "get_waiter", (None, "step"), {}, "run_id: expected a UUID or its text, got None"),
        (ValueError, "get_waiter", ("seven", "step"), {}, "run_id 'seven' is not a UUID"),
        (TypeError, "get_waiter", (RUN, 7), {}, "step_key: expected a str, got int"),
        (TypeError, "remove_waiter", (RUN, None), {}, "step_key: expected a str, got None"),
        (TypeError, "remove_run", (7,), {}, "run_id: expected a UUID or its text, got int"),
        (TypeError, "register_waiter", (RUN, "step", None), {}, "signal_name: expected a str, got None"),
        (TypeError, "register_waiter", (RUN, b"step", "a"), {}, "step_key: expected a str, got bytes"),
        (TypeError, "register_waiter", (RUN, "s", "a"), {"queue": 7}, "queue: expected a str, got int"),
        (TypeError, "register_waiter", (RUN, "s", "a"), {"wake_channel": 7}, "wake_channel: expected a str, got int"),
        (TypeError, "register_waiter", (RUN, "s", "a"), {"expires_at": HOUR}, "pass a timedelta as expires_in"),
        (TypeError, "register_waiter", (RUN, "s", "a"), {"expires_at": date(2030, 1, 1)}, "datetime, got date"),
        (TypeError, "register_waiter", (RUN, "s", "a"), {"expires_at": 60}, "expires_at: expected an aware datetime"),
        (
            TypeError,
            "register_waiter",
            (RUN, "s", "a"),
            {"expires_in": 60},
            "expires_in: expected a timedelta, got int",
        ),
        (TypeError, "register_waiter", (RUN, "s", "a"), {"expires_in": NOW}, "expires_in: .* got datetime"),
        (TypeError, "register_waiter", (RUN, "s", "a"), {"expires_at": NOW, "expires_in": HOUR}, "one of them"),
        (
            psycopg.DataError,
            "register_waiter",
            (RUN, "s", "a"),
            {"expires_in": timedelta.max},
            "expires_in .* out of range",
        ),
        (ValueError, "register_waiter", (RUN, "s", "\ud800"), {}, "character 0 of 1 of signal_name"),
        (TypeError, "deliver_signal", (RUN, "a"), {"payload_json": {"a": 1}}, "payload_json: .* pass .* as payload"),
        (ValueError, "deliver_signal", (RUN, "a"), {"payload_json": '"é\ud800"'}, "character 2 of 4 of payload_json"),
        (ValueError, "deliver_signal", (RUN, "a", "\ud800"), {}, "character 1 of 3 of payload"),
        (TypeError, "deliver_signal", (RUN, "a"), {"payload_json": memoryview(b"1")}, "got memoryview"),
        (
            ValueError,
            "deliver_signal",
            (RUN, "a"),
            {"payload_json": b'"\xff"'},
            "payload_json is not UTF-8: byte 1 of 3",
        ),
        (TypeError, "deliver_signal", (RUN, "a"), {"delivery_id": 17}, "delivery_id: expected a str, got int"),
        (TypeError, "deliver_signal", (RUN, "a"), {"buffer_until": HOUR}, "pass a timedelta as buffer_for"),
        (TypeError, "deliver_signal", (RUN, "a"), {"buffer_for": 60}, "buffer_for: expected a timedelta, got int"),
        (TypeError, "broadcast_signal", (7,), {}, "signal_name: expected a str, got int"),
        (TypeError, "claim_waiters", (7,), {}, "queue: expected a str, got int"),
        (TypeError, "claim_waiters", ("q",), {"limit": "7"}, "limit: expected an int, got str"),
        (TypeError, "claim_waiters", ("q",), {"limit": True}, "limit: expected an int, got bool"),
        (TypeError, "claim_waiters", ("q",), {"limit": 1.0}, "limit: expected an int, got float"),
        (psycopg.DataError, "claim_waiters", ("q",), {"limit": 2**31}, "limit is out of range"),
        (TypeError, "claim_waiters", ("q",), {"lease": 60}, "lease: expected a timedelta, got int"),
        (TypeError, "await_waiter", (RUN, "s"), {"max_wait": 1.5}, "max_wait: expected a timedelta, got float"),
        (TypeError, "wait", (7, "s"), {}, "run_id: expected a UUID or its text, got int"),
        (TypeError, "wait", (RUN, "s"), {"timeout": "1"}, "timeout: expected seconds or a timedelta, got str"),
        (ValueError, "wait", (RUN, "s"), {"timeout": float("nan")}, "timeout is not a number"),
        (TypeError, "wait", (RUN, "s"), {"wake_channel": 7}, "wake_channel: expected a str, got int"),
        (TypeError, "list_waiters", (), {"run_id": 7}, "run_id: expected a UUID or its text, got int"),
        (TypeError, "list_waiters", (), {"state": 7}, "state: expected a str, got int"),
        (TypeError, "list_waiters", (), {"after": RUN}, "after: expected a tuple of run_id, step_key, got UUID"),
        (TypeError, "list_waiters", (), {"after": (RUN,)}, "after: expected a tuple of run_id, step_key"),
        (TypeError, "list_waiters", (), {"after": (RUN, None)}, "after_step_key: expected a str, got None"),
        (
            TypeError,
            "list_buffered_signals",
            (),
            {"after": (RUN, "a", "1")},
            "after_position: expected an int, got str",
        ),
        (
            psycopg.DataError,
            "list_buffered_signals",
            (),
            {"after": (RUN, "a", 2**63)},
            "after_position is out of range",
        ),
        (TypeError, "purge", (), {}, "pass settled_before, an aware datetime, or older_than, a timedelta"),
        (TypeError, "purge", (HOUR,), {}, "pass a timedelta as older_than"),
        (TypeError, "purge", (NOW,), {"older_than": HOUR}, "one of them"),
        (TypeError, "register_waiters", ([(RUN, "s", "a")],), {}, r"waiters\[0\]: expected a NewWaiter, got tuple"),
        (TypeError, "register_waiters", ([NewSignal(RUN, "a")],), {}, r"waiters\[0\]: .* got NewSignal"),
        (TypeError, "register_waiters", (NewWaiter(RUN, "s", "a"),), {}, "not iterable"),
        (
            TypeError,
            "register_waiters",
            (
                [NewWaiter(RUN, "s", "a"), NewWaiter(None, "s", "a")],  # type: ignore[arg-type]
            ),
            {},
            r"waiters\[1\].run_id: expected a UUID or its text, got None",
        ),
        (
            TypeError,
            "register_waiters",
            ([NewWaiter(RUN, "s", "a", expires_at=HOUR)],),  # type: ignore[arg-type]
            {},
            r"waiters\[0\].expires_at: .* pass a timedelta as expires_in",
        ),
        (TypeError, "register_waiters", ([NewWaiter(RUN, "s", "a")],), {"queue": 7}, "queue: expected a str, got int"),
        (TypeError, "deliver_signals", ([{"run_id": RUN}],), {}, r"signals\[0\]: expected a NewSignal, got dict"),
        (
            TypeError,
            "deliver_signals",
            ([NewSignal(RUN, None)],),  # type: ignore[arg-type]
            {},
            r"signals\[0\].signal_name: expected a str, got None",
        ),
        (
            TypeError,
            "deliver_signals",
            ([NewSignal(RUN, "a", delivery_id=7)],),  # type: ignore[arg-type]
            {},
            r"signals\[0\].delivery_id: expected a str, got int",
        ),
        (
            ValueError,
            "deliver_signals",
            ([NewSignal(RUN, "a", payload_json=b"\xff")],),
            {},
            r"signals\[0\].payload_json is not UTF-8",
        ),
    ],
)
async def test_the_wrong_type_is_told_before_anything_is_sent(
    client: Client,
    error: type[Exception],
    method: str,
    args: tuple[Any, ...],
    options: dict[str, Any],
    named: str,
) -> None:
    connection = await client.connect()
    with pytest.raises(error, match=named) as refused:
        await getattr(client.store(connection), method)(*args, **options)
    assert getattr(refused.value, "sqlstate", None) is None
    assert connection.info.transaction_status == TransactionStatus.IDLE


@pytest.mark.parametrize("write", [str, lambda run_id: str(run_id).upper(), lambda run_id: run_id.hex])
async def test_a_run_id_may_be_text(store: AsyncFlowSignalStore, write: Any) -> None:
    run_id = uuid4()
    text = write(run_id)
    assert (await store.register_waiter(text, "step", "approved")).run_id == run_id
    assert (await store.deliver_signal(text, "approved", 1)).run_id == run_id
    assert (await store.wait(text, "step")).run_id == run_id
    assert await store.get_waiter(text, "step") == await store.await_waiter(text, "step")
    assert len(await store.list_waiters(run_id=text, after=(text, "a"))) == 1
    assert await store.list_buffered_signals(run_id=text, after=(text, "a", 1)) == []
    assert await store.remove_waiter(text, "step") is not None
    [waiter] = await store.register_waiters([NewWaiter(text, "step", "approved")])
    [result] = await store.deliver_signals([NewSignal(text, "approved")])
    assert waiter.run_id == result.run_id == run_id
    assert await store.remove_run(text) == 1


async def test_subclasses_are_what_they_are(store: AsyncFlowSignalStore) -> None:
    class Id(UUID):
        pass

    run_id = Id(int=uuid4().int)
    assert (await store.register_waiter(run_id, Name.STEP, "approved")).step_key == "step"
    assert await store.list_waiters(run_id=run_id, state=WaiterState.DELIVERED) == []
    assert len(await store.list_waiters(run_id=run_id, state="waiting")) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [bytes, bytearray])
async def test_a_payload_may_be_the_body_of_a_request(store: AsyncFlowSignalStore, kind: Any) -> None:
    body = kind(' {"größe":\t"5 €"}'.encode())
    run_id = uuid4()
    await store.register_waiter(run_id, "a", "one")
    await store.register_waiter(run_id, "b", "many")
    await store.register_waiter(run_id, "c", (name := f"all {run_id}"))
    await store.deliver_signal(run_id, "one", payload_json=body)
    await store.deliver_signals([NewSignal(run_id, "many", payload_json=body)])
    await store.broadcast_signal(name, payload_json=body)
    assert {waiter.payload_json for waiter in await store.list_waiters(run_id=run_id)} == {body.decode()}


async def test_bytes_and_text_are_the_same_payload(store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    await store.register_waiter(run_id, "step", "approved")
    await store.deliver_signal(run_id, "approved", payload_json=b"[1]", delivery_id="id")
    retry = await store.deliver_signal(run_id, "approved", payload_json="[1]", delivery_id="id")
    assert (retry.status, retry.replayed) == (SignalDeliveryStatus.DELIVERED, True)
