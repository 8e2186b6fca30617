"""The tests see nothing of the caller's settings of PostgreSQL, Python, locale or time zone."""

from __future__ import annotations

import os
import subprocess

from tools.server import ROOT

SETTINGS = {
    "FLOW_SIGNAL_PG_BIN": "/nowhere",
    "FLOW_SIGNAL_SOAK_SEED": "1 2",
    "LC_ALL": "tr_TR",
    "PGHOST": "nowhere.invalid",
    "PYTEST_ADDOPTS": "--nonsense",
    "PYTHONOPTIMIZE": "2",
    "PYTHONUNBUFFERED": "1",
    "TZ": "Mars/Olympus",
}
KEPT = {"HOME", "PATH", "CI", "TMPDIR", "FLOW_SIGNAL_SOAK_SECONDS", "FLOW_SIGNAL_SOAK_SEED"}


def variables(command: str, *arguments: str) -> dict[str, str]:
    """The environment that a recipe gives to the command."""
    make = ["make", "--silent", f"--eval=show: ; @{command} env", "show", *arguments]
    environment = {**os.environ, **SETTINGS}
    shown = subprocess.run(make, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout
    return dict(line.split("=", 1) for line in shown.splitlines())


def test_of_the_tests() -> None:
    seen = variables("$(CLEAN)")
    assert seen.keys() <= KEPT
    assert seen["FLOW_SIGNAL_SOAK_SEED"] == "1 2"


def test_of_the_tests_on_another_server() -> None:
    seen = variables("$(CLEAN)", "PG_BIN=/a folder")
    assert seen["FLOW_SIGNAL_PG_BIN"] == "/a folder"


def test_of_all_recipes() -> None:
    seen = variables("")
    assert "PGHOST" in seen
    assert [name for name in seen if name.startswith("PYTHON")] == []
