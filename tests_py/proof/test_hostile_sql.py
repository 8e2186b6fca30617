"""Hostile input through SQL: a result or a documented SQLSTATE, nothing changed after an error, no payload in any text.

The short form sends a fixed sample; FLOW_SIGNAL_PROOF=long sends 150,000 inputs of a new seed, which a failure names.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest

from flow_signal.embedded import EmbeddedServer
from flow_signal.migrate import migrate
from tests_py.proof import soak
from tests_py.proof.hostile import SECRET
from tests_py.proof.hostile_calls import FIELDS, SCENE, Answer, Caller

SHARES = {"UTF8": 0.7, "LATIN1": 0.1, "SQL_ASCII": 0.1, "EUC_JP": 0.1}
LOGIN = "hostile_caller"


@pytest.fixture(scope="module")
def login(server: EmbeddedServer) -> Iterator[str]:
    with psycopg.connect(server.conninfo(), autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {LOGIN} LOGIN IN ROLE flow_signal_admin")
        yield LOGIN
        admin.execute(f"DROP ROLE {LOGIN}")


OURS = "PL/pgSQL function flow_signal_v1.deliver_signal"


@pytest.mark.parametrize(
    ("sqlstate", "texts", "found"),
    [
        ("22023", {}, []),
        ("XX000", {}, ["not documented"]),
        ("WS001", {}, ["not documented"]),  # not of deliver_signal
        ("40P01", {}, ["not documented"]),
        ("57014", {}, ["does not end"]),
        ("22P02", {"context": f"JSON data, line 1: {SECRET}"}, ["a payload in a text"]),
        ("22023", {"message": "x" * 1001, "context": OURS}, ["too long a text"]),
    ],
)
def test_an_objection_is_found(
    database: str, login: str, sqlstate: str, texts: dict[str, str], found: list[str]
) -> None:
    caller = Caller(database, login, 1)
    answer = Answer(sqlstate, dict.fromkeys(FIELDS, "") | texts)
    assert list(caller.objections("deliver_signal", answer, False)) == found
    run = caller.values.runs[0]
    caller.tables.connection.execute("SELECT flow_signal_v1.remove_waiter(%s, 'live')", [run])
    assert "an error changes the tables" in list(caller.objections("deliver_signal", answer, False))
    caller.close()


@pytest.mark.time_limit(3600)
@pytest.mark.parametrize("encoding", SHARES)
def test_hostile_sql(server: EmbeddedServer, login: str, encoding: str) -> None:
    name = f"hostile_{uuid4().hex}"
    seed = soak.seed() if soak.LONG else 1
    with psycopg.connect(server.conninfo(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
        migrate(server.conninfo(name))
        with psycopg.connect(server.conninfo(name)) as connection:
            connection.execute(SCENE.encode())
        caller = Caller(server.conninfo(name), login, seed)
        try:
            found = caller.round(round(SHARES[encoding] * soak.scaled(3_000)))
        finally:
            caller.close()
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    print(encoding, seed, caller.counts.total(), dict(caller.counts))
    assert not found, f"seed {seed}, {len(found)}:\n" + "\n\n".join(found[:10])
    # It says something only if both happen, and most refusals are ours.
    assert caller.counts["result"] > caller.counts.total() / 10
    assert caller.counts["22023"] > caller.counts.total() / 50
