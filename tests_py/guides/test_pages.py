"""Each page of docs/guides/ does what it says, read from its top to its bottom.

A block of Python whose first line is a comment with a path is that file; any other is a program. Blocks of shell run in
between, but for `pip install`, whose packages are in the dependency group `guides`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs/guides").glob("*.md"))
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.M | re.S)
FILE = re.compile(r"# ([\w/]+\.py)\n")


@pytest.fixture
def environment(database: str, tmp_path: Path) -> dict[str, str]:
    """libpq's environment for the database, and the programs of the virtual environment first."""
    parameters = conninfo_to_dict(database)
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PGHOST": str(parameters["host"]),
        "PGPORT": str(parameters["port"]),
        "PGUSER": str(parameters["user"]),
        "PGDATABASE": str(parameters["dbname"]),
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page(page: Path, environment: dict[str, str], database: str, tmp_path: Path) -> None:
    for language, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        if named := FILE.match(block):
            file = tmp_path / named[1]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block, encoding="utf-8")
        elif language == "python":
            run([sys.executable, "-W", "error", "-c", block], environment, tmp_path)
        else:
            commands = re.sub(r"^pip install .*\n", "", block, flags=re.M)
            run(["bash", "-eu", "-c", commands], environment, tmp_path)
    with psycopg.connect(database) as connection:
        left = connection.execute("SELECT count(*) FROM flow_signal.flow_signal_waiters").fetchone()
    assert left == (0,)


def run(command: list[str], environment: dict[str, str], folder: Path) -> None:
    done = subprocess.run(
        command,
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}"


def test_the_events_of_the_log_are_those_of_the_sources() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "python_wrapper/flow_signal").glob("*.py"))
    written = re.findall(r'logger\.(\w+)\(\s*"(.*?)"', sources)
    page = (ROOT / "docs/guides/observing.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| ([A-Z]+) \| `(.*?)` \|", page, re.M)
    assert sorted(told) == sorted(
        (level.upper(), text.replace("%d", "<n>").replace("%s", "<error>")) for level, text in written
    )
    assert sources.count("logger.") == len(written)


def test_every_page_is_in_the_list() -> None:
    listed = re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs/guides/README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == [page.name for page in PAGES if page.name != "README.md"]
