"""An upgrade under traffic: each call answers by the old release, by the new one, or fails and has changed nothing."""

from __future__ import annotations

import re
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from sql.build import ROOT, build, read
from tests_py.build.scripts import catalog, execute, run
from tests_sql.upgrade.releases import DATA, MADE_UP, made_up, releases

Rows = list[tuple[Any, ...]]
Calls = list[tuple[str, Rows | None]]

V1 = "flow_signal_v1"
LIFE: Calls = [
    (f"SELECT state FROM {V1}.register_waiter(%(run)s, 'step', 'go', p_queue => %(client)s)", [("waiting",)]),
    (
        f"SELECT step_key, state FROM {V1}.register_waiters(ARRAY[%(run)s, %(run)s]::uuid[], '{{a, b}}', '{{of, of}}')",
        [("a", "waiting"), ("b", "waiting")],
    ),
    (f"SELECT state FROM {V1}.register_waiter(%(run)s, 'step', 'go', p_queue => %(client)s)", [("waiting",)]),
    (f"SELECT state FROM {V1}.get_waiter(%(run)s, 'step')", [("waiting",)]),
    (f"SELECT step_key FROM {V1}.list_waiters(%(run)s)", [("a",), ("b",), ("step",)]),
    (
        f"SELECT status, step_key, replayed FROM {V1}.deliver_signal(%(run)s, 'go', '1', 'id')",
        [("delivered", "step", False)],
    ),
    (
        f"SELECT status, step_key, replayed FROM {V1}.deliver_signal(%(run)s, 'go', '1', 'id')",
        [("delivered", "step", True)],
    ),
    (f"SELECT status FROM {V1}.deliver_signal(%(run)s, 'go', '2')", [("already_delivered",)]),
    (f"SELECT status FROM {V1}.deliver_signal(%(run)s, 'no')", [("not_found",)]),
    (f"SELECT state FROM {V1}.await_waiter(%(run)s, 'step', '1 second')", [("delivered",)]),
    (f"SELECT step_key, payload_json::text FROM {V1}.claim_waiters(%(client)s)", [("step", "1")]),
    (
        f"SELECT status, step_key FROM {V1}.deliver_signals(ARRAY[%(run)s, %(run)s]::uuid[], '{{of, of}}', '{{1, 2}}')",
        [("delivered", "a"), ("delivered", "b")],
    ),
    (
        f"SELECT status FROM {V1}.deliver_signal(%(run)s, 'early', NULL, 'id', now() + interval '1 day')",
        [("buffered",)],
    ),
    (f"SELECT signal_name, state FROM {V1}.list_buffered_signals(%(run)s)", [("early", "buffered")]),
    (f"SELECT state FROM {V1}.register_waiter(%(run)s, 'later', 'early')", [("delivered",)]),
    (f"SELECT state FROM {V1}.register_waiter(%(run)s, 'last', 'all of ' || %(client)s)", [("waiting",)]),
    (f"SELECT status, step_key FROM {V1}.broadcast_signal('all of ' || %(client)s)", [("delivered", "last")]),
    (f"SELECT step_key, state FROM {V1}.remove_waiter(%(run)s, 'step')", [("step", "delivered")]),
    (
        f"SELECT outcome FROM {V1}.import_waiters(ARRAY[%(run)s]::uuid[], '{{i}}', '{{go}}', '{{2020-01-01}}',"
        " '{NULL}', '{NULL}', '{NULL}')",
        [("imported",)],
    ),
    (f"SELECT {V1}.remove_run(%(run)s)", [(5,)]),
    (f"SELECT state FROM {V1}.get_waiter(%(run)s, 'a')", []),
    (f"SELECT {V1}.purge('2001-01-01')", None),
    (f"SELECT signal_name FROM {V1}.signal_stats", None),
    (f"SELECT problems FROM {V1}.health", None),
    (f"SELECT {V1}.version()", None),
]
"""The life of a run, every function in it, and what each call answers; None: what others do matters."""

