"""A worker process: python -m examples.approval_engine.worker CONNINFO [LEASE_SECONDS [PARENT_PID]]

Start as many as you like. To stop one, kill it: what it had claimed goes to another one after the lease.
"""

from __future__ import annotations

import os
import sys
from datetime import timedelta

import psycopg

from examples.approval_engine.workflow import QUEUE, resume
from flow_signal import FlowSignalStore

CLAIM_LIMIT = 10
"""A lease should be longer than a worker needs for so many. One that takes longer loses time, never an order."""
LOOK_SECONDS = 0.5


def work(conninfo: str, lease: timedelta, parent: int) -> None:
    """Resume orders until the process that started this one is gone."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        store = FlowSignalStore(connection)
        connection.execute(f"LISTEN {QUEUE}")
        while os.getppid() == parent:
            waiters = store.claim_waiters(QUEUE, limit=CLAIM_LIMIT, lease=lease)
            for waiter in waiters:
                resume(connection, waiter)
            if not waiters:
                # A delivery wakes us at once, a deadline or an ended lease is found by the next look.
                for _ in connection.notifies(timeout=LOOK_SECONDS, stop_after=1):
                    pass


def main(conninfo: str, lease_seconds: str = "10", parent: str = str(os.getppid())) -> None:
    work(conninfo, timedelta(seconds=float(lease_seconds)), int(parent))


if __name__ == "__main__":
    main(*sys.argv[1:])
