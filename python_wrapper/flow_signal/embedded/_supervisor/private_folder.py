"""The server's own folder, and the programs in it if they cannot run where they are."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from .processes import Account
from .protocol import EmbeddedServerError

SOCKET_PATH_BYTES = 103  # macOS; Linux has 107


def make_private_folder(account: Account | None) -> Path:
    """Make a folder for the socket, whose path has to be short, and all that is temporary."""
    for base in (tempfile.gettempdir(), "/tmp"):
        longest = os.fsencode(f"{base}/flow-signal-12345678/.s.PGSQL.65535")
        if len(longest) > SOCKET_PATH_BYTES or "," in base:  # libpq splits at a comma
            continue
        if account is None or account.can_enter(Path(base)):
            return Path(tempfile.mkdtemp(prefix="flow-signal-", dir=base))
    raise EmbeddedServerError("there is no temporary folder that can hold the server's socket")


def copy_programs(bin_dir: Path, folder: Path) -> Path:
    """Copy what a server needs of its installation; return the bin folder of the copy.

    Relative places stay as they are, also those of the libraries that a wheel brings along.
    """
    prefix = (bin_dir / "postgres").resolve().parent.parent
    package = prefix.parent
    copy = folder / package.name / prefix.name
    (copy / "bin").mkdir(parents=True)
    for program in ("initdb", "postgres"):
        shutil.copy(prefix / "bin" / program, copy / "bin")
    wheel_libraries = (package.with_name(f"{package.name}.libs"), package / ".dylibs")
    for source in (prefix / "lib", prefix / "share", *wheel_libraries):
        if source.is_dir():
            shutil.copytree(
                source,
                folder / source.relative_to(package.parent),
                ignore=shutil.ignore_patterns("*.a", "pgxs", "locale", "man", "doc"),
                ignore_dangling_symlinks=True,
            )
    return copy / "bin"
