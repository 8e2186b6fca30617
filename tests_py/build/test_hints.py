"""Every HINT of the scripts can be followed as it is written: here, or in the test that is named."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

from flow_signal.embedded import EmbeddedServer
from sql.build import ROOT, build, read
from tests_py.build.scripts import UNINSTALL, execute, new_database, run, set_version

FOLLOWED = {
    "use ALTER EXTENSION flow_signal UPDATE": "test_script_and_extension_do_not_mix",
    "go on with the script that installed it, or uninstall it first": "test_script_and_extension_do_not_mix",
    "run: DROP FUNCTION %s": "test_a_function_of_others_beside_one_of_the_same_name_is_refused",
    "drop them, run this script again, then make them anew:": (
        "test_objects_of_others_stop_it_and_the_hint_can_be_followed"
    ),
    "run it between BEGIN and COMMIT, or run the output of flow-signal sql instead": (
        "test_without_a_transaction_it_refuses_before_anything_is_changed"
    ),
    "begin it with: BEGIN ISOLATION LEVEL READ COMMITTED": "test_a_transaction_that_will_not_do_is_refused",
    "begin it with: BEGIN READ WRITE": "test_a_transaction_that_will_not_do_is_refused",
    "flow-signal is not installed here, only its name is taken: use another database": "test_a_name_that_is_taken",
    "have a privileged role run: GRANT flow_signal_owner TO %I": (
        "test_the_database_owner_upgrades_what_a_superuser_installed"
    ),
    "run this script as that role: SET ROLE %I": (
        "test_a_superuser_upgrades_what_a_database_owner_installed_as_that_role"
    ),
    "run: ALTER ROLE flow_signal_owner %s": "test_an_owner_with_powers_is_refused",
    "run: %s": "test_an_owner_with_members_that_can_install_nothing_is_refused",
    "without Citus run: ALTER ROLE flow_signal_owner NOLOGIN": "test_an_owner_that_can_log_in_is_a_warning",
    "use the script of %s or a later release": "test_an_earlier_script",
    "use the script of an official release: a migration never changes": "test_a_changed_migration",
    "run this again when it is done": "test_a_session_that_holds_the_installation_lock_is_named",
    "then run this script again": "test_a_role_that_cannot_be_made_yet",
    "to drop them too: SET flow_signal.drop_live_waiters = on": "test_live_waiters",
    "upgrade the server": "",  # there is none that is old enough
}


def test_each_is_followed_by_a_test() -> None:
    frame = [*(ROOT / "sql/install").glob("*.sql"), *(ROOT / "sql/extension").glob("*.sql")]
    found = set()
    for path in (*frame, ROOT / "sql/roles.sql", ROOT / "sql/uninstall.sql"):
        for clause in re.findall(r"\bHINT = (.*?);\n", read(path), re.S):
            joined = re.sub(r"'\s+'", "", clause)
            texts = [text.split("\\n")[0] for text in re.findall(r"'([^']+)'", joined)]
            found |= {text for text in texts if " " in text and not text.startswith((",", "flow_signal"))}
    assert found == FOLLOWED.keys()
    tests = "".join(map(read, (ROOT / "tests_py").rglob("test_*.py")))
    assert [name for name in FOLLOWED.values() if name and f"def {name}(" not in tests] == []


def test_a_name_that_is_taken(server: EmbeddedServer, empty_database: str) -> None:
    execute(empty_database, "CREATE SCHEMA flow_signal")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="use another database"):
        run(build(), empty_database)
    with new_database(server) as another:
        run(build(), another)


def test_an_earlier_script(sources: Path, empty_database: str) -> None:
    run(build(), empty_database)
    set_version(sources, "0.0.1")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match=r"use the script of \S+ or a later release"):
        run(build(sources), empty_database)
    run(build(), empty_database)
    set_version(sources, "9.9.9")
    run(build(sources), empty_database)


def test_a_changed_migration(sources: Path, database: str) -> None:
    (sources / "sql/migrations/frozen.sha256").write_text("")  # or it would not even be built
    migration = sources / "sql/migrations/0001_waiters.sql"
    migration.write_text(migration.read_text() + "-- changed\n")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="use the script of an official release"):
        run(build(sources), database)
    assert len(run(build(), database)) == 1


def test_live_waiters(server: EmbeddedServer) -> None:
    with new_database(server) as conninfo:
        run(build(), conninfo)
        execute(conninfo, "SELECT flow_signal_v1.register_waiter(gen_random_uuid(), 's', 'go')")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as refusal:
            run(UNINSTALL, conninfo)
        setting = (refusal.value.diag.message_hint or "").removeprefix("to drop them too: ")
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute(setting.encode())
            connection.execute(UNINSTALL.encode())
        assert execute(conninfo, "SELECT to_regnamespace('flow_signal')") == [(None,)]
