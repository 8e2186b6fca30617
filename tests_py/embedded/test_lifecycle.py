"""A server runs from start to stop, and leaves nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import psycopg
import pytest

from flow_signal.embedded import EmbeddedServer, EmbeddedServerError, find_bin_dir
from tests_py.embedded.owners import runs


def query(conninfo: str, text: str) -> object:
    with psycopg.connect(conninfo) as connection:
        row = connection.execute(text.encode()).fetchone()
        assert row
        return row[0]


def shown(server: EmbeddedServer, setting: str) -> object:
    return query(server.conninfo(), f"SHOW {setting}")


def test_runs_sql_and_stops(temporary_folder: Path) -> None:
    server = EmbeddedServer()
    server.start()
    assert query(server.conninfo(), "SELECT 6 * 7") == 42
    assert server.bin_dir == find_bin_dir()
    assert server.data_dir.is_relative_to(server.socket_dir)
    assert server.socket_dir.is_relative_to(temporary_folder)
    assert b"ready to accept connections" in server.log_file.read_bytes()
    postmaster = int((server.data_dir / "postmaster.pid").read_text().split()[0])
    assert runs(postmaster)

    server.stop()
    assert not runs(postmaster)
    assert list(temporary_folder.iterdir()) == []


def test_stop_again_does_nothing_and_start_again_starts(server: EmbeddedServer) -> None:
    again = EmbeddedServer()
    again.stop()
    for _ in range(2):
        again.start()
        assert query(again.conninfo(), "SELECT 1") == 1
        again.stop()
        again.stop()


def test_second_start_is_refused(server: EmbeddedServer) -> None:
    with pytest.raises(EmbeddedServerError, match="started already"):
        server.start()
    assert query(server.conninfo(), "SELECT 1") == 1


def test_failing_block_stops_the_server(temporary_folder: Path) -> None:
    with pytest.raises(ZeroDivisionError), EmbeddedServer():
        raise ZeroDivisionError
    assert list(temporary_folder.iterdir()) == []


def test_stops_under_an_open_connection() -> None:
    with EmbeddedServer() as server:
        connection = psycopg.connect(server.conninfo())
    with pytest.raises(psycopg.OperationalError, match="terminating connection"):
        connection.execute("SELECT 1")
    connection.close()


def test_two_start_at_once() -> None:
    both_run = Barrier(2, timeout=60)

    def use_server(number: int) -> object:
        with EmbeddedServer(port=0) as server:
            with psycopg.connect(server.conninfo()) as connection:
                connection.execute(f"CREATE TABLE t AS SELECT {number} AS n")
            both_run.wait()
            return query(server.conninfo(tcp=True), "SELECT n FROM t")

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(use_server, range(2))) == [0, 1]


def test_settings_reach_the_server() -> None:
    settings = {"work_mem": "7MB", "flow_signal.test": 'it\'s; "quoted" = \\', "fsync": "on"}
    with EmbeddedServer(settings=settings) as server:
        assert shown(server, "work_mem") == "7MB"
        assert shown(server, "flow_signal.test") == settings["flow_signal.test"]
        assert shown(server, "fsync") == "on"


def test_only_a_temporary_server_gives_up_durability(server: EmbeddedServer, open_folder: Path) -> None:
    assert durability(server) == ("off", "off", "on")
    with EmbeddedServer(data_dir=open_folder / "data") as kept:
        assert durability(kept) == ("on", "on", "on")


def durability(server: EmbeddedServer) -> tuple[object, ...]:
    return tuple(shown(server, setting) for setting in ("fsync", "full_page_writes", "synchronous_commit"))


def test_failure_tells_what_the_log_says(temporary_folder: Path) -> None:
    server = EmbeddedServer(settings={"shared_buffers": "plenty"})
    for _ in range(2):
        with pytest.raises(EmbeddedServerError, match='invalid value for parameter "shared_buffers": "plenty"'):
            server.start()
        assert list(temporary_folder.iterdir()) == []


def test_folder_without_programs_is_refused(open_folder: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="does not hold the programs"):
        EmbeddedServer(bin_dir=open_folder).start()
