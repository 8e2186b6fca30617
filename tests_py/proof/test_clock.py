"""A server whose clock is set back and forward under its hands: docs/operations.md says what follows.

libfaketime, loaded into the server alone, adds to the clock what a file says.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from flow_signal.embedded import EmbeddedServer, find_bin_dir
from tests_py.proof import soak
from tests_py.proof.crashes import Load, install

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))

pytestmark = pytest.mark.skipif(
    not LIBRARIES and os.environ.get("CI") != "true", reason="install the Debian package libfaketime"
)

MINUTE, HOUR = 60, 3600


class Clock:
    """A server, and the seconds by which its clock is wrong."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "offset"
        self.offset = 0.0
        self.set(0)
        real = find_bin_dir()
        libraries = f"export LD_LIBRARY_PATH='{real.parent / 'lib'}'" if any(real.parent.glob("lib/libpq.*")) else ""
        faked = f"LD_PRELOAD='{LIBRARIES[0]}' FAKETIME_TIMESTAMP_FILE='{self.file}' FAKETIME_NO_CACHE=1"
        faked += " FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1"
        bin_dir = folder / "bin"
        bin_dir.mkdir()
        for name, settings in (("initdb", ""), ("postgres", f"export {faked}")):
            program = bin_dir / name
            program.write_text(f"#!/bin/sh\n{libraries}\n{settings}\nexec '{real / name}' \"$@\"\n")
            program.chmod(0o755)
        self.server = EmbeddedServer(bin_dir=bin_dir)

    def set(self, offset: float) -> None:
        """Make the clock that much later than the true one."""
        self.offset = offset
        new = self.file.with_suffix(".new")
        new.write_text(f"{offset:+.6f}\n")
        new.chmod(0o644)
        new.rename(self.file)

    def step(self, seconds: float) -> None:
        self.set(self.offset + seconds)


@pytest.fixture(scope="module")
def clock() -> Iterator[Clock]:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    clock = Clock(folder)
    try:
        with clock.server:
            install(clock.server.conninfo())
            yield clock
    finally:
        shutil.rmtree(folder)


class Client:
    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    def __call__(self, function: str, columns: str, *arguments: object, **named: object) -> Any:
        """The first row, one value alone if it is one column."""
        listed = ["%s"] * len(arguments) + [f"p_{name} => %s" for name in named]
        query = f"SELECT {columns} FROM flow_signal_v1.{function}({', '.join(listed)})".encode()
        row = self.connection.execute(query, [*arguments, *named.values()]).fetchone()
        return row[0] if row and len(row) == 1 else row

    def deliver(self, run: UUID, payload: str, id: str | None = None, signal: str = "go", **named: object) -> str:
        status, step, replayed = self(
            "deliver_signal", "status, step_key, replayed", run, signal, payload, delivery_id=id, **named
        )
        return " ".join(filter(None, [status, step, "replayed" if replayed else ""]))


@contextmanager
def client_of(clock: Clock) -> Iterator[Client]:
    with psycopg.connect(clock.server.conninfo(), autocommit=True, options="-c statement_timeout=30s") as connection:
        yield Client(connection)


@pytest.fixture
def client(clock: Clock) -> Iterator[Client]:
    clock.set(0)
    with client_of(clock) as client:
        yield client
    clock.set(0)


def test_the_clock_is_set(clock: Clock, client: Client) -> None:
    """Else the other tests show nothing."""

    def now() -> float:
        row = client.connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
        assert row
        return float(row[0])

    for offset in (0, HOUR, -HOUR):
        clock.set(offset)
        assert abs(now() - time.time() - offset) < MINUTE


BACK = [1e-6, 1.0, HOUR]


@pytest.mark.parametrize("seconds", BACK)
def test_no_second_delivery_by_id(clock: Clock, client: Client, seconds: float) -> None:
    run = uuid4()
    for step in ("v", "w"):
        client("register_waiter", "state", run, step, "go")
    assert client.deliver(run, "1", "id") == "delivered v"
    for jump in (-seconds, 2 * seconds, -3 * seconds):
        clock.step(jump)
        assert client.deliver(run, "1", "id") == "delivered v replayed"
    assert client("remove_waiter", "state", run, "v") == "delivered"
    clock.step(-HOUR)
    assert client.deliver(run, "1", "id") == "delivered v replayed"
    assert client("get_waiter", "state", run, "w") == "waiting"


