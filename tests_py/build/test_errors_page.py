"""docs/errors.md lists what is raised, in the words of the sources, and nothing else."""

from __future__ import annotations

import re

import psycopg
import pytest
from psycopg import errors

import flow_signal
from flow_signal.embedded import EmbeddedServer
from sql.build import ROOT, read

PAGE = read(ROOT / "docs/errors.md")
SECTIONS = dict(re.findall(r"^## (.*)\n((?:(?!## ).*\n)*)", PAGE, re.M))
INDEX = dict(re.findall(r"^\| \[(\w{5})\]\(#\w{5}\) \| .* \| (\w+) \|$", PAGE, re.M))
OTHERS = re.findall(r"^\| (\w{5}) \| (\w+) \|", PAGE, re.M)

RUN = "p_run_id => 'c0ffee00-0000-4000-8000-000000000000'"
REGISTER = f"SELECT flow_signal_v1.register_waiter({RUN}, p_step_key => 's', p_signal_name => 'go')"
GET = f"SELECT flow_signal_v1.get_waiter({RUN}, p_step_key => 's')"
REMOVE = GET.replace("get", "remove")
AWAIT = GET.replace("get", "await")
IMPORT = "SELECT flow_signal_v1.import_floworchestrator(p_schema => 'pg_temp')"


def raised(folder: str) -> set[tuple[str, str, tuple[str, ...]]]:
    """SQLSTATE, MESSAGE and all strings of each RAISE below the folder, %s standing for values."""
    found = set()
    for path in (ROOT / folder).rglob("*.sql"):
        if path.name == "start_over.sql":  # whose error its callers catch
            continue
        for statement in re.findall(r"RAISE EXCEPTION USING(.*?);\n", read(path), re.S):
            joined = re.sub(r"'\s+'", "", re.sub(r"' \|\| .*? \|\| '", "%s", statement)).replace("%I", "%s")
            code, message, *rest = re.findall(r"'([^']*)'", joined)
            found.add((code, message, tuple(rest)))
    return found


def spans(text: str) -> list[str]:
    return [re.sub(r"<.*?>", "%s", span) for span in re.findall(r"`(.+?)`", text)]


def test_each_code_of_a_function_has_its_section() -> None:
    functions = (ROOT / "sql/functions/flow_signal_v1").glob("*.sql")
    headers = re.findall(r"^-- .*raises: (.*)$", "".join(map(read, functions)), re.M)
    assert {code for codes in headers for code in codes.split()} == INDEX.keys()
    assert [name for name in SECTIONS if re.fullmatch(r"\w{5}", name)] == list(INDEX)


def test_functions_raise_what_is_listed_in_these_words() -> None:
    rows = {code: re.findall(r"^\| (`.*)", SECTIONS[code], re.M) for code in INDEX}
    sources = raised("sql/functions")
    assert {(code, spans(row)[0]) for code in INDEX for row in rows[code]} == {
        (code, text) for code, text, _ in sources
    }
    strings = {string for _, message, rest in sources for string in (message, *rest)}
    assert {span for code in INDEX for row in rows[code] for span in spans(row)} <= strings


def test_scripts_raise_what_is_listed_in_these_words() -> None:
    listed = re.findall(r"^\| (\w{5}) \| \w+ \| (`[^`]*`) \|", SECTIONS["The scripts"], re.M)
    sources = raised("sql") - raised("sql/functions")
    assert {(code, *spans(message)) for code, message in listed} == {(code, message) for code, message, _ in sources}


@pytest.mark.parametrize(("code", "name"), [*INDEX.items(), *OTHERS])
def test_python_has_the_class_that_is_named(code: str, name: str) -> None:
    assert errors.lookup(code).__name__ == name
    assert hasattr(flow_signal if code.startswith("WS") else errors, name)


FAILURES = {
    "22P02": ["SELECT flow_signal_v1.remove_run(p_run_id => 'x')"],
    "42P01": [IMPORT],
    "40001": ["BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT", "other session", REMOVE],
    "55P03": ["other session, uncommitted", "SET lock_timeout = '10ms'", REMOVE],
    "57014": ["SET statement_timeout = '10ms'", AWAIT],
    "57P01": ["SELECT pg_terminate_backend(pg_backend_pid())"],
    "42501": ["SET ROLE flow_signal_sender", REGISTER],
    "42883": [GET.replace("p_step_key", "p_step")],
    "25006": ["SET default_transaction_read_only = on", REMOVE],
    "22021": [GET.replace("'s'", r"E'\000'")],
    "22P05": ["SET client_encoding = latin1", REGISTER.replace("'s'", "chr(9731)")],
    "22007": [AWAIT.replace("'s'", "'s', p_max_wait => 'soon'")],
    "22008": [REGISTER.replace("'go'", "'go', p_expires_at => '99999999-01-01'")],
    "22009": [REGISTER.replace("'go'", "'go', p_expires_at => '2030-01-01 00:00+16'")],
    "22015": [AWAIT.replace("'s'", "'s', p_max_wait => '99999999999999999999 s'")],
    "22003": ["SELECT flow_signal_v1.purge(p_settled_before => now(), p_limit => 3000000000::bigint::integer)"],
    "54000": [
        "SELECT flow_signal_v1.deliver_signals(p_run_ids => array_fill(gen_random_uuid(), ARRAY[200000000]), "
        "p_signal_names => NULL, p_payloads_json => NULL)"
    ],
}


@pytest.mark.parametrize("code", FAILURES)
def test_postgresql_raises_it(database: str, code: str) -> None:
    with psycopg.connect(database, autocommit=True) as own, psycopg.connect(database) as other:
        own.execute(REGISTER)
        *preparations, call = FAILURES[code]
        for statement in preparations:
            if not statement.startswith("other session"):
                own.execute(statement.encode())
                continue
            other.execute(REGISTER.replace("'go'", "'stop'"))
            if statement == "other session":
                other.commit()
        with pytest.raises(errors.lookup(code)):
            own.execute(call.encode())


def test_postgresql_raises_it_where_nothing_is_installed(server: EmbeddedServer) -> None:
    with psycopg.connect(server.conninfo()) as connection, pytest.raises(errors.lookup("3F000")):
        connection.execute(GET.encode())


def test_these_are_all_of_postgresqls_own() -> None:
    own = set(re.findall(r"^\| (\w{5}) \|", SECTIONS["PostgreSQL's own"], re.M))
    elsewhere = {"3F000", "40P01"}
    elsewhere |= {"22P03", "08P01", "57P02", "57P03", "53100", "53200"}  # in tests_py/proof, hostile_sql and crashes
    assert own == FAILURES.keys() - INDEX.keys() | elsewhere
