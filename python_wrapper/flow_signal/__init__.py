"""Park workflow steps in PostgreSQL and wake each exactly once by a signal.

Every method of `FlowSignalStore` and `AsyncFlowSignalStore` is one call of one SQL function of schema flow_signal_v1,
or one look at a view there; what is true of the function is true of the method; `wait` alone makes several.
`AsyncWaitHub` waits for thousands of waiters over one connection. `flow_signal.migrate` installs those functions.
`ShardedFlowSignalStore`, `AsyncShardedFlowSignalStore` and `AsyncShardedWaitHub` are the same over several databases.
"""

from typing import Any

from ._async_sharded_store import AsyncShardedFlowSignalStore
from ._async_store import AsyncFlowSignalStore
from ._hub import AsyncWaitHub
from ._sharded_hub import AsyncShardedWaitHub
from ._sync_sharded_store import ShardedFlowSignalStore
from ._sync_store import FlowSignalStore
from .errors import (
    DeliveryIdReusedError,
    HubClosedError,
    PayloadTooLargeError,
    ShardsFailedError,
    SignalMismatchError,
    TooManyBufferedError,
    UnreadablePayloadError,
    WaiterExpiredError,
    WaiterNotFoundError,
)
from .inputs import ForeignWaiter, NewSignal, NewWaiter
from .results import (
    BufferedSignal,
    BufferedSignalState,
    ClaimedWaiter,
    FlowSignalToken,
    FlowSignalWaiter,
    Health,
    ImportedWaiter,
    ImportOutcome,
    SignalDeliveryResult,
    SignalDeliveryStatus,
    SignalStats,
    TokenState,
    WaiterState,
)

__all__ = [
    "AsyncFlowSignalStore",
    "AsyncShardedFlowSignalStore",
    "AsyncShardedWaitHub",
    "AsyncWaitHub",
    "BufferedSignal",
    "BufferedSignalState",
    "ClaimedWaiter",
    "DeliveryIdReusedError",
    "FlowSignalStore",
    "FlowSignalToken",
    "FlowSignalWaiter",
    "ForeignWaiter",
    "Health",
    "HubClosedError",
    "ImportOutcome",
    "ImportedWaiter",
    "NewSignal",
    "NewWaiter",
    "PayloadTooLargeError",
    "ShardedFlowSignalStore",
    "ShardsFailedError",
    "SignalDeliveryResult",
    "SignalDeliveryStatus",
    "SignalMismatchError",
    "SignalStats",
    "TokenState",
    "TooManyBufferedError",
    "UnreadablePayloadError",
    "WaiterExpiredError",
    "WaiterNotFoundError",
    "WaiterState",
    "__version__",
]

__version__: str
"""The release of this package; the one in a database is told by the stores' `version`."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("flow-signal")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
