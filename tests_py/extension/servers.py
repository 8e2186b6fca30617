"""A PostgreSQL server that finds the extension's files in a folder of the test's."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from flow_signal.embedded import EmbeddedServer

FIRST_WITH_CONTROL_PATH = 18

NOT_MEMBERS = """
SELECT o.identity
FROM (
    SELECT 'pg_class'::regclass, oid, relnamespace, relname FROM pg_class WHERE relkind IN ('r', 'v')
    UNION ALL SELECT 'pg_type'::regclass, oid, typnamespace, typname FROM pg_type WHERE typrelid IN (
        SELECT oid FROM pg_class WHERE relkind = 'c'
    )
    UNION ALL SELECT 'pg_proc'::regclass, oid, pronamespace, proname FROM pg_proc
    UNION ALL SELECT 'pg_namespace'::regclass, oid, oid, nspname FROM pg_namespace
) AS o (class, oid, schema, identity)
WHERE o.schema::regnamespace::text ~ '^flow_signal' AND NOT EXISTS (
    SELECT FROM pg_depend AS d WHERE d.classid = o.class AND d.objid = o.oid AND d.deptype = 'e'
)
"""
"""What is in the schemas and does not belong to the extension."""


def extensible_server(bin_dir: Path, folder: Path, files: dict[str, str]) -> EmbeddedServer:
    """A server, not started yet, with these files; the folder has to be one that every account may enter."""
    if major(bin_dir) >= FIRST_WITH_CONTROL_PATH:
        add_files(folder / "extension", files)
        return EmbeddedServer(bin_dir=bin_dir, settings={"extension_control_path": f"{folder}:$system"})
    bin_dir = relocate(bin_dir, folder)
    add_files(configured(bin_dir, "sharedir") / "extension", files)
    return EmbeddedServer(bin_dir=bin_dir)


def add_files(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def major(bin_dir: Path) -> int:
    """The major version of the server."""
    command: list[str | Path] = [bin_dir / "postgres", "--version"]
    version = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[2]
    return int(version.partition(".")[0])


def relocate(bin_dir: Path, folder: Path) -> Path:
    """Lay the installation out anew below the folder, which stands for /; return its bin_dir there.

    Its programs find the other files relative to themselves: libraries are linked, the rest is copied.
    """
    bin_dir = bin_dir.resolve()
    library = configured(bin_dir, "pkglibdir")
    for original in (bin_dir, configured(bin_dir, "sharedir")):
        shutil.copytree(original, below(folder, original))
    below(folder, library).symlink_to(library)
    return below(folder, bin_dir)


def configured(bin_dir: Path, what: str) -> Path:
    """What pg_config of that installation says, where its files are now."""
    command: list[str | Path] = [bin_dir / "pg_config", f"--{what}"]
    return Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


def below(folder: Path, path: Path) -> Path:
    return folder / path.relative_to("/")
