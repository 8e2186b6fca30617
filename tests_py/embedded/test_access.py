"""The account that runs a server, and who may connect."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import stat
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from flow_signal.embedded import EmbeddedServer, EmbeddedServerError, find_bin_dir
from flow_signal.embedded._supervisor import launcher
from flow_signal.embedded._supervisor.launcher import Launcher
from tests_py.embedded.owners import StartOwner, wait_until

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a server as somebody else")


def test_plain_user_runs_a_server(owned_server: StartOwner) -> None:
    owner = owned_server(
        """
with psycopg.connect(server.conninfo()) as connection:
    print(os.geteuid(), *connection.execute("SELECT 6 * 7").fetchone())
""",
        plain=True,
    )
    euid, answer = owner.read_line().split()
    assert int(euid) != 0
    assert int(answer) == 42
    assert owner.wait() == 0
    wait_until(owner.left_nothing)


def test_server_of_a_plain_user_dies_with_its_owner(owned_server: StartOwner) -> None:
    owner = owned_server(plain=True)
    owner.process.kill()
    wait_until(owner.left_nothing)


@as_root
def test_root_has_an_unprivileged_account_run_the_server(server: EmbeddedServer) -> None:
    account = pwd.getpwuid(server.data_dir.stat().st_uid).pw_name
    assert account in {"postgres", "nobody"}


def test_only_the_account_may_enter_the_folder_of_the_socket(server: EmbeddedServer) -> None:
    status = server.socket_dir.stat()
    assert stat.S_IMODE(status.st_mode) == 0o700
    assert status.st_uid == server.data_dir.stat().st_uid


@as_root
def test_programs_in_a_closed_folder(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = find_bin_dir().resolve().parent
    site = open_folder / "closed"
    site.mkdir(0o700)
    package = prefix.parent
    shutil.copytree(prefix, site / package.name / prefix.name)
    for libraries in package.parent.glob(f"{package.name}.libs"):
        shutil.copytree(libraries, site / libraries.name)
    bin_dir = site / package.name / prefix.name / "bin"

    with EmbeddedServer(bin_dir=bin_dir) as server, psycopg.connect(server.conninfo()) as connection:
        assert server.bin_dir == bin_dir
        connection.execute("LOAD 'dblink'")
        postmaster = Path(f"/proc/{server._postmaster}/exe").readlink()
        assert postmaster.is_relative_to(server.socket_dir)
    assert stat.S_IMODE(site.stat().st_mode) == 0o700


def test_every_role_may_use_the_socket_without_password(server: EmbeddedServer) -> None:
    with psycopg.connect(server.conninfo()) as connection:
        connection.execute("CREATE ROLE app LOGIN")
    psycopg.connect(server.conninfo(user="app")).close()


def test_tcp_needs_the_password(server: EmbeddedServer) -> None:
    psycopg.connect(server.conninfo(tcp=True)).close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(make_conninfo(server.conninfo(tcp=True), password="guess"))
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(server.conninfo(user="other", tcp=True), passfile="/nowhere")
    assert str(server.password) not in server.log_file.read_text()


def test_kept_folder_gets_a_new_password_at_each_start(open_folder: Path) -> None:
    passwords = set()
    for _ in range(2):
        with EmbeddedServer(data_dir=open_folder / "data", port=0) as server:
            psycopg.connect(server.conninfo(tcp=True)).close()
            passwords.add(server.password)
    assert len(passwords) == 2


def test_chosen_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedServerError, match="Address already in use"):
            EmbeddedServer(port=port).start()
    with EmbeddedServer(port=port) as server:
        assert server.port == port
        psycopg.connect(server.conninfo(tcp=True)).close()


def test_free_port_that_is_taken_meanwhile_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, server: EmbeddedServer
) -> None:
    tried = []

    def start_on(self: Launcher, port: int, settings: object) -> str:
        tried.append(port)
        if port == server.port:
            raise EmbeddedServerError("Address already in use")
        return "started"

    monkeypatch.setattr(Launcher, "_start_on", start_on)
    monkeypatch.setattr(launcher, "_unbound_port", iter((server.port, server.port, 1)).__next__)
    _, port = Launcher.start_server(Launcher.__new__(Launcher), 0, {})
    assert port == 1
    assert tried == [server.port, server.port, 1]


def test_listens_on_the_local_address_only_and_only_if_asked(server: EmbeddedServer) -> None:
    everywhere = EmbeddedServer(settings={"listen_addresses": "*"})
    with everywhere, psycopg.connect(everywhere.conninfo()) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        assert everywhere.password is None
        with pytest.raises(EmbeddedServerError, match="without a TCP port"):
            everywhere.conninfo(tcp=True)
    with psycopg.connect(server.conninfo()) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)