IN_PLPGSQL = """
CREATE FUNCTION register(p_run uuid) RETURNS text LANGUAGE plpgsql AS $$
DECLARE v_waiter flow_signal_v1.waiter;
BEGIN
    v_waiter := flow_signal_v1.register_waiter(p_run, 'step', 'go');
    RETURN v_waiter.state;
END $$;
CREATE FUNCTION deliver(p_run uuid) RETURNS text LANGUAGE plpgsql AS $$
DECLARE v_status text;
BEGIN
    SELECT d.status INTO v_status FROM flow_signal_v1.deliver_signal(p_run, 'go') AS d;
    PERFORM flow_signal_v1.get_waiter(p_run, 'step');
    RETURN v_status;
END $$;
CREATE FUNCTION remove(p_run uuid) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT state FROM flow_signal_v1.remove_waiter(p_run, 'step'));
END $$;
"""
LIFE_IN_PLPGSQL: Calls = [
    ("SELECT register(%(run)s)", [("waiting",)]),
    ("SELECT deliver(%(run)s)", [("delivered",)]),
    ("SELECT remove(%(run)s)", [("delivered",)]),
    ("SELECT remove(%(run)s)", [(None,)]),
]
CLIENTS = 8


def codes_to_repeat() -> set[str]:
    """The codes of which docs/operations.md says: nothing has changed, repeat the call."""
    [sentence] = re.findall(
        r"^\* A call that an upgrade overtakes ends with (.*?):", read(ROOT / "docs/operations.md"), re.M
    )
    return set(re.findall(r"\b\w{5}\b", sentence))


def migrates(release: str) -> bool:
    """Whether the upgrade from there has a migration to apply."""
    return any(
        f"p_part => 'migrations/{path.name}'" not in releases()[release]
        for path in (ROOT / "sql/migrations").glob("*.sql")
    )


@pytest.fixture(params=[release for release in releases() if release != MADE_UP])
def former(request: pytest.FixtureRequest, empty_database: str) -> str:
    """A database of an earlier release with data in it."""
    run(releases()[request.param], empty_database)
    execute(empty_database, DATA)
    return empty_database


def blocked(conninfo: str) -> set[int]:
    query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return {pid for (pid,) in execute(conninfo, query)}


def test_every_call_that_waits_at_the_lock_fails_and_has_changed_nothing(
    former: str, request: pytest.FixtureRequest
) -> None:
    script = build()
    if not migrates(request.node.callspec.params["former"]):
        pytest.skip("no migration since that release")
    calls = [number for number, (call, _) in enumerate(LIFE) if "version()" not in call]
    runs = {number: uuid4() for number in calls}
    with ThreadPoolExecutor(len(calls) + 1) as executor:
        clients = {number: psycopg.connect(former, autocommit=True) for number in calls}
        for number, client in clients.items():
            for call, expected in LIFE[:number]:
                answer(client, call, expected, runs[number], f"client {number}")
        with psycopg.connect(former) as open_transaction:
            open_transaction.execute("SELECT flow_signal_v1.register_waiter(gen_random_uuid(), 's', 'open')")
            installer = executor.submit(run, script, former)
            wait_until(lambda: len(blocked(former)) == 1, installer)
            waiting = {
                number: executor.submit(answer, clients[number], *LIFE[number], runs[number], f"client {number}")
                for number in calls
            }
            wait_until(lambda: len(blocked(former)) + len(answered(waiting)) == 1 + len(calls), installer)
            early = answered(waiting)  # reading a table whose lock the installer does not hold yet
        installer.result()
        assert len(early) <= 1
        for number, waited in waiting.items():
            if number in early or LIFE[number][0].endswith(("signal_stats", "health")):
                waited.result()  # a view that waited is read as it is now
                continue
            error = waited.exception()
            assert isinstance(error, psycopg.Error), (LIFE[number], waited.result())
            assert error.sqlstate in codes_to_repeat(), (LIFE[number], error)
        for number, client in clients.items():
            with client:
                for call, expected in LIFE[number + (number in early) :]:
                    answer(client, call, expected, runs[number], f"client {number}")


def answer(client: psycopg.Connection, call: str, expected: Rows | None, run_id: UUID, name: str) -> None:
    rows = client.execute(call.encode(), {"run": run_id, "client": name}).fetchall()
    assert expected is None or rows == expected, call


def answered(calls: dict[int, Future[None]]) -> set[int]:
    return {number for number, call in calls.items() if call.done()}


def wait_until(condition: Any, running: Future[Any]) -> None:
    while not condition():
        assert not running.done(), running.result()
        time.sleep(0.01)


