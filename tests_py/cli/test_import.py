"""import-floworchestrator: what it shows and how it ends; tests_py/importer has what is taken over."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests_py.cli.commands import Command, Outcome
from tests_py.cli.test_output import on_terminal
from tests_py.importer.origin import TABLE

RUN = str(UUID(int=1))
ORIGIN = [
    ("done", "go", "2020-02-01", '{"a": 1}'),
    ("waits", "go", None, None),
]
ODD = [("text", "go", "2020-02-01", "yes"), (" ", "go", None, None)]
IMPORT = ("import-floworchestrator", "--from-schema", "public")


@pytest.fixture
def origin(connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    connection.execute(TABLE)
    add(connection, ORIGIN)
    return connection


def add(connection: psycopg.Connection[Any], waiters: list[tuple[str, str, str | None, str | None]]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO flow_signal_waiters VALUES (%s, %s, %s, '2020-01-01', NULL, %s, %s)",
            [(RUN, *waiter) for waiter in waiters],
        )


def counts(*numbers: int) -> str:
    names = ("imported", "changed", "present", "conflict", "refused")
    return "".join(f"{name:14}{number}\n" for name, number in zip(names, numbers, strict=True))


def test_all_are_taken_over(cli: Command, origin: psycopg.Connection[Any]) -> None:
    assert cli(*IMPORT) == Outcome(0, "all waiters are here\n" + counts(2, 0, 0, 0, 0), "")
    assert "delivered" in cli("get", RUN, "done").out
    assert cli(*IMPORT) == Outcome(0, "all waiters are here\n" + counts(0, 0, 2, 0, 0), "")


def test_those_that_are_not_are_shown(cli: Command, origin: psycopg.Connection[Any]) -> None:
    add(origin, ODD)
    outcome = cli(*IMPORT)
    assert outcome.code == 11
    assert outcome.err == ""
    assert outcome.out == (
        "run_id                                step_key  outcome  detail\n"
        f'{RUN}            refused  step key " " is blank\n'
        f"{RUN}  text      changed  the payload is no JSON: it is now a JSON string\n"
        "some waiters could not be taken over\n"
    ) + counts(2, 1, 0, 0, 1)


def test_a_dry_run_changes_nothing(cli: Command, origin: psycopg.Connection[Any]) -> None:
    outcome = cli(*IMPORT, "--dry-run")
    assert outcome == Outcome(0, "a dry run: nothing was changed\n" + counts(2, 0, 0, 0, 0), "")
    assert origin.execute("SELECT count(*) FROM flow_signal.flow_signal_waiters").fetchone() == (0,)


def test_json(cli: Command, origin: psycopg.Connection[Any]) -> None:
    add(origin, ODD)
    outcome = cli(*IMPORT, "--json")
    assert outcome.code == 11
    assert [json.loads(line) for line in outcome.out.splitlines()] == [
        {"run_id": RUN, "step_key": " ", "outcome": "refused", "detail": 'step key " " is blank'},
        {
            "run_id": RUN,
            "step_key": "text",
            "outcome": "changed",
            "detail": "the payload is no JSON: it is now a JSON string",
        },
    ]
    assert json.loads(outcome.err) == {"imported": 2, "changed": 1, "present": 0, "conflict": 0, "refused": 1}


def test_many_pages(cli: Command, origin: psycopg.Connection[Any]) -> None:
    origin.execute(
        "INSERT INTO flow_signal_waiters SELECT gen_random_uuid(), 'step', 'go' FROM generate_series(1, 2500)"
    )
    assert cli(*IMPORT) == Outcome(0, "all waiters are here\n" + counts(2502, 0, 0, 0, 0), "")


def test_each_page_stays_when_a_later_one_fails(cli: Command, origin: psycopg.Connection[Any]) -> None:
    origin.execute(
        "INSERT INTO flow_signal_waiters SELECT gen_random_uuid(), 'step', 'go' FROM generate_series(1, 2500)"
    )
    origin.execute("ALTER TABLE flow_signal_waiters ALTER COLUMN created_at TYPE text")
    origin.execute(
        "UPDATE flow_signal_waiters SET created_at = 'x' WHERE run_id = (SELECT run_id FROM flow_signal_waiters"
        " ORDER BY run_id DESC LIMIT 1)"
    )
    origin.execute("ALTER TABLE flow_signal_waiters RENAME TO origin")
    origin.execute(
        "CREATE VIEW flow_signal_waiters AS SELECT run_id, step_key, signal_name,"
        " created_at::timestamptz AS created_at, expires_at, delivered_at, payload_json FROM origin"
    )
    outcome = cli(*IMPORT, "--json")
    problem = json.loads(outcome.err)
    assert problem["sqlstate"] == "22007"
    done = int(problem["detail"].split(": ")[-1].split()[0].replace(",", ""))
    assert origin.execute("SELECT count(*) FROM flow_signal.flow_signal_waiters").fetchone() == (done,)
    assert problem["detail"] == f"a repeat goes on: {done:,} waiters are done"


def test_a_bar_on_a_terminal(database: str, origin: psycopg.Connection[Any]) -> None:
    shown = on_terminal(*IMPORT, "--dsn", database)
    assert "waiters" in shown
    assert "all waiters are here" in shown


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        pytest.param([], 2, "Missing option '--from-schema'", id="no schema"),
        pytest.param(
            ["--from-schema", "nowhere"], 1, 'relation "nowhere.flow_signal_waiters" does not exist', id="no table"
        ),
    ],
)
def test_refused(cli: Command, arguments: list[str], code: int, error: str) -> None:
    outcome = cli("import-floworchestrator", *arguments)
    assert outcome.code == code
    assert error in outcome.err
