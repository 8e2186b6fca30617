"""The script inside the transaction of another tool: all or nothing of it, and the tool goes on as it was."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import psycopg
import pytest
import sqlalchemy
from alembic import command
from alembic.config import Config
from psycopg.conninfo import conninfo_to_dict

from flow_signal.embedded import EmbeddedServer, find_bin_dir
from sql.build import build
from tests_py.build.scripts import catalog, execute, run, snapshot
from tests_sql.upgrade.releases import releases

SCRIPT = build(kind="no transaction")
SETTINGS = """
CREATE TABLE settings_{} AS
SELECT name, setting FROM pg_settings
UNION ALL SELECT 'role', current_setting('role') UNION ALL SELECT 'user', current_user
UNION ALL SELECT 'ours', nullif(current_setting('flow_signal.transaction', true), '')
"""
INSTALLED = "SELECT to_regnamespace('flow_signal') IS NOT NULL"


def with_psycopg(conninfo: str, statements: list[str]) -> None:
    """Send each file whole, as Liquibase does with splitStatements:false."""
    with psycopg.connect(conninfo) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def split_as_flyway(conninfo: str, statements: list[str]) -> None:
    """Send what is between semicolons that are in no quotes, of which dollars are one kind."""
    token = re.compile(r"--[^\n]*|'[^']*'|(\$\w*\$).*?\1|;|.", re.S)
    parts = [""]
    for found in token.finditer(";\n".join(statements)):
        if found[0] == ";":
            parts.append("")
        else:
            parts[-1] += found[0]
    with_psycopg(conninfo, [part for part in parts if part.strip()])


def as_psql(conninfo: str, statements: list[str]) -> None:
    psql: list[str | Path] = [
        find_bin_dir() / "psql",
        "-X",
        "--single-transaction",
        "-v",
        "ON_ERROR_STOP=1",
        "-d",
        conninfo,
    ]
    subprocess.run(psql, input=";\n".join(statements) + ";\n", check=True, capture_output=True, encoding="utf-8")


def engine(conninfo: str) -> sqlalchemy.Engine:
    pool = sqlalchemy.pool.NullPool
    return sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(conninfo), poolclass=pool)


def with_sqlalchemy_text(conninfo: str, statements: list[str]) -> None:
    with engine(conninfo).begin() as connection:
        for statement in statements:
            connection.execute(sqlalchemy.text(statement))


def with_sqlalchemy_driver(conninfo: str, statements: list[str]) -> None:
    with engine(conninfo).begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement.replace("%", "%%"))


def with_sqlalchemy_without_parameters(conninfo: str, statements: list[str]) -> None:
    with engine(conninfo).begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def with_asyncpg(conninfo: str, statements: list[str]) -> None:
    async def call() -> None:
        where = conninfo_to_dict(conninfo)
        connection = await asyncpg.connect(
            host=where["host"], port=where["port"], user=where["user"], database=where["dbname"]
        )
        try:
            async with connection.transaction():
                for statement in statements:
                    await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(call())


ENVIRONMENT = """
from alembic import context
with context.config.attributes["engine"].connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
REVISION = """
from pathlib import Path
from alembic import op
revision, down_revision = "1", None
def upgrade():
    for path in sorted(Path(__file__).parent.parent.glob("statements/*.sql")):
        op.execute(path.read_text())
"""


def with_alembic(conninfo: str, statements: list[str], folder: Path) -> None:
    for name, text in {"env.py": ENVIRONMENT, "versions/1_install.py": REVISION}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "statements").mkdir()
    for number, statement in enumerate(statements):
        (folder / f"statements/{number}.sql").write_text(statement)
    config = Config(attributes={"engine": engine(conninfo)})
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    command.upgrade(config, "head")


TOOLS: dict[str, Callable[[str, list[str]], None]] = {
    "psycopg": with_psycopg,
    "flyway": split_as_flyway,
    "psql": as_psql,
    "sqlalchemy text": with_sqlalchemy_text,
    "sqlalchemy driver": with_sqlalchemy_driver,
    "sqlalchemy no parameters": with_sqlalchemy_without_parameters,
    "asyncpg": with_asyncpg,
}


