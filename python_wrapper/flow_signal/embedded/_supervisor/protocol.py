"""What the owner and the supervisor tell each other.

The owner writes one line of JSON, an Order, and holds the pipe open: its end is the end of the
server. The supervisor answers with one line, a Reply or a Refusal.
"""

from __future__ import annotations

from typing import TypedDict, final

LOCALHOST = "127.0.0.1"


class EmbeddedServerError(RuntimeError):
    """No server: not found, not started, or not open to what was asked.

    After a failed start the message ends with the tail of the server's log.
    """


class Order(TypedDict):
    owner: int
    bin_dir: str
    data_dir: str | None
    port: int | None
    settings: dict[str, str]
    initdb_cache: str | None


@final
class Reply(TypedDict):
    pid: int
    port: int
    folder: str
    data_dir: str
    log_file: str


@final
class Refusal(TypedDict):
    error: str
