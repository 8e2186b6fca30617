"""The errors that are flow-signal's own: one class per SQLSTATE of class WS, and the ends of a wait.

psycopg itself raises the former, on any connection of a process that has imported flow_signal, with MESSAGE, DETAIL and
HINT of the database in `.diag`. A refused call has changed nothing.

All other refusals are standard conditions and have psycopg's own classes, among them:

========  =========================  =========================================================
SQLSTATE  class in psycopg.errors    when
========  =========================  =========================================================
22023     InvalidParameterValue      a name is blank or too long, an instant is out of range
22P02     InvalidTextRepresentation  payload_json is not JSON
54001     StatementTooComplex        the payload is nested too deeply for the server
0A000     FeatureNotSupported        the transaction's isolation level cannot keep the promise
40001     SerializationFailure       a concurrent change; repeat the transaction
42501     InsufficientPrivilege      the role may not make this call
3F000     InvalidSchemaName          flow-signal is not installed in this database
========  =========================  =========================================================

A text with a NUL character and a number beyond the type of its parameter never reach the database: DataError, without
an SQLSTATE. Nor does an argument of the wrong type: TypeError says what came and what is expected; nor an instant
without a time zone or a text that is not Unicode: ValueError.

A call on several databases of a sharded store that fails on some of them raises ShardsFailedError.

A wait that ends without a delivery raises WaiterExpiredError, WaiterNotFoundError, HubClosedError, or the builtin
TimeoutError when the caller's own timeout is over and the waiter is not known to be delivered.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from psycopg import DataError, Error, IntegrityError

if TYPE_CHECKING:
    from .results import FlowSignalWaiter


class SignalMismatchError(IntegrityError, code="WS001"):
    """The step already holds the payload of another signal: remove its waiter before it waits for a new one."""


class DeliveryIdReusedError(IntegrityError, code="WS002"):
    """The delivery id is recorded for this signal with another payload, compared byte for byte."""


class PayloadTooLargeError(DataError, code="WS003"):
    """The payload is over 1 MiB (1048576 bytes) of JSON text."""


class TooManyBufferedError(IntegrityError, code="WS004"):
    """As many signals as are allowed are buffered for that run and signal, and none of them was taken yet."""


class ShardsFailedError(Error):
    """A call on several databases failed on some of them; on the others it is done and committed.

    The text names them all. The `__cause__` is the first of the errors.
    """

    def __init__(self, errors: Mapping[int, Exception], results: Mapping[int, Any]) -> None:
        super().__init__(errors, results)  # type: ignore[arg-type]
        self.errors = errors
        """What each failed database has raised, by shard: the number of its pool in the list."""
        self.results = results
        """What the call has returned on each of the other databases, by shard."""

    def __str__(self) -> str:
        done = shards_named(self.results) if self.results else "no shard"
        reasons = "".join(f"; shard {shard}: {error}" for shard, error in self.errors.items())
        return f"failed on {shards_named(self.errors)}, done on {done}{reasons}"


def shards_named(shards: Collection[int]) -> str:
    return f"shard{'s' if len(shards) > 1 else ''} {', '.join(map(str, shards))}"


class UnreadablePayloadError(ValueError):
    """The payload is beyond what `json.loads` reads: nested too deeply, or with an integer of thousands of digits.

    The database takes such JSON. `payload_json` has the text, for another parser. `payload_as` raises it when there is
    no payload.
    """


class WaiterExpiredError(Exception):
    """The deadline passed before a signal came.

    From a standby, and from a database whose default is read-only transactions, it is a reading of the clock: a
    delivery that was made in time may not be committed, or not have arrived, yet.
    """

    def __init__(self, waiter: FlowSignalWaiter) -> None:
        super().__init__(waiter)
        self.waiter = waiter
        """The expired waiter."""

    def __str__(self) -> str:
        return f"step {self.waiter.step_key!r} of run {self.waiter.run_id} expired at {self.waiter.expires_at}"


class WaiterNotFoundError(LookupError):
    """There is no such waiter: it was never registered (or not committed), or somebody removed it meanwhile."""

    def __init__(self, run_id: UUID, step_key: str) -> None:
        super().__init__(run_id, step_key)
        self.run_id = run_id
        self.step_key = step_key

    def __str__(self) -> str:
        return f"step {self.step_key!r} of run {self.run_id} has no waiter"


class HubClosedError(RuntimeError):
    """The hub was closed, or ended by the error that is the `__cause__`; the waiter itself goes on waiting."""
