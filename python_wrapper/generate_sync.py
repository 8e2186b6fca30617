"""Generate the sync store from the async store.

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
SOURCE = PACKAGE / "_async_store.py"
TARGET = PACKAGE / "_sync_store.py"

HEADER = f"# Generated from {SOURCE.name}, so change that and run `make format`.\n\n"
RULES = {
    r"\basync (?=def|for|with)": "",
    r"\bawait ": "",
    r"\ban (?=Async[A-Z])": "a ",
    r"Async(?=[A-Z])": "",
    r"_async\b": "",
}


def generate() -> str:
    """Return the text of TARGET, laid out by ruff."""
    text = SOURCE.read_text(encoding="utf-8")
    for pattern, replacement in RULES.items():
        text = re.sub(pattern, replacement, text)
    ruff = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(TARGET), "-"]
    return subprocess.check_output(ruff, input=HEADER + text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Generate the sync store from the async store.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 with a diff if the file is stale")
    check: bool = parser.parse_args().check
    generated = generate()
    if not check:
        TARGET.write_text(generated, encoding="utf-8")
        return
    committed = TARGET.read_text(encoding="utf-8") if TARGET.exists() else ""
    diff = difflib.unified_diff(
        committed.splitlines(keepends=True),
        generated.splitlines(keepends=True),
        fromfile=f"{TARGET.name} as it is",
        tofile=f"{TARGET.name} as generated",
    )
    sys.stdout.writelines(diff)
    if committed != generated:
        sys.exit(f"{TARGET.name} is stale: run `make format`")


if __name__ == "__main__":
    main()
