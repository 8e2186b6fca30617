"""A private PostgreSQL server that lives as long as the process that starts it.

    with EmbeddedServer() as server:
        psycopg.connect(server.conninfo())

It runs `initdb` and `postgres` of any installation of PostgreSQL 14 to 18, as root or as a plain user. Whatever way
the owning process ends, `kill -9` included, the server and its temporary folder go with it. Written for Linux and
macOS, tested on Linux.
"""

from ._binaries import find_bin_dir
from ._server import EmbeddedServer
from ._supervisor.protocol import EmbeddedServerError

__all__ = ["EmbeddedServer", "EmbeddedServerError", "find_bin_dir"]
