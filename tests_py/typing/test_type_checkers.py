"""Type checkers accept typical uses, and report each typical mistake where it is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NAMES = ("right.py", "wrong.py")


Errors = dict[str, dict[int, str]]
"""The messages by file and number of the line."""


def mypy(folder: Path) -> Errors:
    options = ["--strict", "--config-file=", "--no-error-summary", "--hide-error-context"]
    done = run([sys.executable, "-m", "mypy", *options, *NAMES], folder)
    found = re.findall(r"^(\w+\.py):(\d+): error: (.*)$", done, re.M)
    assert len(found) == done.count(": error: "), done
    return {name: {int(line): message for file, line, message in found if file == name} for name in NAMES}


def pyright(folder: Path) -> Errors:
    """basedpyright is pyright, with its Node.js in a wheel; here with the rules of pyright's strict mode."""
    folder.joinpath("pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    done = json.loads(
        run([sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable, "--outputjson", *NAMES], folder)
    )
    assert done["summary"]["filesAnalyzed"] == len(NAMES)
    errors: Errors = {name: {} for name in NAMES}
    for each in done["generalDiagnostics"]:
        if each["severity"] == "error":
            errors[Path(each["file"]).name][each["range"]["start"]["line"] + 1] = each["message"]
    return errors


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("check", [mypy, pyright])
def test_each_mistake_is_reported_and_nothing_else(tmp_path: Path, check: Callable[[Path], Errors]) -> None:
    for name in NAMES:
        shutil.copy(HERE / name, tmp_path / name)
    for name, errors in check(tmp_path).items():
        lines = (HERE / name).read_text(encoding="utf-8").splitlines()
        wrong = {number for number, line in enumerate(lines, 1) if line.endswith("  # wrong")}
        assert (name == "wrong.py") == (len(wrong) > 30)
        assert {number: lines[number - 1] for number in wrong - errors.keys()} == {}
        assert {number: message for number, message in errors.items() if number not in wrong} == {}
