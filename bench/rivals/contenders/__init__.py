"""The contenders. The module of each says how it does the work."""

from __future__ import annotations

from bench.rivals.contenders.absurd import ABSURD
from bench.rivals.contenders.dbos import DBOS_SEND, DBOS_SEND_MESSAGE
from bench.rivals.contenders.limit import BARE_TABLE, EMPTY_CALL
from bench.rivals.contenders.origin import ORIGIN
from bench.rivals.contenders.ours import FLOW_SIGNAL

CONTENDERS = (FLOW_SIGNAL, BARE_TABLE, EMPTY_CALL, ORIGIN, DBOS_SEND, DBOS_SEND_MESSAGE, ABSURD)
"""In the order of tables and plots."""

__all__ = [
    "ABSURD",
    "BARE_TABLE",
    "CONTENDERS",
    "DBOS_SEND",
    "DBOS_SEND_MESSAGE",
    "EMPTY_CALL",
    "FLOW_SIGNAL",
    "ORIGIN",
]
