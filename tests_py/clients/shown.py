"""Pages whose SQL is shown with its results: executes each block with psql, and gives what psql prints."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from sql.build import read

MARK = "= end of block ="


def sections(page: Path) -> dict[str, list[tuple[str, str]]]:
    """By heading: the blocks of SQL, each with the text that is shown under it."""
    found = {}
    for heading, body in re.findall(r"^## (.*)\n((?:(?!## ).*\n)*)", read(page), re.M):
        blocks = re.findall(r"^```sql\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", body, re.M | re.S)
        if blocks:
            found[heading] = blocks
    return found


def printed(psql: Path, conninfo: str, blocks: list[str]) -> list[str]:
    """What psql prints for each block, all in one session."""
    command = [str(psql), "-Xq", "-v", "ON_ERROR_STOP=1", "-P", "footer=off", "-P", "null=NULL", "-d", conninfo]
    script = "".join(f"{block}\n\\echo '{MARK}'\n" for block in blocks)
    done = subprocess.run(command, input=script, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    texts = done.stdout.split(f"{MARK}\n")[:-1]
    return ["".join(line.rstrip() + "\n" for line in text.strip("\n").split("\n")) for text in texts]
