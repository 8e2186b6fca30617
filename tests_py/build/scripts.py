"""What the tests of the scripts share: databases without flow-signal, and running a script in them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql

from flow_signal.embedded import EmbeddedServer
from sql.build import ROOT

CATALOG = (ROOT / "tests_sql/upgrade/catalog.psql").read_text(encoding="utf-8")
UNINSTALL = (ROOT / "sql/uninstall.sql").read_text(encoding="utf-8")


@contextmanager
def new_database(server: EmbeddedServer, template: str = "template1") -> Iterator[str]:
    """The conninfo of a database that lives as long as the block."""
    name = f"test_{uuid4().hex}"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
    with psycopg.connect(server.conninfo(), autocommit=True) as admin:
        admin.execute(create)
        try:
            yield server.conninfo(name)
        finally:
            admin.execute(drop)


def run(script: str, conninfo: str, options: str = "") -> list[str]:
    """Run the script and return the messages of its notices."""
    messages: list[str] = []
    with psycopg.connect(conninfo, autocommit=True, options=options) as connection:
        connection.add_notice_handler(lambda notice: messages.append(notice.message_primary or ""))
        connection.execute(script.encode())
    return messages


def snapshot(server: EmbeddedServer, conninfo: str) -> str:
    """Everything in the database, with owners, grants, comments and the rows of the ledger."""
    command: list[str | Path] = [server.bin_dir / "pg_dump", "--dbname", conninfo]
    dump = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
    # The key in these two lines differs from dump to dump.
    random = ("\\restrict ", "\\unrestrict ")
    return "\n".join(line for line in dump.splitlines() if not line.startswith(random))


def execute(conninfo: str, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement and return its rows, if it has any."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def catalog(conninfo: str) -> list[tuple[str, str, str]]:
    """Every fact about flow-signal in the catalog: object, fact, value."""
    return execute(conninfo, CATALOG)


def copy_sources(folder: Path) -> Path:
    """Copy what the script is built from, to be changed."""
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copytree(ROOT / "sql", folder / "sql")
    return folder


def set_version(sources: Path, version: str) -> None:
    path = sources / "pyproject.toml"
    text = re.sub(r'^version = ".*"$', f'version = "{version}"', path.read_text(), count=1, flags=re.M)
    path.write_text(text)
