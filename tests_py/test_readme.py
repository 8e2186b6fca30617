"""The examples of README.md do what they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from flow_signal.embedded import EmbeddedServer

README = Path(__file__).parent.parent.joinpath("README.md").read_text(encoding="utf-8")


def examples(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S)


@pytest.fixture
def environment(database: str) -> dict[str, str]:
    """libpq's environment for the database, and the programs of the virtual environment first."""
    parameters = conninfo_to_dict(database)
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PGHOST": str(parameters["host"]),
        "PGPORT": str(parameters["port"]),
        "PGUSER": str(parameters["user"]),
        "PGDATABASE": str(parameters["dbname"]),
    }


@pytest.mark.parametrize("example", examples("python"))
def test_python(environment: dict[str, str], database: str, example: str) -> None:
    subprocess.run([sys.executable, "-c", example], env=environment, check=True)
    with psycopg.connect(database) as conn:
        assert conn.execute("SELECT count(*) FROM flow_signal.flow_signal_waiters").fetchone() == (0,)


def test_sql(environment: dict[str, str], server: EmbeddedServer) -> None:
    """Each result is shown below its statement."""
    [example] = examples("sql")
    psql = [str(server.bin_dir / "psql"), "-XAtq", "-F", " | ", "-v", "ON_ERROR_STOP=1"]
    done = subprocess.run(psql, input=example, env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == re.findall(r"^--> (.*)$", example, re.M)


def test_shell(environment: dict[str, str]) -> None:
    [example] = [text for text in examples("sh") if "run=" in text]
    done = subprocess.run(["bash", "-eu"], input=example, env=environment, check=True, capture_output=True, text=True)
    assert r'"payload_json": "{\"approved\": true}"' in done.stdout


def test_commands_of_make() -> None:
    makefile = Path(__file__).parent.parent.joinpath("Makefile").read_text(encoding="utf-8")
    commands = re.findall(r"^make (\w+)", "".join(examples("sh")), re.M)
    assert commands == ["demo", "test"]
    assert all(re.search(rf"^{command}:", makefile, re.M) for command in commands)


def test_files(environment: dict[str, str], tmp_path: Path) -> None:
    """The comments behind the two files show a line of each."""
    [example] = [text for text in examples("sh") if "--from" in text]
    lines = dict(re.findall(r"--from (\S+\.jsonl).*# (\{.*\})$", example, re.M))
    assert lines.keys() == {"waiters.jsonl", "signals.jsonl"}
    for name, line in lines.items():
        tmp_path.joinpath(name).write_text(line.replace("...", "0d9c6f3e-7d0a-4b3c-9a57-0f6f5a1f7a10"))
    done = subprocess.run(
        ["bash", "-eux"], input=example, env=environment, cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert re.search(r"^waiting +1$", done.stdout, re.M)
    assert re.search(r"^delivered +1$", done.stdout, re.M)
    assert "all is well" in done.stdout
