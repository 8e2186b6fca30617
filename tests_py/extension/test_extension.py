"""The extension is what the script installs, made, updated, saved and dropped by PostgreSQL's own commands."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import psycopg
import pytest

from flow_signal.embedded import EmbeddedServer, find_bin_dir
from sql.build import ROOT, build, build_extension, read_version
from tests_py.build.scripts import UNINSTALL, catalog, execute, new_database, run, set_version
from tests_py.extension.servers import NOT_MEMBERS, below, configured, extensible_server, relocate
from tests_sql.upgrade.releases import CONTENTS, DATA

VERSION = read_version(ROOT)


def test_it_makes_what_the_script_makes(extended: str, extensible: EmbeddedServer) -> None:
    with new_database(extensible) as by_script:
        run(build(), by_script)
        assert catalog(extended) == catalog(by_script)


def test_everything_but_the_roles_belongs_to_it(extended: str, extensible: EmbeddedServer) -> None:
    assert execute(extended, NOT_MEMBERS) == []
    version = (
        "SELECT extversion, extrelocatable, flow_signal_v1.version() FROM pg_extension WHERE extname = 'flow_signal'"
    )
    assert execute(extended, version) == [(VERSION, False, VERSION)]
    execute(extended, "DROP EXTENSION flow_signal")
    assert execute(extended, "SELECT nspname FROM pg_namespace WHERE nspname ~ '^flow_signal'") == []
    assert len(execute(extended, "SELECT rolname FROM pg_roles WHERE rolname ~ '^flow_signal_'")) == 7
    run("CREATE EXTENSION flow_signal", extended)


def test_it_says_nothing_while_it_is_made(plain_database: str) -> None:
    assert run("CREATE EXTENSION flow_signal", plain_database) == []


@pytest.mark.parametrize("format", ["plain", "custom"])
def test_data_survives_dump_and_restore(extended: str, extensible: EmbeddedServer, tmp_path: Path, format: str) -> None:
    execute(extended, DATA)
    contents = execute(extended, CONTENTS)
    assert len(contents) == 250
    file = tmp_path / "dump"
    programs = extensible.bin_dir
    subprocess.run([programs / "pg_dump", "-d", extended, f"--format={format}", "-f", file], check=True)
    with new_database(extensible, "template0") as restored:
        restore: list[str | Path] = [programs / "pg_restore", "--exit-on-error", "-d", restored, file]
        if format == "plain":
            restore = [programs / "psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-o", os.devnull, "-d", restored, "-f", file]
        subprocess.run(restore, check=True)
        assert execute(restored, CONTENTS) == contents
        assert catalog(restored) == catalog(extended)
        assert execute(restored, NOT_MEMBERS) == []
        for call, answer in {
            "status FROM flow_signal_v1.deliver_signal(md5('1')::uuid, 'go')": "delivered",
            """replayed FROM flow_signal_v1.deliver_signal(md5('2')::uuid, 'go', '{"run" : 2}', 'id 2')""": True,
            "state FROM flow_signal_v1.register_waiter(md5('3')::uuid, 'new', 'early')": "delivered",
            "max_buffered FROM flow_signal.flow_signal_settings": 1000,
        }.items():
            assert execute(restored, f"SELECT {call}") == [(answer,)]


def test_an_update_converges(sources: Path, root: Path, tmp_path: Path) -> None:
    """From two earlier releases, with a helper that is dropped and a table that is added."""
    helper = sources / "sql/functions/flow_signal/former.sql"
    helper.write_text("CREATE OR REPLACE FUNCTION flow_signal.former() RETURNS int LANGUAGE sql AS 'SELECT 1';\n")
    releases = sources / "tests_sql/upgrade/releases"
    releases.mkdir(parents=True)
    files: dict[str, str] = {}
    for version in ("0.0.1", "0.0.2"):
        set_version(sources, version)
        files |= build_extension(sources)
        (releases / f"{version}.psql").touch()
    helper.unlink()
    migrations = sources / "sql/migrations"
    number = len(list(migrations.glob("*.sql"))) + 1
    (migrations / f"{number:04}_more.sql").write_text("CREATE TABLE flow_signal.more (id integer);\n")
    set_version(sources, "0.0.3")
    files |= build_extension(sources)
    with (
        extensible_server(find_bin_dir(), root / "update", files) as server,
        new_database(server) as fresh,
        new_database(server) as by_script,
    ):
        run("CREATE EXTENSION flow_signal", fresh)
        run(build(sources), by_script)
        assert catalog(fresh) == catalog(by_script)
        for version in ("0.0.1", "0.0.2"):
            with new_database(server) as updated:
                execute(updated, f"CREATE EXTENSION flow_signal VERSION '{version}'")
                execute(updated, DATA)
                contents = execute(updated, CONTENTS)
                execute(updated, "ALTER EXTENSION flow_signal UPDATE")
                assert catalog(updated) == catalog(fresh)
                assert execute(updated, CONTENTS) == contents
                assert execute(updated, NOT_MEMBERS) == []
                saved = "SELECT unnest(extconfig)::regclass::text FROM pg_extension WHERE extname = 'flow_signal'"
                assert sorted(execute(updated, saved)) == [
                    ("flow_signal.flow_signal_buffered_signals",),
                    ("flow_signal.flow_signal_locks",),
                    ("flow_signal.flow_signal_receipts",),
                    ("flow_signal.flow_signal_tokens",),
                    ("flow_signal.flow_signal_waiters",),
                    ("flow_signal.more",),
                ]


def test_script_and_extension_do_not_mix(extended: str, extensible: EmbeddedServer) -> None:
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="installed as an extension here"):
        run(build(), extended)
    execute(extended, "ALTER EXTENSION flow_signal UPDATE")
    with new_database(extensible) as by_script:
        run(build(), by_script)
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="but not as an extension"):
            run("CREATE EXTENSION flow_signal", by_script)
        run(build(), by_script)
        run(UNINSTALL, by_script)
        run("CREATE EXTENSION flow_signal", by_script)


def test_the_uninstall_script_drops_it_under_the_same_conditions(extended: str) -> None:
    execute(extended, DATA)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="live waiters"):
        run(UNINSTALL, extended)
    run(UNINSTALL, extended, "-c flow_signal.drop_live_waiters=on")
    assert execute(extended, "SELECT extname FROM pg_extension WHERE extname = 'flow_signal'") == []
    assert execute(extended, "SELECT nspname FROM pg_namespace WHERE nspname ~ '^flow_signal'") == []


@pytest.mark.parametrize(("power", "owner"), [("CREATEROLE", "flow_signal_owner"), ("NOCREATEROLE", "installer")])
def test_no_superuser_is_needed(root: Path, power: str, owner: str) -> None:
    with extensible_server(find_bin_dir(), root / power, build_extension()) as server:
        execute(server.conninfo(), f"CREATE ROLE installer LOGIN {power}")
        execute(server.conninfo(), "CREATE DATABASE installers OWNER installer")
        conninfo = server.conninfo("installers", user="installer")
        execute(conninfo, "CREATE EXTENSION flow_signal")
        owners = (
            "SELECT DISTINCT pg_get_userbyid(proowner) FROM pg_proc WHERE pronamespace = 'flow_signal'::regnamespace"
        )
        assert execute(conninfo, owners) == [(owner,)]
        assert execute(conninfo, "SELECT flow_signal_v1.version()") == [(VERSION,)]
        run(UNINSTALL, conninfo)
        assert execute(conninfo, "SELECT nspname FROM pg_namespace WHERE nspname ~ '^flow_signal'") == []


def pgxs() -> Path | None:
    """The pg_config whose PGXS is there, of the newest version of Debian's packages."""
    for pg_config in sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_config"), reverse=True):
        if configured(pg_config.parent, "pgxs").exists():
            return pg_config
    return None


