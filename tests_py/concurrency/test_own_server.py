"""What needs a server of its own: prepared transactions, and a hot standby."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from flow_signal.embedded import EmbeddedServer
from flow_signal.migrate import migrate
from tests_py.concurrency.calls import Call, Run, text_answer
from tests_py.concurrency.situations import SituatedRun, answer_alone, short
from tests_py.concurrency.stage import Stage

SETTINGS = {"max_prepared_transactions": "4"}
LATER_MS = 3_600_000

HOLDING = {
    *(("nobody waits", call) for call in ("new", "again", "keep id")),
    *(("w waits", call) for call in ("again", "keep id", "remove")),
    *(("w is expired", call) for call in ("new", "again", "keep id")),
}
"""Where a sender waits for the end of the first call: what it changed was not settled already."""


@pytest.fixture(scope="module")
def primary(server: EmbeddedServer) -> Iterator[EmbeddedServer]:
    """The session's `server` is needed only because it builds the script."""
    with EmbeddedServer(settings=SETTINGS) as primary:
        migrate(primary.conninfo())
        yield primary


@pytest.fixture
def own_stage(primary: EmbeddedServer) -> Iterator[Stage]:
    stage = Stage(primary.conninfo())
    yield stage
    stage.reset()
    stage.close()


@pytest.fixture(scope="module")
def standby(primary: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("standby") / "data"
    libraries = primary.bin_dir.parent / "lib"
    subprocess.run(
        [
            *(primary.bin_dir / "pg_basebackup", f"--dbname={primary.conninfo()}", f"--pgdata={folder}"),
            *("--checkpoint=fast", "--write-recovery-conf", "--no-sync"),
        ],
        env={**os.environ, "LD_LIBRARY_PATH": str(libraries)} if libraries.is_dir() else None,
        check=True,
    )
    assert (folder / "standby.signal").exists()
    if os.geteuid() == 0:
        give_to_owner_of(primary.data_dir, folder)
    feedback = {"hot_standby_feedback": "on", "wal_receiver_status_interval": "1s"}
    with EmbeddedServer(data_dir=folder, settings={**SETTINGS, **feedback, "fsync": "off"}) as server:
        stage = Stage(server.conninfo())
        yield stage
        stage.close()


def give_to_owner_of(model: Path, folder: Path) -> None:
    owner = model.stat()
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def test_a_prepared_transaction_holds_its_locks(own_stage: Stage) -> None:
    """Until it is committed or rolled back, whoever does that: its own session can go on or be gone."""
    b = own_stage.sessions(1)[0]
    expected, seen, flaws = {}, {}, {}
    for situation in ("nobody waits", "w waits", "w is expired"):
        for first in ("new", "again", "keep id", "remove"):
            for end in ("COMMIT PREPARED", "ROLLBACK PREPARED"):
                run = SituatedRun(own_stage, situation, b)
                with own_stage.guest() as a:
                    a.begin()
                    first_answer = short(a(run.first(first)))
                    a.execute(f"PREPARE TRANSACTION '{run.id}'")
                step = b.start(run.second("send"))
                waits = own_stage.waits(step)
                c = own_stage.sessions(2)[1]
                c.execute(f"{end} '{run.id}'")
                answer = short(step.answer())
                committed = end == "COMMIT PREPARED"
                seen[situation, first, end] = (waits, answer)
                holds = (situation, first) in HOLDING
                made = first if holds and committed else None
                expected[situation, first, end] = (holds, answer_alone(own_stage, b, situation, made, "send"))
                if committed:
                    run.count(first, first_answer, "A")
                run.count("send", answer, "B")
                flaws[situation, first, end] = run.flaws()
    assert seen == expected
    assert not any(flaws.values()), flaws


def test_a_prepared_transaction_cannot_notify(own_stage: Stage) -> None:
    """PostgreSQL's own limit: who uses PREPARE TRANSACTION registers without a wake channel. Nothing is changed."""
    run = Run()
    a, b = own_stage.sessions(2)
    b(run.register("w", channel="c"))
    a.begin()
    assert a(run.deliver("A")) == "delivered w"
    prepare = Call("PREPARE TRANSACTION 'p'", {}, str)
    assert a(prepare) == "0A000"
    assert b(run.get("w")) == "waiting"
    assert b(run.deliver("B")) == "delivered w"


def test_a_standby_shows_waiters_and_takes_no_signals(own_stage: Stage, standby: Stage) -> None:
    run = SituatedRun(own_stage, "two wait", own_stage.sessions(1)[0])
    a = own_stage.sessions(1)[0]
    a(run.deliver("A"))
    b = standby.sessions(1)[0]
    standby.await_replay(own_stage.written())

    assert [b(run.get(step)) for step in ("v", "w", "z", "x")] == [
        "waiting for other",
        "delivered A",
        "waiting",
        "none",
    ]
    assert b(run.wait("w")) == "delivered A"
    assert b(run.wait("z", seconds=0)) == "waiting"
    b.begin("REPEATABLE READ")
    assert b(run.get("w")) == "delivered A"
    b.rollback()

    refused = {
        "register": run.register("n"),
        "register again": run.register("z", channel="c"),
        "deliver": run.deliver("B"),
        "deliver to a settled line": run.deliver("B", "other"),
        "deliver to nobody": run.deliver("B", "nobody"),
        "deliver with an id": run.deliver("B", id="id-1"),
        "remove": run.remove("w"),
        "claim": run.claim(),
    }
    assert {name: b(call) for name, call in refused.items()} == dict.fromkeys(refused, "25006")


def test_a_standby_follows(own_stage: Stage, standby: Stage) -> None:
    """A reader that polls the standby sees the delivery; a long poll that began before it, too."""
    run = Run()
    a = own_stage.sessions(1)[0]
    b = standby.sessions(1)[0]
    a(run.register("w"))
    standby.await_replay(own_stage.written())
    step = b.start(run.wait("w", seconds=60))
    a(run.deliver("A"))
    assert step.answer() == "delivered A"


def test_a_standby_lists_and_tells_its_health(own_stage: Stage, standby: Stage) -> None:
    run = Run()
    a = own_stage.sessions(1)[0]
    b = standby.sessions(1)[0]
    a(run.register("w"))
    a(run.deliver("A"))
    a(run.deliver("B", "early", buffer_until=own_stage.ahead(LATER_MS)))
    standby.await_replay(own_stage.written())
    for column, source, answer in (
        ("step_key", "list_waiters(p_run_id => %(run)s)", "w"),
        ("signal_name", "list_buffered_signals(p_run_id => %(run)s)", "early"),
        ("buffered", "signal_stats WHERE signal_name = 'early'", "1"),
        ("notify_queue_usage >= 0", "health", "true"),
    ):
        query = f"SELECT ({column})::text FROM flow_signal_v1.{source}"
        assert b(Call(query, {"run": run.id}, text_answer)) == answer
    assert b(Call("SELECT flow_signal_v1.purge(clock_timestamp())", {}, text_answer)) == "25006"


@pytest.fixture
def watched(primary: EmbeddedServer) -> Iterator[psycopg.Connection[Any]]:
    """A session on the primary, where a snapshot is old after twenty transactions."""
    with psycopg.connect(primary.conninfo(), autocommit=True) as connection:
        connection.execute("UPDATE flow_signal.flow_signal_settings SET max_snapshot_xids = 20")
        yield connection
        connection.execute("UPDATE flow_signal.flow_signal_settings SET max_snapshot_xids = DEFAULT")


def old_snapshots(connection: psycopg.Connection[Any], others_have_one: str) -> list[str]:
    """What health says of snapshots, once a query says so and the snapshot has become old."""
    while not connection.execute(others_have_one.encode()).fetchall():
        time.sleep(0.02)
    for _ in range(30):
        connection.execute("SELECT pg_current_xact_id()")
    [[problems]] = connection.execute("SELECT problems FROM flow_signal_v1.health").fetchall()
    # Steps that other tests have left here may be due, too.
    return [re.sub(r"\d+", "N", problem) for problem in problems if "snapshot" in problem]


OLD_SNAPSHOT = "a snapshot that is N transactions old keeps dead rows from being removed: end "


def test_health_names_a_prepared_transaction(watched: psycopg.Connection[Any], own_stage: Stage) -> None:
    with own_stage.guest() as a:
        a.begin()
        a(Run().register("w"))
        a.execute("PREPARE TRANSACTION 'forgotten'")
    older = "SELECT FROM pg_stat_replication AS r WHERE age(r.backend_xmin) > age(p.transaction)"
    found = old_snapshots(watched, f"SELECT FROM pg_prepared_xacts AS p WHERE NOT EXISTS ({older})")
    watched.execute("ROLLBACK PREPARED 'forgotten'")
    assert found == [OLD_SNAPSHOT + 'prepared transaction "forgotten"']


def test_health_names_a_standby_or_its_slot(watched: psycopg.Connection[Any], standby: Stage) -> None:
    """With hot_standby_feedback a query on the standby keeps dead rows of the primary."""
    b = standby.sessions(1)[0]
    b.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    b.execute("SELECT FROM flow_signal_v1.signal_stats")
    found = old_snapshots(watched, "SELECT FROM pg_stat_replication WHERE backend_xmin IS NOT NULL")
    assert found == [OLD_SNAPSHOT + "the standby of WAL sender N"]
    watched.execute("SELECT pg_create_physical_replication_slot('standby')")
    with standby.guest() as c:
        c.execute("ALTER SYSTEM SET primary_slot_name = 'standby'")
        c.execute("SELECT pg_reload_conf()")
        try:
            found = old_snapshots(watched, "SELECT FROM pg_replication_slots WHERE xmin IS NOT NULL")
        finally:
            b.rollback()
            c.execute("ALTER SYSTEM RESET primary_slot_name")
            c.execute("SELECT pg_reload_conf()")
    while watched.execute("SELECT FROM pg_replication_slots WHERE active").fetchall():
        time.sleep(0.02)
    watched.execute("SELECT pg_drop_replication_slot('standby')")
    assert found == [OLD_SNAPSHOT + 'replication slot "standby"']


@pytest.mark.parametrize("call", ["register", "deliver", "remove", "claim"])
def test_a_read_only_transaction_changes_nothing(own_stage: Stage, call: str) -> None:
    run = Run()
    a = own_stage.sessions(1)[0]
    a(run.register("w"))
    a.execute("BEGIN READ ONLY")
    assert a(run.get("w")) == "waiting"
    calls = {
        "register": run.register("n"),
        "deliver": run.deliver("A"),
        "remove": run.remove("w"),
        "claim": run.claim(),
    }
    assert a(calls[call]) == "25006"
    a.rollback()
    assert own_stage.contents(run) == ["w waiting"]
