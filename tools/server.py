"""A private PostgreSQL server for one run of tests or checks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from flow_signal.embedded import EmbeddedServer

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = "flow_signal_template"


@contextmanager
def template_server(bin_dir: Path | None = None) -> Iterator[EmbeddedServer]:
    """A server with the schema, as it is in sql/ now, installed in database TEMPLATE."""
    script = ROOT / "python_wrapper/flow_signal/flow_signal.sql"
    subprocess.run([sys.executable, ROOT / "sql/build.py", "-o", script], check=True)
    with EmbeddedServer(bin_dir=bin_dir) as server:
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {TEMPLATE}")
        with psycopg.connect(server.conninfo(TEMPLATE), autocommit=True) as connection:
            connection.execute(script.read_bytes())
        yield server
