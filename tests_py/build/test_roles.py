"""Roles that exist, belong to somebody else, are unfit or cannot be made: the script copes, or says what to run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from flow_signal.embedded import EmbeddedServer, find_bin_dir
from sql.build import build
from tests_py.build.scripts import catalog, execute, run
from tests_py.extension.servers import major
from tests_sql.upgrade.releases import releases

ROLES = ("owner", "sender", "broadcaster", "reader", "redeemer", "engine", "admin")
ALL_ROLES = "; ".join(f"CREATE ROLE flow_signal_{role}" for role in ROLES)
DELIVER = "SELECT status FROM flow_signal_v1.deliver_signal(gen_random_uuid(), 'go')"
BROADCAST = "SELECT count(*) FROM flow_signal_v1.broadcast_signal('go')"
PURGE = "SELECT flow_signal_v1.purge('2001-01-01')"
MEMBERSHIPS = """
SELECT m.member::regrole::text, m.roleid::regrole::text, pg_has_role(m.member, m.roleid, 'USAGE')
FROM pg_auth_members AS m WHERE m.member::regrole::text ~ '^flow_signal_' ORDER BY 1, 2
"""
AS_THEY_SHOULD_BE = [
    ("flow_signal_admin", "flow_signal_engine", True),
    *(("flow_signal_engine", f"flow_signal_{role}", True) for role in ("broadcaster", "reader", "redeemer", "sender")),
]
MAY_NOT = re.compile(r"flow-signal: \w+ may not make all roles; a privileged role has to run: (.*)")


@pytest.fixture
def cluster() -> Iterator[EmbeddedServer]:
    """A new cluster with a database app of a login app, and a login in each role that is made."""
    with EmbeddedServer() as server:
        execute(server.conninfo(), "CREATE ROLE app LOGIN")
        execute(server.conninfo(), "CREATE DATABASE app OWNER app")
        yield server


@pytest.fixture
def admin(cluster: EmbeddedServer) -> str:
    return cluster.conninfo("app")


@pytest.fixture
def app(cluster: EmbeddedServer) -> str:
    return cluster.conninfo("app", user="app")


def to_run(messages: list[str]) -> str:
    """The statements for a privileged role that one message has."""
    [statements] = [found[1] for message in messages if (found := MAY_NOT.fullmatch(message))]
    return statements


def may(server: EmbeddedServer, role: str, call: str) -> bool:
    """Whether a login that was granted the role may call that."""
    execute(server.conninfo(), f"DROP ROLE IF EXISTS tester; CREATE ROLE tester LOGIN IN ROLE flow_signal_{role}")
    try:
        execute(server.conninfo("app", user="tester"), call)
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


@pytest.mark.parametrize("attributes", ["", "NOINHERIT"])
def test_roles_that_exist_get_their_memberships(cluster: EmbeddedServer, admin: str, attributes: str) -> None:
    execute(admin, "; ".join(f"CREATE ROLE flow_signal_{role} {attributes}" for role in ROLES))
    run(build(), admin)
    assert execute(admin, MEMBERSHIPS) == AS_THEY_SHOULD_BE
    assert may(cluster, "engine", DELIVER)
    assert may(cluster, "admin", BROADCAST)
    assert len(run(build(), admin)) == 1


def test_roles_of_somebody_else_are_for_a_privileged_role(cluster: EmbeddedServer, admin: str, app: str) -> None:
    execute(admin, f"ALTER ROLE app CREATEROLE; {ALL_ROLES}; GRANT flow_signal_owner TO app")
    messages = run(build(), app)
    if major(find_bin_dir()) < 16:  # CREATEROLE is enough there
        assert execute(admin, MEMBERSHIPS) == AS_THEY_SHOULD_BE
        return
    assert execute(admin, MEMBERSHIPS) == []
    # Until it has run, whom the roles are for misses nothing.
    assert all(may(cluster, role, DELIVER) for role in ("sender", "engine", "admin"))
    assert may(cluster, "admin", PURGE)
    assert not may(cluster, "engine", PURGE)
    execute(admin, to_run(messages))
    assert execute(admin, MEMBERSHIPS) == AS_THEY_SHOULD_BE
    messages = run(build(), app)
    assert "flow-signal: EXECUTE on routine flow_signal_v1.remove_run(uuid) revoked from flow_signal_admin" in messages
    assert len(run(build(), app)) == 1
    assert all(may(cluster, role, DELIVER) for role in ("sender", "engine", "admin"))


def test_a_role_that_cannot_be_made_yet(cluster: EmbeddedServer, admin: str, app: str) -> None:
    """An upgrade to a release with more roles, by a login that may not make them."""
    run(releases()["1.0.1"], admin)
    execute(admin, "GRANT flow_signal_owner TO app")
    messages = run(build(), app)
    statements = to_run(messages)
    assert statements == (
        "CREATE ROLE flow_signal_redeemer NOLOGIN; CREATE ROLE flow_signal_broadcaster NOLOGIN;"
        " GRANT flow_signal_redeemer TO flow_signal_engine{0}; GRANT flow_signal_broadcaster TO flow_signal_engine{0};"
    ).format(" WITH INHERIT TRUE" if major(find_bin_dir()) >= 16 else "")
    assert [may(cluster, role, BROADCAST) for role in ("sender", "engine", "admin")] == [False, True, True]
    execute(admin, statements)
    messages = run(build(), app)
    name = "EXECUTE on routine flow_signal_v1.broadcast_signal(text,text)"
    assert {message for message in messages if name in message} == {
        f"flow-signal: {name} granted to flow_signal_broadcaster",
        f"flow-signal: {name} revoked from flow_signal_engine",
    }
    assert may(cluster, "broadcaster", BROADCAST)
    assert may(cluster, "engine", BROADCAST)
    assert len(run(build(), app)) == 1
    execute(admin, "CREATE DATABASE fresh")
    run(build(), cluster.conninfo("fresh"))
    assert catalog(admin) == catalog(cluster.conninfo("fresh"))


def test_the_upgrade_names_those_that_lose_broadcast(cluster: EmbeddedServer, admin: str) -> None:
    run(releases()["1.0.1"], admin)
    execute(
        admin,
        'CREATE ROLE webhook LOGIN IN ROLE flow_signal_sender; CREATE ROLE "Group" IN ROLE flow_signal_sender;'
        ' CREATE ROLE worker LOGIN IN ROLE flow_signal_engine; CREATE ROLE member LOGIN IN ROLE "Group"',
    )
    lost = (
        'flow-signal: "Group", member, webhook may no longer call flow_signal_v1.broadcast_signal(text,text);'
        ' to let them: GRANT flow_signal_broadcaster TO "Group", member, webhook;'
    )
    messages = run(build(), admin)
    assert [message for message in messages if "no longer" in message] == [lost]
    logins = [cluster.conninfo("app", user=user) for user in ("webhook", "member")]
    for login in logins:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(login, BROADCAST)
    execute(admin, lost.partition("to let them: ")[2])
    for login in logins:
        execute(login, BROADCAST)


@pytest.mark.parametrize("attributes", ["", "NOINHERIT"])
def test_the_upgrade_finds_the_new_roles_made_by_hand(cluster: EmbeddedServer, admin: str, attributes: str) -> None:
    """By those who make all roles, before the release that brings them, with members already."""
    run(releases()["1.0.1"], admin)
    execute(
        admin,
        f"CREATE ROLE flow_signal_broadcaster {attributes}; CREATE ROLE flow_signal_redeemer {attributes};"
        " CREATE ROLE announcer LOGIN IN ROLE flow_signal_sender, flow_signal_broadcaster;"
        " CREATE ROLE webhook LOGIN IN ROLE flow_signal_sender; CREATE ROLE page LOGIN IN ROLE flow_signal_redeemer;"
        " CREATE ROLE stranger LOGIN; GRANT USAGE ON SCHEMA flow_signal_v1 TO stranger;"
        " GRANT EXECUTE ON FUNCTION flow_signal_v1.broadcast_signal TO stranger",
    )
    messages = run(build(), admin)
    name = "flow_signal_v1.broadcast_signal(text,text)"
    assert [message for message in messages if "no longer" in message] == [
        f"flow-signal: webhook may no longer call {name}; to let them: GRANT flow_signal_broadcaster TO webhook;"
    ]
    assert f"flow-signal: EXECUTE on routine {name} revoked from stranger" in messages
    assert execute(admin, MEMBERSHIPS) == AS_THEY_SHOULD_BE
    execute(cluster.conninfo("app", user="announcer"), BROADCAST)
    execute(cluster.conninfo("app", user="page"), "SELECT flow_signal_v1.describe_token('t')")
    for login, call in (("webhook", BROADCAST), ("stranger", BROADCAST), ("page", DELIVER)):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(cluster.conninfo("app", user=login), call)
    assert may(cluster, "engine", BROADCAST)
    assert len(run(build(), admin)) == 1


@pytest.mark.parametrize("attributes", ["SUPERUSER", "BYPASSRLS", "SUPERUSER BYPASSRLS"])
def test_an_owner_with_powers_is_refused(admin: str, attributes: str) -> None:
    execute(admin, f"CREATE ROLE flow_signal_owner {attributes}")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as refusal:
        run(build(), admin)
    assert refusal.value.diag.message_primary == "role flow_signal_owner has a power of its own"
    follow(refusal.value, admin)
    run(build(), admin)


def follow(error: psycopg.Error, conninfo: str, prefix: str = "run: ") -> None:
    hint = error.diag.message_hint or ""
    assert hint.startswith(prefix), hint
    execute(conninfo, hint.removeprefix(prefix))


def test_an_owner_that_can_log_in_is_a_warning(admin: str) -> None:
    execute(admin, "CREATE ROLE flow_signal_owner LOGIN")
    warnings: list[tuple[str, str]] = []

    def note(notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity == "WARNING":
            warnings.append((notice.message_primary or "", notice.message_hint or ""))

    with psycopg.connect(admin, autocommit=True) as connection:
        connection.add_notice_handler(note)
        connection.execute(build().encode())
    [(message, hint)] = warnings
    assert message == "flow-signal: role flow_signal_owner can log in"
    execute(admin, hint.removeprefix("without Citus run: "))
    assert len(run(build(), admin)) == 1


@pytest.mark.parametrize(
    "membership",
    [
        pytest.param("CREATE ROLE spy LOGIN IN ROLE flow_signal_owner", id="login"),
        pytest.param(
            "CREATE ROLE team IN ROLE flow_signal_owner; CREATE ROLE spy LOGIN IN ROLE team", id="login in a group"
        ),
        pytest.param("GRANT flow_signal_owner TO flow_signal_admin", id="admin"),
    ],
)
def test_an_owner_with_members_that_can_install_nothing_is_refused(
    cluster: EmbeddedServer, admin: str, membership: str
) -> None:
    execute(admin, ALL_ROLES)
    execute(admin, membership)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as refusal:
        run(build(), admin)
    assert refusal.value.diag.message_primary == "role flow_signal_owner has members that can install nothing"
    follow(refusal.value, admin)
    run(build(), admin)


def test_logins_that_install_may_be_members_of_the_owner(cluster: EmbeddedServer, admin: str, app: str) -> None:
    execute(admin, f"{ALL_ROLES}; CREATE ROLE other LOGIN; GRANT flow_signal_owner TO app, other")
    execute(admin, "CREATE DATABASE other OWNER other")
    execute(admin, "CREATE ROLE superuser SUPERUSER LOGIN IN ROLE flow_signal_owner")
    run(build(), app)
    run(build(), cluster.conninfo("other", user="other"))
    run(build(), cluster.conninfo("other", user="superuser"))


def test_the_database_owner_upgrades_what_a_superuser_installed(admin: str, app: str) -> None:
    run(releases()["1.0.1"], admin)
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as refusal:
        run(build(), app)
    assert refusal.value.diag.message_primary == "schema flow_signal belongs to flow_signal_owner"
    follow(refusal.value, admin, "have a privileged role run: ")
    run(build(), app)


def test_a_superuser_upgrades_what_a_database_owner_installed_as_that_role(admin: str, app: str) -> None:
    run(build(), app)
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as refusal:
        run(build(), admin)
    assert refusal.value.diag.message_hint == "run this script as that role: SET ROLE app"
    run(f"SET ROLE app; {build()}", admin)


def test_first_installations_in_several_databases_at_once(cluster: EmbeddedServer, admin: str) -> None:
    names = [f"database_{number}" for number in range(4)]
    for name in names:
        execute(admin, f"CREATE DATABASE {name}")
    with ThreadPoolExecutor() as executor:
        for result in [executor.submit(run, build(), cluster.conninfo(name)) for name in names]:
            assert result.result()
    assert execute(admin, MEMBERSHIPS) == AS_THEY_SHOULD_BE
    for name in names:
        assert len(run(build(), cluster.conninfo(name))) == 1
