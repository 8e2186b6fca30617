"""A data folder that is given is kept, used again, and never spoilt."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import psycopg
import pytest

from flow_signal.embedded import EmbeddedServer, EmbeddedServerError
from tests_py.embedded.owners import DEADLINE_SECONDS, StartOwner, runs, wait_until

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a server as somebody else")
on_linux = pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs /proc")


@pytest.fixture
def data_dir(open_folder: Path) -> Path:
    return open_folder / "not/there/yet"


def add_row(server: EmbeddedServer) -> int:
    """Insert a row and return how many there are."""
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (n integer)")
        connection.execute("INSERT INTO kept VALUES (1)")
        row = connection.execute("SELECT count(*) FROM kept").fetchone()
        assert row
        return int(row[0])


def test_kept_and_used_again(data_dir: Path, temporary_folder: Path) -> None:
    for expected in (1, 2):
        with EmbeddedServer(data_dir=data_dir) as server:
            assert server.data_dir == data_dir
            assert add_row(server) == expected
        assert not (data_dir / "postmaster.pid").exists()
        assert list(temporary_folder.iterdir()) == []


def test_empty_folder_given_by_a_relative_path_is_filled(
    data_dir: Path, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir.mkdir(parents=True)
    monkeypatch.chdir(open_folder)
    with EmbeddedServer(data_dir=data_dir.relative_to(open_folder)) as server:
        assert server.data_dir == data_dir
    assert (data_dir / "PG_VERSION").exists()


def test_folder_with_other_things_is_refused(open_folder: Path) -> None:
    (open_folder / "thesis.txt").write_text("precious")
    mode = open_folder.stat().st_mode
    with pytest.raises(EmbeddedServerError, match="is not empty and holds no PostgreSQL cluster"):
        EmbeddedServer(data_dir=open_folder).start()
    assert [path.read_text() for path in open_folder.iterdir()] == ["precious"]
    assert open_folder.stat().st_mode == mode


def test_file_is_refused(open_folder: Path) -> None:
    (open_folder / "file").touch()
    with pytest.raises(EmbeddedServerError, match="File exists"):
        EmbeddedServer(data_dir=open_folder / "file").start()


def test_other_major_version_is_refused(data_dir: Path) -> None:
    with EmbeddedServer(data_dir=data_dir):
        pass
    version = (data_dir / "PG_VERSION").read_text()
    (data_dir / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedServerError, match=r"was made by PostgreSQL 9, but .* is PostgreSQL \d\d$"):
        EmbeddedServer(data_dir=data_dir).start()
    (data_dir / "PG_VERSION").write_text(version)
    with EmbeddedServer(data_dir=data_dir) as server:
        assert add_row(server) == 1


def test_folder_in_use_is_refused(data_dir: Path) -> None:
    with EmbeddedServer(data_dir=data_dir) as server:
        postmaster = server._postmaster
        with pytest.raises(EmbeddedServerError, match=f"is in use by another server, process {postmaster}$"):
            EmbeddedServer(data_dir=data_dir).start()
        assert add_row(server) == 1


def test_only_one_of_two_fills_an_empty_folder(data_dir: Path) -> None:
    both_tried = Barrier(2, timeout=60)

    def start(_: int) -> str:
        server = EmbeddedServer(data_dir=data_dir)
        try:
            server.start()
        except EmbeddedServerError as error:
            both_tried.wait()
            return str(error)
        both_tried.wait()
        assert add_row(server) == 1
        server.stop()
        return "started"

    with ThreadPoolExecutor(2) as threads:
        refusal, success = sorted(threads.map(start, range(2)), key="started".__eq__)
    assert success == "started"
    assert "is in use by " in refusal


@on_linux
def test_folder_in_use_by_a_server_of_nobody_is_refused(data_dir: Path, owned_server: StartOwner) -> None:
    owner = owned_server(data_dir=data_dir)
    os.kill(owner.postmaster, signal.SIGSTOP)
    try:
        os.kill(owner.supervisor, signal.SIGKILL)
        wait_until(lambda: not runs(owner.supervisor))
        with pytest.raises(EmbeddedServerError, match=f"in use by another server, process {owner.postmaster}$"):
            EmbeddedServer(data_dir=data_dir).start()
    finally:
        os.kill(owner.postmaster, signal.SIGCONT)
    owner.process.communicate(timeout=DEADLINE_SECONDS)
    assert owner.left_nothing()


def test_lock_file_of_a_killed_server_does_not_matter(data_dir: Path, owned_server: StartOwner) -> None:
    owner = owned_server(
        "clients = [psycopg.connect(server.conninfo()) for _ in range(5)]; print(); sys.stdin.read()",
        data_dir=data_dir,
    )
    owner.read_line()
    os.kill(owner.supervisor, signal.SIGSTOP)
    for pid in (owner.postmaster, owner.supervisor, owner.process.pid):
        os.kill(pid, signal.SIGKILL)
    with EmbeddedServer(data_dir=data_dir) as server:
        assert add_row(server) == 1
    shutil.rmtree(owner.folder)


@on_linux
def test_lock_file_with_the_number_of_another_process_does_not_matter(data_dir: Path) -> None:
    with EmbeddedServer(data_dir=data_dir) as server:
        lock_file = (server.data_dir / "postmaster.pid").read_text()
    account = data_dir.stat()
    other: dict[str, int] = {} if os.geteuid() else {"user": account.st_uid, "group": account.st_gid}
    sleep = subprocess.Popen(["sleep", "600"], **other)  # type: ignore[call-overload]
    try:
        _, rest = lock_file.split("\n", 1)
        (data_dir / "postmaster.pid").write_text(f"{sleep.pid}\n{rest}")
        os.chown(data_dir / "postmaster.pid", account.st_uid, account.st_gid)
        with EmbeddedServer(data_dir=data_dir) as server:
            assert add_row(server) == 1
    finally:
        sleep.kill()
        sleep.wait()


@as_root
@on_linux
def test_folder_that_only_root_can_reach(open_folder: Path) -> None:
    closed = open_folder / "closed"
    closed.mkdir(0o700)
    for expected in (1, 2):
        with EmbeddedServer(data_dir=closed / "data") as server:
            assert add_row(server) == expected
    assert closed.stat().st_mode & 0o777 == 0o700
    assert closed.stat().st_uid == 0


@as_root
def test_runs_as_the_owner_of_the_folder(data_dir: Path) -> None:
    account = pwd.getpwnam("games")
    data_dir.mkdir(parents=True)
    os.chown(data_dir, account.pw_uid, account.pw_gid)
    for expected in (1, 2):
        with EmbeddedServer(data_dir=data_dir) as server:
            assert add_row(server) == expected
            assert (server.data_dir / "postmaster.pid").stat().st_uid == account.pw_uid


@as_root
def test_cluster_of_root_is_refused(data_dir: Path) -> None:
    with EmbeddedServer(data_dir=data_dir):
        pass
    os.chown(data_dir, 0, 0)
    with pytest.raises(EmbeddedServerError, match="belongs to root, as whom PostgreSQL refuses to run"):
        EmbeddedServer(data_dir=data_dir).start()
