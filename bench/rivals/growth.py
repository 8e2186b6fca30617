"""What a delivery costs as the table grows, and what remains of the speed and the space after many lifecycles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import psycopg

from bench.rivals.contenders.contender import Contender, Work, check
from bench.rivals.figures import ChurnReading, SizeReading, percentile
from bench.rivals.load import Condition, run
from bench.rivals.site import Database, Site

ALONE = Condition(clients=1, flush=False)
"""Neither waiting for others nor for the disk hides what the table costs."""
CHUNK = 100_000
BYTES = """
SELECT sum(pg_table_size(c.oid)), sum(pg_indexes_size(c.oid))
FROM pg_class AS c WHERE c.relkind = 'r' AND c.relnamespace = 'flow_signal'::regnamespace"""


def deliver_by_size(
    site: Site,
    databases: Mapping[str, Database],
    contenders: Sequence[Contender],
    sizes: Sequence[int],
    *,
    rounds: int,
    calls: int,
) -> list[SizeReading]:
    """Deliver to `calls` waiters spread over each table in each round, to others each time, the tables in turn."""
    readings = []
    with ExitStack() as stack:
        tables = []
        for contender in contenders:
            for rows in sizes:
                database = stack.enter_context(site.copy(databases[contender.name]))
                for first in range(0, rows, CHUNK):
                    last = min(first + CHUNK, rows) - 1
                    database.execute(contender.jobs[Work.DELIVER].before, first=first, last=last)
                database.execute("VACUUM ANALYZE")
                database.execute("CHECKPOINT")
                tables.append((contender, rows, database))
        for number in range(rounds):
            for contender, rows, database in tables:
                measured = run(
                    site.pgbench,
                    database,
                    contender.jobs[Work.DELIVER].script,
                    ALONE,
                    calls=calls,
                    first=number,
                    stride=rows // calls,
                    latencies=True,
                )
                check(contender, Work.DELIVER, database, calls * (number + 1))
                p50, p99 = (percentile(measured.latencies, percent) for percent in (50, 99))
                readings.append(SizeReading(contender=contender.name, rows=rows, round=number, p50=p50, p99=p99))
    return readings


def churn(
    site: Site, database: Database, contender: Contender, *, steps: int, calls: int, snapshot: bool = False
) -> list[ChurnReading]:
    """Go through `calls` lifecycles with each client in each step. snapshot: keep one open in the middle third."""
    condition = Condition(flush=False)  # the disk only makes it longer
    readings = []
    with psycopg.connect(database.conninfo()) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        for step in range(steps):
            held = snapshot and steps // 3 <= step < steps * 2 // 3
            if held:
                reader.execute("SELECT FROM flow_signal.flow_signal_waiters LIMIT 1")  # the first one takes it
            else:
                reader.rollback()
            lifecycles = calls * condition.clients
            script = contender.jobs[Work.LIFECYCLE].script
            measured = run(site.pgbench, database, script, condition, calls=calls, first=step * lifecycles)
            check(contender, Work.LIFECYCLE, database, lifecycles)
            [(table_bytes, index_bytes)] = database.execute(BYTES)
            readings.append(
                ChurnReading(
                    lifecycles=(step + 1) * lifecycles,
                    snapshot=held,
                    rate=round(measured.rate, 1),
                    cpu=round(measured.cpu, 2),
                    table_bytes=int(table_bytes),
                    index_bytes=int(index_bytes),
                )
            )
    return readings
