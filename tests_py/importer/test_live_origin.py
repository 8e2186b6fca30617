"""What an import promises while the origin's writers and our own are at work.

Each call sees what was committed at the origin when it began. A repeat brings who is new there, says what was delivered
there to a waiter that is here, and does not see who was removed there. The origin's writers never wait for it.
"""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from uuid import UUID, uuid4

import psycopg
import pytest

from flow_signal.errors import SignalMismatchError
from tests_py.concurrency.stage import BROKEN_RULES
from tests_py.importer.origin import Connection, Key, deliver, import_all, import_page, register, remove, state


@pytest.fixture
def run() -> UUID:
    return uuid4()


def test_what_is_not_committed_there_is_not_imported(database: str, connection: Connection, run: UUID) -> None:
    register(connection, run, "old")
    with psycopg.connect(database) as writer:
        register(writer, run, "new")
        deliver(writer, run, "old", "1")
        assert import_all(connection) == {(run, "old"): "imported"}
        assert state(connection, run, "old") == ("waiting", None)
    assert import_all(connection) == {(run, "old"): "conflict", (run, "new"): "imported"}


def test_writers_there_are_never_kept_waiting(database: str, connection: Connection, run: UUID) -> None:
    register(connection, run, "old")
    with psycopg.connect(database) as importer, psycopg.connect(database, autocommit=True) as writer:
        assert import_all(importer) == {(run, "old"): "imported"}
        writer.execute("SET lock_timeout = '1ms'")
        deliver(writer, run, "old", "1")
        register(writer, run, "new")
        remove(writer, run, "old")


def test_a_delivery_there_after_the_import_is_reported_and_can_be_brought(connection: Connection, run: UUID) -> None:
    register(connection, run, "step")
    assert import_all(connection) == {(run, "step"): "imported"}
    deliver(connection, run, "step", '{"a": 1}')
    [(*_, outcome, detail)] = import_page(connection)
    assert (outcome, detail) == ("conflict", "it is delivered there and not here")
    assert state(connection, run, "step") == ("waiting", None)
    connection.execute("SELECT flow_signal_v1.remove_waiter(%s, 'step')", [run])
    assert import_all(connection) == {(run, "step"): "imported"}
    assert state(connection, run, "step") == ("delivered", '{"a": 1}')


def test_what_is_removed_there_after_the_import_stays_here(connection: Connection, run: UUID) -> None:
    register(connection, run, "step")
    import_all(connection)
    remove(connection, run, "step")
    assert import_all(connection) == {}
    assert state(connection, run, "step") == ("waiting", None)


def test_pages_miss_nobody_who_was_there_before_the_first(connection: Connection) -> None:
    keys = {(uuid4(), step) for _ in range(20) for step in ("a", "B", "c")}
    for run, step in keys:
        register(connection, run, step)
    seen: list[tuple[UUID, str]] = []
    after: Key = (None, None)
    while page := import_page(connection, after, limit=7):
        seen += [(run, step) for run, step, _, _ in page]
        after = seen[-1]
        register(connection, UUID(int=len(seen)), "behind")
        remove(connection, *seen[-1])
    assert keys <= set(seen)
    assert len(seen) == len(set(seen))


def blocked(connection: Connection, pid: int) -> bool:
    row = connection.execute("SELECT cardinality(pg_blocking_pids(%s)) > 0", [pid]).fetchone()
    return bool(row and row[0])


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("line", ["empty", "has a head"])
def test_a_registration_here_at_the_same_time_is_waited_for(
    database: str, connection: Connection, run: UUID, line: str, committed: bool
) -> None:
    register(connection, run, "step")
    if line == "has a head":
        connection.execute("SELECT flow_signal_v1.register_waiter(%s, 'head', 'go')", [run])
    with (
        psycopg.connect(database) as engine,
        psycopg.connect(database, autocommit=True) as importer,
        ThreadPoolExecutor() as executor,
    ):
        engine.execute("SELECT flow_signal_v1.register_waiter(%s, 'step', 'go', p_queue => 'q')", [run])
        imported = executor.submit(import_all, importer)
        while not blocked(connection, importer.info.backend_pid):
            assert not imported.done()
        (engine.commit if committed else engine.rollback)()
        assert imported.result() == {(run, "step"): "present" if committed else "imported"}
    queue = "SELECT queue FROM flow_signal.flow_signal_waiters WHERE step_key = 'step'"
    assert connection.execute(queue).fetchone() == ("q" if committed else None,)


def test_a_delivery_here_waits_for_the_import(database: str, connection: Connection, run: UUID) -> None:
    register(connection, run, "step")
    with (
        psycopg.connect(database) as importer,
        psycopg.connect(database, autocommit=True) as sender,
        ThreadPoolExecutor() as executor,
    ):
        import_all(importer)
        call = "SELECT (flow_signal_v1.deliver_signal(%s, 'go')).status"
        delivered = executor.submit(lambda: sender.execute(call, [run]).fetchone())
        while not blocked(connection, sender.info.backend_pid):
            assert not delivered.done()
        importer.commit()
        assert delivered.result() == ("delivered",)


def test_two_imports_and_clients_at_once_keep_every_rule(database: str, connection: Connection) -> None:
    runs = [UUID(int=n) for n in range(3)]
    steps = [f"step {n}" for n in range(8)]
    for run in runs:
        for step in steps:
            register(connection, run, step, random.choice(["go", "stop"]))
    done = threading.Event()

    def work() -> int:
        calls = 0
        with psycopg.connect(database, autocommit=True) as client:
            while not done.is_set():
                call = random.choice(
                    [
                        "deliver_signal(%(run)s, %(signal)s)",
                        "deliver_signal(%(run)s, %(signal)s, p_buffer_until => now() + interval '1 day')",
                        "remove_waiter(%(run)s, %(step)s)",
                        "remove_waiter(%(run)s, %(step)s)",
                        "register_waiter(%(run)s, %(step)s, %(signal)s)",
                    ]
                )
                with suppress(SignalMismatchError):
                    client.execute(
                        f"SELECT flow_signal_v1.{call}",
                        {
                            "run": random.choice(runs),
                            "step": random.choice(steps),
                            "signal": random.choice(["go", "stop"]),
                        },
                    )
                calls += 1
        return calls

    def repeat_import(limit: int) -> None:
        with psycopg.connect(database, autocommit=True) as importer:
            for _ in range(40):
                assert len(import_all(importer, limit)) == len(runs) * len(steps)

    with ThreadPoolExecutor() as executor:
        clients = [executor.submit(work) for _ in range(4)]
        try:
            for imported in [executor.submit(repeat_import, limit) for limit in (5, 40)]:
                imported.result()
        finally:
            done.set()
        assert all(client.result() for client in clients)
    for run in runs:
        assert connection.execute(BROKEN_RULES, {"run": run}).fetchall() == []
