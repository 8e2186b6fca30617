"""The fixtures of flow_signal.testing, in runs of pytest as an application has them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = 'pytest_plugins = ["flow_signal.testing"]\n'
TEST = """
import psycopg

def test_the_cluster(flow_signal_database):
    with psycopg.connect(flow_signal_database) as connection:
        print("made", *connection.execute("SELECT system_identifier FROM pg_control_system()").fetchone())
"""


@pytest.fixture
def application(tmp_path: Path) -> Path:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TEST)
    return tmp_path


def made(application: Path, *options: str) -> str:
    """Run the application's tests; return what tells the cluster of their server from others."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-s", *options],
        cwd=application,
        env={**os.environ, "PYTEST_ADDOPTS": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("made")]
    return line


def test_a_second_session_needs_no_initdb(application: Path) -> None:
    first = made(application)
    assert made(application) == first


def test_sessions_without_a_cache(application: Path) -> None:
    made(application, "-p", "no:cacheprovider")
    (application / ".pytest_cache").touch()
    made(application)
