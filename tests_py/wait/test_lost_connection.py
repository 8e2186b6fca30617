"""Whatever happens to the hub's connection, no waiter is lost, and the waits do not notice."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flow_signal import AsyncFlowSignalStore, AsyncWaitHub, HubClosedError, migrate
from flow_signal.embedded import EmbeddedServer
from tests_py.wait.conftest import Register, has_looked, kill_hubs, start_wait, until
from tests_py.wait.links import link_to


async def test_a_killed_connection(
    hub: AsyncWaitHub,
    store: AsyncFlowSignalStore,
    register: Register,
    connection: psycopg.AsyncConnection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    missed, later, other = [await register() for _ in range(3)]
    tasks = [await start_wait(hub, store, run_id) for run_id in (missed, later)]
    async with await psycopg.AsyncConnection.connect(connection.info.dsn) as sender:
        await AsyncFlowSignalStore(sender).deliver_signal(missed, "approved", 1)
        await kill_hubs(connection)
        await sender.commit()
    assert (await tasks[0]).payload == 1
    await store.deliver_signal(later, "approved", 2)
    assert (await tasks[1]).payload == 2
    await store.deliver_signal(other, "approved", 3)
    assert (await hub.wait(other, "step")).payload == 3
    assert "lost its connection" in caplog.text


async def test_a_delivery_while_the_hub_is_away(
    database: str, store: AsyncFlowSignalStore, connection: psycopg.AsyncConnection
) -> None:
    """The hub is let in again after the delivery only: LISTEN would have come too late."""
    let_in = asyncio.Event()
    let_in.set()
    tried = asyncio.Event()

    async def connect() -> psycopg.AsyncConnection[Any]:
        tried.set()
        await let_in.wait()
        return await psycopg.AsyncConnection.connect(database, application_name="flow-signal hub")

    async with AsyncWaitHub(connect, look_interval=3600) as hub:
        run_id = uuid4()
        await store.register_waiter(run_id, "step", "approved", wake_channel=hub.channel)
        task = await start_wait(hub, store, run_id)
        let_in.clear()
        tried.clear()
        await kill_hubs(connection)
        await tried.wait()
        await store.deliver_signal(run_id, "approved", 1)
        assert not task.done()
        let_in.set()
        assert (await task).payload == 1


async def test_a_wait_that_begins_while_the_hub_is_away(
    hub: AsyncWaitHub, store: AsyncFlowSignalStore, register: Register, connection: psycopg.AsyncConnection
) -> None:
    run_id = await register()
    await kill_hubs(connection)
    task = asyncio.create_task(hub.wait(run_id, "step"))
    await store.deliver_signal(run_id, "approved", 1)
    assert (await task).payload == 1


@pytest.fixture
def restartable_server() -> Iterator[EmbeddedServer]:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o777)
    server = EmbeddedServer(data_dir=folder / "data")
    server.start()
    migrate.migrate(server.conninfo())
    yield server
    server.stop()
    shutil.rmtree(folder)


async def test_the_server_restarts(restartable_server: EmbeddedServer) -> None:
    server = restartable_server

    async def connect() -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(server.conninfo())

    async with AsyncWaitHub(connect, look_interval=3600) as hub:
        run_ids = [uuid4(), uuid4()]
        async with await connect() as connection:
            store = AsyncFlowSignalStore(connection)
            await connection.set_autocommit(True)
            for run_id in run_ids:
                await store.register_waiter(run_id, "step", "approved", wake_channel=hub.channel)
            tasks = [await start_wait(hub, store, run_id) for run_id in run_ids]
            await store.register_waiter(missed := uuid4(), "step", "approved")
            await store.deliver_signal(missed, "approved", 0)
        for number, run_id in enumerate(run_ids):
            server.stop()
            begun = asyncio.create_task(hub.wait(missed, "step"))
            await until(lambda: is_away(hub))
            server.start()
            async with await connect() as connection:
                await AsyncFlowSignalStore(connection).deliver_signal(run_id, "approved", number)
            assert (await tasks[number]).payload == number
            assert (await begun).payload == 0


async def is_away(hub: AsyncWaitHub) -> bool:
    return hub._failures > 0


class Network:
    """Forwards to the server; when it is cut nothing arrives over the connections of then, and nobody is told."""

    def __init__(self) -> None:
        self.connections = 0
        self.cut_before = 0
        self.swallowed = asyncio.Event()

    def cut(self) -> None:
        self.cut_before = self.connections

    @asynccontextmanager
    async def to(self, database: str) -> AsyncIterator[str]:
        parameters = conninfo_to_dict(database)
        path = f"{parameters['host']}/.s.PGSQL.{parameters['port']}"
        writers: list[asyncio.StreamWriter] = []
        pumps: list[asyncio.Task[None]] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            number = self.connections
            self.connections += 1
            server_reader, server_writer = await asyncio.open_unix_connection(path)
            writers.extend((writer, server_writer))
            pumps.append(asyncio.create_task(self.pump(reader, server_writer, number)))
            pumps.append(asyncio.create_task(self.pump(server_reader, writer, number)))

        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            async with await asyncio.start_unix_server(serve, f"{folder}/.s.PGSQL.{parameters['port']}"):
                yield make_conninfo(database, host=folder)
            await asyncio.gather(*pumps)
            await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                if number < self.cut_before:
                    self.swallowed.set()
                else:
                    writer.write(data)
        writer.close()


@pytest.mark.parametrize("listen", [True, False])
async def test_a_network_that_is_cut_without_a_word(database: str, store: AsyncFlowSignalStore, listen: bool) -> None:
    network = Network()
    run_id = uuid4()
    async with (
        network.to(database) as conninfo,
        AsyncWaitHub(conninfo, listen=listen, look_interval=0.1, answer_within=0.5) as hub,
    ):
        await store.register_waiter(run_id, "step", "approved", wake_channel=hub.channel)
        task = await start_wait(hub, store, run_id)
        network.cut()
        await store.deliver_signal(run_id, "approved", 1)
        await network.swallowed.wait()
        assert (await task).payload == 1
        assert network.connections == 2


async def test_pauses_between_attempts_double(
    database: str,
    store: AsyncFlowSignalStore,
    connection: psycopg.AsyncConnection,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    attempts = 0
    pauses: list[float] = []

    async def connect() -> psycopg.AsyncConnection[Any]:
        nonlocal attempts
        attempts += 1
        if attempts in range(2, 13):
            raise psycopg.OperationalError("no route")
        return await psycopg.AsyncConnection.connect(database, application_name="flow-signal hub")

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async with AsyncWaitHub(connect, look_interval=3600) as hub:
        run_id = uuid4()
        await store.register_waiter(run_id, "step", "approved", wake_channel=hub.channel)
        task = await start_wait(hub, store, run_id)
        monkeypatch.setattr("flow_signal._hub.random.uniform", lambda least, most: most)
        with monkeypatch.context() as patch:
            patch.setattr("flow_signal._hub.asyncio.sleep", pause)
            await kill_hubs(connection)
            await has_looked(hub, store)
            assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 10, 10]
            await kill_hubs(connection)
            await has_looked(hub, store)
            assert pauses[12:] == [0.05]
        await store.deliver_signal(run_id, "approved", 1)
        assert (await task).payload == 1
    assert caplog.text.count("cannot connect: no route") == 11


@pytest.mark.parametrize("failure", [OSError("no secret"), KeyError("password"), "nonsense"])
async def test_an_error_of_the_callers_own_is_no_end(
    database: str,
    store: AsyncFlowSignalStore,
    connection: psycopg.AsyncConnection,
    failure: Exception | str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`connect` raises or returns something else for a while, a secret store being away for example."""
    attempts = 0

    async def connect() -> psycopg.AsyncConnection[Any]:
        nonlocal attempts
        attempts += 1
        if attempts in (2, 3):
            if isinstance(failure, Exception):
                raise failure
            return failure  # type: ignore[return-value]
        return await psycopg.AsyncConnection.connect(database, application_name="flow-signal hub")

    async with AsyncWaitHub(connect, look_interval=3600) as hub:
        run_id = uuid4()
        await store.register_waiter(run_id, "step", "approved", wake_channel=hub.channel)
        tasks = [await start_wait(hub, store, run_id) for _ in range(2)]
        await kill_hubs(connection)
        await has_looked(hub, store)
        await store.deliver_signal(run_id, "approved", {"secret": 1})
        assert [(await task).payload for task in tasks] == [{"secret": 1}] * 2
        assert hub.closed is None
    assert attempts == 4
    failed = [record for record in caplog.records if "cannot connect" in record.message]
    assert [(record.name, record.levelname) for record in failed] == [("flow_signal", "WARNING")] * 2
    assert 'secret": 1' not in caplog.text


