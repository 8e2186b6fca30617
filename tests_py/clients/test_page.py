"""docs/clients.md shows what the clients run: each block is a part of a file below clients/, or is executed here."""

from __future__ import annotations

import os
import re
import subprocess
import textwrap
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from flow_signal.embedded import EmbeddedServer
from sql.build import ROOT, read
from tests_py.clients.runner import SUITE
from tests_py.clients.table import ALL

PAGE = read(ROOT / "docs/clients.md")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.M | re.S)
FOLDERS = {"js": "node"} | {name: name for name in ("java", "go", "rust", "php", "ruby", "perl", "psql")}
NOT_RUN = {"csharp"}
PARTS = [pytest.param(*block, id=f"{block[0]}-{n}") for n, block in enumerate(BLOCKS) if block[0] in FOLDERS]


def sources(folder: str) -> list[Path]:
    suffixes = {".js", ".java", ".go", ".rs", ".php", ".rb", ".pl", ".sql"}
    found = [path for path in (ROOT / "clients" / folder).rglob("*") if path.suffix in suffixes]
    return [path for path in found if not {"node_modules", "target"} & set(path.parts)]


def flat(text: str) -> str:
    """The text whatever its indentation, between two line breaks."""
    return "\n" + "".join(line.strip() + "\n" for line in text.splitlines())


def test_each_block_is_in_a_known_language() -> None:
    languages = {language for language, _ in BLOCKS}
    assert languages == {*FOLDERS, *NOT_RUN, "sql", "text"}


@pytest.mark.parametrize(("language", "block"), PARTS)
def test_a_block_is_a_part_of_a_client(language: str, block: str) -> None:
    assert textwrap.dedent(block) == block
    assert any(flat(block) in flat(read(path)) for path in sources(FOLDERS[language]))


def test_what_is_not_run_says_so() -> None:
    for language in NOT_RUN:
        [before] = re.findall(rf"^## (?:(?!^## ).)*?(?=^```{language})", PAGE, re.M | re.S)
        assert "**Not run here**" in before


def test_the_call_can_be_prepared(database: str) -> None:
    call, _ = (block for language, block in BLOCKS if language == "sql")
    with psycopg.connect(database) as connection:
        connection.execute(f"PREPARE call AS {call}".encode())


def test_the_run_id_of_a_number(database: str) -> None:
    _, query = (block for language, block in BLOCKS if language == "sql")
    [shown] = [block for language, block in BLOCKS if language == "text"]
    with psycopg.connect(database) as connection:
        [(run_id,)] = connection.execute(query.encode()).fetchall()
    assert f"{run_id}\n" == shown


def test_the_example_of_psql(server: EmbeddedServer, database: str) -> None:
    parameters = conninfo_to_dict(database)
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE"}
    environment = {"PATH": os.environ["PATH"], **{names[name]: str(value) for name, value in parameters.items()}}
    command = [str(server.bin_dir / "psql"), "-X", "-f", str(ROOT / "clients/psql/example.sql")]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, encoding="utf-8")
    assert re.sub(r'"\S+/ask".*', '".../ask"', done.stdout).splitlines() == [
        "parked: waiting",
        "delivered: delivered f",
        "repeated: delivered true",
        "refused: WS002",
        'awaited: delivered {"approved":true,"by":"Büro"}',
        "parked: waiting",
        "delivered: delivered",
        'Asynchronous notification "MyWorker" with payload ".../ask"',
        "removed: 2",
    ]
    assert "WS002" in done.stderr


def test_each_client_has_its_section_and_its_row() -> None:
    [table] = re.findall(r"<!-- the table -->\n(.*?)<!-- end -->", PAGE, re.S)
    rows = re.findall(r"^\| (\S+) \| (\S+) .*?\|(.*)\|$", table, re.M)[2:]
    assert [language for language, *_ in rows] == [client.language for client in ALL]
    for _, _, cells in rows:
        passed = [re.fullmatch(r" (\d+) of (\d+) ", cell) for cell in cells.split("|")]
        assert len(passed) == 4
        assert all(cell and cell[1] == cell[2] for cell in passed)
    for client in ALL[1:]:
        assert f"(../clients/{client.folder}/" in PAGE


def test_the_files_of_the_suite_are_named() -> None:
    assert SUITE["cases"]
    for target in re.findall(r"\]\((?!http)([^)#]+)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