@pytest.mark.skipif(pgxs() is None and "CI" not in os.environ, reason="no PGXS: Debian package postgresql")
def test_make_install_puts_it_where_a_server_finds_it(root: Path) -> None:
    pg_config = pgxs()
    assert pg_config
    folder = root / "installed"
    bin_dir = relocate(pg_config.parent, folder)
    before = set(folder.rglob("*"))
    install = ["make", "install", f"DESTDIR={folder}", f"PG_CONFIG={pg_config}"]
    subprocess.run(install, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    extensions = below(folder, configured(pg_config.parent, "sharedir")) / "extension"
    names = [name for name in build_extension() if name.startswith("flow_signal")]
    assert set(folder.rglob("*")) - before == {extensions / name for name in names}
    with EmbeddedServer(bin_dir=bin_dir) as server, new_database(server) as conninfo:
        execute(conninfo, "CREATE EXTENSION flow_signal")
        assert execute(conninfo, "SELECT flow_signal_v1.version()") == [(VERSION,)]


@pytest.mark.parametrize(
    ("version", "semantic"),
    [("1.0.0", "1.0.0"), ("1.0.0rc1", "1.0.0-rc1"), ("0.1.0.dev0", "0.1.0-dev0"), ("10.20.30", "10.20.30")],
)
def test_the_metadata_is_that_of_the_pgxn(sources: Path, version: str, semantic: str) -> None:
    set_version(sources, version)
    files = build_extension(sources)
    metadata = json.loads(files["META.json"])
    assert {"name", "abstract", "version", "maintainer", "license", "provides", "meta-spec"} <= metadata.keys()
    assert re.fullmatch(r"\d+\.\d+\.\d+(-[a-z]\w*)?", metadata["version"])
    provided = metadata["provides"]["flow_signal"]
    assert metadata["version"] == provided["version"] == semantic
    assert provided["file"] == f"flow_signal--{version}.sql"
    assert provided["file"] in files
    assert f"default_version = '{version}'" in files["flow_signal.control"]
