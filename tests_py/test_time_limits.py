"""Whatever hangs in a test of either kind, the runner names the test and ends what it started."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from flow_signal.embedded import EmbeddedServer
from tests_py.embedded.owners import DEADLINE_SECONDS, runs, wait_until
from tools.server import ROOT, TEMPLATE

HANGING_TESTS = """
import threading

import pytest

from tests_py import time_limit

time_limit.CLEAN_UP_SECONDS = 0.5
pytestmark = pytest.mark.time_limit(0.5)


def hang():
    threading.Event().wait()


@pytest.fixture
def hangs_afterwards():
    yield
    hang()


def test_that_hangs():
    hang()


def test_whose_clean_up_hangs():
    try:
        hang()
    finally:
        hang()


def test_that_fails_and_whose_fixture_hangs(hangs_afterwards):
    assert not "right"


def test_that_leaves_a_thread():
    time_limit.CLEAN_UP_SECONDS = 1
    threading.Thread(target=hang).start()
"""


def test_python(tmp_path: Path) -> None:
    file = tmp_path / "test_hanging.py"
    file.write_text(HANGING_TESTS)
    options = ["-p", "tests_py.time_limit", "-c", str(ROOT / "pyproject.toml"), "-rA"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(file)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "500"},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    results = re.findall(r"^([A-Z]+) .*::(\w+)(?: - (\w+: not done within 0.5 s))?", done.stdout, re.M)
    late = "Failed: not done within 0.5 s"
    assert sorted(results) == [
        ("ERROR", "test_that_fails_and_whose_fixture_hangs", late),
        ("FAILED", "test_that_fails_and_whose_fixture_hangs", ""),
        ("FAILED", "test_that_hangs", late),
        ("FAILED", "test_whose_clean_up_hangs", late),
        ("PASSED", "test_that_leaves_a_thread", ""),
    ], done.stdout + done.stderr


@pytest.mark.parametrize(
    ("hangs", "message"),
    [
        ("SELECT pg_backend_pid(); SELECT pg_sleep(600);", "ERROR:  canceling statement due to user request"),
        (r"\! trap '' INT; echo $$; exec sleep 600", ""),
    ],
)
def test_sql(server: EmbeddedServer, tmp_path: Path, hangs: str, message: str) -> None:
    file = tmp_path / "hanging.sql"
    file.write_text(f"{hangs}\n")
    environment = {
        **os.environ,
        "PGHOST": str(server.socket_dir),
        "PGPORT": str(server.port),
        "PGUSER": "postgres",
        "PSQL": str(server.bin_dir / "psql"),
        "TEMPLATE": TEMPLATE,
        "LIMIT_SECONDS": "3",
    }
    program = str(ROOT / "tests_sql/psql_in_clone.py")
    command = [sys.executable, program, "-XAtq", "--set", "ON_ERROR_STOP=1", "--file", str(file)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            out, err = process.communicate(timeout=DEADLINE_SECONDS)
        finally:
            process.kill()
    assert process.returncode == 124
    assert f"{file}: not done within 3 s\n" in err
    assert message in err
    wait_until(lambda: not runs(int(out)))
    with psycopg.connect(server.conninfo(), autocommit=True) as admin:
        admin.execute(f"DROP DATABASE test_{process.pid}")
