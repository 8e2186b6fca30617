"""The caller's environment does not reach the server, and any temporary folder will do."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
import pytest

from flow_signal.embedded import EmbeddedServer

SOCKET_PATH_BYTES = 107


@pytest.mark.parametrize("locale", ["xx_XX.NOSUCH", ""])
def test_utf8_whatever_the_locale(locale: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_MESSAGES"):
        monkeypatch.setenv(variable, locale)
    with EmbeddedServer() as server, psycopg.connect(server.conninfo()) as connection:
        row = connection.execute(
            "SELECT pg_encoding_to_char(encoding), datcollate, datctype, length('žluťoučký 🐎')"
            " FROM pg_database WHERE datname = current_database()"
        ).fetchone()
        assert row == ("UTF8", "C", "C", 11)


def test_variables_of_postgresql_and_time_zone_stay_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in {
        "TZ": "Mars/Olympus",
        "PGDATA": "/nowhere",
        "PGHOST": "nowhere.invalid",
        "PGPORT": "1",
        "PGDATABASE": "nowhere",
        "PGUSER": "nobody",
        "LD_LIBRARY_PATH": "/nowhere",
    }.items():
        monkeypatch.setenv(variable, value)
    with EmbeddedServer() as server, psycopg.connect(server.conninfo()) as connection:
        row = connection.execute("SELECT current_user, current_database(), current_setting('timezone')").fetchone()
        assert row == ("postgres", "postgres", "UTC")


def test_odd_names_of_folders(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = open_folder / "a space quo\"te's back\\slash žluť $HOME;exit"
    odd.mkdir()
    odd.chmod(0o777)
    monkeypatch.setenv("TMPDIR", str(odd))
    with EmbeddedServer(data_dir=odd / "data") as server, psycopg.connect(server.conninfo()):
        assert server.socket_dir.parent == odd
        assert (odd / "data/PG_VERSION").exists()


@pytest.mark.parametrize("name", ["long" * 30, "a,b"])
def test_folder_unfit_for_a_socket_is_passed_over(
    name: str, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfit = open_folder / name
    unfit.mkdir()
    unfit.chmod(0o777)
    monkeypatch.setenv("TMPDIR", str(unfit))
    with EmbeddedServer(port=0) as server, psycopg.connect(server.conninfo()):
        socket = server.socket_dir / f".s.PGSQL.{server.port}"
        assert socket.is_socket()
        assert len(os.fsencode(socket)) <= SOCKET_PATH_BYTES
        assert not any(unfit.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a server as somebody else")
def test_temporary_folder_is_closed_to_the_account(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = open_folder / "closed"
    closed.mkdir(0o700)
    monkeypatch.setenv("TMPDIR", str(closed))
    with EmbeddedServer() as server, psycopg.connect(server.conninfo()):
        assert not server.socket_dir.is_relative_to(closed)


def test_modules_find_the_libraries_of_their_installation(server: EmbeddedServer) -> None:
    with psycopg.connect(server.conninfo()) as connection:
        connection.execute("LOAD 'dblink'")
