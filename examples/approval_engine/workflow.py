"""The workflow: an order waits for its approval, then for its payment, and is shipped; or it is cancelled.

Each function below is one transaction. It changes the order and parks or forgets a step together, so that a process may
be killed anywhere in it: then neither has happened.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg

from flow_signal import ClaimedWaiter, FlowSignalStore, WaiterState

Connection = psycopg.Connection[Any]

QUEUE = "approval_engine"
"""Where the workers find waits that are over; also the channel on which they are told that there is one."""


def place_order(connection: Connection, order_id: UUID, patience: timedelta) -> None:
    """Take an order. Nobody needs to know the workers, or whether any are running."""
    with connection.transaction():
        connection.execute(
            "INSERT INTO approval_engine.orders (id, state, patience) VALUES (%s, 'new', %s)", [order_id, patience]
        )
        _wait_for(connection, order_id, "approval")


def resume(connection: Connection, claimed: ClaimedWaiter) -> None:
    """Take the next step of an order whose waiter is claimed."""
    order_id, step = claimed.run_id, claimed.step_key
    with connection.transaction():
        waiter = FlowSignalStore(connection).remove_waiter(order_id, step, claim_id=claimed.claim_id)
        if waiter is None:
            return  # our lease ended, and another worker claimed it
        if waiter.state is WaiterState.EXPIRED:
            _end(connection, order_id, "cancelled", f"no {step} in time")
        elif not waiter.payload["granted"]:
            _end(connection, order_id, "cancelled", f"{step} refused")
        elif step == "approval":
            _wait_for(connection, order_id, "payment")
        else:
            _end(connection, order_id, "shipped", "paid")


def _wait_for(connection: Connection, order_id: UUID, step: str) -> None:
    query = """
        UPDATE approval_engine.orders SET state = %s WHERE id = %s
        RETURNING clock_timestamp() + patience
    """
    [[deadline]] = connection.execute(query, [f"waits for {step}", order_id]).fetchall()
    FlowSignalStore(connection).register_waiter(
        order_id, step, signal_name=step, expires_at=deadline, queue=QUEUE, wake_channel=QUEUE
    )
    _record(connection, order_id, f"asked for {step}")


def _end(connection: Connection, order_id: UUID, state: str, reason: str) -> None:
    connection.execute("UPDATE approval_engine.orders SET state = %s WHERE id = %s", [f"{state}: {reason}", order_id])
    _record(connection, order_id, state)


def _record(connection: Connection, order_id: UUID, event: str) -> None:
    connection.execute("INSERT INTO approval_engine.events (order_id, event) VALUES (%s, %s)", [order_id, event])
