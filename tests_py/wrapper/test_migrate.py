"""migrate installs what script() returns, says what it did, and leaves nothing behind when it fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from flow_signal import FlowSignalStore
from flow_signal.embedded import EmbeddedServer
from flow_signal.migrate import migrate, script
from sql.build import build


@pytest.fixture
def empty_database(server: EmbeddedServer) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    with psycopg.connect(server.conninfo(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        yield server.conninfo(name)
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_the_script_is_the_built_one(server: EmbeddedServer) -> None:
    assert script() == build()


def test_a_script_that_was_not_built_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.resources.files", lambda package: tmp_path)
    with pytest.raises(FileNotFoundError, match=r"python sql/build\.py -o .*flow_signal\.sql"):
        script()


def test_an_empty_database_gets_everything_and_a_second_run_changes_nothing(empty_database: str) -> None:
    first = migrate(empty_database)
    second = migrate(empty_database)
    assert first[0] == "flow-signal: migrations/0001_waiters.sql installed"
    assert "flow-signal: functions/flow_signal_v1/register_waiter.sql installed" in first
    with psycopg.connect(empty_database) as connection:
        version = FlowSignalStore(connection).version()
        dbname = connection.info.dbname
    report = f"flow-signal: {version} is installed in database {dbname}"
    assert first[-1] == second[-1] == report
    assert [notice for notice in second if notice.startswith("flow-signal:")] == [report]


def test_a_setting_of_the_caller_does_not_silence_the_notices(empty_database: str) -> None:
    assert migrate(psycopg.conninfo.make_conninfo(empty_database, options="-c client_min_messages=error"))


def test_an_error_leaves_nothing_behind(empty_database: str) -> None:
    with psycopg.connect(empty_database) as connection:
        connection.execute("CREATE SCHEMA flow_signal; CREATE TABLE flow_signal.flow_signal_waiters (id int)")
        connection.execute("ALTER SCHEMA flow_signal OWNER TO flow_signal_owner")
    with pytest.raises(psycopg.errors.DuplicateTable):
        migrate(empty_database)
    with psycopg.connect(empty_database) as connection:
        schemas = connection.execute("SELECT to_regnamespace('flow_signal_v1'), to_regclass('flow_signal.ledger')")
        assert schemas.fetchall() == [(None, None)]
