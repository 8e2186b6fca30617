"""Assemble the parts below sql/ into the one installation script, or into the extension.

python sql/build.py [--no-transaction] [-o FILE | --extension FOLDER]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parent.parent
RELEASES = "tests_sql/upgrade/releases"
SCRIPT_FRAME = ("install/begin.sql", "install/check.sql"), ("install/commit.sql",)
NO_FRAME = ("install/check.sql",), ()
EXTENSION_FRAME = ("extension/begin.sql",), ("extension/end.sql",)
Kind = Literal["script", "no transaction", "extension"]
CREATED = re.compile(r"^\s*CREATE (?:OR REPLACE )?(?:FUNCTION|VIEW) ([\w.]+)", re.M | re.I)
SIGNATURE = re.compile(r"FUNCTION [\w.]+\((.*?)\)\s+RETURNS (SETOF )?([\w.]+(?: ?\[\])?)\s", re.S)
GRANT = re.compile(r"GRANT (EXECUTE|SELECT) ON (?:FUNCTION )?([\w.]+)\b.*?\sTO\s+([\w,\s]+);", re.S)
PARAMETER = re.compile(r"(p_\w+) ([\w. ]+?(?: ?\[\])?)(?: DEFAULT (.+))?", re.S)
TOKEN = re.compile(
    r"""(?P<comment> --[^\n]* | /\*.*?\*/ )
    | \b[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*" | \$(?P<tag>[a-zA-Z_]*)\$.*?\$(?P=tag)\$
    | \w+ | \s+ | .""",
    re.S | re.X,
)


class BuildError(Exception):
    """A part breaks a rule; the message names the file and the rule."""


def build(root: Path = ROOT, kind: Kind = "script") -> str:
    """Return the script made of the parts below root/sql, in the frame of its kind; raise BuildError."""
    sql = root / "sql"
    version = read_version(root)
    migrations = sorted((sql / "migrations").glob("*.sql"))
    check_migrations(migrations)
    check_frozen(sql / "migrations")
    objects = [*sorted(sql.glob("functions/**/*.sql")), *sorted(sql.glob("views/**/*.sql"))]
    for path in objects:
        check_object(path)
    names = [path.relative_to(sql).as_posix() for path in (*migrations, *objects)]
    signatures = ",\n        ".join(signature(path, sql) for path in objects)
    rights = ",\n            ".join(row for path in (*migrations, *objects) for row in grants(path, sql))
    first, last = {"extension": EXTENSION_FRAME, "script": SCRIPT_FRAME, "no transaction": NO_FRAME}[kind]
    frame = *first, "install/settings.sql", "roles.sql", "install/owner.sql", "install/former.sql"
    begin = [read(sql / name) for name in frame]
    parts = [part(name, sql, version) for name in names]
    end = [read(sql / name) for name in ("install/rights.sql", "install/end.sql", *last)]
    script = "\n".join([*begin, *parts, *end])
    if kind == "no transaction":
        script = in_transaction(sql / "install/no_transaction.sql", script)
    script = script.replace("@PARTS@", ",".join(names)).replace("@SIGNATURES@", signatures)
    return script.replace("@GRANTS@", rights).replace("@VERSION@", version)


def in_transaction(path: Path, script: str) -> str:
    """Return the script as one statement, so that a tool runs all of it or nothing however it splits its files."""
    if "$statement$" in script or "$script$" in script:
        raise BuildError(f"{path}: the script contains $script$ or $statement$, its quotes")
    statements = (f"EXECUTE $statement$\n{statement}\n$statement$;" for statement in split(path, script))
    return read(path).replace("@STATEMENTS@", "\n".join(statements))


def build_extension(root: Path = ROOT) -> dict[str, str]:
    """Return the files of the extension by name. One text installs and upgrades every release."""
    version = read_version(root)
    # PGXN wants 1.0.0-rc1 where Python has 1.0.0rc1.
    semantic = re.sub(r"^([\d.]*\d)\.?(?=[a-z])", r"\1-", version)
    releases = (path.stem for path in (root / RELEASES).glob("*.psql"))
    updates = [f"flow_signal--{release}--{version}.sql" for release in sorted(releases) if release != version]
    script = build(root, "extension")
    files = dict.fromkeys((f"flow_signal--{version}.sql", *updates), script)
    for path in sorted((root / "sql/extension").iterdir()):
        if path.suffix != ".sql":
            files[path.name] = read(path).replace("@VERSION@", version).replace("@SEMVER@", semantic)
    return files


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
        raise BuildError(f"{sql / name}: contains $part$, the quote around every statement")
    if re.search(r"^\s*\\", body, re.M):
        raise BuildError(f"{sql / name}: contains a psql backslash command")
    statements = (text for text in split(sql / name, body) if not text.startswith("GRANT "))
    quoted = ", ".join(f"$part$\n{text}\n$part$" for text in statements)
    return f"""\
CALL flow_signal.apply_part(
    p_part => '{name}',
    p_checksum => '{sha256(body)}',
    p_once => {"true" if name.startswith("migrations/") else "false"},
    p_statements => ARRAY[{quoted}]);
"""


def split(path: Path, body: str) -> list[str]:
    """Return the statements of a part, each with the comments before it."""
    statements, begun, empty = [], 0, True
    for token in TOKEN.finditer(body):
        if token[0] == ";":
            statements.append(body[begun : token.end()].strip())
            begun, empty = token.end(), True
        elif not token["comment"] and not token[0].isspace():
            empty = False
    if not empty or not statements:
        raise BuildError(f"{path}: a statement ends with a semicolon")
    return statements


def grants(path: Path, sql: Path) -> list[str]:
    """Return the rights that a part grants, as rows of VALUES: install/rights.sql grants them all."""
    name = path.relative_to(sql).as_posix()
    rows = []
    for statement in split(path, read(path)):
        if statement.startswith("GRANT "):
            found = GRANT.fullmatch(statement)
            if not found or found[2] != f"flow_signal_v1.{path.stem}":
                raise BuildError(f"{path}: grants EXECUTE or SELECT on flow_signal_v1.{path.stem}, nothing else")
            rows += [f"('{name}', '{found[1]}', '{role}')" for role in re.split(r",\s*", found[3])]
    return rows


def signature(path: Path, sql: Path) -> str:
    """Return what decides whether CREATE OR REPLACE can replace a former object, as a row of VALUES."""
    body = read(path)
    name = path.relative_to(sql).as_posix()
    if name.startswith("views/"):
        return f"('{name}', {array(view_columns(path, body))}, NULL, NULL, NULL, NULL)"
    found = SIGNATURE.search(body)
    written = re.split(r",\s*(?=p_\w+ )", found[1].strip()) if found and found[1].strip() else []
    parameters = [PARAMETER.fullmatch(parameter) for parameter in written]
    if not found or not all(parameters):
        raise BuildError(f"{path}: parameters are written p_name type DEFAULT value, then comes RETURNS type")
    names, types, defaults = zip(*(p.groups() for p in parameters if p), strict=True) if parameters else ((), (), ())
    counted = sum(default is not None for default in defaults)
    return f"('{name}', {array(names)}, {array(types)}, {counted}, {'true' if found[2] else 'false'}, '{found[3]}')"


def array(values: Iterable[str]) -> str:
    return f"'{{{','.join(values)}}}'"


def view_columns(path: Path, body: str) -> list[str]:
    """Return the names in the list of the outermost SELECT, the first that is in no parentheses."""
    columns, depth, selecting, last = [], 0, False, ""
    for token in TOKEN.finditer(body):
        word = token[0]
        depth += (word in "([") - (word in ")]")
        if token["comment"] or word.isspace() or depth:
            continue
        if selecting and word in (",", ";", "FROM"):
            columns.append(last)
            if word != ",":
                break
        selecting = selecting or word == "SELECT"
        last = word
    if not columns or not all(re.fullmatch(r"[a-z_]\w*", column) for column in columns):
        raise BuildError(f"{path}: each column of a view has a name, written last")
    return columns


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description="Assemble the installation script.")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("-o", metavar="FILE", type=Path, help="write FILE, not standard output")
    output.add_argument("--extension", metavar="FOLDER", type=Path, help="write the extension there")
    parser.add_argument("--no-transaction", action="store_true", help="for use inside a transaction of another tool")
    arguments = parser.parse_args()
    kind: Kind = "no transaction" if arguments.no_transaction else "script"
    try:
        if arguments.extension:
            arguments.extension.mkdir(parents=True, exist_ok=True)
            for name, text in build_extension().items():
                write(arguments.extension / name, text)
        elif arguments.o:
            write(arguments.o, build(kind=kind))
        else:
            sys.stdout.write(build(kind=kind))
    except BuildError as error:
        sys.exit(f"sql/build.py: {error}")


def write(path: Path, text: str) -> None:
    # Whoever reads it meanwhile sees the old text or the new one, never half of it.
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8", newline="\n")
    partial.replace(path)


if __name__ == "__main__":
    main()
