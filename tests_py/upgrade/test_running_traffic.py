"""An upgrade that replaces every function while calls are running: none fails, none waits."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest

from sql.build import build
from tests_py.build.scripts import catalog, execute, run
from tests_sql.upgrade.releases import DATA, MADE_UP, made_up, releases

CALLS = [
    "register_waiter(%(run)s, 'step', 'go', p_queue => 'q')",
    "register_waiter(%(run)s, 'behind', 'go')",
    "deliver_signal(%(run)s, 'go', '1', 'id')",
    "deliver_signal(%(run)s, 'go', '1', 'id')",
    "deliver_signal(%(run)s, 'later', '2', NULL, now() + interval '1 day')",
    "register_waiter(%(run)s, 'early', 'later')",
    "get_waiter(%(run)s, 'step')",
    "await_waiter(%(run)s, 'step', '1 second')",
    "claim_waiters('q', 10)",
    "remove_waiter(%(run)s, 'step')",
    "version()",
]
"""What every release answers."""

STRONG_LOCKS = """
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


def uncommitted(script: str) -> str:
    assert script.endswith("\nCOMMIT;\n")
    return script.removesuffix("COMMIT;\n")


@pytest.mark.parametrize("release", releases())
def test_the_locks_of_an_upgrade_are_these_and_nobody_waits(empty_database: str, release: str) -> None:
    run(releases()[release], empty_database)
    execute(empty_database, DATA)
    with psycopg.connect(empty_database, autocommit=True) as installer:
        installer.execute(uncommitted(build()).encode())
        locks = set(installer.execute(STRONG_LOCKS).fetchall())
        assert locks - ALLOWED_LOCKS <= EXPECTED_LOCKS
        assert release != MADE_UP or locks >= EXPECTED_LOCKS
        with psycopg.connect(empty_database, autocommit=True, options="-c lock_timeout=1ms") as client:
            for call in CALLS:
                client.execute(f"SELECT flow_signal_v1.{call}", {"run": uuid4()})


def test_no_call_fails_while_every_function_is_replaced_again_and_again(database: str, empty_database: str) -> None:
    upgrades = [made_up(f"0.0.{number}") for number in range(2, 7)]
    run(releases()[MADE_UP], empty_database)
    done = threading.Event()
    finished = [0, 0, 0]

    def call(client: int) -> None:
        with psycopg.connect(empty_database, autocommit=True) as connection:
            while not done.is_set():
                run_id = uuid4()
                for call in CALLS:
                    connection.execute(f"SELECT flow_signal_v1.{call}", {"run": run_id}, prepare=True)
                finished[client] += 1

    with ThreadPoolExecutor() as executor:
        clients = [executor.submit(call, client) for client in range(len(finished))]
        try:
            for script in (*upgrades, build()):
                before = list(finished)
                run(script, empty_database)
                while any(now < then + 2 for now, then in zip(finished, before, strict=True)):
                    for client in clients:
                        assert not client.done(), client.result()
        finally:
            done.set()
        for client in clients:
            client.result()
    assert catalog(empty_database) == catalog(database)
