"""The worker: python -m examples.approvals.worker CONNINFO [PARENT_PID]

It asks for an approval every few seconds, takes the answers, and lets what nobody answers expire.
"""

from __future__ import annotations

import os
import random
import sys
import time
from datetime import timedelta

import psycopg

from examples.approvals.workflow import CHANNEL, QUEUE, Connection, Request, ask, new_run_id, resume
from flow_signal import FlowSignalStore

ASK_SECONDS = 8.0
LOOK_SECONDS = 0.5
TEAMS = ["Purchasing", "Sales", "Support", "Research"]
THINGS = [
    (
        "expense",
        "Travel to the customer in {city}",
        "Train and two nights, {amount} EUR. The customer pays half of it.",
    ),
    (
        "purchase",
        "{count} screens for the office in {city}",
        "{amount} EUR from the usual supplier, delivered in a week.",
    ),
    (
        "refund",
        "Refund of order {count}-{amount}",
        "The parcel for {city} was lost; the customer asks for {amount} EUR.",
    ),
    ("release", "Release 4.{count} to {city}", "All checks are green. {amount} users get it first."),
]
CITIES = ["Lisbon", "Utrecht", "Tartu", "Leeds"]


def sample() -> Request:
    """Something to approve; about every second one is answered by nobody in time."""
    signal_name, title, details = random.choice(THINGS)
    values = {"city": random.choice(CITIES), "count": random.randrange(2, 30), "amount": random.randrange(80, 4000)}
    return Request(
        step_key="approve",
        signal_name=signal_name,
        title=title.format(**values),
        details=details.format(**values),
        asked_by=random.choice(TEAMS),
        patience=timedelta(seconds=random.choice([20, 60, 300, 3600])),
    )


def work(conninfo: str, parent: int) -> None:
    """Ask and resume until the process that started this one is gone."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(f"LISTEN {CHANNEL}")
        next_ask = time.monotonic()
        while os.getppid() == parent:
            if time.monotonic() >= next_ask:
                ask(connection, new_run_id(), sample())
                next_ask += ASK_SECONDS
            resume_all(connection)
            # An answer wakes us at once; a deadline is found by the next look.
            for _ in connection.notifies(timeout=LOOK_SECONDS, stop_after=1):
                pass


def resume_all(connection: Connection) -> None:
    """Take all that is answered or expired."""
    while waiters := FlowSignalStore(connection).claim_waiters(QUEUE):
        for waiter in waiters:
            resume(connection, waiter)


def main(conninfo: str, parent: str = str(os.getppid())) -> None:
    work(conninfo, int(parent))


if __name__ == "__main__":
    main(*sys.argv[1:])
