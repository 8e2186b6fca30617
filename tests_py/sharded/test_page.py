"""The program of docs/scaleout.md does what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from flow_signal.embedded import EmbeddedServer
from tools.server import TEMPLATE

PAGE = (Path(__file__).resolve().parents[2] / "docs/scaleout.md").read_text(encoding="utf-8")
[PROGRAM] = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
NAMES = re.findall(r"dbname=(\w+)", PROGRAM)


@pytest.fixture
def environment(server: EmbeddedServer) -> Iterator[dict[str, str]]:
    """libpq's environment for a server with the databases of the page."""
    parameters = conninfo_to_dict(server.conninfo())
    with psycopg.connect(server.conninfo(), autocommit=True) as admin:
        for name in NAMES:
            admin.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        yield {
            "PATH": os.environ["PATH"],
            "PGHOST": str(parameters["host"]),
            "PGPORT": str(parameters["port"]),
            "PGUSER": str(parameters["user"]),
        }
        for name in NAMES:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def waiting(server: EmbeddedServer) -> list[int]:
    counts = []
    for name in NAMES:
        with psycopg.connect(server.conninfo(name)) as connection:
            [(count,)] = connection.execute("SELECT count(*) FROM flow_signal.flow_signal_waiters").fetchall()
            counts.append(count)
    return counts


def test_the_program(server: EmbeddedServer, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[(")  # the problems that health tells of, and no failure before them
    counts = waiting(server)
    assert len(counts) == 4
    assert all(counts)
    assert sum(counts) == 102
