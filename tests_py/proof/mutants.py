"""Mutants of the SQL: one small fault each, planted by machine, which some test has to find.

python -m tests_py.proof.mutants [--locks] [--list] [--sample N] [--jobs N] [PATTERN...]

Each mutant is made in a copy of the project. The suites run from the cheapest to the dearest until one fails; a mutant
that none of them finds has survived. A survivor is either killed by a new test, or named in equivalent_mutants.txt with
the reason why nobody could tell it from the original.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).resolve().parents[2]
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.txt")
COPIED = ["sql", "tests_sql", "tests_py", "tools", "python_wrapper", "pyproject.toml", "docs", "clients"]
LIMIT_SECONDS = 900
"""For a suite; a mutant that makes it hang is found."""

LOCK_FAULTS = {
    "lock dropped",
    "SKIP LOCKED added",
    "SKIP LOCKED dropped",
    "NOWAIT dropped",
    "begin again dropped",
    "clock read before the lock",
}
RACES = {
    "purge": ["tests_py/housekeeping"],
    "claim": ["tests_py/claims"],
    "token": ["tests_py/concurrency/test_tokens.py"],
    "": [f"tests_py/concurrency/test_{name}.py" for name in ("engine_idiom", "lock_order", "order", "batches")],
}
"""What finds a fault in the locks of a function soonest, by a part of its name."""

QUOTED = re.compile(r"--[^\n]*|'(?:[^']|'')*'")

OPERATORS: dict[str, list[tuple[str, str]]] = {
    "lock dropped": [(r"\n *FOR (?:NO KEY UPDATE|UPDATE|KEY SHARE)(?: NOWAIT| SKIP LOCKED)?(?=;|\n)", "")],
    "SKIP LOCKED added": [(r"(FOR (?:NO KEY UPDATE|UPDATE))(?: NOWAIT)?(?=;|\n)", r"\1 SKIP LOCKED")],
    "SKIP LOCKED dropped": [(r" SKIP LOCKED", "")],
    "NOWAIT dropped": [(r" NOWAIT", "")],
    "boundary moved": [
        (r"(?<= )<=(?= )", "<"),
        (r"(?<= )<(?= )", "<="),
        (r"(?<= )>=(?= )", ">"),
        (r"(?<= )>(?= )", ">="),
    ],
    "condition dropped": [(r"\n +AND (?:NOT )?[\w.]+ [^\n()]*(?=\n|;)", ""), (r"\n +AND NOT [\w.]+(?=\n|;)", "")],
    "NOT dropped": [(r"\bNOT (?=[\w.(])(?!NULL|MATERIALIZED|EXISTS \()", "")],
    "IS NOT NULL turned": [(r"IS NOT NULL", "IS NULL")],
    "NULL-safe comparison dropped": [(r"IS DISTINCT FROM", "<>"), (r"IS NOT DISTINCT FROM", "=")],
    "COLLATE dropped": [(r' COLLATE "C"', "")],
    "order dropped": [(r"\n +ORDER BY [^\n]*(?=\n)", "")],
    "order turned": [
        (r"(ORDER BY [^\n]*?\bcreated_at)\b", r"\1 DESC"),
        (r"(ORDER BY [^\n]*?\bposition)\b", r"\1 DESC"),
    ],
    "REVOKE dropped": [(r"\nREVOKE [^;]*;", "\n")],
    "GRANT dropped": [(r"\nGRANT [^;]*;", "\n")],
    "setting dropped": [(r"\nSET \w+ = [^\n]*", "")],
    "SECURITY DEFINER dropped": [(r"\nSECURITY DEFINER", "")],
    "start of the transaction for the clock": [(r"clock_timestamp\(\)", "now()")],
    "clock read before the lock": [
        (r"((?:SELECT|PERFORM)\b[^;]*?FOR NO KEY UPDATE[^;]*;)([^;]*?)( *v_now := clock_timestamp\(\);)", r"\3\n\1\2")
    ],
    "NOTIFY dropped": [(r"PERFORM pg_notify\(", "PERFORM concat(")],
    "begin again dropped": [(r"RAISE SQLSTATE 'WS099';", "NULL;")],
    "least and greatest swapped": [(r"\bleast\(", "greatest("), (r"\bgreatest\(", "least(")],
    "LIMIT raised": [(r"LIMIT 1(?=\n|;)", "LIMIT 2")],
    "constant moved": [(r"\b(1048576|256|63|100000|10000|1000000)\b", r"(\1 + 1)")],
    "true and false swapped": [(r":= true;", ":= false;"), (r":= false;", ":= true;")],
}


@dataclass(frozen=True)
class Mutant:
    path: str
    operator: str
    line: int
    original: str
    """The changed line, which names the mutant together with the path and the operator."""
    text: str
    """The whole file."""

    @property
    def name(self) -> str:
        return f"{self.path} | {self.operator} | {self.original}"


def mutants(root: Path = ROOT) -> Iterator[Mutant]:
    """All of them, in the order of the files."""
    for path in sorted((root / "sql").glob("functions/**/*.sql")):
        source = path.read_text()
        hidden = QUOTED.sub(lambda found: "".join("\n" if c == "\n" else "\x00" for c in found[0]), source)
        named: dict[str, int] = {}
        for operator, changes in OPERATORS.items():
            for pattern, change in changes:
                shown = source if "WS099" in pattern else hidden
                for found in re.finditer(pattern, shown):
                    start, end = found.span()
                    text = source[:start] + changed(found, change, source) + source[end:]
                    number = source.count("\n", 0, start + (source[start] == "\n")) + 1
                    line = " ".join(source.splitlines()[number - 1].split())
                    key = f"{operator} | {line}"
                    named[key] = named.get(key, 0) + 1
                    unique = line if named[key] == 1 else f"{line} ({named[key]})"
                    yield Mutant(path.relative_to(root).as_posix(), operator, number, unique, text)


def changed(found: re.Match[str], change: str, source: str) -> str:
    """What stands in place of the match, with the quoted parts as the source has them."""
    return re.sub(r"\\(\d)", lambda group: source[slice(*found.span(int(group[1])))], change)


def suites(mutant: Mutant) -> list[list[str]]:
    """The commands, the cheapest first."""
    name = Path(mutant.path).stem
    own = [
        f"tests_sql/{folder}/{name}.sql"
        for folder in ("api", "house")
        if (ROOT / f"tests_sql/{folder}/{name}.sql").exists()
    ]
    pgtap = ["-m", "tests_sql.run"]
    pytest = ["-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    others = sorted(
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "tests_sql").glob("*/*.sql")
        if file.name != "index_plans.sql" and "upgrade" not in file.parts
    )
    races = [*pytest, *next(tests for part, tests in RACES.items() if part in name)]
    single = [[*pgtap, *others], [*pytest, "tests_py/proof/test_one_client.py"]]
    return [
        *([[*pgtap, *own]] if own else []),
        *([races, *single] if mutant.operator in LOCK_FAULTS else [*single, races]),
        [*pytest, "tests_py/proof/test_interleavings.py", "tests_py/tokens", "tests_py/claims/test_races.py"],
        [*pgtap, "tests_sql/house/index_plans.sql"],
        [
            *pytest,
            "tests_py/concurrency",
            "tests_py/proof/test_histories.py",
            "tests_py/housekeeping",
            "tests_py/batches",
            "tests_py/build/test_rights.py",
        ],
    ]


def killer(mutant: Mutant, copy: Path) -> str | None:
    """What finds the mutant, which is planted in the copy and taken out again; None if it survives."""
    place = copy / mutant.path
    original = place.read_text()
    place.write_text(mutant.text)
    environment = {**os.environ, "PYTHONPATH": str(copy / "python_wrapper"), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        for command in suites(mutant):
            try:
                done = subprocess.run(
                    [sys.executable, *command],
                    cwd=copy,
                    env=environment,
                    capture_output=True,
                    timeout=LIMIT_SECONDS,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return f"{command[-1]} (hangs)"
            if done.returncode != 0:
                return command[-1]
        return None
    finally:
        place.write_text(original)


def equivalent() -> dict[str, str]:
    """The survivors that are no faults, with their reasons: a line `name | reason` each."""
    lines = [line for line in EQUIVALENT.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.rsplit(" | ", 1) for line in lines)


def copy_project(folder: Path) -> Path:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(
                source,
                folder / name,
                symlinks=True,
                ignore=shutil.ignore_patterns("__pycache__", "node_modules", "target"),
            )
        elif source.exists():
            shutil.copy(source, folder / name)
    (folder / ".tools").symlink_to(ROOT / ".tools")
    return folder


def survivors(chosen: Sequence[Mutant], jobs: int) -> list[Mutant]:
    """Try them, several at a time; print what becomes of each."""
    reasons = equivalent()
    left: list[Mutant] = []
    with tempfile.TemporaryDirectory() as name:
        copies: Queue[Path] = Queue()
        for number in range(jobs):
            folder = Path(name, str(number))
            folder.mkdir()
            copies.put(copy_project(folder))

        def attempt(mutant: Mutant) -> None:
            copy = copies.get()
            try:
                found = killer(mutant, copy)
            finally:
                copies.put(copy)
            fate = (
                f"found by {found}"
                if found
                else f"equivalent: {reasons[mutant.name]}"
                if mutant.name in reasons
                else "SURVIVES"
            )
            if fate == "SURVIVES":
                left.append(mutant)
            print(f"{mutant.path}:{mutant.line} {mutant.operator}: {mutant.original}: {fate}", flush=True)

        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(attempt, chosen))
    return left


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pattern", nargs="*", help="only mutants whose name contains one of these")
    parser.add_argument("--locks", action="store_true", help="only faults in locks")
    parser.add_argument("--list", action="store_true", help="print their names")
    parser.add_argument("--sample", type=int, help="only so many, chosen by --seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    chosen = [m for m in mutants() if not options.pattern or any(part in m.name for part in options.pattern)]
    if options.locks:
        chosen = [mutant for mutant in chosen if mutant.operator in LOCK_FAULTS]
    if options.sample:
        chosen = random.Random(options.seed).sample(chosen, min(options.sample, len(chosen)))
    if options.list:
        print(*(mutant.name for mutant in chosen), sep="\n")
        return 0
    left = survivors(chosen, options.jobs)
    print(f"{len(chosen)} mutants, {len(left)} survive", *(mutant.name for mutant in left), sep="\n")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
