"""docs/recipes.md and docs/postgrest.md show what PostgreSQL answers."""

from __future__ import annotations

import pytest

from flow_signal.embedded import EmbeddedServer
from sql.build import ROOT
from tests_py.clients.shown import printed, sections

RECIPES = sections(ROOT / "docs/recipes.md")


@pytest.mark.parametrize("name", RECIPES)
def test_recipe(server: EmbeddedServer, database: str, name: str) -> None:
    blocks = RECIPES[name]
    assert all(text for _, text in blocks)
    assert printed(server.bin_dir / "psql", database, [sql for sql, _ in blocks]) == [text for _, text in blocks]
