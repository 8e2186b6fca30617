"""Purge 10,000,000 dead waiters, call by call, and read the views beside them.

python bench/housekeeping.py [--rows N] [--limit N] [SITUATION...]

In each situation: purge until it answers 0, and how long the calls took: as wall time, to which other work on the
machine adds, and in brackets as the server's CPU time. `last` is the call that answers 0: it has looked at the whole
table; `max` is the longest of the others. Checked: what is dead is gone, what is live is still there.

dead        all rows are over, half of them delivered, half overdue; before that, the time of the views
traffic     the same while two sessions register and deliver; what they do per second alone and beside it
snapshot    the same while a session keeps a snapshot, so that nothing that is deleted can be cleaned away
live        as many live rows, and a thousand among them that are over
payloads    2,000 rows that are over, each with a payload of 1 MB, stored out of line

Needs 5 GB of disk and ten minutes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event
from typing import Any

import psycopg
from backend_cpu import backend_cpu

from flow_signal.embedded import EmbeddedServer
from flow_signal.migrate import migrate

Connection = psycopg.Connection[Any]

WAITERS = "flow_signal.flow_signal_waiters"
PURGE = "SELECT flow_signal_v1.purge(p_settled_before => '2024-01-01', p_limit => %s)"
TRAFFIC = """
SELECT d.status
FROM flow_signal_v1.register_waiter(p_run_id => gen_random_uuid(), p_step_key => 'step', p_signal_name => 'go') AS w
CROSS JOIN LATERAL flow_signal_v1.deliver_signal(p_run_id => w.run_id, p_signal_name => 'go') AS d
"""
# Every so many rows one is over. Ascending run ids, because random ones take minutes to index; purge reads no index.
FILL = f"""
INSERT INTO {WAITERS} (
    run_id, step_key, signal_name, status, created_at, expires_at, delivered_at, payload_json
)
SELECT
    lpad(to_hex(n), 32, '0')::uuid, 'step', 'approval ' || n %% 20,
    CASE k.kind WHEN 'delivered' THEN 'delivered' ELSE 'waiting' END, '2020-01-01',
    CASE k.kind WHEN 'overdue' THEN timestamptz '2020-01-02' END,
    CASE k.kind WHEN 'delivered' THEN timestamptz '2020-01-01' + random() * interval '1 day' END,
    CASE k.kind WHEN 'delivered' THEN json '{{"approved": true}}' END
FROM generate_series(1, %(rows)s) AS n
CROSS JOIN LATERAL (
    SELECT CASE n %% (2 * %(every)s) WHEN 0 THEN 'overdue' WHEN %(every)s THEN 'delivered' ELSE 'waiting' END
) AS k (kind)
"""
FILL_PAYLOADS = f"""
INSERT INTO {WAITERS} (run_id, step_key, signal_name, status, created_at, delivered_at, payload_json)
SELECT gen_random_uuid(), 'step', 'go', 'delivered', '2020-01-01', '2020-01-02', to_json(repeat('payload ', 131071))
FROM generate_series(1, 2000)
"""
REST = f"""
SELECT
    count(*) FILTER (WHERE delivered_at < '2024-01-01' OR expires_at < '2024-01-01'),
    count(*) FILTER (WHERE delivered_at IS NULL AND expires_at IS NULL)
FROM {WAITERS}
"""


def milliseconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1000


def read_views(connection: Connection) -> None:
    for view in ("health", "signal_stats"):
        read = partial(connection.execute, f"SELECT * FROM flow_signal_v1.{view}")
        spent = [milliseconds(read) for _ in range(3)]
        print(f"{view}: {min(spent):,.1f} ms, the best of three")


def purge_all(connection: Connection, limit: int, dead: int) -> str:
    """Purge until nothing is left; return how that went."""
    walls, cpus = [], []
    left = dead
    while True:
        cpu = backend_cpu(connection)
        began = time.perf_counter()
        [[deleted]] = connection.execute(PURGE, [limit]).fetchall()
        walls.append((time.perf_counter() - began) * 1000)
        cpus.append((backend_cpu(connection) - cpu) / 1000)
        left -= deleted
        if deleted == 0:
            break
    assert left == 0, f"{left} are left"
    return (
        f"{len(walls):6,} calls {sum(walls) / 1000:6.1f} s ({sum(cpus) / 1000:5.1f} CPU), each ms: "
        f"median {statistics.median(walls):5.1f} ({statistics.median(cpus):5.1f}), "
        f"max {max(walls[:-1]):5.0f} ({max(cpus[:-1]):4.0f}), last {walls[-1]:5.0f} ({cpus[-1]:4.0f})"
    )


def keep_busy(conninfo: str, stop: Event) -> list[float]:
    """Register a waiter and deliver to it until told to stop; return the time of each pair."""
    spent = []
    with psycopg.connect(conninfo, autocommit=True) as connection:
        while not stop.is_set():
            spent.append(milliseconds(lambda: connection.execute(TRAFFIC, prepare=True)))
    return spent


def with_traffic(conninfo: str, action: Callable[[], object]) -> str:
    """Do it beside the traffic; return how that went."""
    stop = Event()
    with ThreadPoolExecutor(2) as threads:
        sessions = [threads.submit(keep_busy, conninfo, stop) for _ in range(2)]
        seconds = milliseconds(action) / 1000
        stop.set()
        spent = [time for session in sessions for time in session.result()]
    return f"{len(spent) / seconds:,.0f}/s, slowest {max(spent):.0f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--limit", type=int, default=10_000)
    parser.add_argument("situation", nargs="*", default=["dead", "traffic", "snapshot", "live", "payloads"])
    options = parser.parse_args()
    with EmbeddedServer(settings={"max_wal_size": "4GB"}) as server:
        conninfo = server.conninfo()
        migrate(conninfo)
        connection = psycopg.connect(conninfo, autocommit=True)
        print(f"{options.rows:,} rows, {options.limit:,} a call, no flush; CPU time in brackets")
        for situation in options.situation:
            run(connection, conninfo, situation, options)
        connection.close()


def run(connection: Connection, conninfo: str, situation: str, options: argparse.Namespace) -> None:
    connection.execute(f"TRUNCATE {WAITERS}")
    every = options.rows // 1000 if situation == "live" else 1
    if situation == "payloads":
        connection.execute(f"ALTER TABLE {WAITERS} ALTER payload_json SET STORAGE EXTERNAL")
        connection.execute(FILL_PAYLOADS)
    else:
        connection.execute(FILL, {"rows": options.rows, "every": every})
    connection.execute("CHECKPOINT")
    [[dead, live]] = connection.execute(REST).fetchall()
    if situation == "dead":
        read_views(connection)

    def work() -> None:
        print(f"{situation:8} {purge_all(connection, options.limit, dead)}", flush=True)

    if situation == "traffic":
        print(f"traffic alone: {with_traffic(conninfo, lambda: time.sleep(5))}")
        print(f"traffic beside it: {with_traffic(conninfo, work)}")
    elif situation == "snapshot":
        with psycopg.connect(conninfo) as reader:
            reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            reader.execute("SELECT")
            work()
    else:
        work()
    assert connection.execute(REST).fetchall() == [(0, live)]


if __name__ == "__main__":
    main()
