"""What initdb makes is kept where the owner says, and a later server begins with a copy of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from flow_signal.embedded import EmbeddedServer


@pytest.fixture
def cache(open_folder: Path) -> Path:
    return open_folder / "cache"


def ask(server: EmbeddedServer, query: str) -> Any:
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        [row] = connection.execute(query).fetchall()
        return row[0]


def identifier(server: EmbeddedServer) -> int:
    """What tells the clusters of two runs of initdb apart."""
    return int(ask(server, "SELECT system_identifier FROM pg_control_system()"))


def test_initdb_runs_once(cache: Path) -> None:
    with EmbeddedServer(initdb_cache=cache) as first, EmbeddedServer(initdb_cache=cache) as second:
        assert identifier(first) == identifier(second)
        ask(first, "SELECT pg_switch_wal()")
        with psycopg.connect(first.conninfo(), autocommit=True) as connection:
            connection.execute("CREATE TABLE of_the_first ()")
        assert ask(second, "SELECT to_regclass('of_the_first')") is None
        with EmbeddedServer() as another:
            assert identifier(another) != identifier(first)
    with EmbeddedServer(initdb_cache=cache) as third:
        assert ask(third, "SELECT to_regclass('of_the_first')") is None
    assert len(list(cache.iterdir())) == 1


def test_a_folder_that_is_kept(cache: Path, open_folder: Path) -> None:
    data_dir = open_folder / "kept"
    with EmbeddedServer(initdb_cache=cache) as server:
        made = identifier(server)
    for _ in range(2):
        with EmbeddedServer(initdb_cache=cache, data_dir=data_dir) as server:
            assert identifier(server) == made
            assert ask(server, "SHOW fsync") == "on"


def test_other_programs_make_their_own(cache: Path) -> None:
    with EmbeddedServer(initdb_cache=cache) as server:
        made = identifier(server)
        bin_dir = server.bin_dir
    [cached] = cache.iterdir()
    postgres = (bin_dir / "postgres").stat()
    cached.rename(cache / f"{postgres.st_size:x}-{postgres.st_mtime_ns - 1:x}")
    with EmbeddedServer(initdb_cache=cache) as server:
        assert identifier(server) != made


def test_two_start_at_once(cache: Path) -> None:
    def start(_: int) -> int:
        with EmbeddedServer(initdb_cache=cache) as server:
            return identifier(server)

    with ThreadPoolExecutor() as threads:
        made = set(threads.map(start, range(2)))
    [cached] = cache.iterdir()
    with EmbeddedServer(initdb_cache=cache) as server:
        assert identifier(server) in made
    assert {path.name for path in cached.iterdir()} >= {"PG_VERSION", "base", "global"}


def test_a_cache_that_cannot_be_written_to(open_folder: Path) -> None:
    (open_folder / "file").touch()
    with EmbeddedServer(initdb_cache=open_folder / "file/cache") as server:
        assert ask(server, "SELECT 1") == 1
    assert list(open_folder.iterdir()) == [open_folder / "file"]
