"""What docs/clients.md says of prepared statements behind a pooler that does not follow them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from flow_signal.embedded import EmbeddedServer
from tests_py.wrapper.pgbouncer import UNPACKED, find_program, pgbouncer

GET = "SELECT step_key FROM flow_signal_v1.get_waiter(p_run_id => CAST(%s AS uuid), p_step_key => CAST(%s AS text))"
REMOVE = GET.replace("get_waiter", "remove_waiter")
REGISTER = "SELECT state FROM flow_signal_v1.register_waiter(p_run_id => %s, p_step_key => 's', p_signal_name => 'go')"


@pytest.fixture
def pooled(server: EmbeddedServer, database: str) -> Iterator[str]:
    with pgbouncer(server) as folder:
        yield make_conninfo(database, host=folder)


def follows_prepared_statements() -> bool:
    libraries = {"LD_LIBRARY_PATH": ":".join(str(path.parent) for path in UNPACKED.rglob("libcares.so.2"))}
    done = subprocess.run([find_program(), "--version"], env=libraries, check=True, capture_output=True, text=True)
    major, minor = done.stdout.split()[1].split(".")[:2]
    return (int(major), int(minor)) >= (1, 21)


def left_after_a_get(conninfo: str, threshold: int | None) -> list[Any]:
    """Two clients, one that reads and one that removes, whose sessions change hands; what is left of the step."""
    run_id = uuid4()
    options: dict[str, Any] = {"autocommit": True, "prepare_threshold": threshold}
    with psycopg.connect(conninfo, **options) as reader, psycopg.connect(conninfo, **options) as remover:
        # Each prepares its statement in a session of its own.
        with reader.transaction(), remover.transaction():
            reader.execute(GET, [uuid4(), "s"])
            remover.execute(REMOVE, [uuid4(), "s"])
        with psycopg.connect(conninfo, autocommit=True, prepare_threshold=None) as other:
            other.execute(REGISTER, [run_id])
            for _ in range(8):  # the reader's statement, in one session after another
                with suppress(psycopg.errors.InvalidSqlStatementName):  # nobody has prepared anything there
                    reader.execute(GET, [run_id, "s"])
            return other.execute(GET, [run_id, "s"]).fetchall()


def test_a_reader_that_prepares_may_remove(pooled: str) -> None:
    if follows_prepared_statements():
        pytest.skip("this pgbouncer follows prepared statements")
    assert left_after_a_get(pooled, 0) == []


def test_a_reader_that_prepares_nothing_only_reads(pooled: str) -> None:
    assert left_after_a_get(pooled, None) == [("s",)]
