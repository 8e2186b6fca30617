"""What an attacker can learn of tokens: from a dump, from an error, from the time of an answer, in any encoding."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from random import sample
from statistics import median
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from flow_signal import FlowSignalStore, SignalDeliveryStatus, migrate
from flow_signal.embedded import EmbeddedServer
from tools.server import ROOT

Connection = psycopg.Connection[Any]


@pytest.fixture
def connection(database: str) -> Iterator[Connection]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


def issued(store: FlowSignalStore, run_id: UUID | None = None) -> str:
    run_id = run_id or uuid4()
    store.register_waiter(run_id, "step", "go")
    token = store.issue_token(run_id, "step")
    assert token
    return token


def test_a_token_in_a_dump(server: EmbeddedServer, database: str, connection: Connection) -> None:
    """Neither the text nor its random bytes; and the hash that is there is not a token."""
    store = FlowSignalStore(connection)
    run_id = uuid4()
    tokens = [issued(store, run_id) for _ in range(20)]
    store.redeem_token(tokens[0], {"by": "manager"})
    dump = subprocess.run(
        [server.bin_dir / "pg_dump", "--dbname", database],
        check=True,
        capture_output=True,
        text=True,
        env={"LD_LIBRARY_PATH": f"{server.bin_dir}/../lib", "PATH": os.environ["PATH"]},
    ).stdout
    hashes = [row[0].hex() for row in connection.execute("SELECT token_hash FROM flow_signal.flow_signal_tokens")]
    assert len(hashes) == len(tokens)
    assert all(hash in dump for hash in hashes)
    secrets = [token[-64:] for token in tokens]
    # 16 digits would be too many to be there by chance
    assert not [s for s in secrets for at in range(0, 64, 16) if s[at : at + 16] in dump]
    for hash in hashes:
        assert store.redeem_token(f"{tokens[0][:-64]}{hash}").status is SignalDeliveryStatus.NOT_FOUND
    assert store.redeem_token(tokens[0], {"by": "manager"}).replayed


@pytest.mark.parametrize("payload", ["2", "{", '"' + "x" * 1048575 + '"'])
def test_no_error_has_a_part_of_a_token(connection: Connection, payload: str) -> None:
    store = FlowSignalStore(connection)
    token = issued(store)
    store.redeem_token(token, 1)
    with pytest.raises(psycopg.Error) as caught:
        store.redeem_token(token, payload_json=payload)
    diag = caught.value.diag
    said = " ".join(str(getattr(diag, name)) for name in dir(diag) if not name.startswith("_"))
    assert diag.message_primary
    assert diag.message_primary in said
    assert not [at for at in range(37, 94) if token[at : at + 8] in said]


def test_all_unusable_tokens_take_the_same_time(connection: Connection) -> None:
    """So do those that were never issued: an answer's time tells nobody that there was such a token."""
    store = FlowSignalStore(connection)
    run_id = uuid4()
    store.register_waiter(run_id, "revoked", "go")
    store.register_waiter(run_id, "removed", "go")
    store.register_waiter(run_id, "moved", "go")
    store.register_waiter(run_id, "overdue", "go")
    revoked, removed, moved = (store.issue_token(run_id, step) for step in ("revoked", "removed", "moved"))
    overdue = store.issue_token(run_id, "overdue", expires_at=store.health().checked_at)
    assert revoked
    store.revoke_tokens(run_id, "revoked")
    store.remove_waiter(run_id, "removed")
    store.register_waiter(run_id, "moved", "other")
    tokens = {
        "revoked": revoked,
        "its waiter was removed": removed,
        "its waiter was moved": moved,
        "past its deadline": overdue,
        "never issued": revoked[:-1] + ("0" if revoked[-1] != "0" else "1"),
        "of no run": f"fst_{uuid4().hex}{revoked[36:]}",
        "too short": revoked[:-1],
        "in capitals": revoked.upper(),
        "no token": "x",
    }
    seconds: dict[str, list[float]] = {name: [] for name in tokens}
    query = "SELECT status FROM flow_signal_v1.redeem_token(p_token => %s, p_payload_json => '1')"
    for _ in range(300):
        for name, token in sample(sorted(tokens.items()), len(tokens)):
            began = time.perf_counter()
            row = connection.execute(query, [token], prepare=True).fetchone()
            seconds[name].append(time.perf_counter() - began)
            assert row == ("not_found",)
    for name, token in tokens.items():
        with connection.transaction():
            connection.execute(query, [token])
            # nothing to flush at the commit, for nothing was written or locked
            assert connection.execute("SELECT pg_current_xact_id_if_assigned()").fetchone() == (None,), name
    medians = {name: median(times) for name, times in seconds.items()}
    assert max(medians.values()) < 2 * min(medians.values()), medians


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_JP", "UTF8"])
def test_in_every_encoding(server: EmbeddedServer, encoding: str) -> None:
    name = f"tokens_{encoding.lower()}_{uuid4().hex}"
    with psycopg.connect(server.conninfo(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
        try:
            with psycopg.connect(server.conninfo(name), autocommit=True) as connection:
                connection.execute(migrate.script().encode())
                store = FlowSignalStore(connection)
                token = issued(store)
                assert store.redeem_token(token, payload_json='"caf"').status is SignalDeliveryStatus.DELIVERED
                assert store.redeem_token(token, payload_json='"caf"').replayed
                row = connection.execute(
                    "SELECT token_hash = sha256(%s) FROM flow_signal.flow_signal_tokens", [bytes.fromhex(token[-64:])]
                ).fetchone()
                assert row == (True,)
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_the_login_of_the_docs(connection: Connection) -> None:
    [block] = re.findall(r"^```sql\n(.*?)^```$", (ROOT / "docs/security.md").read_text(encoding="utf-8"), re.M | re.S)
    token = issued(FlowSignalStore(connection))
    with connection.transaction(force_rollback=True):
        connection.execute(block.encode())
        connection.execute("SET LOCAL ROLE approval_page")
        assert FlowSignalStore(connection).redeem_token(token).status is SignalDeliveryStatus.DELIVERED


def test_a_login_that_may_only_redeem(database: str, connection: Connection) -> None:
    token = issued(FlowSignalStore(connection))
    with psycopg.connect(database, autocommit=True) as redeemer:
        redeemer.execute("SET ROLE flow_signal_redeemer")
        store = FlowSignalStore(redeemer)
        description = store.describe_token(token)
        assert description
        assert store.redeem_token(token, 1).status is SignalDeliveryStatus.DELIVERED
        functions = redeemer.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'flow_signal_v1'::regnamespace "
            "AND has_function_privilege(oid, 'EXECUTE')"
        ).fetchall()
        assert {name for (name,) in functions} == {"redeem_token", "describe_token"}
        for table in ("flow_signal_tokens", "flow_signal_waiters", "flow_signal_receipts"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                redeemer.execute(f"SELECT FROM flow_signal.{table}".encode())
