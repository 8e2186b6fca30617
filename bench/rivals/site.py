"""The server of a measurement and its databases: one a contender, and copies of them to measure in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from flow_signal.embedded import EmbeddedServer

ROLE = "bench"
"""The role that measures: it owns the databases of the rivals, and is no superuser."""

SCHEMA = f"""
CREATE SCHEMA bench_load AUTHORIZATION {ROLE};
CREATE TABLE bench_load.payload (payload text);
CREATE UNLOGGED TABLE bench_load.mark (client integer, at timestamptz, cpu bigint);
CREATE FUNCTION bench_load.mark(client integer) RETURNS void LANGUAGE sql SECURITY DEFINER AS $function$
INSERT INTO bench_load.mark
VALUES (client, clock_timestamp(), split_part(pg_read_file('/proc/self/schedstat'), ' ', 1)::bigint)
$function$;
ALTER TABLE bench_load.payload OWNER TO {ROLE};
ALTER TABLE bench_load.mark OWNER TO {ROLE};
"""


def settings() -> dict[str, str]:
    """The settings that are not PostgreSQL's defaults, the same for everybody."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "shared_buffers": f"{memory // 4 // 2**20}MB",
        "max_wal_size": "8GB",
        "checkpoint_timeout": "30min",
    }


@dataclass(frozen=True)
class Database:
    server: EmbeddedServer
    name: str

    def conninfo(self, user: str = "postgres") -> str:
        return self.server.conninfo(self.name, user)

    def url(self) -> str:
        """Where ROLE connects to, as a URL."""
        return f"postgresql://{ROLE}@/{self.name}?host={self.server.socket_dir}&port={self.server.port}"

    def execute(self, statements: str, user: str = "postgres", **parameters: object) -> list[tuple[Any, ...]]:
        """Run the statements, separated by semicolons; return the rows of the last one."""
        with psycopg.connect(self.conninfo(user), autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
            cursor = connection.execute(statements.encode(), parameters or None)
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description else []


class Site:
    def __init__(self, server: EmbeddedServer) -> None:
        self.server = server
        self._numbers = count(1)
        self.postgres = Database(server, "postgres")
        self.postgres.execute(f"CREATE ROLE {ROLE} LOGIN")

    @property
    def pgbench(self) -> Path:
        return self.server.bin_dir / "pgbench"

    def create(self, name: str) -> Database:
        """A database with the tables of the load driver."""
        self.postgres.execute(f"CREATE DATABASE {name} OWNER {ROLE}")
        database = Database(self.server, name)
        database.execute(SCHEMA)
        return database

    @contextmanager
    def copy(self, database: Database) -> Iterator[Database]:
        """A copy of the database for the time of a block."""
        name = f"copy_{next(self._numbers)}"
        self.postgres.execute(f"CREATE DATABASE {name} TEMPLATE {database.name} OWNER {ROLE}")
        yield Database(self.server, name)
        self.postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")
