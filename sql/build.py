"""Assemble the parts below sql/ into the one installation script.

python sql/build.py [-o FILE]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CREATED = re.compile(r"^\s*CREATE (?:OR REPLACE )?(?:FUNCTION|VIEW) ([\w.]+)", re.M | re.I)


class BuildError(Exception):
    """A part breaks a rule; the message names the file and the rule."""


def build(root: Path = ROOT) -> str:
    """Return the script made of the parts below root/sql; raise BuildError."""
    sql = root / "sql"
    version = read_version(root)
    migrations = sorted((sql / "migrations").glob("*.sql"))
    check_migrations(migrations)
    check_frozen(sql / "migrations")
    objects = [*sorted(sql.glob("functions/**/*.sql")), *sorted(sql.glob("views/**/*.sql"))]
    for path in objects:
        check_object(path)
    names = [path.relative_to(sql).as_posix() for path in (*migrations, *objects)]
    begin = [
        read(sql / name) for name in ("install/begin.sql", "install/settings.sql", "roles.sql", "install/owner.sql")
    ]
    parts = [part(name, sql, version) for name in names]
    end = [read(sql / name) for name in ("install/end.sql", "install/commit.sql")]
    script = "\n".join([*begin, *parts, *end])
    return script.replace("@PARTS@", ",".join(names)).replace("@VERSION@", version)


def read_version(root: Path) -> str:
    # A regular expression because tomllib is missing from Python 3.10.
    pyproject = root / "pyproject.toml"
    found = re.search(r'^version = "([\w.+]+)"$', read(pyproject), re.M)
    if not found:
        raise BuildError(f'{pyproject}: no line version = "..."')
    return found[1]


def read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BuildError(f"{path}: {error}") from None


def check_migrations(migrations: list[Path]) -> None:
    for number, path in enumerate(migrations, start=1):
        if not re.fullmatch(rf"{number:04}_[a-z0-9_]+\.sql", path.name):
            raise BuildError(f"{path}: the next migration is {number:04}_<words>.sql")
        if "@VERSION@" in read(path):
            raise BuildError(f"{path}: @VERSION@ would change a migration with each release")


def check_frozen(folder: Path) -> None:
    """Released migrations are listed in frozen.sha256, in the format of sha256sum."""
    for line in read(folder / "frozen.sha256").splitlines():
        checksum, name = line.split()
        if sha256(read(folder / name)) != checksum:
            raise BuildError(f"{folder / name}: released, so it must not change; add another")


def check_object(path: Path) -> None:
    expected = f"{path.parent.name}.{path.stem}"
    created = CREATED.findall(read(path))
    if created != [expected]:
        found = ", ".join(created) or "nothing"
        raise BuildError(f"{path}: must create {expected} and nothing else, creates {found}")


def part(name: str, sql: Path, version: str) -> str:
    body = read(sql / name).replace("@VERSION@", version)
    if "$part$" in body:
        raise BuildError(f"{sql / name}: contains $part$, the quote around every part")
    if re.search(r"^\s*\\", body, re.M):
        raise BuildError(f"{sql / name}: contains a psql backslash command")
    return f"""\
CALL flow_signal.apply_part(
    p_part => '{name}',
    p_checksum => '{sha256(body)}',
    p_once => {"true" if name.startswith("migrations/") else "false"},
    p_sql => $part$
{body}$part$);
"""


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description="Assemble the installation script.")
    parser.add_argument("-o", metavar="FILE", type=Path, help="write FILE, not standard output")
    output: Path | None = parser.parse_args().o
    try:
        script = build()
    except BuildError as error:
        sys.exit(f"sql/build.py: {error}")
    if output is None:
        sys.stdout.write(script)
    else:
        # Whoever reads FILE meanwhile sees the old script or the new one, never half of it.
        partial = output.with_name(f"{output.name}.{os.getpid()}")
        partial.write_text(script, encoding="utf-8", newline="\n")
        partial.replace(output)


if __name__ == "__main__":
    main()
