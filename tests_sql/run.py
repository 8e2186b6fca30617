"""Run pgTAP files in parallel, each in a database of its own, on a server started for them.

From the project's folder: python -m tests_sql.run [FILE | FOLDER]...
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from flow_signal.embedded import EmbeddedServer
from tools.server import TEMPLATE, template_server

LIMIT_SECONDS = 600  # for each file


def main() -> int:
    with template_server() as server:
        return prove(server, sys.argv[1:] or ["tests_sql"])


def prove(server: EmbeddedServer, tests: list[str]) -> int:
    """Run the tests in clones of database TEMPLATE; return the exit code."""
    psql = str(server.bin_dir / "psql")
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PGHOST": str(server.socket_dir),
        "PGPORT": str(server.port),
        "PGUSER": "postgres",
        "PGOPTIONS": "-c search_path=pgtap",
        "PGCLIENTENCODING": "UTF8",
        "PSQL": psql,
        "TEMPLATE": TEMPLATE,
        "LIMIT_SECONDS": str(LIMIT_SECONDS),
    }
    in_template = [psql, "-Xqd", TEMPLATE, "-v", "ON_ERROR_STOP=1", "--single-transaction"]
    create = ["-c", "CREATE SCHEMA pgtap", "-c", "GRANT USAGE ON SCHEMA pgtap TO public"]
    subprocess.run([*in_template, *create, "-f", ".tools/pgtap.sql"], env=environment, check=True)
    pg_prove = [".tools/pg_prove", "--psql-bin", "tests_sql/psql_in_clone.py"]
    options = ["--jobs", str(os.cpu_count() or 1), "--recurse", "--ext", ".sql"]
    return subprocess.run([*pg_prove, *options, *tests], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
