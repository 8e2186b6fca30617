"""The installation script on a server: it installs, and run again it changes nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psycopg
import pytest

from flow_signal.embedded import EmbeddedServer
from sql.build import ROOT, build, read_version
from tests_py.build.scripts import run, snapshot

MIGRATION = "sql/migrations/0001_waiters.sql"
FUNCTION = "sql/functions/flow_signal_v1/version.sql"


def test_run_again_it_changes_nothing(server: EmbeddedServer, database: str) -> None:
    before = snapshot(server, database)
    assert "CREATE FUNCTION flow_signal_v1.version" in before
    messages = run(build(), database)
    assert snapshot(server, database) == before
    assert [message for message in messages if "installed" in message or "replaced" in message] == [messages[-1]], (
        "no part was applied"
    )


def test_psql_installs_what_the_wrapper_installs(server: EmbeddedServer, database: str, empty_database: str) -> None:
    command: list[str | Path] = [server.bin_dir / "psql", "-X", "-v", "ON_ERROR_STOP=1", "-d", empty_database]
    subprocess.run(command, input=build(), check=True, capture_output=True, encoding="utf-8")
    assert without_times(snapshot(server, empty_database)) == without_times(snapshot(server, database))


def without_times(dump: str) -> list[str]:
    """The rows of the ledger end with the time when a part was applied."""
    return [line.rpartition("\t")[0] or line for line in dump.splitlines()]


def test_a_changed_function_is_replaced(sources: Path, database: str) -> None:
    path = sources / FUNCTION
    path.write_text(path.read_text() + "COMMENT ON FUNCTION flow_signal_v1.version IS 'changed';\n")
    messages = run(build(sources), database)
    assert [message for message in messages if message.endswith("replaced")] == [
        "flow-signal: functions/flow_signal_v1/version.sql replaced"
    ]
    with psycopg.connect(database) as connection:
        row = connection.execute(
            "SELECT obj_description('flow_signal_v1.version'::regproc, 'pg_proc'), flow_signal_v1.version()"
        ).fetchone()
    assert row == ("changed", read_version(ROOT))


def test_a_changed_migration_is_refused_and_nothing_else_is_applied(
    server: EmbeddedServer, sources: Path, database: str
) -> None:
    before = snapshot(server, database)
    (sources / "sql/migrations/frozen.sha256").write_text("")  # or it would not even be built
    for name in (MIGRATION, FUNCTION):
        path = sources / name
        path.write_text(path.read_text() + "-- changed\n")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match=r"migrations/0001_waiters\.sql was changed"):
        run(build(sources), database)
    assert snapshot(server, database) == before


def test_a_part_that_fails_leaves_an_empty_database_empty(
    server: EmbeddedServer, sources: Path, empty_database: str
) -> None:
    before = snapshot(server, empty_database)
    path = sources / FUNCTION
    path.write_text(path.read_text() + "SELECT 1 / 0;\n")
    with pytest.raises(psycopg.errors.DivisionByZero):
        run(build(sources), empty_database)
    assert snapshot(server, empty_database) == before


def test_an_installer_who_may_not_create_roles_owns_everything() -> None:
    with EmbeddedServer() as server:
        with psycopg.connect(server.conninfo(), autocommit=True) as admin:
            admin.execute("CREATE ROLE app LOGIN")
            admin.execute("CREATE DATABASE app OWNER app")
        conninfo = server.conninfo("app", user="app")
        messages = run(build(), conninfo)
        assert "flow-signal: installing into role app, which alone may use it" in messages
        with psycopg.connect(conninfo) as connection:
            functions = connection.execute(
                """
                SELECT p.proowner::regrole::text, a.grantee::regrole::text
                FROM pg_proc AS p, aclexplode(p.proacl) AS a
                WHERE p.pronamespace IN ('flow_signal'::regnamespace, 'flow_signal_v1'::regnamespace)
                """
            ).fetchall()
            assert set(functions) == {("app", "app")}
            assert connection.execute("SELECT flow_signal_v1.version()").fetchone() == (read_version(ROOT),)
        before = snapshot(server, conninfo)
        run(build(), conninfo)
        assert snapshot(server, conninfo) == before
