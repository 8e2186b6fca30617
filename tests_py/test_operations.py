"""What docs/operations.md tells a DBA to run, runs; the programs that it names exist."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest

from flow_signal import TooManyBufferedError
from flow_signal.embedded import EmbeddedServer
from flow_signal.migrate import migrate
from sql.build import ROOT

PAGE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sql\n(.*?)^```$", PAGE, re.M | re.S)
PURGE = next(block for block in BLOCKS if block.startswith("DO $purge$"))


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if not re.search("pg_stat_statements|cron|webhook", block)]
)
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


def blocks_below(heading: str) -> list[str]:
    [section] = re.findall(rf"^## {heading}\n(.*?)^## ", PAGE, re.M | re.S)
    return re.findall(r"^```sql\n(.*?)^```$", section, re.M | re.S)


@pytest.fixture
def webhook(server: EmbeddedServer) -> Iterator[str]:
    with psycopg.connect(server.conninfo(), autocommit=True) as admin:
        admin.execute("CREATE ROLE webhook LOGIN IN ROLE flow_signal_sender")
        yield "webhook"
        admin.execute("DROP ROLE webhook")


EARLY = "SELECT status FROM flow_signal_v1.deliver_signal(gen_random_uuid(), %s, '1', %s, now() + interval '1 year')"


@pytest.mark.usefixtures("webhook")
def test_a_flood_is_found_stopped_and_cleared(database: str) -> None:
    find, stop, withdraw, purge = (block.encode() for block in blocks_below("A flood of buffered signals"))
    sender = psycopg.connect(database, user="webhook", autocommit=True)
    owner = psycopg.connect(database, options="-c role=flow_signal_owner", autocommit=True)
    with sender, owner:
        run = uuid4()
        for number in range(30):
            sender.execute(EARLY.replace("gen_random_uuid()", f"'{run}'").encode(), ("approval", f"id {number}"))
        for number in range(5):
            sender.execute(EARLY.encode(), ("approval", f"id {number}"))
        sender.execute(EARLY.encode(), ("good", "id"))

        cursor = owner.execute(find)
        largest = cursor.fetchone()
        assert largest is not None
        assert largest[:4] == (run, "approval", "webhook", 30)
        assert cursor.nextset()
        busiest = cursor.fetchone()
        assert busiest is not None
        assert busiest[:2] == ("approval", "webhook")

        # As on the page: the sessions that are open notice both.
        revoke, quota = (statement + b";" for statement in stop.split(b";")[:2])
        with psycopg.connect(database, autocommit=True) as admin:
            admin.execute(quota)
            with pytest.raises(TooManyBufferedError):
                sender.execute(EARLY.replace("gen_random_uuid()", f"'{run}'").encode(), ("approval", "one more"))
            admin.execute(revoke)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            sender.execute(EARLY.encode(), ("approval", "one more"))

        left = b"SELECT signal_name, delivery_id FROM flow_signal.flow_signal_buffered_signals"
        owner.execute(withdraw)
        assert owner.execute(left).fetchall() == [("good", "id")]
        with psycopg.connect(database, options="-c role=flow_signal_admin", autocommit=True) as admin:
            admin.execute(purge)
        assert owner.execute(left).fetchall() == []


@pytest.mark.usefixtures("webhook")
def test_the_log_names_the_login_and_no_payload(server: EmbeddedServer, database: str) -> None:
    _, recipe = blocks_below("Who sent a signal")
    with psycopg.connect(server.conninfo(), autocommit=True) as admin:
        for statement in recipe.split(";"):
            admin.execute(statement.encode())
    run = uuid4()
    with psycopg.connect(database, user="webhook", autocommit=True) as sender:
        while sender.execute("SHOW log_line_prefix").fetchone() != ("%m %u %r ",):
            pass
        call = "SELECT status FROM flow_signal_v1.deliver_signal(%s, 'approval', %s, 'id', now() + interval '1 day')"
        sender.execute(call, [run, '"card number"'])
    with psycopg.connect(server.conninfo(), autocommit=True) as admin:
        admin.execute("ALTER SYSTEM RESET log_line_prefix")
        admin.execute("SELECT pg_reload_conf()")
    log = server.log_file.read_text()
    [line] = [line for line in log.splitlines() if "'id', now() + interval '1 day'" in line]
    assert re.search(r"^\S+ \S+ \S+ webhook \[local\] LOG:  execute .*deliver_signal\(\$1, 'approval', \$2", line), line
    assert str(run) not in log
    assert "card number" not in log


def test_a_wake_channel_and_two_phase_commit_exclude_each_other() -> None:
    with EmbeddedServer(settings={"max_prepared_transactions": "2"}) as server:
        migrate(server.conninfo())
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            for step, channel in (("wakes", "'c'"), ("silent", "NULL")):
                connection.execute(
                    "SELECT flow_signal_v1.register_waiter("
                    f"md5('run')::uuid, '{step}', '{step}', p_wake_channel => {channel})".encode()
                )
            deliver = "SELECT d.status FROM flow_signal_v1.deliver_signal(md5('run')::uuid, %s) AS d"
            connection.execute("BEGIN")
            assert connection.execute(deliver, ["wakes"]).fetchone() == ("delivered",)
            with pytest.raises(psycopg.errors.FeatureNotSupported):
                connection.execute("PREPARE TRANSACTION 'wakes'")
            assert connection.info.transaction_status.name == "IDLE"
            connection.execute("BEGIN")
            assert connection.execute(deliver, ["silent"]).fetchone() == ("delivered",)
            connection.execute("PREPARE TRANSACTION 'silent'")
            connection.execute("SET lock_timeout = '50ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                connection.execute(deliver, ["silent"])
            connection.execute("COMMIT PREPARED 'silent'")
            assert connection.execute(deliver, ["silent"]).fetchone() == ("already_delivered",)
            assert connection.execute(deliver, ["wakes"]).fetchone() == ("delivered",)


def test_a_payload_that_is_removed_leaves_its_pieces(database: str) -> None:
    """As the query about TOAST shows, where the waiters' table has one dead row."""
    [query] = [block.split(";")[0] for block in BLOCKS if "reltoastrelid" in block]
    payload = json.dumps(secrets.token_hex(500_000))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SELECT flow_signal_v1.register_waiter(md5('run')::uuid, 's', 'go')")
        connection.execute("SELECT flow_signal_v1.deliver_signal(md5('run')::uuid, 'go', %s)", [payload])
        connection.execute("SELECT flow_signal_v1.remove_waiter(md5('run')::uuid, 's')")
    with psycopg.connect(database, autocommit=True) as connection:
        dead = 0
        while dead == 0:  # the statistics arrive a moment after their session has ended
            table, _, live, dead, _ = connection.execute(query.encode()).fetchall()[0]
        assert (table, live) == ("flow_signal_waiters", 0)
        assert dead > 100
