"""A login that may only send cannot find out which runs and steps there are, whatever it calls and rolls back."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from flow_signal.embedded import EmbeddedServer

SIGNAL = "approval"
"""What the attacker knows: every application has signals of that name."""

VICTIM = UUID("5ec0e7a1-0000-4000-8000-00000000beef")
SECRETS = [str(VICTIM), "hidden-step", "hidden-payload", "hidden-queue", "hidden-channel", "hidden-id"]

SCENE = f"""
SELECT flow_signal_v1.register_waiter('{VICTIM}', 'hidden-step ' || s, '{SIGNAL}', p_queue => 'hidden-queue',
    p_wake_channel => 'hidden-channel') FROM generate_series(1, 3) AS s;
SELECT flow_signal_v1.register_waiter('{VICTIM}', 'hidden-step late', '{SIGNAL}', '2001-01-01');
SELECT flow_signal_v1.deliver_signal('{VICTIM}', '{SIGNAL}', '"hidden-payload"', 'hidden-id');
SELECT flow_signal_v1.deliver_signal('{VICTIM}', 'early', '"hidden-payload"', 'hidden-id 2', '2999-01-01');
SELECT flow_signal_v1.issue_token('{VICTIM}', 'hidden-step 2');
"""

GUESSES: dict[str, Sequence[object]] = {
    "uuid": [None, UUID(int=0), UUID(int=2**128 - 1), uuid4()],
    "text": [None, SIGNAL, "%", "", "*", "' OR true --", "early", "1", "{}"],
    "timestamp with time zone": [None, "2999-01-01", "-infinity", "2001-01-01"],
    "uuid[]": [None, [], [UUID(int=0), None], [uuid4(), uuid4()]],
    "text[]": [None, [], [SIGNAL, None], [SIGNAL, SIGNAL], ["1", "%"]],
}

CATALOG = [
    *("pg_stats", "pg_stat_activity", "pg_locks", "pg_stat_user_tables", "pg_prepared_statements", "pg_cursors"),
    *("pg_stat_user_indexes", "pg_prepared_xacts", "pg_settings", "pg_stats_ext", "pg_listening_channels()"),
    *("information_schema.tables", "information_schema.column_privileges", "pg_stat_user_functions"),
]


@pytest.fixture
def login(server: EmbeddedServer) -> Iterator[str]:
    with psycopg.connect(server.conninfo(), autocommit=True) as admin:
        admin.execute("CREATE ROLE attacker LOGIN")
        yield "attacker"
        admin.execute("DROP ROLE attacker")


def calls(connection: psycopg.Connection[Any], dice: random.Random) -> Iterator[tuple[str, list[object]]]:
    """Guesses for each function and view that the login may use, in any schema of flow-signal."""
    functions = connection.execute(
        """
        SELECT format('%s.%s', p.pronamespace::regnamespace, p.proname), p.proargtypes::regtype[]::text[]
        FROM pg_proc AS p
        WHERE p.pronamespace::regnamespace::text ~ '^flow_signal' AND has_function_privilege(p.oid, 'EXECUTE')
            AND has_schema_privilege(p.pronamespace, 'USAGE')
        UNION ALL
        SELECT c.oid::regclass::text, NULL
        FROM pg_class AS c
        WHERE c.relnamespace::regnamespace::text ~ '^flow_signal' AND has_any_column_privilege(c.oid, 'SELECT')
        ORDER BY 1
        """
    ).fetchall()
    for name, types in functions:
        if types is None:
            yield f"SELECT * FROM {name}", []
            continue
        combinations = list(itertools.product(*(GUESSES[type_name] for type_name in types)))
        for arguments in (combinations[0], *dice.sample(combinations, min(len(combinations), 60))):
            markers = ", ".join(f"%s::{type_name}" for type_name in types)
            yield f"SELECT * FROM {name}({markers})", list(arguments)
    for name in CATALOG:
        yield f"SELECT * FROM {name}", []


def learned(database: str, login: str) -> dict[str, set[str]]:
    """Which secrets came back, by the function that gave them: in rows, errors or notices."""
    found: dict[str, set[str]] = {}
    options = "-c client_min_messages=debug1 -c debug_print_plan=on -c statement_timeout=5s"
    engine = psycopg.connect(database)
    with closing(engine), psycopg.connect(database, user=login, options=options, autocommit=True) as attacker:
        engine.execute(f"SELECT flow_signal_v1.deliver_signal('{VICTIM}', 'late', '\"hidden-payload\"')".encode())
        texts: list[str] = []
        attacker.add_notice_handler(lambda notice: texts.append(f"{notice.message_primary} {notice.message_detail}"))
        for statement, arguments in calls(attacker, random.Random(1)):
            texts.clear()
            attacker.execute("BEGIN")
            try:
                texts += map(repr, attacker.execute(statement.encode(), arguments).fetchall())
            except psycopg.Error as error:
                diag = error.diag
                texts += map(str, (diag.message_primary, diag.message_detail, diag.message_hint, diag.context))
            attacker.execute("ROLLBACK")
            for secret in SECRETS:
                if any(secret in text for text in texts):
                    found.setdefault(statement.split("(")[0], set()).add(secret)
    return found


def test_a_sender_learns_of_no_run_and_no_step(database: str, login: str) -> None:
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(SCENE.encode())
        admin.execute(f"ANALYZE; GRANT flow_signal_sender, flow_signal_redeemer TO {login}".encode())
    assert learned(database, login) == {}


@pytest.mark.parametrize(
    ("role", "source"),
    [
        ("broadcaster", "SELECT * FROM flow_signal_v1.broadcast_signal"),
        ("reader", "SELECT * FROM flow_signal_v1.list_buffered_signals"),
    ],
)
def test_other_roles_would(database: str, login: str, role: str, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the test above could not fail."""
    extra = {"bigint": [None], "integer": [10], "interval": ["0"]}
    for type_name, values in extra.items():
        monkeypatch.setitem(GUESSES, type_name, values)
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(SCENE.encode())
        admin.execute(f"GRANT flow_signal_{role} TO {login}".encode())
    assert str(VICTIM) in learned(database, login)[source]
