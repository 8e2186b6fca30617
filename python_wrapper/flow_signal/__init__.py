"""Park workflow steps in PostgreSQL and wake each exactly once by a signal.

Every method of `FlowSignalStore` and `AsyncFlowSignalStore` is one call of one SQL function of schema flow_signal_v1;
what is true of the function is true of the method. `flow_signal.migrate` installs those functions.
"""

from ._async_store import AsyncFlowSignalStore
from ._sync_store import FlowSignalStore
from .errors import DeliveryIdReusedError, PayloadTooLargeError, SignalMismatchError
from .results import FlowSignalWaiter, SignalDeliveryResult, SignalDeliveryStatus, WaiterState

__all__ = [
    "AsyncFlowSignalStore",
    "DeliveryIdReusedError",
    "FlowSignalStore",
    "FlowSignalWaiter",
    "PayloadTooLargeError",
    "SignalDeliveryResult",
    "SignalDeliveryStatus",
    "SignalMismatchError",
    "WaiterState",
]
