"""Waiters and signals of an earlier release, in every state, get from this one the answers that they would have got."""

from __future__ import annotations

from uuid import UUID, uuid4

import psycopg
import pytest

from sql.build import build
from tests_py.build.scripts import execute, run
from tests_sql.upgrade.releases import MADE_UP, releases

BEFORE = """
SELECT flow_signal_v1.register_waiter('{run}', 'z', 'go');
SELECT flow_signal_v1.register_waiter('{run}', 'y', 'go', now() + interval '1 day');
SELECT flow_signal_v1.register_waiter('{run}', 'x', 'go');
SELECT flow_signal_v1.deliver_signal('{run}', 'go', '[1 ]', 'id');
SELECT flow_signal_v1.register_waiter('{run}', 'overdue', 'late', '2001-01-01');
SELECT flow_signal_v1.register_waiter('{run}', 'settled', 'later', '2001-01-01', NULL, '{run} settled');
SELECT flow_signal_v1.claim_waiters('{run} settled', 1, '1 hour');
SELECT flow_signal_v1.register_waiter('{run}', 'claimed', 'claimed', NULL, NULL, '{run} claimed');
SELECT flow_signal_v1.deliver_signal('{run}', 'claimed', '2');
SELECT flow_signal_v1.claim_waiters('{run} claimed', 1, '1 hour');
SELECT flow_signal_v1.register_waiter('{run}', 'due', 'due', NULL, 'channel', '{run} due');
SELECT flow_signal_v1.deliver_signal('{run}', 'due', '3');
SELECT flow_signal_v1.register_waiter('{run}', 'to be due', 'to be due', NULL, 'channel', '{run} due');
SELECT flow_signal_v1.deliver_signal('{run}', 'early', '4', 'fourth', now() + interval '1 day');
SELECT flow_signal_v1.deliver_signal('{run}', 'early', '5', NULL, now() + interval '1 day');
SELECT flow_signal_v1.deliver_signal('{run}', 'dead', '6', NULL, clock_timestamp() + interval '1 ms'), pg_sleep(0.002);
"""

AFTER = [
    ("status, step_key, replayed FROM deliver_signal('{run}', 'go', '[1 ]', 'id')", ("delivered", "z", True)),
    ("status, step_key FROM deliver_signal('{run}', 'go')", ("delivered", "y")),
    ("state, payload_json::text FROM register_waiter('{run}', 'z', 'go')", ("delivered", "[1 ]")),
    ("status, step_key FROM deliver_signal('{run}', 'go')", ("delivered", "x")),
    ("status, step_key FROM deliver_signal('{run}', 'go')", ("already_delivered", "z")),
    ("state FROM get_waiter('{run}', 'overdue')", ("expired",)),
    ("status, step_key FROM deliver_signal('{run}', 'late')", ("expired", "overdue")),
    ("state FROM register_waiter('{run}', 'overdue', 'late')", ("waiting",)),
    ("status, step_key FROM deliver_signal('{run}', 'later')", ("expired", "settled")),
    ("step_key FROM claim_waiters('{run} settled')", None),
    ("step_key FROM claim_waiters('{run} claimed')", None),
    ("state, payload_json::text FROM get_waiter('{run}', 'claimed')", ("delivered", "2")),
    ("step_key, payload_json::text FROM claim_waiters('{run} due')", ("due", "3")),
    ("status FROM deliver_signal('{run}', 'to be due')", ("delivered",)),
    ("step_key FROM claim_waiters('{run} due')", ("to be due",)),
    ("status, replayed FROM deliver_signal('{run}', 'early', '4', 'fourth')", ("buffered", True)),
    ("payload_json::text FROM register_waiter('{run}', 'first', 'early')", ("4",)),
    ("step_key, replayed FROM deliver_signal('{run}', 'early', '4', 'fourth')", ("first", True)),
    ("payload_json::text FROM register_waiter('{run}', 'second', 'early')", ("5",)),
    ("state FROM register_waiter('{run}', 'third', 'early')", ("waiting",)),
    ("state FROM register_waiter('{run}', 'another', 'dead')", ("waiting",)),
    ("state FROM remove_waiter('{run}', 'claimed')", ("delivered",)),
    ("state FROM remove_waiter('{run}', 'claimed')", None),
    ("remove_run FROM remove_run('{run}')", (11,)),
]


@pytest.fixture(params=[release for release in releases() if release != MADE_UP])
def runs(request: pytest.FixtureRequest, empty_database: str) -> list[UUID]:
    """Two runs that were there when the database was upgraded."""
    runs = [uuid4(), uuid4()]
    run(releases()[request.param], empty_database)
    for run_id in runs:
        for statement in BEFORE.format(run=run_id).split(";\n")[:-1]:
            execute(empty_database, statement)
    run(build(), empty_database)
    return runs


def test_what_was_there_is_answered_for(runs: list[UUID], empty_database: str) -> None:
    for run_id in runs:
        for call, answer in AFTER:
            statement = f"SELECT {call.replace(' FROM ', ' FROM flow_signal_v1.').format(run=run_id)}"
            assert execute(empty_database, statement) == ([answer] if answer else []), call


def test_ids_keep_their_payload(runs: list[UUID], empty_database: str) -> None:
    for signal, delivery_id in (("go", "id"), ("early", "fourth")):
        call = f"SELECT flow_signal_v1.deliver_signal('{runs[0]}', '{signal}', '0', '{delivery_id}')"
        with pytest.raises(psycopg.Error) as refusal:
            execute(empty_database, call)
        assert refusal.value.sqlstate == "WS002"
