"""How long it takes to install from nothing, and to upgrade a database of release 1.0.1 with many waiters.

python bench/upgrade.py [WAITERS]

Of the waiters every second one is delivered, with a delivery id. The upgrade locks the tables; a client that calls
get_waiter all the time tells for how long it had to wait.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from flow_signal.embedded import EmbeddedServer
from sql.build import build
from tests_sql.upgrade.releases import releases

FORMER = "1.0.1"
FILL = """
SELECT count(*)
FROM flow_signal_v1.register_waiters(
    ARRAY(SELECT md5(n::text)::uuid FROM generate_series(%(first)s::int, %(last)s::int) AS n),
    array_fill('step'::text, ARRAY[%(last)s - %(first)s + 1]), array_fill('go'::text, ARRAY[%(last)s - %(first)s + 1])
)
"""
DELIVER = """
SELECT count(*)
FROM flow_signal_v1.deliver_signals(
    ARRAY(SELECT md5(n::text)::uuid FROM generate_series(%(first)s::int, %(last)s::int, 2) AS n),
    array_fill('go'::text, ARRAY[(%(last)s - %(first)s) / 2 + 1]),
    array_fill('{"approved": true}'::text, ARRAY[(%(last)s - %(first)s) / 2 + 1]),
    ARRAY(SELECT 'webhook-' || n FROM generate_series(%(first)s::int, %(last)s::int, 2) AS n)
)
"""
GET = "SELECT count(*) FROM flow_signal_v1.get_waiter(md5('1')::uuid, 'step')"
BATCH = 10_000


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
            connection.execute(releases()[FORMER].encode())
            for first in range(1, waiters + 1, BATCH):
                batch = {"first": first, "last": first + BATCH - 1}
                connection.execute(FILL, batch)
                connection.execute(DELIVER, batch)
            connection.execute("VACUUM ANALYZE")
            with Watch(server.conninfo("former")) as watch:
                show(f"upgrade from {FORMER} with {waiters:,} waiters, half of them delivered", connection, build())
            print(f"the longest call of get_waiter meanwhile: {watch.longest:.2f} s")


class Watch:
    """A client that calls get_waiter all the time."""

    def __init__(self, conninfo: str) -> None:
        self.longest = 0.0
        self._connection = psycopg.connect(conninfo, autocommit=True)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._call)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._connection.close()

    def _call(self) -> None:
        while not self._is_over.is_set():
            began = time.perf_counter()
            # A call that waited at the lock may end with 42703, as docs/operations.md says; the next one is right.
            with suppress(psycopg.errors.UndefinedColumn):
                self._connection.execute(GET)
            self.longest = max(self.longest, time.perf_counter() - began)


def show(what: str, connection: psycopg.Connection[object], script: str) -> None:
    began = time.perf_counter()
    connection.execute(script.encode())
    print(f"{what}: {time.perf_counter() - began:.2f} s")


if __name__ == "__main__":
    main()