async def test_an_error_that_nobody_expects_is_no_end(
    hub: AsyncWaitHub, store: AsyncFlowSignalStore, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = await register()
    task = await start_wait(hub, store, run_id)
    with monkeypatch.context() as patch:
        failed = asyncio.Event()

        async def look(*_: object) -> None:
            failed.set()
            raise LookupError("a defect")

        patch.setattr(hub, "_look", look)
        await store.deliver_signal(run_id, "approved", 1)
        await failed.wait()
    assert (await task).payload == 1
    assert hub.closed is None


async def test_a_hub_that_is_away_for_hours(
    hub: AsyncWaitHub,
    store: AsyncFlowSignalStore,
    register: Register,
    connection: psycopg.AsyncConnection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its pauses double no more, though its failures go on."""
    run_id = await register()
    task = await start_wait(hub, store, run_id)
    open_ = hub._open
    has_failed = False

    async def open_late() -> psycopg.AsyncConnection[Any]:
        nonlocal has_failed
        if has_failed:
            return await open_()
        has_failed = True
        hub._failures = 5000
        raise psycopg.OperationalError("no route")

    monkeypatch.setattr(hub, "_open", open_late)
    monkeypatch.setattr("flow_signal._hub.LONGEST_BACKOFF_SECONDS", 0.1)
    await kill_hubs(connection)
    await store.deliver_signal(run_id, "approved", 1)
    assert (await task).payload == 1


async def test_the_end_of_the_hub_is_told(
    hub: AsyncWaitHub, store: AsyncFlowSignalStore, register: Register, caplog: pytest.LogCaptureFixture
) -> None:
    """For example of one whose event loop cancels all tasks."""
    run_id = await register()
    tasks = [await start_wait(hub, store, run_id, timeout=timeout) for timeout in (None, 3600)]
    hub._task.cancel()
    for task in tasks:
        with pytest.raises(HubClosedError, match="CancelledError") as ended:
            await task
        assert isinstance(ended.value.__cause__, asyncio.CancelledError)
    assert isinstance(hub.closed, HubClosedError)
    with pytest.raises(HubClosedError, match="CancelledError"):
        await hub.wait(run_id, "step")
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "2 waits" in caplog.text


async def test_a_timeout_while_the_hub_is_away(
    database: str, store: AsyncFlowSignalStore, connection: psycopg.AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the waiter still waits is not known then, and the wait does not say so."""
    monkeypatch.setattr("flow_signal._hub.GRACE_SECONDS", 0.1)
    first = True

    async def connect() -> psycopg.AsyncConnection[Any]:
        nonlocal first
        if first:
            first = False
            return await psycopg.AsyncConnection.connect(database, application_name="flow-signal hub")
        raise psycopg.OperationalError("no route")

    async with AsyncWaitHub(connect) as hub:
        run_id = uuid4()
        await store.register_waiter(run_id, "step", "approved")
        task = await start_wait(hub, store, run_id, timeout=0.5)
        await kill_hubs(connection)
        with pytest.raises(TimeoutError, match="is not known: the database did not answer"):
            await task
        assert not hub._waits
        assert not hub._leaving


async def test_closing_over_a_link_that_was_cut(database: str, store: AsyncFlowSignalStore) -> None:
    """The hub is looking, in vain; psycopg would cancel the query, by another connection."""
    with link_to(database) as link:
        async with AsyncWaitHub(link.conninfo, look_interval=0.01, answer_within=3600) as hub:
            run_id = uuid4()
            await store.register_waiter(run_id, "step", "approved")
            task = await start_wait(hub, store, run_id)
            link.cut(for_good=True)
            await asyncio.to_thread(link.swallowed.wait)
            accepted = link.connections
        with pytest.raises(HubClosedError, match="was closed"):
            await task
        assert link.connections == accepted


async def test_closing_while_the_hub_is_away(
    database: str, store: AsyncFlowSignalStore, connection: psycopg.AsyncConnection
) -> None:
    tried = asyncio.Event()
    first = True

    async def connect() -> psycopg.AsyncConnection[Any]:
        nonlocal first
        if first:
            first = False
            return await psycopg.AsyncConnection.connect(database, application_name="flow-signal hub")
        tried.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with AsyncWaitHub(connect) as hub:
        run_id = uuid4()
        await store.register_waiter(run_id, "step", "approved")
        task = await start_wait(hub, store, run_id)
        await kill_hubs(connection)
        await tried.wait()
    with pytest.raises(HubClosedError, match="was closed"):
        await task
