"""The reference in docs/ tells of every change in the catalog, and of nothing else."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from flow_signal.embedded import EmbeddedServer
from sql.build import ROOT, read
from tests_py.build.scripts import execute
from tools import generate_docs
from tools.generate_docs import differences, generate

VERSION = "FUNCTION flow_signal_v1.version()"
WAITERS = "flow_signal.flow_signal_waiters"
LONG = "A comment that is longer than the names that PostgreSQL keeps, which are cut at 63 bytes."


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (f"COMMENT ON {VERSION} IS 'New.'", {"+New.", f"+COMMENT ON {VERSION} IS 'New.';"}),
        (
            "COMMENT ON FUNCTION flow_signal_v1.remove_run(uuid) IS 'Old: new. p_run_id: a run'",
            {"+Old: new.", "+| `p_run_id` | uuid | a run |"},
        ),
        (
            f"GRANT EXECUTE ON {VERSION} TO public",
            {
                f"-REVOKE ALL ON {VERSION} FROM PUBLIC;",
                "+* May call: PUBLIC, `flow_signal_reader`, `flow_signal_sender`; "
                "through it `flow_signal_admin`, `flow_signal_engine`",
            },
        ),
        (
            f"REVOKE EXECUTE ON {VERSION} FROM flow_signal_reader, flow_signal_sender",
            {"+* May call: nobody but the owner"},
        ),
        (f"ALTER {VERSION} VOLATILE", {"+* Properties: VOLATILE, SECURITY DEFINER"}),
        (
            f"ALTER TABLE {WAITERS} ADD new timestamptz NOT NULL DEFAULT now()",
            {"+        timestamptz new", "+| `new` | timestamptz NOT NULL | now() | |"},
        ),
        (
            f"COMMENT ON COLUMN {WAITERS}.queue IS '{LONG}'",
            {f'+        text queue "{LONG}"'},
        ),
        ("COMMENT ON VIEW flow_signal_v1.health IS NULL", {"+| [health](#health) | view |  | flow_signal_reader |"}),
        (
            f"CREATE INDEX new ON {WAITERS} (queue)",
            {"+INDEX new (queue)", f"+CREATE INDEX new ON {WAITERS} USING btree (queue);"},
        ),
        (
            f"GRANT INSERT ON {WAITERS} TO flow_signal_admin",
            {f"+GRANT INSERT ON TABLE {WAITERS} TO flow_signal_admin;"},
        ),
        ("ALTER TYPE flow_signal_v1.waiter ADD ATTRIBUTE new text", {"+| `new` | text | |", "+\tnew text"}),
    ],
)
def test_a_change_is_told(server: EmbeddedServer, database: str, tmp_path: Path, change: str, lines: set[str]) -> None:
    for name, text in generate(server, database).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert differences(tmp_path, generate(server, database)) == []
    execute(database, change)
    assert lines <= set(differences(tmp_path, generate(server, database)))


def test_the_body_of_a_function_is_told_by_its_file_alone(server: EmbeddedServer, database: str) -> None:
    before = generate(server, database)
    [(function,)] = execute(database, f"SELECT pg_get_functiondef('{VERSION.removeprefix('FUNCTION ')}'::regprocedure)")
    execute(database, re.sub(r"SELECT '.*?'", "SELECT 'another'", function))
    assert execute(database, "SELECT flow_signal_v1.version()") == [("another",)]
    assert generate(server, database) == before


@pytest.mark.parametrize("name", ["api.md", "clients.md", "errors.md", "postgrest.md", "recipes.md", "schema.md"])
def test_each_link_leads_somewhere(name: str) -> None:
    page = ROOT / "docs" / name
    prose = re.sub(r"^```.*?^```$", "", read(page), flags=re.M | re.S)
    for target, anchor in re.findall(r"\]\(([^#)]*)#?([^)]*)\)", prose):
        linked = (page.parent / target).resolve() if target else page
        assert linked.exists(), target
        headings = re.findall(r"^#+ (.*)", read(linked), re.M) if linked.is_file() else []
        slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in slugs, f"{target}#{anchor}"


@pytest.mark.parametrize("call", re.findall(r"^```sql\n(.*?)^```", read(ROOT / "docs/api.md"), re.M | re.S))
def test_each_call_can_be_made(database: str, call: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(f"PREPARE call AS {call}".encode())


def test_the_command(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    @contextmanager
    def pinned_server() -> Iterator[EmbeddedServer]:
        assert "FLOW_SIGNAL_PG_BIN" not in os.environ
        yield server

    def command(*arguments: str) -> None:
        monkeypatch.setenv("FLOW_SIGNAL_PG_BIN", "/elsewhere")
        monkeypatch.setattr(sys, "argv", ["generate_docs.py", *arguments])
        generate_docs.main()

    monkeypatch.setattr(generate_docs, "template_server", pinned_server)
    monkeypatch.setattr(generate_docs, "DOCS", tmp_path)
    with pytest.raises(SystemExit, match="make docs"):
        command("--check")
    assert list(tmp_path.iterdir()) == []
    command()
    command("--check")
    (tmp_path / "api.md").write_text("old")
    with pytest.raises(SystemExit, match="make docs"):
        command("--check")
    assert (tmp_path / "api.md").read_text() == "old"
