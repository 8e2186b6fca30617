#!/usr/bin/env python3
"""psql as pg_prove calls it, in a new database cloned from $TEMPLATE; tests_sql/run.py says where and for how long."""

import os
import signal
import subprocess
import sys
from contextlib import suppress

LIMIT_SECONDS = float(os.environ["LIMIT_SECONDS"])
CLEAN_UP_SECONDS = 5
TIMED_OUT = 124


def main() -> int:
    database = f"test_{os.getpid()}"
    create = f"CREATE DATABASE {database} TEMPLATE {os.environ['TEMPLATE']}"
    return psql("-Xqd", "postgres", "-c", create) or psql("--dbname", database, *sys.argv[1:])


def psql(*arguments: str) -> int:
    """Run psql to its end or to the time limit, and end the processes that it started."""
    process = subprocess.Popen([os.environ["PSQL"], *arguments], start_new_session=True)
    try:
        return process.wait(LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        print(f"{arguments[-1]}: not done within {LIMIT_SECONDS:g} s", file=sys.stderr, flush=True)
        os.killpg(process.pid, signal.SIGINT)  # psql cancels its statement and says in which line it is
        with suppress(subprocess.TimeoutExpired):
            process.wait(CLEAN_UP_SECONDS)
        return TIMED_OUT
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
