"""The approval engine: whatever is killed, every order ends exactly once."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from examples.approval_engine.__main__ import SCHEMA, Workers, answer
from examples.approval_engine.workflow import QUEUE, place_order, resume
from flow_signal import FlowSignalStore, SignalDeliveryStatus

ROOT = Path(__file__).parent.parent.parent
PATIENCE_SECONDS = 60
LONG = timedelta(hours=1)
KILL_SECONDS = 10
"""For how long workers are killed."""

EVENTS = {
    "shipped: paid": ["asked for approval", "asked for payment", "shipped"],
    "cancelled: approval refused": ["asked for approval", "cancelled"],
    "cancelled: payment refused": ["asked for approval", "asked for payment", "cancelled"],
    "cancelled: no approval in time": ["asked for approval", "cancelled"],
    "cancelled: no payment in time": ["asked for approval", "asked for payment", "cancelled"],
}


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(SCHEMA.read_bytes())
        yield connection


@dataclass
class Order:
    id: UUID
    states: set[str]
    """How it may end."""


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def rows(connection: psycopg.Connection[Any], query: str, *values: object) -> list[tuple[Any, ...]]:
    return connection.execute(query.encode(), values).fetchall()


def states(connection: psycopg.Connection[Any]) -> dict[UUID, str]:
    return dict(rows(connection, "SELECT id, state FROM approval_engine.orders"))


def all_have_ended(connection: psycopg.Connection[Any]) -> bool:
    return rows(connection, "SELECT count(*) FROM approval_engine.orders WHERE state LIKE 'waits%%'") == [(0,)]


def events(connection: psycopg.Connection[Any]) -> dict[UUID, list[str]]:
    query = """
        SELECT o.id, coalesce(array_agg(e.event ORDER BY e.happened_at), '{}')
        FROM approval_engine.orders AS o LEFT JOIN approval_engine.events AS e ON e.order_id = o.id
        GROUP BY o.id
    """
    return dict(rows(connection, query))


class Customers:
    """Order, and answer as they like: early, late, twice, or not at all."""

    def __init__(self, conninfo: str, seed: float) -> None:
        self._conninfo = conninfo
        self._chance = random.Random(seed)
        self.orders: list[Order] = []

    def order_until(self, end: float) -> None:
        with psycopg.connect(self._conninfo, autocommit=True) as self._connection:
            while time.monotonic() < end:
                self.orders.append(self._order())

    def _order(self) -> Order:
        kind = self._chance.choice([self._paid, self._refused, self._late, self._silent])
        return kind(uuid4())

    def _place(self, order_id: UUID, patience: timedelta) -> None:
        place_order(self._connection, order_id, patience)

    def _send(self, order_id: UUID, step: str, granted: bool) -> None:
        for _ in range(self._chance.choice([1, 1, 2, 3])):
            answer(self._connection, order_id, step, granted)

    def _paid(self, order_id: UUID) -> Order:
        calls: list[Callable[[], None]] = [
            lambda: self._place(order_id, LONG),
            lambda: self._send(order_id, "approval", True),
            lambda: self._send(order_id, "payment", True),
        ]
        self._chance.shuffle(calls)
        for call in calls:
            call()
        return Order(order_id, {"shipped: paid"})

    def _refused(self, order_id: UUID) -> Order:
        self._place(order_id, LONG)
        refused = self._chance.choice(["approval", "payment"])
        self._send(order_id, "payment", refused != "payment")
        self._send(order_id, "approval", refused != "approval")
        return Order(order_id, {f"cancelled: {refused} refused"})

    def _silent(self, order_id: UUID) -> Order:
        self._place(order_id, timedelta(milliseconds=self._chance.randrange(500)))
        return Order(order_id, {"cancelled: no approval in time"})

    def _late(self, order_id: UUID) -> Order:
        """Refuse about at the deadline: what the customer was told must be what happened."""
        patience = timedelta(milliseconds=self._chance.randrange(1, 20))
        self._place(order_id, patience)
        time.sleep(self._chance.random() * 2 * patience.total_seconds())
        status = answer(self._connection, order_id, "approval", False).status
        if status is SignalDeliveryStatus.DELIVERED:
            return Order(order_id, {"cancelled: approval refused"})
        return Order(order_id, {"cancelled: no approval in time"})


def test_workers_are_killed_at_random(database: str, connection: psycopg.Connection[Any]) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    customers = [Customers(database, chance.random()) for _ in range(2)]
    end = time.monotonic() + KILL_SECONDS
    with Workers(database, 4, lease_seconds=0.5) as workers, ThreadPoolExecutor() as threads:
        busy = [threads.submit(customer.order_until, end) for customer in customers]
        while time.monotonic() < end:
            time.sleep(chance.random() * 0.3)
            workers.kill_one(chance)
        for customer in busy:
            customer.result()
        wait_until(lambda: all_have_ended(connection))
        pids = [process.pid for process in workers.processes]

    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    orders = [order for customer in customers for order in customer.orders]
    ended = states(connection)
    done = events(connection)
    print(f"{len(orders)} orders, {workers.killed} workers killed, {Counter(ended.values())}")
    assert set(ended) == {order.id for order in orders}
    assert [(order, ended[order.id]) for order in orders if ended[order.id] not in order.states] == []
    assert [(order, done[order.id]) for order in orders if done[order.id] != EVENTS[ended[order.id]]] == []
    assert rows(connection, "SELECT count(*) FROM flow_signal.flow_signal_waiters") == [(0,)]
    assert len(set(ended.values())) >= 4
    assert workers.killed > 10


@pytest.mark.parametrize("signalled", [True, False])
def test_a_worker_is_killed_before_its_commit(
    database: str, connection: psycopg.Connection[Any], signalled: bool
) -> None:
    order = uuid4()
    place_order(connection, order, LONG if signalled else timedelta())
    if signalled:
        answer(connection, order, "approval", False)
    with psycopg.connect(database) as blocker, Workers(database, 1, lease_seconds=0.2) as workers:
        # The last statement of resume waits for this lock.
        blocker.execute("LOCK approval_engine.events IN SHARE ROW EXCLUSIVE MODE")
        blocked = "SELECT FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
        wait_until(lambda: rows(connection, blocked, blocker.info.backend_pid) != [])
        workers.kill_one(random.Random())
        assert states(connection) == {order: "waits for approval"}
        assert events(connection) == {order: ["asked for approval"]}
        blocker.rollback()
        wait_until(lambda: all_have_ended(connection))
    reason = "approval refused" if signalled else "no approval in time"
    assert states(connection) == {order: f"cancelled: {reason}"}
    assert events(connection) == {order: ["asked for approval", "cancelled"]}
    assert rows(connection, "SELECT count(*) FROM flow_signal.flow_signal_waiters") == [(0,)]


def test_an_order_that_cannot_be_parked_does_not_exist(connection: psycopg.Connection[Any]) -> None:
    order = uuid4()
    connection.execute("DROP TABLE approval_engine.events")
    with pytest.raises(psycopg.errors.UndefinedTable):
        place_order(connection, order, LONG)
    assert states(connection) == {}
    assert rows(connection, "SELECT FROM flow_signal_v1.get_waiter(%s, 'approval')", order) == []


def test_a_worker_whose_lease_ran_out_does_nothing(connection: psycopg.Connection[Any]) -> None:
    order = uuid4()
    place_order(connection, order, timedelta())
    claimed = [FlowSignalStore(connection).claim_waiters(QUEUE, lease=timedelta(microseconds=1)) for _ in range(2)]
    for [waiter] in claimed:
        resume(connection, waiter)
    assert events(connection) == {order: ["asked for approval", "cancelled"]}


def processes_with(text: str) -> list[str]:
    """The command lines that contain the text."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            command = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if text in command:
                found.append(command)
    return found


