"""tools/release.py makes the next change of a released migration impossible and the next upgrade provable."""

from __future__ import annotations

from pathlib import Path

import pytest

from sql.build import ROOT, BuildError, build, build_extension, read_version
from tests_py.build.scripts import set_version
from tests_sql.upgrade.releases import MADE_UP, releases, to_try
from tools.release import ReleaseError, release

KEPT = "tests_sql/upgrade/releases/1.2.0.psql"


@pytest.fixture
def root(sources: Path) -> Path:
    (sources / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n- All of it.\n")
    (sources / "tests_sql/upgrade").mkdir(parents=True)
    return sources


def test_it_sets_the_version_and_keeps_the_script(root: Path) -> None:
    release("1.2.0", root)
    assert read_version(root) == "1.2.0"
    assert (root / KEPT).read_text() == build(root)
    assert (root / "CHANGELOG.md").read_text().startswith("# Changelog\n\n## 1.2.0 (20")


def test_migrations_are_frozen(root: Path) -> None:
    release("1.2.0", root)
    migrations = sorted((root / "sql/migrations").glob("*.sql"))
    for migration in migrations:
        text = migration.read_text()
        migration.write_text(text + "-- changed\n")
        with pytest.raises(BuildError, match="released, so it must not change"):
            build(root)
        migration.write_text(text)
    assert len((root / "sql/migrations/frozen.sha256").read_text().splitlines()) == len(migrations) > 0


def test_the_next_extension_updates_from_it(root: Path) -> None:
    release("1.2.0", root)
    assert not [name for name in build_extension(root) if name.startswith("flow_signal--1.2.0--")]
    set_version(root, "1.3.0.dev0")
    assert "flow_signal--1.2.0--1.3.0.dev0.sql" in build_extension(root)


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("1.2", '"1.2" is no release'),
        ("1.2.0.dev0", "is no release"),
        ("1.2.0", "1.2.0 does not come after 1.2.0"),
        ("1.1.9", "1.1.9 does not come after 1.2.0"),
        ("1.10.0", "no section Unreleased"),
    ],
)
def test_refused(root: Path, version: str, message: str) -> None:
    release("1.2.0", root)
    files = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with pytest.raises(ReleaseError, match=message):
        release(version, root)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == files


def test_upgrades_are_tried_from_the_first_and_the_newest_of_each_minor() -> None:
    versions = ["1.0.0", "1.10.0", "1.0.1", "1.2.9", "1.2.10", "1.0.2", "2.0.0", "2.0.1"]
    assert to_try(versions) == ["1.0.0", "1.0.2", "1.2.10", "1.10.0", "2.0.1"]
    assert to_try([]) == []
    assert list(releases())[:3] == [MADE_UP, "1.0.0", "1.0.1"]


def test_what_is_generated_is_marked() -> None:
    patterns = [line.split()[0] for line in (ROOT / ".gitattributes").read_text().splitlines() if line[0] != "#"]
    marked = {path.relative_to(ROOT).as_posix() for pattern in patterns for path in ROOT.glob(pattern)}
    assert all(list(ROOT.glob(pattern)) for pattern in patterns)
    assert marked >= {"docs/api.md", "docs/schema.md", "docs/schema.sql", "python_wrapper/flow_signal/_sync_store.py"}