def under_traffic(conninfo: str, calls: Calls, scripts: list[str]) -> list[psycopg.Error]:
    """Run the scripts while clients call, each on runs of its own; return what failed and did not when repeated."""
    done = threading.Event()
    finished = [0] * CLIENTS
    failed: list[psycopg.Error] = []

    def live(client: int) -> None:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.prepare_threshold = 0 if client % 2 else None
            while not done.is_set():
                run_id = uuid4()
                for call in calls:
                    try:
                        answer(connection, *call, run_id, f"client {client}")
                    except psycopg.Error as error:
                        failed.append(error)
                        answer(connection, *call, run_id, f"client {client}")
                finished[client] += 1

    with ThreadPoolExecutor(CLIENTS) as executor:
        clients = [executor.submit(live, client) for client in range(CLIENTS)]
        try:
            for script in ("", *scripts):
                run(script, conninfo)
                before = list(finished)
                while any(now < then + 2 for now, then in zip(finished, before, strict=True)):
                    for client in clients:
                        assert not client.done(), client.result()
                    time.sleep(0.01)
        finally:
            done.set()
        for client in clients:
            client.result()
    return failed


@pytest.mark.parametrize("calls", [LIFE, LIFE_IN_PLPGSQL], ids=["sql", "plpgsql"])
def test_clients_that_repeat_what_failed_notice_nothing(former: str, calls: Calls, database: str) -> None:
    execute(former, IN_PLPGSQL)
    failed = under_traffic(former, calls, [build()])
    assert {error.sqlstate for error in failed} <= codes_to_repeat(), failed
    assert catalog(former) == catalog(database)


def test_no_call_fails_while_every_function_is_replaced_again_and_again(empty_database: str, database: str) -> None:
    run(releases()[MADE_UP], empty_database)
    upgrades = [made_up(f"0.0.{number}") for number in range(2, 7)]
    assert under_traffic(empty_database, LIFE, [*upgrades, build()]) == []
    assert catalog(empty_database) == catalog(database)


LOCKS = """
SELECT DISTINCT
    CASE l.locktype
        WHEN 'relation' THEN l.relation::regclass::text
        WHEN 'object' THEN 'a row of ' || l.classid::regclass::text
        ELSE l.locktype
    END,
    l.mode
FROM pg_locks AS l
LEFT JOIN pg_class AS c ON c.oid = l.relation
WHERE l.pid = pg_backend_pid()
    AND l.mode NOT IN ('AccessShareLock')
    AND l.locktype NOT IN ('transactionid', 'virtualxid')
    AND coalesce(c.relkind IN ('r', 'v'), true)
"""

EXPECTED_LOCKS = {
    ("advisory", "ExclusiveLock"),  # one installer at a time
    ("flow_signal.ledger", "RowExclusiveLock"),
    ("pg_description", "RowExclusiveLock"),  # COMMENT
    ("a row of pg_proc", "AccessExclusiveLock"),  # the functions that are dropped
    ("flow_signal_v1.health", "AccessExclusiveLock"),  # a view is replaced only if its text changed
    ("flow_signal_v1.signal_stats", "AccessExclusiveLock"),
}

ALLOWED_LOCKS = {
    # COMMENT, REVOKE and GRANT, which calls do not notice
    ("a row of pg_proc", "ShareUpdateExclusiveLock"),
    ("flow_signal_v1.health", "ShareUpdateExclusiveLock"),
    ("flow_signal_v1.signal_stats", "ShareUpdateExclusiveLock"),
}


def test_an_upgrade_without_a_migration_takes_these_locks_and_nobody_waits(empty_database: str) -> None:
    run(releases()[MADE_UP], empty_database)
    execute(empty_database, DATA)
    script = build()
    assert script.endswith("\nCOMMIT;\n")
    with psycopg.connect(empty_database, autocommit=True) as installer:
        installer.execute(script.removesuffix("COMMIT;\n").encode())
        locks = set(installer.execute(LOCKS).fetchall())
        assert locks - ALLOWED_LOCKS == EXPECTED_LOCKS
        with psycopg.connect(empty_database, autocommit=True, options="-c lock_timeout=1ms") as client:
            run_id = uuid4()
            for call, expected in LIFE:
                if not call.endswith(("signal_stats", "health")):
                    answer(client, call, expected, run_id, "client")