@pytest.fixture
def temporary_folder() -> Iterator[Path]:
    """A folder that every account may enter, as the server may run under another one."""
    folder = Path(tempfile.mkdtemp(prefix="engine-", dir="/tmp"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def show(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The show in a process of its own, which ends at the latest with the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "examples.approval_engine", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_show(temporary_folder: Path) -> None:
    with show("--orders", "30", "--workers", "2", "--kill-every", "1", TMPDIR=str(temporary_folder)) as process:
        out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0
    assert out.startswith("30 orders, 2 workers, one of them killed every 1 s\n")
    assert re.search(r"^all +30 +30 +0$", out, re.MULTILINE)
    assert processes_with(str(temporary_folder)) == []
    assert list(temporary_folder.iterdir()) == []


def test_the_show_is_killed(database: str, connection: psycopg.Connection[Any]) -> None:
    """Its workers go with it; another one finishes what it began."""
    with show("--dsn", database, "--orders", "1000000", "--workers", "2", "--kill-every", "1000") as process:
        wait_until(lambda: "shipped: paid" in states(connection).values())
        process.kill()
    wait_until(lambda: processes_with(database) == [])
    with show("--dsn", database, "--orders", "10", "--workers", "2", "--kill-every", "1") as process:
        out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, out
    assert len(states(connection)) > 10
