"""The owner's side of an embedded server."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from ._binaries import checked_bin_dir, find_bin_dir
from ._supervisor.data_folder import recorded_pid, serves
from ._supervisor.protocol import LOCALHOST, EmbeddedServerError, Order, Refusal, Reply

# The supervisor needs no site-packages: it starts the faster, and no package can disturb it.
SUPERVISOR = (
    *(sys.executable, "-I", "-S", "-c"),
    "import sys; sys.path.insert(0, sys.argv[1]); from _supervisor.main import main; main()",
    str(Path(__file__).parent),
)
SUPERUSER = "postgres"
POLL_SECONDS = 0.01
STOP_SECONDS = 10


class EmbeddedServer:
    """A PostgreSQL server of one's own, from `start` to `stop`, or for a `with` block.

    bin_dir: the folder with `initdb` and `postgres`, version 14 to 18; None: `find_bin_dir()`.
    data_dir: a folder that is kept, and used again by the next start; made if it does not
        exist, and filled if it is empty. None: a temporary one, faster because it does not
        flush to disk.
    port: None: connections by a Unix socket only. Else also by TCP, on 127.0.0.1 alone: with
        0 on a free port, with another number on that one.
    settings: server parameters by name, as in postgresql.conf.
    initdb_cache: a folder that keeps what initdb makes: the next start with it and the same
        programs copies that, in a fraction of the time. Made if it does not exist.

    The databases are encoded in UTF8 with locale C and time zone UTC. The server ends with the
    process that started it, even if that is killed.

    Only the account that runs the server (and root) can enter the folder of its socket, so a
    connection by the socket needs no password. By TCP every role needs one: the superuser
    `postgres` gets a new one at each start with a port, other roles have those you give them.

    When root starts a server, it runs as the owner of `data_dir`; if that is root too (the folder
    is then empty, and changes hands) or there is none, as postgres, else as nobody.
    """

    bin_dir: Path
    """The folder with the server's programs."""
    socket_dir: Path
    """The folder with the Unix socket, temporary."""
    port: int
    """The TCP port, which also names the socket; without TCP only the latter."""
    data_dir: Path
    """The data folder."""
    log_file: Path
    """The server's log, temporary."""
    password: str | None
    """The password of the superuser `postgres` over TCP; None without a port."""

    def __init__(
        self,
        *,
        bin_dir: Path | None = None,
        data_dir: Path | None = None,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        initdb_cache: Path | None = None,
    ) -> None:
        self._wanted_bin_dir = bin_dir
        self._wanted_data_dir = data_dir
        self._wanted_port = port
        self._settings = dict(settings or {})
        self._initdb_cache = initdb_cache
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._postmaster = 0

    def start(self) -> None:
        """Start the server; return when it accepts connections.

        Raises EmbeddedServerError when there are no programs, when the data folder is in use,
        made by another major version or no data folder, and when the server fails to start.
        """
        if self._supervisor:
            raise EmbeddedServerError("the server is started already")
        chosen = self._wanted_bin_dir
        self.bin_dir = checked_bin_dir(chosen) if chosen else find_bin_dir()
        self._supervisor = subprocess.Popen(
            SUPERVISOR,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            reply = self._give_order(self._supervisor)
            self._postmaster = reply["pid"]
            self.socket_dir = Path(reply["folder"])
            self.port = reply["port"]
            self.data_dir = Path(reply["data_dir"])
            self.log_file = Path(reply["log_file"])
            self.password = None if self._wanted_port is None else self._new_password()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and remove all that is temporary; does nothing if it is not started."""
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is None:
            return
        assert supervisor.stdin
        assert supervisor.stdout
        supervisor.stdin.close()
        supervisor.stdout.close()
        if supervisor.wait() != 0 and self._postmaster:
            self._do_without_supervisor()
        self._postmaster = 0

    def conninfo(self, dbname: str = "postgres", user: str = SUPERUSER, *, tcp: bool = False) -> str:
        """Return the connection string, in libpq's keyword/value form.

        tcp: connect by TCP rather than by the socket, with the password if `user` is the
            superuser. Raises EmbeddedServerError when the server was started without a port.
        """
        parameters = {"host": str(self.socket_dir), "dbname": dbname, "user": user}
        if tcp:
            if self.password is None:
                raise EmbeddedServerError("the server was started without a TCP port")
            parameters["host"] = LOCALHOST
            if user == SUPERUSER:
                parameters["password"] = self.password
        return make_conninfo(port=self.port, **parameters)

    def __enter__(self) -> EmbeddedServer:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _give_order(self, supervisor: subprocess.Popen[bytes]) -> Reply:
        data_dir = self._wanted_data_dir
        order = Order(
            owner=os.getpid(),
            bin_dir=str(self.bin_dir),
            data_dir=None if data_dir is None else str(data_dir.resolve()),
            port=self._wanted_port,
            settings=self._settings,
            initdb_cache=None if self._initdb_cache is None else str(self._initdb_cache.resolve()),
        )
        assert supervisor.stdin
        assert supervisor.stdout
        with suppress(BrokenPipeError):
            supervisor.stdin.write(json.dumps(order).encode() + b"\n")
        line = supervisor.stdout.readline()
        try:
            answer: Reply | Refusal = json.loads(line)
        except ValueError:
            trace = (line + supervisor.stdout.read()).decode(errors="replace")
            raise EmbeddedServerError(f"the server's supervisor failed\n{trace}") from None
        if "error" in answer:
            raise EmbeddedServerError(answer["error"])
        return answer

    def _new_password(self) -> str:
        password = secrets.token_urlsafe()
        with psycopg.connect(self.conninfo(), autocommit=True) as connection:
            verifier = connection.pgconn.encrypt_password(password.encode(), SUPERUSER.encode(), b"scram-sha-256")
            change = sql.SQL("ALTER ROLE {} PASSWORD {}")
            connection.execute(change.format(sql.Identifier(SUPERUSER), verifier.decode()))
        return password

    def _do_without_supervisor(self) -> None:
        """End what a killed supervisor left; on Linux the server has ended with it."""
        deadline = time.monotonic() + STOP_SECONDS
        while self._postmaster_runs():
            late = time.monotonic() > deadline
            with suppress(ProcessLookupError):
                os.kill(self._postmaster, signal.SIGKILL if late else signal.SIGQUIT)
            time.sleep(POLL_SECONDS)
        shutil.rmtree(self.socket_dir, ignore_errors=True)

    def _postmaster_runs(self) -> bool:
        pid = recorded_pid(self.data_dir)
        return pid == self._postmaster and serves(pid, self.data_dir)
