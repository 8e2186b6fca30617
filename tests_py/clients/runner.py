"""The reference runner of clients/conformance.json, over psycopg: python -m tests_py.clients.runner [CONNINFO].

What a runner in any language does, once for each case, with two connections in autocommit mode:

* `<run>` and `<other>` are two fresh run ids; each `<name>` that has a value is replaced by it, anywhere in a step.
* A step with `sql` executes it as it is. A step with `call` selects its columns, as text, from that function, whose
  arguments are passed by name, as parameters of the types that `functions` lists.
* `on` names the connection of a step; without it, that is the first one.
* A step has to end with the SQLSTATE `error`, or to return exactly `rows`; without either, to succeed. Where `rows`
  has a `<name>` without a value, the answer has to have one, and the name has it from then on.
* After the case: ROLLBACK on both connections, and remove_run for both runs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import psycopg

from sql.build import ROOT, read

CONFORMANCE = ROOT / "clients/conformance.json"
SUITE: dict[str, Any] = json.loads(read(CONFORMANCE))
REMOVE = "SELECT flow_signal_v1.remove_run(p_run_id => CAST(%s AS uuid))"


def failures(conninfo: str) -> Iterator[str]:
    """Run the cases, one after another; yield what was wrong in each that failed."""
    # Nothing is prepared, so that each transaction may find another session behind a pooler.
    options: dict[str, Any] = {"autocommit": True, "prepare_threshold": None}
    with psycopg.connect(conninfo, **options) as first, psycopg.connect(conninfo, **options) as second:
        for case in SUITE["cases"]:
            if problem := failure(case["steps"], first, second):
                yield f"{case['name']}\n{problem}"


def failure(steps: list[dict[str, Any]], first: psycopg.Connection[Any], second: psycopg.Connection[Any]) -> str | None:
    [values] = first.execute("SELECT gen_random_uuid()::text, gen_random_uuid()::text").fetchall()
    known = dict(zip(("<run>", "<other>"), values, strict=True))
    try:
        for step in steps:
            text = json.dumps(step)
            for name, value in known.items():
                text = text.replace(name, value)
            if problem := problem_of(json.loads(text), second if "on" in step else first, known):
                return f"{text}\n{problem}"
        return None
    finally:
        for connection in (first, second):
            connection.execute("ROLLBACK")
        for name in ("<run>", "<other>"):
            first.execute(REMOVE, [known[name]])


def problem_of(step: dict[str, Any], connection: psycopg.Connection[Any], known: dict[str, str]) -> str | None:
    arguments = []
    statement = step.get("sql")
    if statement is None:
        types = SUITE["functions"][step["call"]]
        columns = ", ".join(f"CAST({column} AS text)" for column in step.get("columns", ["1"]))
        parameters = ", ".join(f"{name} => CAST(%s AS {types[name]})" for name in step["args"])
        statement = f"SELECT {columns} FROM flow_signal_v1.{step['call']}({parameters})"
        arguments = list(step["args"].values())
    try:
        cursor = connection.execute(statement.encode(), arguments or None)
        rows = [list(row) for row in cursor.fetchall()] if cursor.description else []
    except psycopg.Error as error:
        return None if error.sqlstate == step.get("error") else f"{error.sqlstate} {error}"
    if "error" in step:
        return f"no error, but {rows}"
    expected = step.get("rows", rows)
    if len(expected) != len(rows):
        return f"the answer is {rows}"
    for wanted, got in zip((v for row in expected for v in row), (v for row in rows for v in row), strict=True):
        if wanted and wanted.startswith("<") and wanted.endswith(">") and got is not None:
            known[wanted] = got
        elif wanted != got:
            return f"the answer is {rows}"
    return None


def main() -> None:
    failed = 0
    for problem in failures(" ".join(sys.argv[1:])):
        print("FAILED", problem)
        failed += 1
    print(f"{len(SUITE['cases']) - failed} of {len(SUITE['cases'])} cases passed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
