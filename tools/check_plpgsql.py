"""Check the body of every function with plpgsql_check, every warning on.

python -m tools.check_plpgsql
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psycopg

from flow_signal.embedded import find_bin_dir
from tools.server import TEMPLATE, template_server

PACKAGE = "postgresql-15-plpgsql-check"

# Not findings: version 2.3 does not follow CONTINUE and EXIT through a LOOP and misreads what
# comes behind; and VOLATILE is right where each query of a function needs a snapshot of its own.
IGNORED = [
    "unreachable code",
    "control reached end of function without RETURN",
    "routine is marked as VOLATILE, should be STABLE",
]

FINDINGS = """
SELECT p.oid::regprocedure, f.lineno, f.level, f.message, f.detail, f.hint
FROM pg_proc AS p
JOIN pg_language AS l ON l.oid = p.prolang AND l.lanname = 'plpgsql'
CROSS JOIN plpgsql_check_function_tb(
    p.oid,
    fatal_errors => false,
    other_warnings => true,
    extra_warnings => true,
    performance_warnings => true,
    security_warnings => true
) AS f
WHERE p.pronamespace IN ('flow_signal'::regnamespace, 'flow_signal_v1'::regnamespace)
    AND f.message <> ALL (%s)
ORDER BY 1, 2
"""


def bin_dir_with_plpgsql_check() -> Path | None:
    """The chosen server, else the newest of Debian's, whichever first has the extension."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for bin_dir in (find_bin_dir(), *debian):
        if any(bin_dir.parent.rglob("plpgsql_check.so")):
            return bin_dir
    return None


def main() -> int:
    bin_dir = bin_dir_with_plpgsql_check()
    if bin_dir is None:
        print(f"plpgsql_check: skipped, no server has it; Debian package {PACKAGE}")
        return 1 if os.environ.get("CI") else 0
    with (
        template_server(bin_dir) as server,
        psycopg.connect(server.conninfo(TEMPLATE), autocommit=True) as connection,
    ):
        connection.execute("CREATE EXTENSION plpgsql_check")
        findings = connection.execute(FINDINGS, [IGNORED]).fetchall()
    for function, line, level, *texts in findings:
        print(f"{function} line {line}: {level}: {'; '.join(filter(None, texts))}")
    if findings:
        print("Lines count from the line of AS.")
        print("A function that always raises runs during the check if it is IMMUTABLE: make it STABLE.")
    print(f"plpgsql_check: {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
