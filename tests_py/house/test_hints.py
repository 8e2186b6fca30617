"""Every HINT of a function can be followed as it is written: the call fails with it, and then what it says is done."""

from __future__ import annotations

import re
from typing import NamedTuple

import psycopg
import pytest

from sql.build import ROOT, read

RUN = "md5('run')::uuid"


class Case(NamedTuple):
    fails: str
    """The last of these statements, after the others."""
    followed: str
    """What the HINT says."""


def v1(*calls: str) -> str:
    return "; ".join(f"SELECT * FROM flow_signal_v1.{call}" for call in calls)


LEVEL = "BEGIN ISOLATION LEVEL SERIALIZABLE; "
EARLY = f"deliver_signal({RUN}, 'early', '1', NULL, 'tomorrow')"
FULL = "UPDATE flow_signal.flow_signal_settings SET max_buffered = 1; "
DEEP = "repeat('[', 200000) || repeat(']', 200000)"
REDEEM = "redeem_token((SELECT token FROM tokens), '{}')"
ISSUE = f"CREATE TEMP TABLE tokens AS SELECT flow_signal_v1.issue_token({RUN}, 's') AS token; "

CASES = {
    "list_buffered_signals shows them; an engine takes one back with withdraw_signal": Case(
        FULL + v1(EARLY, EARLY),
        v1(
            f"list_buffered_signals({RUN}) AS b, flow_signal_v1.withdraw_signal(b.run_id, b.signal_name, b.position)",
            EARLY,
        ),
    ),
    "pass arrays of one dimension and equal length; leave an optional one out": Case(
        v1(f"register_waiters(ARRAY[{RUN}], '{{a,b}}', '{{go}}', '{{NULL,NULL,NULL}}')"),
        v1(f"register_waiters(ARRAY[{RUN}, {RUN}], '{{a,b}}', '{{go,go}}')"),
    ),
    "use a short channel name, for example one per worker process": Case(
        v1(f"register_waiter({RUN}, 's', 'go', p_wake_channel => repeat('c', 64))"),
        v1(f"register_waiter({RUN}, 's', 'go', p_wake_channel => 'worker_1')"),
    ),
    "pass NULL to wait for ever": Case(
        v1(f"register_waiter({RUN}, 's', 'go', '-infinity')"), v1(f"register_waiter({RUN}, 's', 'go', NULL)")
    ),
    "pass an instant; older rows are deleted": Case(v1("purge('infinity')"), v1("purge(now() - interval '30 days')")),
    "pass an instant at which the buffered signal may be forgotten": Case(
        v1(f"deliver_signal({RUN}, 'go', p_buffer_until => 'infinity')"),
        v1(f"deliver_signal({RUN}, 'go', p_buffer_until => now() + interval '30 days')"),
    ),
    "call it in a READ COMMITTED transaction": Case(
        LEVEL + v1(f"deliver_signal({RUN}, 'go')"),
        "ROLLBACK; BEGIN ISOLATION LEVEL READ COMMITTED; " + v1(f"deliver_signal({RUN}, 'go')") + "; COMMIT",
    ),
    "read the payload with get_waiter, then remove_waiter and register again": Case(
        v1(f"register_waiter({RUN}, 's', 'go')", f"deliver_signal({RUN}, 'go')", f"register_waiter({RUN}, 's', 'on')"),
        v1(f"get_waiter({RUN}, 's')", f"remove_waiter({RUN}, 's')", f"register_waiter({RUN}, 's', 'on')"),
    ),
    "shorten it, or send a hash of it": Case(
        v1(f"get_waiter({RUN}, repeat('s', 257))"),
        v1(f"get_waiter({RUN}, left(repeat('s', 257), 256))", f"get_waiter({RUN}, md5(repeat('s', 257)))"),
    ),
    "give the %s a name": Case(v1(f"get_waiter({RUN}, ' ')"), v1(f"get_waiter({RUN}, 'step')")),
    "pass a%s %s": Case(v1(f"get_waiter({RUN}, NULL)"), v1(f"get_waiter({RUN}, 'step')")),
    "store the data elsewhere and send a reference to it": Case(
        v1(f"deliver_signal({RUN}, 'go', to_json(repeat('x', 1048576))::text)"),
        v1(f"deliver_signal({RUN}, 'go', '{{\"at\": \"s3://bucket/key\"}}')"),
    ),
    "send the inner part as a JSON string": Case(
        v1(f"deliver_signal({RUN}, 'go', {DEEP})"), v1(f"deliver_signal({RUN}, 'go', to_json({DEEP})::text)")
    ),
    "send JSON text: a string needs double quotes, NULL means no payload": Case(
        v1(f"deliver_signal({RUN}, 'go', 'yes')"),
        v1(f"deliver_signal({RUN}, 'go', '\"yes\"')", f"deliver_signal({RUN}, 'go', NULL)"),
    ),
    "pass the name of the schema that has the table": Case(
        v1("import_floworchestrator('')"), v1("import_floworchestrator('engine')")
    ),
    "pass a limit in that range": Case(
        v1("import_floworchestrator('engine', p_limit => -1)"), v1("import_floworchestrator('engine', p_limit => 0)")
    ),
    "pass a %s in that range": Case(
        v1("claim_waiters('q', 0)"), v1("claim_waiters('q', 1)", "claim_waiters('q', 10000)")
    ),
    "repeat the payload byte for byte, or send a new signal under a new id": Case(
        v1(f"register_waiter({RUN}, 's', 'go')", f"deliver_signal({RUN}, 'go', '{{}}', 'i')")
        + "; "
        + v1(f"deliver_signal({RUN}, 'go', '{{ }}', 'i')"),
        v1(f"deliver_signal({RUN}, 'go', '{{}}', 'i')", f"deliver_signal({RUN}, 'go', '{{ }}', 'j')"),
    ),
    "repeat the payload byte for byte to get the first answer": Case(
        v1(f"register_waiter({RUN}, 's', 'go')") + "; " + ISSUE + v1(REDEEM) + "; " + v1(REDEEM.replace("{}", "{ }")),
        v1(REDEEM),
    ),
}


def test_these_are_all() -> None:
    found = set()
    for path in (ROOT / "sql/functions").rglob("*.sql"):
        for clause in re.findall(r"\bHINT = (.*?);\n", read(path), re.S):
            joined = re.sub(r"'\s+'", "", clause)
            found |= {text for text in re.findall(r"'([^']+)'", joined) if " " in text} - {"pass a %s", "purge time"}
    assert found == CASES.keys()


@pytest.mark.parametrize("hint", CASES)
def test_it_can_be_followed(database: str, hint: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "CREATE SCHEMA engine CREATE TABLE flow_signal_waiters (run_id uuid, step_key text, signal_name text, "
            "created_at timestamptz, expires_at timestamptz, delivered_at timestamptz, payload_json text)"
        )
        *preparations, call = CASES[hint].fails.split("; ")
        for statement in preparations:
            connection.execute(statement.encode())
        with pytest.raises(psycopg.Error) as refusal:
            connection.execute(call.encode())
        assert re.fullmatch(re.escape(hint).replace("%s", ".*"), refusal.value.diag.message_hint or "")
        for statement in CASES[hint].followed.split("; "):
            connection.execute(statement.encode())
