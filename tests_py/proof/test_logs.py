"""The log of a server has no payload, neither of a call that succeeds nor of one that is refused."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from flow_signal.embedded import EmbeddedServer
from flow_signal.migrate import migrate

SECRET = "4929-1234"
MIB = 1_048_576
PAYLOADS = [
    *(
        f'{{"card": "{SECRET}"}}',
        f'["{SECRET}"]',
        f'{{"card": {SECRET}',
        SECRET,
        f'"{SECRET}',
        f'"{SECRET}\\x"',
        f'"{SECRET}\x01"',
    ),
    *(
        "[" * 200_000 + f'"{SECRET}"',
        f'"{SECRET}' + "x" * MIB + '"',
        f"[{SECRET}" + "x" * 440_000,
        f'"{SECRET}\n{SECRET}"',
    ),
]
RUN = "SELECT md5('run')::uuid"
CALLS = [
    f"SELECT FROM flow_signal_v1.deliver_signal(({RUN}), 'go', %s, 'id', '2999-01-01')",
    f"SELECT FROM flow_signal_v1.deliver_signals(ARRAY[({RUN})], '{{go}}', ARRAY[%s])",
    f"SELECT FROM flow_signal_v1.deliver_to_step(({RUN}), 's', %s, 'id')",
    "SELECT FROM flow_signal_v1.broadcast_signal('go', %s)",
    "SELECT FROM flow_signal_v1.redeem_token('token', %s)",
    f"SELECT FROM flow_signal_v1.import_waiters(ARRAY[({RUN})], '{{i}}', '{{go}}', '{{2001-01-01}}', '{{NULL}}',"
    " '{2001-01-02}', ARRAY[%s])",
    f"SELECT FROM flow_signal_v1.register_waiter(({RUN}), 's', coalesce('go', %s))",
]
SETTINGS = {
    "as it is installed": "",
    "each statement, no parameters": "-c log_statement=all -c log_parameter_max_length=0",
    "slow statements, no parameters": "-c log_min_duration_statement=0 -c log_parameter_max_length=0",
    "every message": "-c log_min_messages=debug1 -c log_error_verbosity=verbose",
}


@pytest.fixture(scope="module")
def own_server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as server:
        migrate(server.conninfo())
        yield server


def sent(server: EmbeddedServer, options: str) -> str:
    """Send every payload to every function that takes one; return what the log says about that."""
    before = len(server.log_file.read_bytes())
    answers = set()
    with psycopg.connect(server.conninfo(), autocommit=True, options=options) as connection:
        for call in CALLS:
            for payload in PAYLOADS:
                try:
                    connection.execute(call.encode(), [payload])
                    answers.add("")
                except psycopg.Error as error:
                    answers.add(error.sqlstate or "none")
    assert answers >= {"", "22P02", "54001", "WS002", "WS003"}, answers
    return server.log_file.read_bytes()[before:].decode()


@pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS.keys())
def test_no_payload_is_logged(own_server: EmbeddedServer, options: str) -> None:
    log = sent(own_server, options)
    assert "is not valid JSON" in log
    assert SECRET not in log
    assert max(map(len, log.splitlines())) < 1_000


def test_it_would_be_with_its_parameters(own_server: EmbeddedServer) -> None:
    """Or the tests above could not fail; docs/security.md says what to set."""
    assert SECRET in sent(own_server, "-c log_statement=all")
    assert SECRET in sent(own_server, "-c log_parameter_max_length_on_error=-1")
