"""One database for all of the proof; each test has runs of its own in it."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest

from flow_signal.embedded import EmbeddedServer
from tools.server import TEMPLATE


@pytest.fixture(scope="session")
def shared_database(server: EmbeddedServer) -> Iterator[str]:
    name = f"proof_{uuid4().hex}"
    with psycopg.connect(server.conninfo(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        yield server.conninfo(name)
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
