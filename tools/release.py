"""Cut a release: python -m tools.release 1.0.0

Sets the version, freezes the migrations, keeps the script for the upgrade tests, dates the changelog; commits nothing.
"""

from __future__ import annotations

import re
import sys
from datetime import date
from pathlib import Path

from sql.build import RELEASES, ROOT, build, read, sha256


class ReleaseError(Exception):
    """This release cannot be cut; the message says why."""


def release(version: str, root: Path = ROOT) -> None:
    """Change the files below root; raise ReleaseError, and change none, if the version will not do."""
    kept = root / RELEASES
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ReleaseError(f'"{version}" is no release: three numbers, as in 1.0.0')
    latest = max((numbers(path.stem) for path in kept.glob("*.psql")), default=[])
    if numbers(version) <= latest:
        raise ReleaseError(f"{version} does not come after {'.'.join(map(str, latest))}")
    changelog = root / "CHANGELOG.md"
    if "\n## Unreleased\n" not in read(changelog):
        raise ReleaseError(f"{changelog}: no section Unreleased")

    replace(changelog, r"^## Unreleased$", f"## {version} ({date.today()})")
    replace(root / "pyproject.toml", r'^version = ".*"$', f'version = "{version}"')
    migrations = root / "sql/migrations"
    lines = (f"{sha256(read(path))}  {path.name}\n" for path in sorted(migrations.glob("*.sql")))
    (migrations / "frozen.sha256").write_text("".join(lines), encoding="utf-8")
    kept.mkdir(exist_ok=True)
    (kept / f"{version}.psql").write_text(build(root), encoding="utf-8", newline="\n")


def numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def replace(path: Path, pattern: str, replacement: str) -> None:
    path.write_text(re.sub(pattern, replacement, read(path), count=1, flags=re.M), encoding="utf-8")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("which release? make release VERSION=1.0.0")
    try:
        release(sys.argv[1])
    except ReleaseError as error:
        sys.exit(f"tools/release.py: {error}")


if __name__ == "__main__":
    main()
