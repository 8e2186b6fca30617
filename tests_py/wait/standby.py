"""A primary and a standby that follows it, each on a private socket."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from flow_signal import migrate
from flow_signal.embedded import EmbeddedServer
from tools.server import temporary_files

SETTINGS = {"fsync": "off", "wal_retrieve_retry_interval": "100"}


class Pair:
    """A primary with flow-signal, and a standby, made by pg_basebackup, that streams from it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = folder / "socket"  # of the primary, wherever it is since the last start
        self.primary = EmbeddedServer(data_dir=folder / "primary", settings=SETTINGS)
        self.standby = EmbeddedServer(data_dir=folder / "standby", settings=SETTINGS)

    def start(self) -> None:
        self.start_primary()
        migrate.migrate(self.conninfo)
        self._copy(self._folder / "standby")
        self.standby.start()

    def stop(self) -> None:
        self.standby.stop()
        self.primary.stop()

    def start_primary(self) -> None:
        self.primary.start()
        self._socket.unlink(missing_ok=True)
        self._socket.symlink_to(self.primary.socket_dir)

    @property
    def conninfo(self) -> str:
        """The connection string of the primary, the same after each start of it."""
        return make_conninfo(self.primary.conninfo(), host=str(self._socket))

    def catch_up(self) -> None:
        """Return when the standby has replayed what the primary has committed."""
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            written = connection.execute("SELECT pg_current_wal_flush_lsn()").fetchone()
        assert written
        with psycopg.connect(self.standby.conninfo(), autocommit=True) as connection:
            while connection.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", written).fetchone() != (True,):
                pass

    def promote(self) -> None:
        with psycopg.connect(self.standby.conninfo(), autocommit=True) as connection:
            # Not one call that waits: its snapshot could be in the way of what is replayed meanwhile.
            connection.execute("SELECT pg_promote(wait => false)")
            while connection.execute("SELECT pg_is_in_recovery()").fetchone() != (False,):
                time.sleep(0.01)

    def _copy(self, data_dir: Path) -> None:
        program = str(self.primary.bin_dir / "pg_basebackup")
        libraries = {**os.environ, "LD_LIBRARY_PATH": str(self.primary.bin_dir.parent / "lib")}
        options = ("--write-recovery-conf", "--checkpoint=fast", "--no-sync")
        subprocess.run(
            [program, f"--pgdata={data_dir}", f"--dbname={self.conninfo}", *options],
            check=True,
            capture_output=True,
            env=libraries,
        )
        owner = self.primary.data_dir.stat()
        if os.geteuid() == 0:
            for path in [data_dir, *data_dir.rglob("*")]:
                os.chown(path, owner.st_uid, owner.st_gid)


@contextmanager
def primary_and_standby() -> Iterator[Pair]:
    folder = Path(tempfile.mkdtemp(dir=temporary_files().get("TMPDIR", "/tmp")))
    folder.chmod(0o777)
    pair = Pair(folder)
    try:
        pair.start()
        yield pair
    finally:
        pair.stop()
        shutil.rmtree(folder)


def hosts(*conninfos: str) -> str:
    """One connection string for all these servers, to be tried in this order."""
    parameters = [psycopg.conninfo.conninfo_to_dict(conninfo) for conninfo in conninfos]
    host, port = (",".join(str(each[name]) for each in parameters) for name in ("host", "port"))
    return make_conninfo("user=postgres dbname=postgres", host=host, port=port)