@pytest.mark.parametrize("seconds", BACK)
def test_expired_stays_expired(clock: Clock, client: Client, seconds: float) -> None:
    """Once a call has found it so; before, it is a reading of the clock."""
    for settle in ("deliver_signal", "deliver_to_step", "claim_waiters"):
        run = uuid4()
        clock.set(0)
        client.connection.execute(
            "SELECT flow_signal_v1.register_waiter(%s, 'w', 'go', clock_timestamp() + '1 hour', p_queue => %s)",
            [run, str(run)],
        )
        clock.set(HOUR + seconds)
        assert client("get_waiter", "state", run, "w") == "expired"
        clock.set(0)
        assert client("get_waiter", "state", run, "w") == "waiting"
        clock.set(HOUR + seconds)
        if settle == "claim_waiters":
            assert client(settle, "state", str(run), lease="1 hour") == "expired"
        elif settle == "deliver_signal":
            assert client.deliver(run, "1", "id") == "expired w"
        else:
            assert client(settle, "status", run, "w", "1") == "expired"
        for offset in (HOUR - seconds, 0, -HOUR):
            clock.set(offset)
            assert client("get_waiter", "state", run, "w") == "expired"
            assert client.deliver(run, "1", "id") == "expired w"
            assert client("deliver_to_step", "status", run, "w", "1") == "expired"
        assert client("await_waiter", "state", run, "w") == "expired"
        assert client("register_waiter", "state", run, "w", "go") == "waiting"


def test_the_order_of_service_is_that_of_created_at(clock: Clock, client: Client) -> None:
    """So what is registered after a step back comes first."""
    run = uuid4()
    for step, offset in (("noon", 0), ("eleven", -HOUR), ("one", HOUR), ("half past eleven", -HOUR / 2)):
        clock.set(offset)
        client("register_waiter", "state", run, step, "go")
    clock.set(-2 * HOUR)
    served = [client.deliver(run, str(number)).removeprefix("delivered ") for number in range(4)]
    assert served == ["eleven", "half past eleven", "noon", "one"]
    rows = client.connection.execute(
        "SELECT created_at > delivered_at FROM flow_signal_v1.list_waiters(%s)", [run]
    ).fetchall()
    assert rows == [(True,)] * 4  # each is what the clock said then


def test_buffered_signals_keep_their_order(clock: Clock, client: Client) -> None:
    """Whatever the clock says: each goes behind those that are there."""
    run = uuid4()
    sent = []
    for number, step in enumerate((0, -HOUR, 1e-6, -1e-6, 3 * HOUR, -HOUR, 0, 0)):
        clock.step(step)
        assert client.deliver(run, str(number), buffer_until="2999-01-01") == "buffered"
        sent.append(number)
    positions = client.connection.execute(
        "SELECT position FROM flow_signal_v1.list_buffered_signals(%s)", [run]
    ).fetchall()
    assert len(set(positions)) == len(sent)
    clock.step(-2 * HOUR)
    taken = [client("register_waiter", "payload_json", run, f"w {number}", "go") for number in sent]
    assert taken == sent


def test_a_buffered_signal_that_was_found_dead_stays_dead(clock: Clock, client: Client) -> None:
    run = uuid4()
    until = client.connection.execute("SELECT clock_timestamp() + '1 hour'").fetchall()[0][0]
    assert client.deliver(run, "1", "id", buffer_until=until) == "buffered"
    clock.set(2 * HOUR)
    assert client("register_waiter", "state", run, "w", "go") == "waiting"
    clock.set(0)
    assert client("register_waiter", "state", run, "v", "go") == "waiting"
    assert client("list_buffered_signals", "state", run) == "dead"
    assert client.deliver(run, "1", "id") == "delivered v"  # a new signal; by now v was registered first


