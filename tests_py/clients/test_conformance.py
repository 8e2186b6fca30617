"""clients/conformance.json holds here, and has a case for each function, parameter, verdict and SQLSTATE."""

from __future__ import annotations

import re
from typing import Any

import psycopg
import pytest

from sql.build import ROOT, read
from tests_py.build.test_errors_page import INDEX, OTHERS
from tests_py.clients.runner import SUITE, failures

STEPS: list[dict[str, Any]] = [step for case in SUITE["cases"] for step in case["steps"]]
CALLS = [step for step in STEPS if "call" in step]
HEADERS = {path.stem: read(path).partition("\nCREATE")[0] for path in ROOT.glob("sql/functions/flow_signal_v1/*.sql")}
RAISED = {(name, code) for name, text in HEADERS.items() for code in " ".join(re.findall("raises: (.*)", text)).split()}
BEYOND = {
    "40P01": "needs two calls that wait at the same time",
    "57P01": "ends the session of the runner",
    "57P02": "crashes the server",
    "57P03": "stops the server",
    "53100": "fills the disk",
    "53200": "fills the memory",
    "08P01": "needs a driver that breaks the protocol",
    "22P03": "needs a driver that sends a wrong binary form",
    "3F000": "needs a database without the schema",
    "22P05": "needs an encoding that some drivers refuse",
}
"""Errors of PostgreSQL that no case can cause, and why."""
FUNCTIONS = """
SELECT p.proname, coalesce(p.proargnames[1:p.pronargs], '{}'), ARRAY(
    SELECT replace(format_type(t.type, NULL), 'timestamp with time zone', 'timestamptz')
    FROM unnest(p.proargtypes) WITH ORDINALITY AS t (type, n)
    ORDER BY t.n
)
FROM pg_proc AS p
WHERE p.pronamespace = 'flow_signal_v1'::regnamespace
"""


def functions_of(step: dict[str, Any]) -> list[str]:
    return [step["call"]] if "call" in step else re.findall(r"flow_signal_v1\.(\w+)\(", step["sql"])


def test_all_cases_pass(database: str) -> None:
    assert list(failures(database)) == []


def test_they_leave_nothing(database: str) -> None:
    assert list(failures(database)) == []
    with psycopg.connect(database) as connection:
        left = "SELECT count(*) FROM flow_signal.flow_signal_{}"
        for table in ("waiters", "buffered_signals", "receipts", "locks"):
            assert connection.execute(left.format(table).encode()).fetchone() == (0,), table


def test_the_functions_are_those_of_the_catalog(database: str) -> None:
    with psycopg.connect(database) as connection:
        catalog = {name: dict(zip(names, types, strict=True)) for name, names, types in connection.execute(FUNCTIONS)}
    assert SUITE["functions"] == catalog


def test_each_function_answers_and_each_parameter_is_passed() -> None:
    answered = {(step["call"], name) for step in CALLS if "rows" in step for name in ("", *step["args"])}
    listed = {(function, name) for function, names in SUITE["functions"].items() for name in ("", *names)}
    assert answered == listed


def test_each_function_is_seen_to_raise_what_its_file_says() -> None:
    seen = {(name, step["error"]) for step in STEPS if "error" in step for name in functions_of(step)}
    assert seen >= RAISED


def test_each_sqlstate_of_the_page_has_a_case() -> None:
    listed = INDEX.keys() | {code for code, _ in OTHERS[: [code for code, _ in OTHERS].index("54000") + 1]}
    assert {step["error"] for step in STEPS if "error" in step} == listed - BEYOND.keys()


@pytest.mark.parametrize(
    ("function", "verdicts"),
    {
        "deliver_signal": {"delivered", "already_delivered", "expired", "buffered", "not_found"},
        "deliver_signals": {"delivered", "already_delivered", "expired", "buffered", "not_found"},
        "deliver_to_step": {"delivered", "already_delivered", "expired", "not_found"},
        "redeem_token": {"delivered", "already_delivered", "expired", "not_found"},
        "broadcast_signal": {"delivered"},
        "import_waiters": {"imported", "changed", "present", "conflict", "refused"},
        "get_waiter": {"waiting", "delivered", "expired"},
        "await_waiter": {"waiting", "delivered", "expired"},
        "claim_waiters": {"delivered", "expired"},
        "list_buffered_signals": {"buffered", "dead"},
    }.items(),
)
def test_each_verdict_has_a_case(function: str, verdicts: set[str]) -> None:
    seen = set()
    for step in CALLS:
        for column in ("status", "state", "outcome"):
            if step["call"] == function and column in step.get("columns", []):
                seen |= {row[step["columns"].index(column)] for row in step["rows"]}
    assert seen == verdicts


@pytest.mark.parametrize("function", ["deliver_signal", "deliver_signals", "deliver_to_step", "redeem_token"])
def test_a_replay_has_a_case(function: str) -> None:
    """In some case, the function answers with replayed = true."""
    answers = [(step["columns"], row) for step in CALLS if step["call"] == function for row in step.get("rows", [])]
    assert any(row[columns.index("replayed")] == "true" for columns, row in answers if "replayed" in columns)


def test_the_names_of_the_cases_are_unique() -> None:
    names = [case["name"] for case in SUITE["cases"]]
    assert len(set(names)) == len(names)
