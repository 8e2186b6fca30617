"""From the sender's COMMIT to the return in another process that waits: flow-signal, DBOS, absurd, and a bare NOTIFY.

The sender is a process that runs its statement, waits a moment, and commits. Each waiting begins before that; where it
can be seen in the database, it is looked for.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import queue
import random
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager
from multiprocessing.connection import Connection

import absurd_sdk
import dbos
import psycopg
from psycopg.conninfo import make_conninfo

from bench.rivals import contenders
from bench.rivals.figures import ABSURD, BARE_ASYNC, BARE_SYNC, DBOS, OURS_ASYNC, OURS_SYNC, WakeReading, percentile
from bench.rivals.site import ROLE, Database
from bench.wake_latency import Bench, send

ABSURD_POLL_SECONDS = 0.25
Milliseconds = Callable[[], Awaitable[float]]


@contextmanager
def sender(conninfo: str) -> Iterator[Connection]:
    """A sender that does not wait for its flush, which would hide the rest; a bare NOTIFY writes nothing to flush."""
    conninfo = make_conninfo(conninfo, options="-c synchronous_commit=off")
    orders, other_end = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=send, args=(conninfo, other_end), daemon=True)
    process.start()
    yield orders
    orders.send(None)
    process.join()


def await_row(connection: psycopg.Connection[tuple[int]], query: str, value: str) -> None:
    while not connection.execute(query.encode(), [value]).fetchone():
        time.sleep(0.001)


class DbosWait:
    """A workflow that receives a message, in a process where DBOS was launched as its documentation says."""

    def __init__(self, database: Database, stack: ExitStack) -> None:
        self.orders = stack.enter_context(sender(database.conninfo(ROLE)))
        self.connection = stack.enter_context(psycopg.connect(database.conninfo(ROLE), autocommit=True))
        dbos.DBOS(config={"name": "bench", "system_database_url": database.url(), "log_level": "ERROR"})

        def wait() -> float:
            dbos.DBOS.recv("signal")
            return time.perf_counter()

        self.workflow = dbos.DBOS.workflow()(wait)
        dbos.DBOS.launch()
        stack.callback(dbos.DBOS.destroy)

    def once(self) -> float:
        handle = dbos.DBOS.start_workflow(self.workflow)
        # recv records its timeout as the last thing before it waits.
        recorded = "SELECT 1 FROM dbos.operation_outputs WHERE workflow_uuid = %s AND function_name = 'DBOS.sleep'"
        await_row(self.connection, recorded, handle.workflow_id)
        self.orders.send(("SELECT dbos.send_message(%s, 'true', 'signal')", (handle.workflow_id,)))
        ended: float = handle.get_result()
        began: float = self.orders.recv()
        return (ended - began) * 1e3


class AbsurdWait:
    """A task that awaits an event, worked off by a worker with the SDK's settings."""

    def __init__(self, database: Database, stack: ExitStack) -> None:
        self.orders = stack.enter_context(sender(database.conninfo(ROLE)))
        self.connection = stack.enter_context(psycopg.connect(database.conninfo(ROLE), autocommit=True))
        self.connection.execute("SELECT absurd.create_queue('wake')")
        self.client = absurd_sdk.Absurd(self.connection, queue_name="wake")
        self.ended: queue.SimpleQueue[float] = queue.SimpleQueue()
        worker = absurd_sdk.Absurd(database.conninfo(ROLE), queue_name="wake")

        def wait(event: str, context: absurd_sdk.TaskContext) -> None:
            context.await_event(event)
            self.ended.put(time.perf_counter())

        worker.register_task(name="wait")(wait)
        thread = threading.Thread(target=worker.start_worker)
        thread.start()
        stack.callback(worker.close)
        stack.callback(thread.join)
        stack.callback(worker.stop_worker)

    def once(self) -> float:
        event = str(uuid.uuid4())
        self.client.spawn("wait", event, queue="wake")
        await_row(self.connection, "SELECT 1 FROM absurd.w_wake WHERE event_name = %s", event)
        # The worker has just looked. Events come at any moment between two looks.
        time.sleep(random.uniform(0, ABSURD_POLL_SECONDS))
        self.orders.send(("SELECT absurd.emit_event('wake', %s, 'true')", (event,)))
        ended = self.ended.get()
        began: float = self.orders.recv()
        return (ended - began) * 1e3


async def measure(databases: Mapping[str, Database], rounds: int, calls: int) -> list[WakeReading]:
    """absurd, which takes long, is called a third as often."""
    async with AsyncExitStack() as stack:
        blocking = stack.enter_context(ExitStack())
        conninfo = databases[contenders.FLOW_SIGNAL.name].conninfo()
        ours = Bench(conninfo, blocking.enter_context(sender(conninfo)), stack)
        await ours.start()
        with_dbos = DbosWait(databases[contenders.DBOS_SEND.name], blocking)
        with_absurd = AbsurdWait(databases[contenders.ABSURD.name], blocking)

        def timed(wait: Callable[[], Awaitable[None]]) -> Milliseconds:
            async def milliseconds() -> float:
                return await ours.microseconds(wait) / 1000

            return milliseconds

        waits: dict[str, Milliseconds] = {
            BARE_SYNC: timed(ours.sync_bare),
            OURS_SYNC: timed(ours.sync_store),
            BARE_ASYNC: timed(ours.async_bare),
            OURS_ASYNC: timed(ours.async_hub),
            DBOS: lambda: asyncio.to_thread(with_dbos.once),
            ABSURD: lambda: asyncio.to_thread(with_absurd.once),
        }
        readings = []
        for number in range(rounds):
            for name, wait in waits.items():
                if number == 0:
                    await wait()  # to warm up
                taken = [await wait() for _ in range(calls // 3 if name == ABSURD else calls)]
                p5, p50, p95 = (round(percentile(taken, percent), 3) for percent in (5, 50, 95))
                readings.append(WakeReading(name=name, round=number, p5=p5, p50=p50, p95=p95))
        return readings