def test_a_lease_lasts_by_the_clock_of_the_server(clock: Clock, client: Client) -> None:
    run = uuid4()
    queue = str(run)
    client("register_waiter", "state", run, "w", "go", queue=queue)
    assert client.deliver(run, "1") == "delivered w"
    claim, attempt = client("claim_waiters", "claim_id, attempt", queue, lease="10 minutes")
    assert attempt == 1
    clock.set(-HOUR)
    assert client("claim_waiters", "attempt", queue) is None
    assert client("extend_claim", "extend_claim", run, "w", claim, "10 minutes") is True
    clock.set(-HOUR + 11 * MINUTE)
    assert client("claim_waiters", "attempt", queue) == 2
    assert client("remove_waiter", "state", run, "w", claim) is None


def test_a_delivery_after_a_step_back_is_due_when_the_clock_comes_there(clock: Clock, client: Client) -> None:
    """A step forward, a delivery, a step back: the engine gets it an hour later, unless it asks by key."""
    run = uuid4()
    queue = str(run)
    client("register_waiter", "state", run, "w", "go", queue=queue)
    clock.set(HOUR)
    assert client.deliver(run, "1") == "delivered w"
    clock.set(0)
    assert client("claim_waiters", "attempt", queue) is None
    assert client("get_waiter", "payload_json", run, "w") == 1
    clock.set(HOUR)
    assert client("claim_waiters", "attempt", queue) == 1


def test_a_purge_deletes_nothing_that_is_live(clock: Clock, client: Client) -> None:
    run = uuid4()
    for step, until in (("w", None), ("v", "2999-01-01")):
        client("register_waiter", "state", run, step, "go", until)
    clock.set(HOUR)
    for settled_before in ("9999-01-01", "2030-01-01"):
        while client("purge", "purge", settled_before):
            pass
    clock.set(-HOUR)
    assert [client("get_waiter", "state", run, step) for step in ("v", "w")] == ["waiting"] * 2


def test_await_waiter_may_outlast_a_step_back(clock: Clock, client: Client) -> None:
    """pg_sleep goes by the clock of the server; statement_timeout does not."""
    run = uuid4()
    client("register_waiter", "state", run, "w", "go")
    client.connection.execute("SET statement_timeout = '3s'")
    began = time.monotonic()
    with psycopg.connect(clock.server.conninfo(), autocommit=True) as other:
        back = StepBack(clock, other, client.connection.info.backend_pid)
        back.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            client("await_waiter", "state", run, "w", max_wait="1 second")
        back.join()
    assert time.monotonic() - began < MINUTE


class StepBack:
    """Sets the clock back when that session sleeps."""

    def __init__(self, clock: Clock, connection: psycopg.Connection[Any], pid: int) -> None:
        self._thread = threading.Thread(target=self._work, args=[clock, connection, pid])
        self.start = self._thread.start
        self.join = self._thread.join

    @staticmethod
    def _work(clock: Clock, connection: psycopg.Connection[Any], pid: int) -> None:
        query = "SELECT wait_event FROM pg_stat_activity WHERE pid = %s"
        while connection.execute(query, [pid]).fetchone() != ("PgSleep",):
            pass
        clock.step(-HOUR)


def test_under_load(clock: Clock, client: Client) -> None:
    """The clock jumps while senders and engines work: nothing is lost, doubled or stuck, and no call fails."""
    client.connection.execute("CREATE DATABASE load")
    conninfo = clock.server.conninfo("load")
    install(conninfo)
    # A deadlock would last until the clock is again where it was: PostgreSQL looks for one by the clock. The timer's
    # signal would meet libfaketime in malloc, now and then, and the server would abort.
    load = Load(conninfo, timeouts=False, transactions=False).start()
    steps: Sequence[float] = [-1e-6, 1e-6, -0.001, 0.5, -0.5, 10, -10, HOUR, -HOUR]
    for _ in range(soak.scaled(20, 40)):
        load.wait_for(20)
        clock.step(random.choice(steps))
    load.finish()
    clock.set(1000 * HOUR)  # past every lease and deadline
    load.drain()
    faults = load.audit()
    left = load.clean_up()
    print(load.books.acknowledged)
    assert not faults, faults
    assert not left
    assert not load.books.errors
