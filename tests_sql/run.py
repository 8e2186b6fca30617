"""Run pgTAP files in parallel, each in a database of its own, on a server started for them.

python -m tests_sql.run [FILE | FOLDER]...
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tools.server import TEMPLATE, template_server

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    tests = sys.argv[1:] or [str(ROOT / "tests_sql")]
    with template_server() as server:
        psql = server.bin_dir / "psql"
        environment = os.environ | {
            "PGHOST": str(server.socket_dir),
            "PGPORT": str(server.port),
            "PGUSER": "postgres",
            "PGOPTIONS": "-c search_path=pgtap",
            "PGCLIENTENCODING": "UTF8",
            "PSQL": str(psql),
            "TEMPLATE": TEMPLATE,
        }
        subprocess.run(
            [psql, "-Xqd", TEMPLATE, "-v", "ON_ERROR_STOP=1", "--single-transaction"]
            + ["-c", "CREATE SCHEMA pgtap", "-c", "GRANT USAGE ON SCHEMA pgtap TO public"]
            + ["-f", ROOT / ".tools/pgtap.sql"],
            env=environment,
            check=True,
        )
        prove = [ROOT / ".tools/pg_prove", "--psql-bin", ROOT / "tests_sql/psql_in_clone"]
        jobs = ["--jobs", str(os.cpu_count() or 1)]
        files = ["--recurse", "--ext", ".sql", *tests]
        return subprocess.run([*prove, *jobs, *files], env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
