"""Generate the sync stores from the async stores.

python python_wrapper/generate_sync.py [--check]
"""

from __future__ import annotations

import argparse
import difflib
import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent / "flow_signal"
FILES = {"_async_store.py": "_sync_store.py", "_async_sharded_store.py": "_sync_sharded_store.py"}

HEADER = "# Generated from {}, so change that and run `make format`.\n\n"
RULES = {
    r"\basync (?=def|for|with)": "",
    r"\bawait ": "",
    r"\ban (?=`?Async[A-Z])": "a ",
    r"Async(?=[A-Z])": "",
    r"\b_async_": "_sync_",
    r"_async\b": "",
}


def generate(source: Path, target: Path) -> str:
    """Return the text of the target, laid out by ruff."""
    text = source.read_text(encoding="utf-8")
    for pattern, replacement in RULES.items():
        text = re.sub(pattern, replacement, text)
    text = HEADER.format(source.name) + text
    for order in (("check", "--quiet", "--select", "I", "--fix"), ("format",)):
        ruff = [sys.executable, "-m", "ruff", *order, "--stdin-filename", str(target), "-"]
        text = subprocess.check_output(ruff, input=text, encoding="utf-8")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description="Generate the sync stores from the async stores.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 with a diff if a file is stale")
    check: bool = parser.parse_args().check
    stale = []
    for source, name in FILES.items():
        target = PACKAGE / name
        generated = generate(PACKAGE / source, target)
        if not check:
            target.write_text(generated, encoding="utf-8")
            continue
        committed = target.read_text(encoding="utf-8") if target.exists() else ""
        diff = difflib.unified_diff(
            committed.splitlines(keepends=True),
            generated.splitlines(keepends=True),
            fromfile=f"{name} as it is",
            tofile=f"{name} as generated",
        )
        sys.stdout.writelines(diff)
        if committed != generated:
            stale.append(name)
    if stale:
        sys.exit(f"{' and '.join(stale)} stale: run `make format`")


if __name__ == "__main__":
    main()
