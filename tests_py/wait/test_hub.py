"""A wait of the hub ends with the delivered waiter, or with the exception that tells why not."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from flow_signal import (
    AsyncFlowSignalStore,
    AsyncWaitHub,
    HubClosedError,
    NewWaiter,
    WaiterExpiredError,
    WaiterNotFoundError,
    WaiterState,
)
from flow_signal._hub import CHUNK
from tests_py.wait.conftest import PATIENCE_SECONDS, Register, has_looked, start_wait, until

STEPS = ["step", "a/b//c/", "/", "größe 😀", "😀" * 256, "%s \\ ' \""]


def soon() -> datetime:
    return datetime.now(timezone.utc) + timedelta(seconds=0.3)


@pytest.mark.parametrize("step_key", STEPS)
async def test_the_delivery_comes_after_the_wait(
    hub: AsyncWaitHub, store: AsyncFlowSignalStore, register: Register, step_key: str
) -> None:
    run_id = await register(step_key)
    task = await start_wait(hub, store, run_id, step_key)
    result = await store.deliver_signal(run_id, "approved", {"by": "finance"})
    waiter = await task
    assert waiter == await store.get_waiter(run_id, step_key)
    assert (waiter.delivered_at, waiter.payload) == (result.delivered_at, {"by": "finance"})


@pytest.mark.parametrize("step_key", STEPS)
async def test_the_delivery_comes_before_the_wait(
    hub: AsyncWaitHub, store: AsyncFlowSignalStore, register: Register, step_key: str
) -> None:
    run_id = await register(step_key)
    await store.deliver_signal(run_id, "approved", 1)
    assert (await hub.wait(run_id, step_key)).payload == 1


async def test_the_delivery_comes_with_the_wait(
    hub: AsyncWaitHub, store: AsyncFlowSignalStore, register: Register
) -> None:
    for _ in range(100):
        run_id = await register()
        waiter, _ = await asyncio.gather(hub.wait(run_id, "step"), store.deliver_signal(run_id, "approved"))
        assert waiter.state is WaiterState.DELIVERED


async def test_a_buffered_signal(hub: AsyncWaitHub, store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    await store.deliver_signal(run_id, "approved", 1, buffer_until=datetime.max.replace(tzinfo=timezone.utc))
    await store.register_waiter(run_id, "step", "approved", wake_channel=hub.channel)
    assert (await hub.wait(run_id, "step")).payload == 1


async def test_null_is_a_payload_and_none_given_is_none(
    hub: AsyncWaitHub, store: AsyncFlowSignalStore, register: Register
) -> None:
    with_null, without = await register(), await register()
    tasks = [await start_wait(hub, store, run_id) for run_id in (with_null, without)]
    await store.deliver_signal(with_null, "approved", None)
    await store.deliver_signal(without, "approved")
    assert [waiter.payload_json for waiter in await asyncio.gather(*tasks)] == ["null", None]


async def test_a_notification_that_comes_with_an_answer(
    hub: AsyncWaitHub, store: AsyncFlowSignalStore, register: Register, connection: psycopg.AsyncConnection
) -> None:
    """While the hub's look waits for a lock, deliveries are committed; it reads their notifications as it goes on."""
    run_id = await register()
    task = await start_wait(hub, store, run_id)
    async with await psycopg.AsyncConnection.connect(connection.info.dsn) as other:
        await AsyncFlowSignalStore(other).deliver_signal(run_id, "approved", 1)
        await other.execute("LOCK TABLE flow_signal.flow_signal_waiters IN ACCESS EXCLUSIVE MODE")
        looking = asyncio.create_task(hub.wait(uuid4(), "step"))
        await until(lambda: blocked(connection))
        await other.commit()
    assert (await task).payload == 1
    with pytest.raises(WaiterNotFoundError):
        await looking


