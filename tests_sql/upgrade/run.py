"""Run the pgTAP files in databases that were upgraded, from each release in turn, with data in them.

From the project's folder: python -m tests_sql.upgrade.run [FILE | FOLDER]...
"""

from __future__ import annotations

import sys

import psycopg

from flow_signal.embedded import EmbeddedServer
from sql.build import build
from tests_sql.run import prove
from tests_sql.upgrade.releases import CONTENTS, DATA, releases
from tools.server import TEMPLATE, template_server


def main() -> int:
    for name, script in releases().items():
        print(f"upgraded from {name}", flush=True)
        with template_server() as server:
            upgrade_template(server, script)
            if code := prove(server, sys.argv[1:] or ["tests_sql"]):
                return code
    return 0


def upgrade_template(server: EmbeddedServer, former: str) -> None:
    with psycopg.connect(server.conninfo(), autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {TEMPLATE}")
        admin.execute(f"CREATE DATABASE {TEMPLATE}")
    with psycopg.connect(server.conninfo(TEMPLATE), autocommit=True) as connection:
        for script in (former, DATA, build()):
            connection.execute(script.encode())
        # The tests count what is there.
        connection.execute("SELECT flow_signal_v1.remove_run(md5(r::text)::uuid) FROM generate_series(1, 100) AS r")
        assert not connection.execute(CONTENTS).fetchall()
        # `health` reads the estimates of PostgreSQL, and the upgrade has counted the rows for an index.
        tables = ("waiters", "buffered_signals", "receipts", "tokens", "locks")
        connection.execute(f"VACUUM {', '.join(f'flow_signal.flow_signal_{table}' for table in tables)}".encode())


if __name__ == "__main__":
    sys.exit(main())
