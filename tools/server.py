"""A private PostgreSQL server for one run of tests or checks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import psycopg

from flow_signal.embedded import EmbeddedServer

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = "flow_signal_template"


@contextmanager
def template_server(bin_dir: Path | None = None, port: int | None = None) -> Iterator[EmbeddedServer]:
    """A server with the schema, as it is in sql/ now, installed in database TEMPLATE; with a port, by TCP too."""
    script = ROOT / "python_wrapper/flow_signal/flow_signal.sql"
    subprocess.run([sys.executable, ROOT / "sql/build.py", "-o", script], check=True)
    server = EmbeddedServer(bin_dir=bin_dir, port=port)
    with patch.dict(os.environ, temporary_files()):
        server.start()
    try:
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {TEMPLATE}")
        with psycopg.connect(server.conninfo(TEMPLATE), autocommit=True) as connection:
            connection.execute(script.read_bytes())
        yield server
    finally:
        server.stop()


def temporary_files() -> dict[str, str]:
    """The environment that keeps the server's files in memory, where there is room for them.

    A database, and each test has one, is cloned there in a tenth of the time.
    """
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2**30
    return {"TMPDIR": str(memory)} if roomy else {}