async def blocked(connection: psycopg.AsyncConnection) -> bool:
    cursor = await connection.execute(
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0"
    )
    return bool(await cursor.fetchall())


async def test_a_deadline_is_not_a_timeout(hub: AsyncWaitHub, store: AsyncFlowSignalStore, register: Register) -> None:
    run_id = await register(expires_at=soon())
    with pytest.raises(WaiterExpiredError) as ended:
        await hub.wait(run_id, "step", timeout=3600)
    assert ended.value.waiter == await store.get_waiter(run_id, "step")
    assert ended.value.waiter.state is WaiterState.EXPIRED
    assert not isinstance(ended.value, TimeoutError)


async def test_many_deadlines_in_any_order(hub: AsyncWaitHub, store: AsyncFlowSignalStore, register: Register) -> None:
    latest = soon()
    late = [await register(expires_at=latest - timedelta(milliseconds=n * 37 % 250)) for n in range(50)]
    live = await register(expires_at=latest + timedelta(hours=1))
    task = await start_wait(hub, store, live)
    ends = await asyncio.gather(*(hub.wait(run_id, "step") for run_id in late), return_exceptions=True)
    assert [type(end) for end in ends] == [WaiterExpiredError] * 50
    await store.deliver_signal(live, "approved", 1)
    assert (await task).payload == 1


