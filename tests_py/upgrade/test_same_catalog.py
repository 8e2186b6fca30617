"""Fresh, run twice, upgraded, restored and moved to another major version: the catalog is the same to the last fact."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from flow_signal.embedded import EmbeddedServer
from sql.build import ROOT, build, build_extension
from tests_py.build.scripts import catalog, execute, new_database, run
from tests_py.extension.servers import NOT_MEMBERS, add_files
from tests_sql.upgrade.releases import CONTENTS, DATA, releases
from tools.server import temporary_files

OLDEST, NEWEST = 14, 18
ACCOUNT = "nobody" if os.geteuid() == 0 else None


@pytest.fixture(params=releases())
def release(request: pytest.FixtureRequest) -> str:
    """The script of a release."""
    return releases()[request.param]


def test_the_catalog_tells_databases_apart(database: str) -> None:
    """One change after the other, each of a kind that pg_dump or a glance could miss."""
    seen = [catalog(database)]
    for change in [
        "GRANT USAGE ON SCHEMA flow_signal TO flow_signal_admin",
        "GRANT SELECT (step_key) ON flow_signal.flow_signal_waiters TO flow_signal_admin",
        "REVOKE EXECUTE ON FUNCTION flow_signal_v1.version FROM flow_signal_sender",
        "ALTER FUNCTION flow_signal_v1.version SET enable_seqscan = on",
        "ALTER FUNCTION flow_signal_v1.version OWNER TO postgres",
        "COMMENT ON FUNCTION flow_signal_v1.version IS NULL",
        "COMMENT ON COLUMN flow_signal.flow_signal_waiters.queue IS 'x'",
        "ALTER TABLE flow_signal.flow_signal_waiters SET (fillfactor = 71)",
        "ALTER TABLE flow_signal.flow_signal_waiters ALTER COLUMN queue SET DEFAULT 'x'",
        "ALTER TABLE flow_signal.flow_signal_waiters ALTER COLUMN payload_json SET STORAGE EXTERNAL",
        "ALTER TABLE flow_signal.flow_signal_waiters ADD CHECK (queue <> 'x')",
        "CREATE INDEX ON flow_signal.flow_signal_waiters (wake_channel)",
        "CREATE STATISTICS flow_signal.s ON run_id, step_key FROM flow_signal.flow_signal_waiters",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA flow_signal GRANT SELECT ON TABLES TO flow_signal_admin",
        "CREATE FUNCTION flow_signal.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE VIEW flow_signal.v AS SELECT 1 AS one",
        "CREATE TYPE flow_signal_v1.t AS (one integer)",
        "ALTER TABLE flow_signal.flow_signal_waiters ENABLE ROW LEVEL SECURITY",
        "UPDATE flow_signal.ledger SET checksum = '' WHERE part ~ '0001'",
    ]:
        execute(database, change)
        facts = catalog(database)
        assert facts not in seen, change
        seen.append(facts)


def test_run_twice(database: str) -> None:
    before = catalog(database)
    assert len(run(build(), database)) == 1
    assert catalog(database) == before


def test_upgraded_with_data(release: str, database: str, empty_database: str) -> None:
    run(release, empty_database)
    execute(empty_database, DATA)
    contents = execute(empty_database, CONTENTS)
    assert len(contents) == 250
    run(build(), empty_database)
    assert catalog(empty_database) == catalog(database)
    assert execute(empty_database, CONTENTS) == contents
    assert execute(empty_database, "SELECT (flow_signal_v1.deliver_signal(md5('1')::uuid, 'go')).status") == [
        ("delivered",)
    ]


def test_dumped_and_restored_on_another_server(release: str, server: EmbeddedServer, tmp_path: Path) -> None:
    with new_database(server) as original, EmbeddedServer() as other, new_database(other, "template0") as restored:
        run(release, original)
        execute(original, DATA)
        run(build(), original)
        roles = subprocess.run(
            [server.bin_dir / "pg_dumpall", "-d", server.conninfo(), "--roles-only"],
            check=True,
            capture_output=True,
            encoding="utf-8",
        ).stdout
        psql = [str(other.bin_dir / "psql"), "-Xq", "-d", other.conninfo()]
        # That postgres exists there already is an error, and the only one.
        errors = subprocess.run(psql, input=roles, check=True, capture_output=True, encoding="utf-8").stderr
        assert [line.partition("ERROR: ")[2].strip() for line in errors.splitlines()] == [
            'role "postgres" already exists'
        ]
        file = tmp_path / "dump"
        subprocess.run([server.bin_dir / "pg_dump", "-d", original, "--format=custom", "-f", file], check=True)
        subprocess.run([other.bin_dir / "pg_restore", "--exit-on-error", "-d", restored, file], check=True)
        assert catalog(restored) == catalog(original)
        assert execute(restored, CONTENTS) == execute(original, CONTENTS)
        assert len(run(build(), restored)) == 1


def programs(major: int) -> Path:
    return ROOT / f".tools/postgresql-{major}"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of the account that the servers run as, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="upgrade-", dir=temporary_files().get("TMPDIR")))
    if ACCOUNT:
        shutil.chown(folder, ACCOUNT)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(
    not all(programs(major).exists() for major in (OLDEST, NEWEST)), reason="make upgrade-check fetches both versions"
)
@pytest.mark.parametrize("extension", [False, True])
def test_moved_to_another_major_version(folder: Path, extension: bool) -> None:
    for major in (OLDEST, NEWEST):
        shutil.copytree(programs(major), folder / f"{major}")
        add_files(folder / f"{major}/share/extension", build_extension())
    old, new = (folder / f"{major}/bin" for major in (OLDEST, NEWEST))
    old_data, new_data = folder / "old", folder / "new"
    with EmbeddedServer(bin_dir=old, data_dir=owned(old_data)) as server:
        execute(server.conninfo(), "CREATE DATABASE app")
        run("CREATE EXTENSION flow_signal" if extension else build(), server.conninfo("app"))
        execute(server.conninfo("app"), DATA)
        contents = execute(server.conninfo("app"), CONTENTS)
    with EmbeddedServer(bin_dir=new, data_dir=owned(new_data)):
        pass
    for data in (old_data, new_data):
        (data / "pg_hba.conf").write_text("local all all trust\n")
    as_account([new / "pg_checksums", "--disable", "-D", new_data], folder)
    clusters: list[str | Path] = ["-b", old, "-B", new, "-d", old_data, "-D", new_data]
    as_account([new / "pg_upgrade", "-U", "postgres", "-s", folder, *clusters], folder)
    with EmbeddedServer(bin_dir=new, data_dir=new_data) as server, new_database(server) as fresh:
        run(build(), fresh)
        moved = server.conninfo("app")
        assert catalog(moved) == catalog(fresh)
        assert execute(moved, CONTENTS) == contents
        if extension:
            assert execute(moved, NOT_MEMBERS) == []
        else:
            assert len(run(build(), moved)) == 1


def owned(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    if ACCOUNT:
        shutil.chown(folder, ACCOUNT)
    return folder


def as_account(command: list[str | Path], folder: Path) -> None:
    """Run one of PostgreSQL's programs, which refuse to run as root."""
    subprocess.run(command, cwd=folder, user=ACCOUNT, check=True, stdout=subprocess.DEVNULL)