@pytest.mark.parametrize("former", ["", "1.0.1"])
@pytest.mark.parametrize("tool", [*TOOLS, "alembic"])
def test_a_tool_installs_and_upgrades_and_goes_on(
    database: str, empty_database: str, tmp_path: Path, tool: str, former: str
) -> None:
    if former:
        run(releases()[former], empty_database)
    statements = [
        "DO 'BEGIN END'",  # brings the settings of PL/pgSQL
        "CREATE TABLE earlier ()",
        "SET LOCAL lock_timeout = '3s'",
        SETTINGS.format("before"),
        SCRIPT,
        SETTINGS.format("after"),
        "CREATE TABLE later ()",
    ]
    if tool == "alembic":
        with_alembic(empty_database, statements, tmp_path)
    else:
        TOOLS[tool](empty_database, statements)
    assert catalog(empty_database) == catalog(database)
    tables = "SELECT relowner::regrole::text, relnamespace::regnamespace::text FROM pg_class WHERE relname ~ '^%s$'"
    assert execute(empty_database, tables % "earlier") == execute(empty_database, tables % "later") != []
    difference = "SELECT * FROM settings_{} EXCEPT ALL SELECT * FROM settings_{}"
    assert execute(empty_database, difference.format("before", "after")) == []
    assert execute(empty_database, difference.format("after", "before")) == []
    assert len(execute(empty_database, "SELECT * FROM settings_after WHERE setting = '3s' OR name = 'role'")) >= 1


def test_the_lock_is_held_and_nothing_is_there_until_the_tool_commits(empty_database: str) -> None:
    lock = "SELECT pg_try_advisory_xact_lock(hashtextextended('flow_signal install', 0))"
    with psycopg.connect(empty_database) as tool:
        tool.execute(SCRIPT.encode())
        assert execute(empty_database, lock) == [(False,)]
        assert execute(empty_database, INSTALLED) == [(False,)]
        tool.rollback()
        assert execute(empty_database, lock) == [(True,)]
        assert execute(empty_database, INSTALLED) == [(False,)]
        with tool.transaction(force_rollback=True):
            tool.execute(SCRIPT.encode())
        with tool.transaction():
            tool.execute(SCRIPT.encode())
    assert execute(empty_database, INSTALLED) == [(True,)]


def test_settings_of_the_session_change_nothing(database: str, empty_database: str) -> None:
    options = (
        "-c standard_conforming_strings=off -c search_path=public -c client_min_messages=error"
        " -c escape_string_warning=off -c quote_all_identifiers=on"
    )
    execute(
        empty_database,
        "CREATE FUNCTION public.coalesce_it(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';"
        "CREATE OPERATOR public.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = public.coalesce_it)",
    )
    with psycopg.connect(empty_database, options=options) as tool:
        tool.execute(SCRIPT.encode())
        shown = tool.execute("SELECT current_setting('standard_conforming_strings'), current_setting('search_path')")
        assert shown.fetchall() == [("off", "public")]
    assert catalog(empty_database) == catalog(database)


def test_without_a_transaction_it_refuses_before_anything_is_changed(
    server: EmbeddedServer, empty_database: str
) -> None:
    before = snapshot(server, empty_database)
    psql: list[str | Path] = [server.bin_dir / "psql", "-X", "-d", empty_database]
    errors = subprocess.run(psql, input=SCRIPT, check=True, capture_output=True, encoding="utf-8").stderr
    assert [line for line in errors.splitlines() if not line.startswith("CONTEXT")] == [
        "ERROR:  there is no transaction around this script",
        "DETAIL:  it is for tools that begin and commit themselves; nothing was changed",
        "HINT:  run it between BEGIN and COMMIT, or run the output of flow-signal sql instead",
    ]
    assert snapshot(server, empty_database) == before
    run(f"BEGIN; {SCRIPT}; COMMIT", empty_database)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            "default_transaction_isolation=serializable",
            psycopg.errors.FeatureNotSupported,
            "the transaction around this script is serializable",
        ),
        (
            "default_transaction_read_only=on",
            psycopg.errors.ReadOnlySqlTransaction,
            "the transaction around this script is read-only",
        ),
    ],
)
def test_a_transaction_that_will_not_do_is_refused(
    empty_database: str, settings: str, error: type[psycopg.Error], message: str
) -> None:
    with psycopg.connect(empty_database, options=f"-c {settings}", autocommit=True) as tool:
        with pytest.raises(error) as refusal, tool.transaction():
            tool.execute(SCRIPT.encode())
        diagnostics = refusal.value.diag
        assert diagnostics.message_primary == message
        begin = (diagnostics.message_hint or "").removeprefix("begin it with: ")
        assert execute(empty_database, INSTALLED) == [(False,)]
        for statement in (begin, SCRIPT, "COMMIT"):
            tool.execute(statement.encode())
    assert execute(empty_database, INSTALLED) == [(True,)]
