"""sql/uninstall.sql says what it drops, keeps what others use, and spares those who wait."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from flow_signal.embedded import EmbeddedServer
from sql.build import build
from tests_py.build.scripts import UNINSTALL, execute, new_database, run

ROLES = ["admin", "engine", "redeemer", "reader", "broadcaster", "sender", "owner"]
DROP_LIVE = "-c flow_signal.drop_live_waiters=on"


@pytest.fixture(scope="module")
def own_server() -> Iterator[EmbeddedServer]:
    """A server whose roles no other test needs."""
    with EmbeddedServer() as server:
        yield server


@pytest.fixture(autouse=True)
def _no_roles_left(own_server: EmbeddedServer) -> Iterator[None]:
    yield
    roles = ", ".join(f"flow_signal_{role}" for role in ROLES)
    execute(own_server.conninfo(), f"DROP ROLE IF EXISTS {roles}")


@pytest.fixture
def installed(own_server: EmbeddedServer) -> Iterator[str]:
    with new_database(own_server) as conninfo:
        run(build(), conninfo)
        yield conninfo


def left_of(conninfo: str) -> list[str]:
    """The schemas and roles that are left."""
    return [
        str(name)
        for (name,) in execute(
            conninfo,
            """
            SELECT nspname FROM pg_namespace WHERE nspname ~ '^flow_signal'
            UNION ALL SELECT rolname FROM pg_roles WHERE rolname ~ '^flow_signal' ORDER BY 1
            """,
        )
    ]


def database_of(conninfo: str) -> str:
    return str(conninfo_to_dict(conninfo)["dbname"])


def park(conninfo: str, *, deadline: str = "NULL") -> None:
    execute(conninfo, f"SELECT flow_signal_v1.register_waiter(gen_random_uuid(), 's', 'go', {deadline})")


def test_all_of_it_goes_and_is_named(installed: str) -> None:
    park(installed, deadline="'2001-01-01'")
    (parts,) = execute(installed, "SELECT count(*) FROM flow_signal.ledger")[0]
    assert run(UNINSTALL, installed) == [
        f"flow-signal: drops from database {database_of(installed)} the schemas flow_signal and flow_signal_v1",
        "flow-signal: drops table flow_signal.flow_signal_buffered_signals with 0 rows",
        "flow-signal: drops table flow_signal.flow_signal_locks with 1 rows",
        "flow-signal: drops table flow_signal.flow_signal_receipts with 0 rows",
        "flow-signal: drops table flow_signal.flow_signal_settings with 1 rows",
        "flow-signal: drops table flow_signal.flow_signal_tokens with 0 rows",
        "flow-signal: drops table flow_signal.flow_signal_waiters with 1 rows",
        f"flow-signal: drops table flow_signal.ledger with {parts} rows",
        *(f"flow-signal: drops role flow_signal_{role}" for role in ROLES),
    ]
    assert left_of(installed) == []


def test_it_can_be_installed_again_and_uninstalled_twice(installed: str) -> None:
    run(UNINSTALL, installed)
    assert run(UNINSTALL, installed) == [f"flow-signal: is not installed in database {database_of(installed)}"]
    run(build(), installed)
    park(installed, deadline="'2001-01-01'")


@pytest.mark.parametrize("options", ["", "-c flow_signal.drop_live_waiters=off", "-c flow_signal.drop_live_waiters="])
def test_live_waiters_are_spared(installed: str, options: str) -> None:
    park(installed)
    before = left_of(installed)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as refusal:
        run(UNINSTALL, installed, options)
    diagnostics = refusal.value.diag
    assert diagnostics.message_primary == "there are live waiters (1)"
    assert diagnostics.message_detail == "nothing was dropped"
    assert diagnostics.message_hint == "to drop them too: SET flow_signal.drop_live_waiters = on"
    assert left_of(installed) == before
    assert execute(installed, "SELECT count(*) FROM flow_signal.flow_signal_waiters") == [(1,)]


def test_unless_the_session_is_told_otherwise(installed: str) -> None:
    park(installed)
    run(UNINSTALL, installed, DROP_LIVE)
    assert left_of(installed) == []


def test_a_registration_that_is_not_committed_yet_is_waited_for(installed: str) -> None:
    before = left_of(installed)
    with psycopg.connect(installed) as engine:
        engine.execute("SELECT flow_signal_v1.register_waiter(gen_random_uuid(), 's', 'go')")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            run(UNINSTALL.replace("lock_timeout = '10s'", "lock_timeout = '10ms'"), installed)
    assert left_of(installed) == before


def test_psql_runs_it_too(own_server: EmbeddedServer, installed: str) -> None:
    psql = [str(own_server.bin_dir / "psql"), "-X", "-v", "ON_ERROR_STOP=1", "-d", installed]
    subprocess.run(psql, input=UNINSTALL, check=True, capture_output=True, encoding="utf-8")
    assert left_of(installed) == []


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("CREATE TABLE kept (waiter flow_signal_v1.waiter)", id="column"),
        pytest.param("CREATE VIEW kept AS SELECT flow_signal_v1.version()", id="view"),
        pytest.param("CREATE TABLE flow_signal_v1.kept ()", id="inside"),
    ],
)
def test_what_others_built_on_it_is_never_dropped(installed: str, statement: str) -> None:
    execute(installed, statement)
    before = left_of(installed)
    with pytest.raises(psycopg.errors.DependentObjectsStillExist, match="kept"):
        run(UNINSTALL, installed)
    assert left_of(installed) == before


def test_roles_that_another_database_uses_stay(own_server: EmbeddedServer, installed: str) -> None:
    with new_database(own_server) as other:
        run(build(), other)
        messages = run(UNINSTALL, installed)
        assert [message for message in messages if "keeps role" in message] == [
            f"flow-signal: keeps role flow_signal_{role}, used by {users}"
            for role, users in {
                "admin": f"database {database_of(other)}",
                "engine": f"database {database_of(other)}, flow_signal_admin",
                "redeemer": f"database {database_of(other)}, flow_signal_engine",
                "reader": f"database {database_of(other)}, flow_signal_engine",
                "broadcaster": f"database {database_of(other)}, flow_signal_engine",
                "sender": f"database {database_of(other)}, flow_signal_engine",
                "owner": f"database {database_of(other)}",
            }.items()
        ]
        park(other, deadline="'2001-01-01'")
        run(UNINSTALL, other)
        assert left_of(other) == []


def test_roles_that_a_login_has_stay(installed: str) -> None:
    execute(installed, "CREATE ROLE app LOGIN")
    try:
        execute(installed, "GRANT flow_signal_sender TO app")
        assert "flow-signal: keeps role flow_signal_sender, used by app" in run(UNINSTALL, installed)
        assert left_of(installed) == ["flow_signal_sender"]
    finally:
        execute(installed, "DROP ROLE app")
    assert "flow-signal: drops role flow_signal_sender" in run(UNINSTALL, installed)
    assert left_of(installed) == []


def test_roles_that_have_rights_elsewhere_stay(installed: str) -> None:
    execute(installed, "CREATE TABLE report (); GRANT SELECT ON report TO flow_signal_reader")
    (message,) = (message for message in run(UNINSTALL, installed) if "keeps" in message)
    assert message.endswith(
        'flow_signal_reader, role "flow_signal_reader" cannot be dropped because some objects depend on it: '
        "privileges for table public.report"
    )
    execute(installed, "DROP TABLE report")
    run(UNINSTALL, installed)


def test_who_does_not_own_it_cannot_drop_it(own_server: EmbeddedServer, installed: str) -> None:
    execute(installed, "CREATE ROLE stranger LOGIN CREATEROLE")
    try:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            run(UNINSTALL, own_server.conninfo(database_of(installed), user="stranger"))
    finally:
        execute(installed, "DROP ROLE stranger")
    run(UNINSTALL, installed)


@pytest.mark.parametrize("power", ["CREATEROLE", "NOCREATEROLE"])
def test_an_installer_without_superuser_removes_what_it_installed(own_server: EmbeddedServer, power: str) -> None:
    execute(own_server.conninfo(), f"CREATE ROLE installer LOGIN {power}")
    execute(own_server.conninfo(), "CREATE DATABASE installers OWNER installer")
    conninfo = own_server.conninfo("installers", user="installer")
    run(build(), conninfo)
    run(UNINSTALL, conninfo)
    assert left_of(conninfo) == []
    execute(own_server.conninfo(), "DROP DATABASE installers")
    execute(own_server.conninfo(), "DROP ROLE installer")


def test_a_schema_of_that_name_that_is_not_ours_stays(own_server: EmbeddedServer) -> None:
    with new_database(own_server) as conninfo:
        execute(conninfo, "CREATE SCHEMA flow_signal; CREATE TABLE flow_signal.flow_signal_waiters ()")
        assert run(UNINSTALL, conninfo) == [f"flow-signal: is not installed in database {database_of(conninfo)}"]
        assert left_of(conninfo) == ["flow_signal"]
