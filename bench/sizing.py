"""The disk space of waiters: the tables and each of their indexes.

python bench/sizing.py [--rows N] [SITUATION...]

In each situation that many waiters, each of a run of its own, are registered, measured, delivered to in another order,
each with a payload of 100 bytes, and measured again, all through the API. Whenever a fifth is delivered the table is
vacuumed, as autovacuum would by default. Printed as a Markdown table, in MB (10^6 bytes).

plain      neither queue nor delivery ids
queue      registered with a queue
all        with a queue, a deadline and delivery ids

Takes half a minute and 1 GB of disk for each million rows and situation.
"""

from __future__ import annotations

import argparse
from typing import Any

import psycopg

from flow_signal.embedded import EmbeddedServer
from flow_signal.migrate import migrate

Connection = psycopg.Connection[Any]

WAITERS = "flow_signal.flow_signal_waiters"
TABLES = f"{WAITERS}, flow_signal.flow_signal_locks, flow_signal.flow_signal_receipts"
BATCH = 1000
SITUATIONS = {
    "plain": {"queue": None, "deadlines": False, "delivery_ids": False},
    "queue": {"queue": "engine", "deadlines": False, "delivery_ids": False},
    "all": {"queue": "engine", "deadlines": True, "delivery_ids": True},
}
REGISTER = """
SELECT count(*)
FROM flow_signal_v1.register_waiters(
    p_run_ids => ARRAY(SELECT md5(n::text)::uuid FROM generate_series(%(first)s::int, %(last)s) AS n),
    p_step_keys => array_fill('approve'::text, ARRAY[%(batch)s]),
    p_signal_names => array_fill('approval'::text, ARRAY[%(batch)s]),
    p_expires_at => CASE WHEN %(deadlines)s
        THEN array_fill(now() + interval '1 day', ARRAY[%(batch)s]) END,
    p_queue => %(queue)s
)
"""
# A number prime to that of the rows leads through all of them in an order of its own.
DELIVER = """
SELECT count(*) FILTER (WHERE status = 'delivered')
FROM flow_signal_v1.deliver_signals(
    p_run_ids => ARRAY(
        SELECT md5((n * 999983::bigint %% %(rows)s + 1)::text)::uuid FROM generate_series(%(first)s::int, %(last)s) AS n
    ),
    p_signal_names => array_fill('approval'::text, ARRAY[%(batch)s]),
    p_payloads_json => array_fill(rpad('{"note": "', 98, 'x') || '"}', ARRAY[%(batch)s]),
    p_delivery_ids => CASE WHEN %(delivery_ids)s
        THEN ARRAY(SELECT 'webhook-' || n FROM generate_series(%(first)s::int, %(last)s) AS n) END
)
"""
SIZES = f"""
SELECT c.relname, CASE c.relkind WHEN 'r' THEN pg_table_size(c.oid) ELSE pg_relation_size(c.oid) END
FROM pg_class AS c
WHERE c.relkind IN ('r', 'i')
    AND coalesce((SELECT i.indrelid FROM pg_index AS i WHERE i.indexrelid = c.oid), c.oid) IN (
        SELECT t::regclass::oid FROM unnest('{{{TABLES}}}'::text[]) AS t
    )
ORDER BY c.relkind DESC, c.oid
"""


def sizes(connection: Connection) -> dict[str, int]:
    return dict(connection.execute(SIZES).fetchall())


def fill(connection: Connection, situation: str, rows: int) -> tuple[dict[str, int], dict[str, int]]:
    """The bytes of each relation when all wait, and when all are delivered."""
    connection.execute(f"TRUNCATE {TABLES}")
    arguments = {"rows": rows, "batch": BATCH, **SITUATIONS[situation]}
    for first in range(1, rows + 1, BATCH):
        page = {"first": first, "last": first + BATCH - 1}
        assert connection.execute(REGISTER, arguments | page).fetchone() == (BATCH,)
    waiting = sizes(connection)
    for first in range(1, rows + 1, BATCH):
        page = {"first": first, "last": first + BATCH - 1}
        assert connection.execute(DELIVER, arguments | page).fetchone() == (BATCH,)
        if page["last"] % (rows // 5) == 0:
            connection.execute(f"VACUUM {WAITERS}")
    return waiting, sizes(connection)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="a multiple of 5,000")
    parser.add_argument("situation", nargs="*", default=[*SITUATIONS])
    options = parser.parse_args()
    if options.rows % (5 * BATCH):
        parser.error("--rows: a multiple of 5,000")
    columns: dict[str, dict[str, int]] = {}
    settings = {"autovacuum": "off", "synchronous_commit": "off", "max_wal_size": "4GB"}
    with EmbeddedServer(settings=settings) as server:
        migrate(server.conninfo())
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            for name in options.situation:
                columns[f"{name}, waiting"], columns[f"{name}, delivered"] = fill(connection, name, options.rows)
    print(f"| {options.rows:,} waiters, MB |", *(f"{name} |" for name in columns))
    print("|---|" + "---|" * len(columns))
    for relation in next(iter(columns.values())):
        print(f"| {relation} |", *(f"{column[relation] / 1e6:,.0f} |" for column in columns.values()))
    print("| all |", *(f"{sum(column.values()) / 1e6:,.0f} |" for column in columns.values()))
    print("| bytes a waiter |", *(f"{sum(column.values()) / options.rows:,.0f} |" for column in columns.values()))


if __name__ == "__main__":
    main()
