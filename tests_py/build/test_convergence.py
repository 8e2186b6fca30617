"""The script on databases that an earlier or later release, other settings or other people made."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from flow_signal.embedded import EmbeddedServer
from sql.build import build
from tests_py.build.scripts import catalog, execute, run, set_version, snapshot

HELPER = """\
CREATE OR REPLACE FUNCTION flow_signal.{}
RETURNS integer
LANGUAGE sql
IMMUTABLE
AS $function$
SELECT 1
$function$;
"""
FUNCTIONS = "SELECT p.oid::regprocedure::text FROM pg_proc AS p WHERE p.proname ~ '^(fetch|drop)_it$' ORDER BY 1"


@pytest.fixture(autouse=True)
def _earlier(sources: Path) -> None:
    set_version(sources, "0.0.1")


def write(sources: Path, name: str, text: str) -> Path:
    path = sources / "sql/functions" / name
    path.write_text(text)
    return path


def test_a_helper_that_a_release_no_longer_has_is_dropped(sources: Path, empty_database: str) -> None:
    helper = write(sources, "flow_signal/fetch_it.sql", HELPER.format("fetch_it(p_run_id uuid)"))
    run(build(sources), empty_database)
    assert execute(empty_database, FUNCTIONS) == [("flow_signal.fetch_it(uuid)",)]
    helper.unlink()
    part = "functions/flow_signal/fetch_it.sql"
    assert "flow-signal: function flow_signal.fetch_it(uuid) dropped" in run(build(sources), empty_database)
    assert execute(empty_database, FUNCTIONS) == []
    assert execute(empty_database, f"SELECT part FROM flow_signal.ledger WHERE part = '{part}'") == []
    assert len(run(build(sources), empty_database)) == 1


def test_a_function_of_the_api_is_never_dropped(sources: Path, empty_database: str) -> None:
    text = HELPER.format("fetch_it()").replace("flow_signal.", "flow_signal_v1.")
    function = write(sources, "flow_signal_v1/fetch_it.sql", text)
    run(build(sources), empty_database)
    function.unlink()
    assert len(run(build(sources), empty_database)) == 1
    assert execute(empty_database, FUNCTIONS) == [("flow_signal_v1.fetch_it()",)]


def test_a_helper_with_other_parameters_replaces_the_former_one(sources: Path, empty_database: str) -> None:
    name = "flow_signal/fetch_it.sql"
    write(sources, name, HELPER.format("fetch_it(p_run_id uuid)"))
    run(build(sources), empty_database)
    write(sources, name, HELPER.format("fetch_it(p_run_id uuid, p_step_key text)"))
    assert "flow-signal: function flow_signal.fetch_it(uuid) dropped" in run(build(sources), empty_database)
    assert execute(empty_database, FUNCTIONS) == [("flow_signal.fetch_it(uuid,text)",)]


def test_a_right_that_a_release_no_longer_grants_is_revoked(sources: Path, empty_database: str) -> None:
    paths = [sources / "sql/functions/flow_signal_v1/get_waiter.sql", sources / "sql/views/flow_signal_v1/health.sql"]
    texts = [path.read_text() for path in paths]
    more = ["EXECUTE ON FUNCTION flow_signal_v1.get_waiter(uuid, text)", "SELECT ON flow_signal_v1.health"]
    for path, text, right in zip(paths, texts, more, strict=True):
        path.write_text(f"{text}GRANT {right} TO flow_signal_sender;\n")
    run(build(sources), empty_database)
    rights = """
    SELECT has_function_privilege(r, 'flow_signal_v1.get_waiter(uuid, text)', 'EXECUTE'),
        has_table_privilege(r, 'flow_signal_v1.health', 'SELECT')
    FROM unnest('{flow_signal_sender, flow_signal_reader}'::name[]) AS r
    """
    assert execute(empty_database, rights) == [(True, True), (True, True)]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    run(build(sources), empty_database)
    assert execute(empty_database, rights) == [(False, False), (True, True)]


def test_what_no_release_made_stays(sources: Path, empty_database: str) -> None:
    run(build(sources), empty_database)
    execute(empty_database, "SET ROLE flow_signal_owner; " + HELPER.format("fetch_it()"))
    execute(empty_database, HELPER.format("drop_it()").replace("flow_signal.", "public."))
    run(build(sources), empty_database)
    assert execute(empty_database, FUNCTIONS) == [("drop_it()",), ("flow_signal.fetch_it()",)]


@pytest.mark.parametrize(("installed", "script"), [("0.0.2", "0.0.1"), ("0.0.10", "0.0.9"), ("1.0.0", "0.9.12.dev3")])
def test_an_earlier_script_is_refused(
    server: EmbeddedServer, sources: Path, empty_database: str, installed: str, script: str
) -> None:
    set_version(sources, installed)
    run(build(sources), empty_database)
    before = snapshot(server, empty_database)
    set_version(sources, script)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as error:
        run(build(sources), empty_database)
    assert error.value.diag.message_primary == f"flow-signal {installed} is installed here"
    assert error.value.diag.message_detail == f"this script is that of {script}, an earlier release"
    assert snapshot(server, empty_database) == before


@pytest.mark.parametrize("schema", ["flow_signal", "flow_signal_v1"])
def test_a_schema_of_somebody_else_is_refused(server: EmbeddedServer, empty_database: str, schema: str) -> None:
    execute(empty_database, f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.theirs ()")
    before = snapshot(server, empty_database)
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as error:
        run(build(), empty_database)
    assert error.value.diag.message_primary == f"schema {schema} belongs to postgres"
    assert snapshot(server, empty_database) == before


def test_it_waits_a_limited_time_for_a_lock(server: EmbeddedServer, sources: Path, empty_database: str) -> None:
    run(build(sources), empty_database)
    before = snapshot(server, empty_database)
    set_version(sources, "0.0.2")
    script = build(sources)
    assert "SET LOCAL lock_timeout = '10s';" in script
    with psycopg.connect(empty_database) as other:
        other.execute("LOCK TABLE flow_signal.ledger")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            run(script.replace("lock_timeout = '10s'", "lock_timeout = '10ms'"), empty_database)
    assert snapshot(server, empty_database) == before


def test_a_session_that_holds_the_installation_lock_is_named(server: EmbeddedServer, empty_database: str) -> None:
    execute(empty_database, "DROP ROLE IF EXISTS holder; CREATE ROLE holder LOGIN")
    script = build().replace("lock_timeout = '10s'", "lock_timeout = '10ms'")
    with psycopg.connect(empty_database, user="holder", autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(hashtextextended('flow_signal install', 0))")
        with pytest.raises(psycopg.errors.LockNotAvailable) as refusal:
            run(script, empty_database)
        pid = holder.info.backend_pid
    diagnostics = refusal.value.diag
    assert diagnostics.message_primary == "another session holds the installation lock"
    assert diagnostics.message_detail == f"process {pid} of role holder; nothing was changed"
    hint, statement = (diagnostics.message_hint or "").split(": ")
    assert (hint, statement) == ("run this again when it is done, or end it", f"SELECT pg_terminate_backend({pid})")
    with psycopg.connect(empty_database, user="holder", autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(hashtextextended('flow_signal install', 0))")
        execute(empty_database, statement.replace(str(pid), str(holder.info.backend_pid)))
        run(build(), empty_database)
    execute(empty_database, "DROP ROLE holder")


def test_one_installs_at_a_time(empty_database: str) -> None:
    begun, roles, rest = build().partition("DO $roles$")
    with psycopg.connect(empty_database, autocommit=True) as first, ThreadPoolExecutor() as executor:
        first.execute(begun.encode())
        second = executor.submit(run, build(), empty_database)
        blocked = f"SELECT pid FROM pg_stat_activity WHERE {first.info.backend_pid} = ANY(pg_blocking_pids(pid))"
        while not execute(empty_database, blocked):
            assert not second.done()
        first.execute((roles + rest).encode())
        assert len(second.result()) == 1, "the second finds everything done"


def test_the_settings_of_the_session_change_nothing(server: EmbeddedServer, database: str, empty_database: str) -> None:
    settings = {
        "default_transaction_isolation": "serializable",
        "default_transaction_read_only": "on",
        "search_path": "public",
        "standard_conforming_strings": "off",
        "escape_string_warning": "off",
        "client_min_messages": "error",
        "quote_all_identifiers": "on",
        "transform_null_equals": "on",
        "datestyle": "German",
        "plpgsql.variable_conflict": "use_variable",
    }
    messages = run(build(), empty_database, " ".join(f"-c {name}={value}" for name, value in settings.items()))
    assert len(messages) > 1, "the notices are shown"
    assert catalog(empty_database) == catalog(database)
    assert without_times(snapshot(server, empty_database)) == without_times(snapshot(server, database))


def without_times(dump: str) -> list[str]:
    """The rows of the ledger end with the time when a part was applied."""
    return [line.rpartition("\t")[0] or line for line in dump.splitlines()]


def test_roles_that_come_later_get_their_rights() -> None:
    with EmbeddedServer() as server:
        admin = server.conninfo()
        execute(admin, "CREATE ROLE app LOGIN")
        execute(admin, "CREATE DATABASE app OWNER app")
        app = server.conninfo("app", user="app")
        run(build(), app, "-c standard_conforming_strings=off -c escape_string_warning=off")
        execute(admin, (Path(__file__).parent.parent.parent / "sql/roles.sql").read_text())
        execute(admin, "GRANT flow_signal_owner TO app")
        given = "flow-signal: EXECUTE on routine flow_signal_v1.remove_run(uuid) granted to flow_signal_engine"
        assert given in run(build(), app)
        assert len(run(build(), app)) == 1
        call = "SELECT status FROM flow_signal_v1.deliver_signal(gen_random_uuid(), 'go')"
        execute(admin, "CREATE ROLE sender LOGIN IN ROLE flow_signal_sender")
        assert execute(server.conninfo("app", user="sender"), call) == [("not_found",)]
        assert execute(app, "SELECT DISTINCT proowner::regrole::text FROM pg_proc WHERE proname ~ 'waiter'") == [
            ("app",)
        ]


def test_an_installer_who_may_create_roles_needs_no_superuser() -> None:
    with EmbeddedServer() as server:
        admin = server.conninfo()
        execute(admin, "CREATE ROLE app LOGIN CREATEROLE")
        execute(admin, "CREATE DATABASE app OWNER app")
        app = server.conninfo("app", user="app")
        run(build(), app)
        assert len(run(build(), app)) == 1
        assert execute(app, "SELECT DISTINCT proowner::regrole::text FROM pg_proc WHERE proname ~ 'waiter'") == [
            ("flow_signal_owner",)
        ]
        execute(admin, "CREATE ROLE another LOGIN IN ROLE flow_signal_owner")
        assert len(run(build(), server.conninfo("app", user="another"))) == 1
