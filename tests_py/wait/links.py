"""A link to a server that can be cut without a word: nothing arrives any more, and nobody is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class Link:
    """Forwards from a TCP port of its own to the socket of the server, in threads."""

    def __init__(self, database: str) -> None:
        parameters = conninfo_to_dict(database)
        self._path = f"{parameters['host']}/.s.PGSQL.{parameters['port']}"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self._pumps: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()
        self.conninfo = make_conninfo(
            database, host="127.0.0.1", port=self._listener.getsockname()[1], sslmode="disable", gssencmode="disable"
        )
        self.connections = 0
        """How many were made, those of a cancellation included."""
        self.cut_before = 0
        """The number of the first connection over which anything arrives."""
        self.swallowed = threading.Event()
        """Something was sent that did not arrive."""

    def cut(self, *, for_good: bool = False) -> None:
        """Forward nothing any more over the connections of now, or over any."""
        self.cut_before = 2**31 if for_good else self.connections

    def close(self) -> None:
        self._close([self._listener])
        self._acceptor.join()  # a connection that it has just accepted is among the ends then
        self._close(self._ends)
        for thread in self._pumps:
            thread.join()

    def _close(self, ends: list[socket.socket]) -> None:
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                self._ends += [client, server]
                try:
                    server.connect(self._path)
                except OSError:  # the server is away
                    client.close()
                    continue
                number = self.connections
                self.connections += 1
                for source, target in ((client, server), (server, client)):
                    thread = threading.Thread(target=self._pump, args=(source, target, number), daemon=True)
                    self._pumps.append(thread)
                    thread.start()

    def _pump(self, source: socket.socket, target: socket.socket, number: int) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if number < self.cut_before:
                    self.swallowed.set()
                else:
                    target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@contextmanager
def link_to(database: str) -> Iterator[Link]:
    link = Link(database)
    try:
        yield link
    finally:
        link.close()
