"""The primary is killed under load, the standby promoted: what survives, for each setting of synchronous_commit.

In every second failover the standby's receiver is stopped a moment before, as by a broken network: the primary then
acknowledges only what its setting lets it. Senders repeat all that they sent; a hub and its waits cross to the standby.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGCONT, SIGSTOP, SIGTERM
from typing import Any, NamedTuple
from uuid import uuid4

import psycopg
import pytest

from flow_signal import AsyncWaitHub, FlowSignalWaiter
from tests_py.proof import soak
from tests_py.proof.crashes import PATIENCE_SECONDS, kill_server
from tests_py.wait.standby import Pair, hosts
from tools.server import temporary_files

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds the sessions of a server in /proc")

SENDERS = 3
WAITS = 5
STEPS = 2000
LAG_MS = 500


class Setting(NamedTuple):
    synchronous_commit: str
    survives: bool
    """Whether all that was acknowledged is on the standby."""
    lag_ms: int = 0
    """How much later the standby applies what it has received."""


SETTINGS = [
    Setting("off", survives=False),
    Setting("local", survives=False),
    Setting("remote_write", survives=True),
    Setting("on", survives=True),
    Setting("on", survives=True, lag_ms=LAG_MS),
    Setting("remote_apply", survives=True),
]
SHORT = [Setting("local", survives=False), Setting("on", survives=True, lag_ms=LAG_MS)]


class Sent(NamedTuple):
    id: str
    step: str


class Senders:
    """Deliver one signal after another, each with an id, until the primary is gone."""

    def __init__(self, conninfo: str, run: Any) -> None:
        self.run = run
        self.acknowledged: list[Sent] = []
        self.unanswered: list[str] = []
        self.threads = [threading.Thread(target=self.send, args=[conninfo], daemon=True) for _ in range(SENDERS)]
        for thread in self.threads:
            thread.start()

    def send(self, conninfo: str) -> None:
        with suppress(psycopg.Error), psycopg.connect(conninfo, autocommit=True) as connection:
            while True:
                id = uuid4().hex
                self.unanswered.append(id)
                status, step, replayed = deliver(connection, self.run, id)
                assert (status, replayed) == ("delivered", False)
                self.acknowledged.append(Sent(id, step))
                self.unanswered.remove(id)

    def wait_for(self, number: int) -> None:
        limit = time.monotonic() + PATIENCE_SECONDS
        while len(self.acknowledged) < number:
            assert time.monotonic() < limit
            time.sleep(0.001)

    def join(self) -> None:
        for thread in self.threads:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()


def deliver(connection: psycopg.Connection[Any], run: Any, id: str) -> Any:
    [row] = connection.execute(
        "SELECT status, step_key, replayed FROM flow_signal_v1.deliver_signal("
        "p_run_id => %s, p_signal_name => 'go', p_payload_json => %s, p_delivery_id => %s)",
        [run, f'"{id}"', id],
    ).fetchall()
    return row


@contextmanager
def pair(setting: Setting) -> Iterator[Pair]:
    """A primary, and a synchronous standby that streams from it."""
    folder = Path(tempfile.mkdtemp(dir=temporary_files().get("TMPDIR", "/tmp")))
    folder.chmod(0o777)
    servers = Pair(folder)
    try:
        servers.start()
        with psycopg.connect(servers.standby.conninfo(), autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM SET recovery_min_apply_delay = {setting.lag_ms}".encode())
            connection.execute("SELECT pg_reload_conf()")
        with psycopg.connect(servers.conninfo, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            connection.execute(f"ALTER SYSTEM SET synchronous_commit = '{setting.synchronous_commit}'".encode())
            connection.execute("SELECT pg_reload_conf()")
            limit = time.monotonic() + PATIENCE_SECONDS
            while connection.execute("SELECT sync_state FROM pg_stat_replication").fetchall() != [("sync",)]:
                assert time.monotonic() < limit
                time.sleep(0.01)
        yield servers
    finally:
        servers.stop()
        shutil.rmtree(folder, ignore_errors=True)


class Waits:
    """A hub in a thread, with waits that begin before the failover and are answered after it."""

    def __init__(self, servers: Pair, run: Any) -> None:
        self.conninfo = hosts(servers.conninfo, servers.standby.conninfo())
        self.run = run
        self.channel: str | None = None
        self.began = threading.Event()
        self.results: list[FlowSignalWaiter] = []
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()
        assert self.began.wait(PATIENCE_SECONDS)

    def work(self) -> None:
        try:
            asyncio.run(self.wait())
        except BaseException as error:
            self.failure = error
        finally:
            self.began.set()

    async def wait(self) -> None:
        async with AsyncWaitHub(self.conninfo, look_interval=3600) as hub:
            async with await psycopg.AsyncConnection.connect(self.conninfo, autocommit=True) as connection:
                for number in range(WAITS):
                    await connection.execute(
                        "SELECT flow_signal_v1.register_waiter(%s, %s, 'wake', p_wake_channel => %s)",
                        [self.run, f"wait {number}", hub.channel],
                    )
            waits = [asyncio.create_task(hub.wait(self.run, f"wait {number}")) for number in range(WAITS)]
            await asyncio.sleep(0)
            self.began.set()
            self.results = list(await asyncio.wait_for(asyncio.gather(*waits), PATIENCE_SECONDS))

    def join(self) -> None:
        self.thread.join(PATIENCE_SECONDS)
        assert not self.thread.is_alive()
        if self.failure:
            raise self.failure
        assert sorted(waiter.payload for waiter in self.results) == list(range(WAITS))


def receiver(standby: str) -> int:
    with psycopg.connect(standby, autocommit=True) as connection:
        row = connection.execute("SELECT pid FROM pg_stat_wal_receiver").fetchone()
        assert row
        return int(row[0])


def fail_over(setting: Setting, *, network_breaks: bool) -> Counter[str]:
    """One failover; return the numbers of it."""
    run, hub_run = uuid4(), uuid4()
    with pair(setting) as servers:
        standby = servers.standby.conninfo()
        with psycopg.connect(servers.conninfo, autocommit=True) as connection:
            connection.execute("SET synchronous_commit = on")
            connection.execute(
                "SELECT count(*) FROM generate_series(1, %s) AS n, "
                "LATERAL flow_signal_v1.register_waiter(%s, lpad(n::text, 9, '0'), 'go') AS w",
                [STEPS, run],
            )
        waits = Waits(servers, hub_run)
        servers.catch_up()
        senders = Senders(servers.conninfo, run)
        senders.wait_for(soak.scaled(20, 5))
        stopped = receiver(standby) if network_breaks else None
        if stopped:
            os.kill(stopped, SIGSTOP)
            time.sleep(0.3)
        behind = is_behind(standby, run, senders.acknowledged[-1]) if setting.lag_ms else None
        kill_server(servers.primary.data_dir, sessions_too=True)
        senders.join()
        servers.primary.stop()
        if stopped:
            os.kill(stopped, SIGTERM)  # before it reads what the primary could still send
            os.kill(stopped, SIGCONT)
        servers.promote()

        with psycopg.connect(standby, autocommit=True, options="-c statement_timeout=30s") as connection:
            connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
            connection.execute("ALTER SYSTEM RESET synchronous_commit")
            connection.execute("SELECT pg_reload_conf()")
            numbers = check_survivors(connection, senders)
            for number in range(WAITS):
                connection.execute("SELECT flow_signal_v1.deliver_signal(%s, 'wake', %s)", [hub_run, str(number)])
        waits.join()
    assert behind in (None, True)
    return numbers


def is_behind(standby: str, run: Any, last: Sent) -> bool:
    """Whether the standby still shows as waiting what was acknowledged last."""
    with psycopg.connect(standby, autocommit=True) as connection:
        query = "SELECT state FROM flow_signal_v1.get_waiter(%s, %s)"
        return connection.execute(query, [run, last.step]).fetchone() == ("waiting",)


def check_survivors(connection: psycopg.Connection[Any], senders: Senders) -> Counter[str]:
    """Repeat every signal under its id; each is at one step, and what has survived is where it was."""
    numbers = Counter(failovers=1, acknowledged=len(senders.acknowledged), unanswered=len(senders.unanswered))
    for sent in senders.acknowledged:
        status, step, replayed = deliver(connection, senders.run, sent.id)
        assert status == "delivered"
        assert not replayed or step == sent.step
        numbers["lost"] += not replayed
    for id in senders.unanswered:
        status, _, replayed = deliver(connection, senders.run, id)
        assert status == "delivered"
        numbers["took effect unanswered"] += replayed
    rows = connection.execute(
        "SELECT payload_json::text, count(*) FROM flow_signal.flow_signal_waiters "
        "WHERE run_id = %s AND status = 'delivered' GROUP BY 1",
        [senders.run],
    ).fetchall()
    ids = {sent.id for sent in senders.acknowledged} | set(senders.unanswered)
    assert {row[0] for row in rows} == {f'"{id}"' for id in ids}
    assert all(row[1] == 1 for row in rows)
    return numbers


@pytest.mark.time_limit(3600)
@pytest.mark.parametrize(
    "setting", SETTINGS if soak.LONG else SHORT, ids=lambda s: f"{s.synchronous_commit}{' lagging' if s.lag_ms else ''}"
)
def test_failovers(setting: Setting) -> None:
    total: Counter[str] = Counter()
    for number in range(soak.scaled(1, 6)):
        total += fail_over(setting, network_breaks=number % 2 == 0)
    print(f"{setting}: {dict(total)}")
    if setting.survives:
        assert total["lost"] == 0
    else:
        assert total["lost"] > 0  # else this shows nothing
