"""How long it takes to install from nothing, and to upgrade a database with many waiters.

python bench/upgrade.py [WAITERS]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from flow_signal.embedded import EmbeddedServer
from sql.build import build
from tests_sql.upgrade.releases import MADE_UP, releases

FILL = """
SELECT count(*)
FROM generate_series(1, %s) AS n
CROSS JOIN LATERAL flow_signal_v1.register_waiter(md5(n::text)::uuid, 'step', 'go')
"""


def main() -> None:
    waiters = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with EmbeddedServer() as server:
        for name in ("fresh", "former"):
            with psycopg.connect(server.conninfo(), autocommit=True) as admin:
                admin.execute(f"CREATE DATABASE {name}")
        with psycopg.connect(server.conninfo("fresh"), autocommit=True) as connection:
            show("install from nothing", connection, build())
            show("run it again", connection, build())
        with psycopg.connect(server.conninfo("former"), autocommit=True) as connection:
            connection.execute(releases()[MADE_UP].encode())
            connection.execute(FILL, [waiters])
            show(f"upgrade with {waiters:,} waiters, every function replaced", connection, build())


def show(what: str, connection: psycopg.Connection[object], script: str) -> None:
    began = time.perf_counter()
    connection.execute(script.encode())
    print(f"{what}: {time.perf_counter() - began:.2f} s")


if __name__ == "__main__":
    main()
