"""A waiter that a client's encoding cannot carry stays for another client, and no claim of the queue fails for it."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from flow_signal.embedded import EmbeddedServer
from flow_signal.migrate import migrate

SNOWMAN = "\N{SNOWMAN}"
REGISTER = """
SELECT w.state FROM flow_signal_v1.register_waiter(
    p_run_id => md5('%s')::uuid, p_step_key => '%s', p_signal_name => 'go', p_queue => 'q'
) AS w
"""
CLAIM = "SELECT c.step_key, c.payload_json::text FROM flow_signal_v1.claim_waiters(p_queue => 'q') AS c"
ENCODINGS = ["UTF8", "LATIN1", "SQL_ASCII"]


@pytest.fixture(scope="module", params=ENCODINGS)
def conninfo(server: EmbeddedServer, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"test_encoding_{request.param.lower()}"
    with psycopg.connect(server.conninfo(), autocommit=True) as admin:
        admin.execute(
            sql.SQL("CREATE DATABASE {} ENCODING {} LOCALE 'C' TEMPLATE template0").format(
                sql.Identifier(name), sql.Literal(request.param)
            )
        )
        migrate(server.conninfo(name))
        yield server.conninfo(name)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def connect(conninfo: str, encoding: str) -> psycopg.Connection:
    return psycopg.connect(conninfo, autocommit=True, client_encoding=encoding)


def fill(connection: psycopg.Connection, odd: bytes) -> None:
    """Deliver to a step with an odd name, to one that gets an odd payload, and to a plain one, in this order."""
    connection.execute("DELETE FROM flow_signal.flow_signal_waiters")
    names = {b"1": odd, b"2": b"payload", b"3": b"plain"}
    payloads = {b"1": b"1", b"2": b'"' + odd + b'"', b"3": b"3"}
    for run, name in names.items():
        connection.execute(REGISTER.encode() % (run, name))
        deliver = b"SELECT flow_signal_v1.deliver_signal(md5('%s')::uuid, 'go', '%s')" % (run, payloads[run])
        connection.execute(deliver)


def claimed(conninfo: str, encoding: str) -> list[tuple[str, str]]:
    """What one claim hands out; it is handed out again to the next one."""
    with connect(conninfo, encoding) as connection, connection.transaction(force_rollback=True):
        found: list[tuple[str, str]] = connection.execute(CLAIM).fetchall()
        return found


PLAIN = ("plain", "3")


def all_of(odd: str) -> list[tuple[str, str]]:
    return [(odd, "1"), ("payload", f'"{odd}"'), PLAIN]


@pytest.mark.parametrize("conninfo", ["UTF8"], indirect=True)
def test_a_character_that_the_client_lacks(conninfo: str) -> None:
    with connect(conninfo, "UTF8") as connection:
        fill(connection, SNOWMAN.encode())
    assert claimed(conninfo, "LATIN1") == [PLAIN]
    assert claimed(conninfo, "EUC_JP") == [PLAIN]
    assert claimed(conninfo, "UTF8") == all_of(SNOWMAN)
    with connect(conninfo, "UTF8") as connection:
        fill(connection, "\N{LATIN SMALL LETTER E WITH ACUTE}".encode())
    assert claimed(conninfo, "LATIN1") == all_of("\N{LATIN SMALL LETTER E WITH ACUTE}")


@pytest.mark.parametrize("conninfo", ["LATIN1"], indirect=True)
def test_a_client_in_utf8_reads_everything(conninfo: str) -> None:
    letters = "".join(map(chr, (*range(0xA1, 0x100), 0x85, 0x9F)))
    with connect(conninfo, "UTF8") as connection:
        fill(connection, letters.encode())
        with pytest.raises(psycopg.errors.UntranslatableCharacter):
            fill(connection, SNOWMAN.encode())
        fill(connection, letters.encode())
    assert claimed(conninfo, "UTF8") == all_of(letters)
    assert claimed(conninfo, "LATIN1") == all_of(letters)
    deliver = "SELECT d.replayed FROM flow_signal_v1.deliver_signal(md5('id')::uuid, 'go', %s, 'id', 'tomorrow') AS d"
    for encoding, replayed in (("UTF8", False), ("LATIN1", True), ("UTF8", True)):
        with connect(conninfo, encoding) as connection:
            assert connection.execute(deliver, [f'"{letters}"']).fetchone() == (replayed,)


@pytest.mark.parametrize("conninfo", ["SQL_ASCII"], indirect=True)
def test_bytes_that_are_not_text_to_the_client(conninfo: str) -> None:
    with connect(conninfo, "SQL_ASCII") as connection:
        fill(connection, b"\xe9")
    assert claimed(conninfo, "UTF8") == [PLAIN]
    with connect(conninfo, "LATIN1") as connection:
        assert len(connection.execute(CLAIM).fetchall()) == 3
    with connect(conninfo, "UTF8") as connection:
        fill(connection, SNOWMAN.encode())
    assert claimed(conninfo, "UTF8") == all_of(SNOWMAN)


@pytest.mark.parametrize("conninfo", ["UTF8"], indirect=True)
def test_what_is_left_is_still_due(conninfo: str) -> None:
    with connect(conninfo, "UTF8") as connection:
        fill(connection, SNOWMAN.encode())
        with connect(conninfo, "LATIN1") as other:
            assert other.execute(CLAIM).fetchall() == [PLAIN]
            assert other.execute(CLAIM).fetchall() == []
        assert connection.execute(CLAIM).fetchall() == all_of(SNOWMAN)[:2]
