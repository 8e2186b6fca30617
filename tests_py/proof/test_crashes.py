"""Whatever crashes: no acknowledged signal is lost or doubled, no step is stuck, no row of ours stays for ever.

The short form kills the server a few times; FLOW_SIGNAL_PROOF=long kills it 60 times under more than 20,000
acknowledged signals.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from tests_py.proof import soak
from tests_py.proof.crashes import PATIENCE_SECONDS, Load, Server, Signal, own_server
from tests_py.proof.hostile_calls import OWN

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds the sessions of a server in /proc")


def doctored(fault: str) -> Load:
    """A load that nobody has run, and whose books hold one fault."""
    load = Load("")
    books = load.books
    run = books.runs[0]
    told, kept, refused = (Signal(run, "a") for _ in range(3))
    told.answers.append(("delivered", "told", None, False))
    kept.answers.append(("buffered", None, None, False))
    refused.answers.append(("not_found", None, None, False))
    books.signals += [told, kept, refused]
    books.registered |= {(run, "told"), (run, "kept"), (run, "other")}
    books.receive(run, "told", "delivered", told.payload)
    books.receive(run, "kept", "delivered", kept.payload)
    books.receive(run, "other", "expired", None)
    match fault:
        case "lost":
            books.received[run, "told"] = None
        case "lost from the buffer":
            del books.received[run, "kept"]
            books.registered.remove((run, "kept"))
        case "at another step":
            told.answers = [("delivered", "kept", None, False)]
        case "doubled":
            books.received[run, "other"] = told.payload
        case "refused and delivered":
            books.received[run, "other"] = refused.payload
        case "of nobody":
            books.received[run, "other"] = "1"
        case "stuck":
            del books.received[run, "other"]
        case "changed":
            books.receive(run, "told", "delivered", "1")
        case "expired and live again":
            books.receive(run, "other", "delivered", "1")
    return load


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ("none", set()),
        ("lost", {"lost"}),
        ("lost from the buffer", {"lost"}),
        ("at another step", {"lost"}),
        ("doubled", {"doubled"}),
        ("refused and delivered", {"wrong"}),
        ("of nobody", {"wrong"}),
        ("stuck", {"stuck"}),
        ("changed", {"wrong"}),
        ("expired and live again", {"wrong"}),
    ],
)
def test_the_audit_finds_what_is_planted(fault: str, found: set[str]) -> None:
    assert doctored(fault).audit().keys() == found


def kill_a_session(server: Server) -> None:
    """The postmaster then ends all others and recovers, as after a crash."""
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        pids = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchall()
        with suppress(ProcessLookupError):
            os.kill(random.choice(pids)[0], signal.SIGKILL)


def terminate_sessions(server: Server) -> None:
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(
            "SELECT CASE WHEN random() < 0.5 THEN pg_terminate_backend(pid) ELSE pg_cancel_backend(pid) END "
            "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )


@pytest.mark.time_limit(3600)
def test_kills() -> None:
    """The server, its sessions, and connections from both sides; short timeouts all the while."""
    kills = soak.scaled(6, 10)
    with own_server() as server:
        load = Load(server.conninfo).start()
        for number in range(kills):
            for disturb in (load.cut, lambda: terminate_sessions(server)):
                load.wait_for(soak.scaled(15, 7))
                disturb()
            load.wait_for(soak.scaled(20, 10))
            if number % 3 == 0:
                kill_a_session(server)
            else:
                server.kill(sessions_too=number % 3 == 1)
        load.wait_for(20)
        load.finish()
        books = load.books
        replayed = sum(sent.answers[0][3] for sent in books.signals)
        print(f"{kills} kills, {books.acknowledged} acknowledged, {replayed} of them by a repeat, {books.errors}")
        judge(load)


def judge(load: Load) -> None:
    """End the load, and look whether all is as its books say."""
    load.finish()
    load.drain()
    faults = load.audit()
    left = load.clean_up()
    assert not faults, faults
    assert not left
    assert load.books.errors.keys() <= OWN | {"no SQLSTATE", "WS004"}


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 24 MB."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], capture_output=True, check=False
    )
    try:
        if mounted.returncode != 0:
            pytest.skip("may not mount a small file system: only root can, and not in every container")
        yield folder
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", folder], check=True)
        folder.rmdir()


def test_full_disk(small_disk: Path) -> None:
    """The tables and indexes are where there is no room, again and again."""
    tablespace = small_disk / "tablespace"
    tablespace.mkdir()
    with own_server() as server, psycopg.connect(server.conninfo, autocommit=True) as hog:
        owner = server.embedded.data_dir.stat()
        os.chown(small_disk, owner.st_uid, owner.st_gid)
        os.chown(tablespace, owner.st_uid, owner.st_gid)
        hog.execute(f"CREATE TABLESPACE small LOCATION '{tablespace}'".encode())
        hog.execute("ALTER DATABASE postgres SET default_tablespace = 'small'")
        for kind in ("TABLE", "INDEX"):
            hog.execute(f"ALTER {kind} ALL IN TABLESPACE pg_default SET TABLESPACE small".encode())
        load = Load(server.conninfo, timeouts=False).start()
        for _ in range(soak.scaled(2, 5)):
            load.wait_for(50)
            failed = load.books.errors["53100"] + 20
            hog.execute("CREATE TABLE filling (data text) TABLESPACE small")
            hog.execute("ALTER TABLE filling ALTER data SET STORAGE PLAIN")
            for rows in (1000, 100, 10, 1):
                with suppress(psycopg.errors.DiskFull):
                    while True:
                        hog.execute("INSERT INTO filling SELECT repeat('x', 7000) FROM generate_series(1, %s)", [rows])
            until(lambda failed=failed: load.books.errors["53100"] >= failed)  # type: ignore[misc]
            hog.execute("DROP TABLE filling")
        load.wait_for(50)
        judge(load)
    print(load.books.acknowledged, load.books.errors)


def test_out_of_shared_memory() -> None:
    """Another session has all there is of the shared lock table, again and again."""
    settings = {"max_locks_per_transaction": "10", "max_connections": "15"}
    with own_server(settings) as server, psycopg.connect(server.conninfo, autocommit=True) as hog:
        load = Load(server.conninfo, timeouts=False).start()
        for _ in range(soak.scaled(2, 5)):
            load.wait_for(50)
            failed = load.books.errors["53200"] + 20
            with pytest.raises(psycopg.errors.OutOfMemory):
                hog.execute("SELECT pg_advisory_lock(n) FROM generate_series(1, 100000) AS n")
            until(lambda failed=failed: load.books.errors["53200"] >= failed)  # type: ignore[misc]
            hog.execute("SELECT pg_advisory_unlock_all()")
        load.wait_for(50)
        judge(load)
    print(load.books.acknowledged, load.books.errors)


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < limit, "it did not come to that"
        time.sleep(0.005)


def test_asynchronous_commit() -> None:
    """What is lost was acknowledged within three times wal_writer_delay, and is as if it had not been sent."""
    delay = 0.2
    lost = 0
    with own_server({"synchronous_commit": "off", "wal_writer_delay": "200ms"}) as server:
        for _ in range(soak.scaled(2, 5)):
            load = Load(server.conninfo, senders=2, engines=0, timeouts=False)
            with psycopg.connect(server.conninfo, autocommit=True) as connection:
                connection.execute("SET synchronous_commit = on")
                for run in load.books.runs:
                    connection.execute(
                        "SELECT flow_signal_v1.register_waiter(%s, n::text, s) "
                        "FROM generate_series(1, 500) AS n, unnest(%s::text[]) AS s WHERE n %% 3 = ascii(s) %% 3",
                        [run, ["a", "b", "c"]],
                    )
            load.start().wait_for(200)
            killed = time.monotonic()
            server.kill(sessions_too=True)
            load.finish()
            lost += check_asynchronous(server, load, killed - 3 * delay - 0.1)
    print(f"{lost} signals acknowledged with synchronous_commit = off were lost")
    assert lost  # else this has shown nothing


def check_asynchronous(server: Server, load: Load, safe_before: float) -> int:
    """Return how many are lost; repeat them all, and compare."""
    arguments = "p_run_id => %s, p_signal_name => %s, p_payload_json => %s, p_delivery_id => %s, p_buffer_until => %s"
    deliver = (
        f"SELECT status, step_key, delivered_at, replayed FROM flow_signal_v1.deliver_signal({arguments})".encode()
    )
    lost = []
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        for s in load.books.signals:
            if s.verdict not in {"delivered", "buffered"}:
                continue
            [row] = connection.execute(deliver, [s.run, s.name, s.payload, s.id, s.until]).fetchall()
            if row[3]:
                assert row[:3] == s.answers[0][:3]
                continue
            lost.append(s)
            assert row[0] in {"delivered", "buffered"}
        found = connection.execute(
            "SELECT payload_json::text, count(*) FROM flow_signal.flow_signal_waiters "
            "WHERE payload_json IS NOT NULL GROUP BY 1 HAVING count(*) > 1"
        ).fetchall()
    assert found == []
    assert all(s.answered > safe_before for s in lost)
    return len(lost)