async def test_the_deadline_is_judged_by_the_database(
    hub: AsyncWaitHub, store: AsyncFlowSignalStore, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's own idea of when the deadline comes is off by an hour: it looks early, and goes on waiting."""
    run_id = await register(expires_at=datetime.now(timezone.utc) + timedelta(hours=1))
    looks: list[float] = []

    def hour_early(look: object) -> float:
        looks.append(0.0)
        return 0.0 if len(looks) < 3 else 3600.0

    monkeypatch.setattr("flow_signal._hub.seconds_left", hour_early)
    task = await start_wait(hub, store, run_id)
    while len(looks) < 3:
        await has_looked(hub, store)
    assert not task.done()
    await store.deliver_signal(run_id, "approved", 1)
    assert (await task).payload == 1


async def test_a_deadline_that_is_put_off(database: str, store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    await store.register_waiter(run_id, "step", "approved", expires_at=(first := soon()))
    async with AsyncWaitHub(database, look_interval=3600) as hub:
        task = await start_wait(hub, store, run_id)
        await store.register_waiter(run_id, "step", "approved", expires_at=first + timedelta(seconds=0.3))
        with pytest.raises(WaiterExpiredError) as ended:
            await task
        assert ended.value.waiter.expires_at == first + timedelta(seconds=0.3)


async def test_a_deadline_that_is_brought_forward(database: str, store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    await store.register_waiter(run_id, "step", "approved")
    async with AsyncWaitHub(database, look_interval=0.05) as hub:
        task = await start_wait(hub, store, run_id)
        await store.register_waiter(run_id, "step", "approved", expires_at=soon())
        with pytest.raises(WaiterExpiredError):
            await task


@pytest.mark.parametrize("timeout", [0.05, timedelta(milliseconds=50), 0, -1])
async def test_a_timeout_leaves_the_waiter(
    hub: AsyncWaitHub, store: AsyncFlowSignalStore, register: Register, timeout: float | timedelta
) -> None:
    run_id = await register()
    with pytest.raises(TimeoutError, match=f"step 'step' of run {run_id} still waits"):
        await hub.wait(run_id, "step", timeout=timeout)
    assert (await store.deliver_signal(run_id, "approved", 1)).step_key == "step"
    assert (await hub.wait(run_id, "step", timeout=3600)).payload == 1
    await assert_empty(hub, store)


async def test_a_delivery_that_only_the_last_look_can_find(database: str, store: AsyncFlowSignalStore) -> None:
    """The hub has neither notifications nor a look before the timeout is over."""
    run_id, never = uuid4(), uuid4()
    async with AsyncWaitHub(database, listen=False, look_interval=3600) as hub:
        for each in (run_id, never):
            await store.register_waiter(each, "step", "approved")
        task = await start_wait(hub, store, run_id, timeout=0.5)
        longer = await start_wait(hub, store, run_id, timeout=3600)
        other = await start_wait(hub, store, never, timeout=0.5)
        await store.deliver_signal(run_id, "approved", 1)
        assert (await task).payload == 1
        assert await longer == await task
        with pytest.raises(TimeoutError, match="still waits"):
            await other
        await assert_empty(hub, store)


@pytest.mark.parametrize("timeout", [0, -1, timedelta(0)])
async def test_a_timeout_of_0_is_one_look(
    hub: AsyncWaitHub, store: AsyncFlowSignalStore, register: Register, timeout: float | timedelta
) -> None:
    run_id = await register()
    await store.deliver_signal(run_id, "approved", 1)
    assert (await hub.wait(run_id, "step", timeout=timeout)).payload == 1


async def test_a_last_look_at_many_waiters(
    hub: AsyncWaitHub, store: AsyncFlowSignalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flow_signal._hub.GRACE_SECONDS", PATIENCE_SECONDS)  # a busy machine is no lost connection
    run_ids = [uuid4() for _ in range(2 * CHUNK)]
    for _ in range(2):
        ends = await asyncio.gather(
            *(hub.wait(run_id, "step", timeout=0) for run_id in run_ids), return_exceptions=True
        )
        assert {type(end) for end in ends} == {WaiterNotFoundError}
        await store.register_waiters(NewWaiter(run_id, "step", "approved") for run_id in run_ids)
        ends = await asyncio.gather(
            *(hub.wait(run_id, "step", timeout=0) for run_id in run_ids), return_exceptions=True
        )
        assert {type(end) for end in ends} == {TimeoutError}
        for run_id in run_ids:
            await store.remove_waiter(run_id, "step")
    await assert_empty(hub, store)


async def test_no_waiter(hub: AsyncWaitHub) -> None:
    run_id = uuid4()
    with pytest.raises(WaiterNotFoundError) as ended:
        await hub.wait(run_id, "step")
    assert (ended.value.run_id, ended.value.step_key) == (run_id, "step")


async def test_a_waiter_is_removed_meanwhile(database: str, store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    await store.register_waiter(run_id, "step", "approved")
    async with AsyncWaitHub(database, look_interval=0.05) as hub:
        task = await start_wait(hub, store, run_id)
        await store.remove_waiter(run_id, "step")
        with pytest.raises(WaiterNotFoundError):
            await task


@pytest.mark.parametrize("count", [1, 350])
async def test_waiters_without_the_channel_have_their_turn(
    database: str, store: AsyncFlowSignalStore, count: int
) -> None:
    run_ids = [uuid4() for _ in range(count)]
    async with AsyncWaitHub(database, look_interval=0.05) as hub:
        for run_id in run_ids:
            await store.register_waiter(run_id, "step", "approved", wake_channel="another")
        tasks = [asyncio.create_task(hub.wait(run_id, "step")) for run_id in run_ids]
        await has_looked(hub, store)
        for number, run_id in enumerate(run_ids):
            await store.deliver_signal(run_id, "approved", number)
        assert [waiter.payload for waiter in await asyncio.gather(*tasks)] == [*range(count)]


async def test_two_tasks_wait_for_one_waiter(
    hub: AsyncWaitHub, store: AsyncFlowSignalStore, register: Register
) -> None:
    run_id = await register()
    gives_up, stays, also = [await start_wait(hub, store, run_id) for _ in range(3)]
    gives_up.cancel()
    with pytest.raises(TimeoutError):
        await hub.wait(run_id, "step", timeout=0.01)
    await store.deliver_signal(run_id, "approved", 1)
    assert await stays == await also
    assert gives_up.cancelled()
    await assert_empty(hub, store)


async def test_cancellation_leaves_nothing(hub: AsyncWaitHub, store: AsyncFlowSignalStore, register: Register) -> None:
    run_id = await register(expires_at=soon() + timedelta(hours=1))
    looked_at = await start_wait(hub, store, run_id)
    just_begun = asyncio.create_task(hub.wait(run_id, "step"))
    await asyncio.sleep(0)
    for task in (looked_at, just_begun):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not hub._waits
    assert not hub._asked
    await store.deliver_signal(run_id, "approved", 1)
    assert (await hub.wait(run_id, "step")).payload == 1


async def assert_empty(hub: AsyncWaitHub, store: AsyncFlowSignalStore) -> None:
    await has_looked(hub, store)
    assert not any((hub._waits, hub._asked, hub._round))


async def test_a_name_out_of_range_hurts_its_own_wait_alone(
    hub: AsyncWaitHub, store: AsyncFlowSignalStore, register: Register
) -> None:
    good = [await register() for _ in range(5)]
    bad = [" ", "x" * 257, "nul \x00", "\ud800"]
    await store.deliver_signal(good[0], "approved", 1)
    tasks = [asyncio.create_task(hub.wait(run_id, "step")) for run_id in good]
    ends = await asyncio.gather(*(hub.wait(good[0], step) for step in bad), return_exceptions=True)
    out_of_range = psycopg.errors.InvalidParameterValue
    assert [type(end) for end in ends] == [out_of_range, out_of_range, psycopg.DataError, UnicodeEncodeError]
    assert (await tasks[0]).payload == 1
    for run_id in good[1:]:
        await store.deliver_signal(run_id, "approved", 2)
    assert [(await task).payload for task in tasks[1:]] == [2] * 4


async def test_a_run_id_may_be_text(hub: AsyncWaitHub, store: AsyncFlowSignalStore, register: Register) -> None:
    run_id = await register()
    await store.deliver_signal(run_id, "approved", 1)
    assert (await hub.wait(str(run_id).upper(), "step")).run_id == run_id


@pytest.mark.parametrize(
    ("error", "args", "options", "named"),
    [
        (TypeError, (7, "step"), {}, "run_id: expected a UUID or its text, got int"),
        (TypeError, (None, "step"), {}, "run_id: expected a UUID or its text, got None"),
        (ValueError, ("seven", "step"), {}, "run_id 'seven' is not a UUID"),
        (TypeError, (uuid4(), 7), {}, "step_key: expected a str, got int"),
        (TypeError, (uuid4(), "step"), {"timeout": "1"}, "timeout: expected seconds or a timedelta, got str"),
        (ValueError, (uuid4(), "step"), {"timeout": float("nan")}, "timeout is not a number of seconds"),
    ],
)
async def test_arguments_of_the_wrong_type(
    hub: AsyncWaitHub, error: type[Exception], args: tuple[Any, ...], options: dict[str, Any], named: str
) -> None:
    with pytest.raises(error, match=named):
        await hub.wait(*args, **options)
    assert not hub._waits


@pytest.mark.parametrize(
    ("error", "connect", "options", "named"),
    [
        (TypeError, None, {}, "connect: expected a connection string or what returns .* got None"),
        (TypeError, b"", {}, "connect: .* got bytes"),
        (ValueError, "", {"channel": " "}, "not a channel name"),
        (ValueError, "", {"channel": "é" * 32}, "it has 64 bytes; NOTIFY takes 1 to 63"),
        (TypeError, "", {"channel": 7}, "expected a str, got int"),
        (ValueError, "", {"look_interval": 0}, "look_interval is not longer than 0"),
        (ValueError, "", {"answer_within": timedelta(seconds=-1)}, "answer_within is not longer than 0"),
        (TypeError, "", {"look_interval": "1"}, "look_interval: expected seconds or a timedelta, got str"),
    ],
)
def test_options_of_the_wrong_kind(error: type[Exception], connect: Any, options: dict[str, Any], named: str) -> None:
    with pytest.raises(error, match=named):
        AsyncWaitHub(connect, **options)


async def test_a_sync_connection_is_none(database: str) -> None:
    async def connect() -> Any:
        return connection

    refused = pytest.raises(TypeError, match="what connect returns: expected an AsyncConnection, got Connection")
    with psycopg.connect(database) as connection, refused:
        await AsyncWaitHub(connect).__aenter__()


async def test_a_role_without_the_right(database: str, store: AsyncFlowSignalStore) -> None:
    async with AsyncWaitHub(make_conninfo(database, options="-c role=flow_signal_sender")) as hub:
        waits = [hub.wait(uuid4(), "step") for _ in range(3)]
        ends = await asyncio.gather(*waits, return_exceptions=True)
    assert [type(end) for end in ends] == [psycopg.errors.InsufficientPrivilege] * 3
    assert len({id(end) for end in ends}) == 3, "each task raises an exception of its own"


async def test_the_right_of_a_reader_is_enough(database: str, store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    async with AsyncWaitHub(make_conninfo(database, options="-c role=flow_signal_reader")) as hub:
        await store.register_waiter(run_id, "step", "approved", wake_channel=hub.channel)
        await store.deliver_signal(run_id, "approved", 1)
        assert (await hub.wait(run_id, "step")).payload == 1


async def test_a_database_without_flow_signal(database: str) -> None:
    async with AsyncWaitHub(make_conninfo(database, dbname="postgres")) as hub:
        with pytest.raises(psycopg.errors.InvalidSchemaName):
            await hub.wait(uuid4(), "step")


async def test_no_server(database: str) -> None:
    with pytest.raises(psycopg.OperationalError):
        async with AsyncWaitHub(make_conninfo(database, host="/nonexistent")):
            pass


async def test_closing_ends_the_waits(database: str, store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    await store.register_waiter(run_id, "step", "approved")
    hub = AsyncWaitHub(database)
    with pytest.raises(HubClosedError, match="not entered"):
        await hub.wait(run_id, "step")
    assert "not entered" in str(hub.closed)
    async with hub:
        assert str(hub.closed) == "None"
        tasks = [await start_wait(hub, store, run_id, timeout=timeout) for timeout in (None, 3600)]
    assert "was closed" in str(hub.closed)
    for task in tasks:
        with pytest.raises(HubClosedError, match="was closed"):
            await task
    with pytest.raises(HubClosedError, match="was closed"):
        await hub.wait(run_id, "step")
    assert not hub._waits


async def test_each_hub_has_a_channel_of_its_own(database: str) -> None:
    async with AsyncWaitHub(database) as first, AsyncWaitHub(database) as second:
        assert first.channel != second.channel


async def test_a_channel_may_have_any_name(database: str, store: AsyncFlowSignalStore) -> None:
    run_id = uuid4()
    async with AsyncWaitHub(database, channel='Orders "of" größe', look_interval=3600) as hub:
        await store.register_waiter(run_id, "step", "approved", wake_channel=hub.channel)
        task = await start_wait(hub, store, run_id)
        await store.deliver_signal(run_id, "approved", 1)
        assert (await task).payload == 1


async def test_foreign_notifications_are_ignored(
    hub: AsyncWaitHub, store: AsyncFlowSignalStore, register: Register, connection: psycopg.AsyncConnection
) -> None:
    run_id = await register()
    task = await start_wait(hub, store, run_id)
    for payload in ("", "/", "nonsense", f"{run_id}", f"{run_id}/other", f"{run_id}/step"):
        await connection.execute("SELECT pg_notify(%s, %s)", (hub.channel, payload))
    await has_looked(hub, store)
    assert not task.done()
    await store.deliver_signal(run_id, "approved", 1)
    assert (await task).payload == 1
