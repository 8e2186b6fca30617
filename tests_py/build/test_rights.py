"""After the script nobody but the roles has a right on the schemas and what is in them, and each has its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flow_signal.embedded import EmbeddedServer
from sql.build import build
from tests_py.build.scripts import catalog, execute, new_database, run

GRANTS_BY_HAND = """
GRANT USAGE, CREATE ON SCHEMA flow_signal TO PUBLIC;
GRANT USAGE ON SCHEMA flow_signal_v1 TO stranger WITH GRANT OPTION;
GRANT SELECT, DELETE ON flow_signal.flow_signal_waiters TO stranger;
GRANT SELECT (payload_json), UPDATE (payload_json) ON flow_signal.flow_signal_waiters TO flow_signal_reader;
GRANT INSERT ON flow_signal.ledger TO PUBLIC;
GRANT EXECUTE ON FUNCTION flow_signal_v1.purge TO flow_signal_sender;
GRANT EXECUTE ON FUNCTION flow_signal_v1.remove_run TO flow_signal_engine WITH GRANT OPTION;
GRANT EXECUTE ON FUNCTION flow_signal.is_name TO PUBLIC;
GRANT SELECT ON flow_signal_v1.health TO "Odd one";
GRANT USAGE ON TYPE flow_signal_v1.waiter TO PUBLIC;
GRANT USAGE ON TYPE flow_signal.flow_signal_waiters TO stranger;
REVOKE EXECUTE ON FUNCTION flow_signal_v1.get_waiter FROM flow_signal_reader;
REVOKE ALL ON FUNCTION flow_signal.is_name FROM flow_signal_owner;
SET ROLE flow_signal_engine;
GRANT EXECUTE ON FUNCTION flow_signal_v1.remove_run TO stranger;
RESET ROLE
"""
CHANGES = {
    "CREATE, USAGE on schema flow_signal revoked from PUBLIC",
    "USAGE on schema flow_signal_v1 revoked from stranger",
    "DELETE, SELECT on table flow_signal.flow_signal_waiters revoked from stranger",
    "SELECT (payload_json), UPDATE (payload_json) on table flow_signal.flow_signal_waiters"
    " revoked from flow_signal_reader",
    "INSERT on table flow_signal.ledger revoked from PUBLIC",
    "EXECUTE on routine flow_signal_v1.purge(timestamp with time zone,integer) revoked from flow_signal_sender",
    "grant option for EXECUTE on routine flow_signal_v1.remove_run(uuid) revoked from flow_signal_engine",
    "EXECUTE on routine flow_signal_v1.remove_run(uuid) revoked from stranger",
    "EXECUTE on routine flow_signal.is_name(text) revoked from PUBLIC",
    'SELECT on table flow_signal_v1.health revoked from "Odd one"',
    "USAGE on type flow_signal_v1.waiter revoked from PUBLIC",
    "USAGE on type flow_signal.flow_signal_waiters revoked from stranger",
    "EXECUTE on routine flow_signal_v1.get_waiter(uuid,text) granted to flow_signal_reader",
    "EXECUTE on routine flow_signal.is_name(text) granted to flow_signal_owner",
}


RIGHTS_OF_OTHERS = """
SELECT o.name, a.grantee
FROM (
    SELECT n.nspname::text, n.nspacl, n.nspname FROM pg_namespace AS n
    UNION ALL SELECT c.relname, c.relacl, c.relnamespace::regnamespace::name FROM pg_class AS c
    UNION ALL SELECT t.typname, t.typacl, t.typnamespace::regnamespace::name FROM pg_type AS t
    UNION ALL SELECT p.proname, p.proacl, p.pronamespace::regnamespace::name FROM pg_proc AS p
) AS o (name, acl, schema), aclexplode(o.acl) AS a
WHERE o.schema ~ '^flow_signal' AND (a.grantee = 0 OR a.grantee::regrole::text !~ '^(flow_signal_.*|installer)$')
"""


def changes(messages: list[str]) -> set[str]:
    return {
        message.removeprefix("flow-signal: ")
        for message in messages
        if " revoked from " in message or " granted to " in message
    }


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as server:
        execute(server.conninfo(), 'CREATE ROLE stranger; CREATE ROLE "Odd one"')
        yield server


def test_grants_by_hand_are_revoked_and_named(own_server: EmbeddedServer) -> None:
    with new_database(own_server) as conninfo:
        assert changes(run(build(), conninfo)) == set(), "a first installation has nothing to repair"
        before = catalog(conninfo)
        execute(conninfo, GRANTS_BY_HAND)
        assert changes(run(build(), conninfo)) == CHANGES
        assert catalog(conninfo) == before
        assert len(run(build(), conninfo)) == 1


def hostile_defaults(role: str) -> str:
    """Statements that give everything that the role will make to others."""
    grantees = f"PUBLIC, stranger, {role}"
    return ";".join(
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {role} GRANT ALL ON {kind} TO {grantees}"
        for kind in ("SCHEMAS", "TABLES", "SEQUENCES", "FUNCTIONS", "TYPES")
    )


@pytest.mark.parametrize("with_roles", [True, False])
def test_default_privileges_give_nobody_a_right(own_server: EmbeddedServer, with_roles: bool) -> None:
    admin = own_server.conninfo()
    execute(admin, f"CREATE ROLE installer LOGIN {'CREATEROLE' if with_roles else ''}")
    execute(admin, "CREATE DATABASE plain OWNER installer")
    execute(admin, "CREATE DATABASE hostile OWNER installer")
    plain, hostile = (own_server.conninfo(name, user="installer") for name in ("plain", "hostile"))
    run(build(), plain)
    execute(own_server.conninfo("hostile"), hostile_defaults("installer"))
    if with_roles:
        execute(own_server.conninfo("hostile"), hostile_defaults("flow_signal_owner"))
    revoked = changes(run(build(), hostile))
    assert "USAGE on type flow_signal_v1.waiter revoked from stranger" in revoked
    assert any(message.endswith(".flow_signal_waiters revoked from PUBLIC") for message in revoked)
    assert execute(hostile, RIGHTS_OF_OTHERS) == []
    without_defaults = [fact for fact in catalog(hostile) if fact[0] != "default privileges"]
    assert without_defaults == catalog(plain)
    assert len(run(build(), hostile)) == len(run(build(), plain))


def test_what_others_put_into_the_schemas_is_theirs_alone(own_server: EmbeddedServer) -> None:
    with new_database(own_server) as conninfo:
        run(build(), conninfo)
        execute(
            conninfo,
            "SET ROLE flow_signal_owner; CREATE FUNCTION flow_signal.mine() RETURNS int LANGUAGE sql AS 'SELECT 1';"
            "CREATE TABLE flow_signal_v1.mine (); GRANT ALL ON flow_signal_v1.mine TO flow_signal_reader;"
            "CREATE SEQUENCE flow_signal_v1.numbers; GRANT USAGE ON SEQUENCE flow_signal_v1.numbers TO stranger;"
            "CREATE TYPE flow_signal_v1.mood AS ENUM ('good')",
        )
        assert {change.rpartition(" on ")[2] for change in changes(run(build(), conninfo))} == {
            "routine flow_signal.mine() revoked from PUBLIC",
            "table flow_signal_v1.mine revoked from flow_signal_reader",
            "sequence flow_signal_v1.numbers revoked from stranger",
            "type flow_signal_v1.mood revoked from PUBLIC",
        }
        assert execute(conninfo, RIGHTS_OF_OTHERS) == []
