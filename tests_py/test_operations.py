"""What docs/operations.md tells a DBA to run, runs; the programs that it names exist."""

from __future__ import annotations

import re

import psycopg
import pytest

from sql.build import ROOT

PAGE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sql\n(.*?)^```$", PAGE, re.M | re.S)
PURGE = next(block for block in BLOCKS if block.startswith("DO $purge$"))


@pytest.mark.parametrize("block", [block for block in BLOCKS if not re.search("pg_stat_statements|cron|my_app", block)])
def test_sql(database: str, block: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA engine")
        connection.execute(
            "CREATE TABLE engine.flow_signal_waiters (run_id uuid, step_key text, signal_name text, "
            "created_at timestamptz, expires_at timestamptz, delivered_at timestamptz, payload_json text)"
        )
        connection.execute(block.encode())


def test_the_purge_commits_each_call_and_leaves_nothing(database: str) -> None:
    expired = "SELECT flow_signal_v1.register_waiter(gen_random_uuid(), 's', 'go', '2020-01-01')"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"{expired} FROM generate_series(1, 11000)".encode())
        connection.execute("SELECT flow_signal_v1.register_waiter(gen_random_uuid(), 's', 'go')")
        connection.execute(PURGE.encode())
        assert connection.execute("SELECT count(*) FROM flow_signal.flow_signal_waiters").fetchone() == (1,)
        connection.execute("BEGIN")
        connection.execute(expired.encode())
        with pytest.raises(psycopg.errors.InvalidTransactionTermination):
            connection.execute(PURGE.encode())


def test_the_job_is_the_same_purge() -> None:
    [job] = [block for block in BLOCKS if "cron.schedule" in block]
    assert " ".join(PURGE.split()) in " ".join(job.split())


def test_the_measurements_exist() -> None:
    programs = set(re.findall(r"python (bench/\w+\.py)", PAGE))
    assert len(programs) == 3
    assert all((ROOT / program).exists() for program in programs)
