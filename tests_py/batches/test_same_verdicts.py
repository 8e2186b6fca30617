"""A batch answers as the single calls would that are made one after another, whatever the runs have been through.

Two copies of some runs go through the same history, one by batches and one by single calls; the answers and the rows
of both must agree in all but their times and run ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

PAST = datetime(2001, 1, 1, tzinfo=timezone.utc)
FAR = datetime(2999, 1, 1, tzinfo=timezone.utc)

Row = Any
Connection = psycopg.Connection[Row]


@dataclass(frozen=True)
class Step:
    run: int
    key: str
    signal: str
    until: datetime | None


@dataclass(frozen=True)
class Signal:
    run: int
    name: str
    payload: str | None
    id: str | None


@dataclass(frozen=True)
class Register:
    steps: Sequence[Step]
    queue: str | None


@dataclass(frozen=True)
class Deliver:
    signals: Sequence[Signal]
    buffer_until: datetime | None


@dataclass(frozen=True)
class Remove:
    run: int
    key: str


Action = Register | Deliver | Remove

runs = st.integers(0, 2)
keys = st.sampled_from(["s", "t", "u"])
names = st.sampled_from(["A", "B"])
steps = st.builds(Step, runs, keys, names, st.sampled_from([None, None, None, PAST, FAR]))
signals = st.builds(
    Signal, runs, names, st.sampled_from([None, "null", '{"b": 1}', "[ 2 ]"]), st.sampled_from([None, None, "x", "y"])
)
actions = st.one_of(
    st.builds(Register, st.lists(steps, max_size=6), st.sampled_from([None, "q"])),
    st.builds(Deliver, st.lists(signals, max_size=6), st.sampled_from([None, None, PAST, FAR])),
    st.builds(Remove, runs, keys),
)


class Copy:
    """One copy of the runs."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.ids = sorted(uuid4() for _ in range(3))

    def rows(self, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The answer, with the runs by number and of each instant only whether there is one."""
        return [tuple(self.readable(value) for value in row) for row in self.connection.execute(query, values)]

    def readable(self, value: Any) -> Any:
        if isinstance(value, UUID):
            return self.ids.index(value)
        return "an instant" if isinstance(value, datetime) else value

    def contents(self) -> list[tuple[Any, ...]]:
        return self.rows(
            """
            SELECT
                1 AS kind, w.run_id, w.step_key, w.signal_name, w.status, w.expires_at = %s, w.delivered_at,
                w.due_at, NULL AS delivery_id, w.wake_channel, w.queue, w.payload_json::text,
                rank() OVER (PARTITION BY w.run_id ORDER BY w.created_at, w.step_key)
            FROM flow_signal.flow_signal_waiters AS w
            WHERE w.run_id = ANY(%s)
            UNION ALL
            SELECT
                2, b.run_id, '', b.signal_name, NULL, b.dead, b.buffered_until, NULL, b.delivery_id, NULL, NULL,
                b.payload_json::text, rank() OVER (PARTITION BY b.run_id, b.signal_name ORDER BY b.position)
            FROM flow_signal.flow_signal_buffered_signals AS b
            WHERE b.run_id = ANY(%s)
            UNION ALL
            SELECT
                3, r.run_id, r.step_key, r.signal_name, NULL, NULL, r.delivered_at, NULL, r.delivery_id, NULL, NULL,
                r.payload_hash::text, 1
            FROM flow_signal.flow_signal_receipts AS r
            WHERE r.run_id = ANY(%s)
            ORDER BY kind, run_id, step_key, signal_name, delivery_id, rank
            """,
            [FAR, self.ids, self.ids, self.ids],
        )

    def remove(self, action: Remove) -> list[tuple[Any, ...]]:
        return self.rows(
            "SELECT w.state FROM flow_signal_v1.remove_waiter(p_run_id => %s, p_step_key => %s) AS w",
            [self.ids[action.run], action.key],
        )


WAITER = (
    "w.run_id, w.step_key, w.signal_name, w.state, w.created_at, w.expires_at, w.delivered_at, w.payload_json::text"
)
DELIVERY = "d.status, d.run_id, d.step_key, d.delivered_at, d.replayed"


class Batches(Copy):
    def register(self, action: Register) -> list[tuple[Any, ...]]:
        return self.rows(
            f"""
            SELECT {WAITER}
            FROM flow_signal_v1.register_waiters(
                p_run_ids => %s::uuid[], p_step_keys => %s::text[], p_signal_names => %s::text[],
                p_expires_at => %s::timestamptz[], p_queue => %s
            ) AS w
            """,
            [
                [self.ids[step.run] for step in action.steps],
                [step.key for step in action.steps],
                [step.signal for step in action.steps],
                [step.until for step in action.steps],
                action.queue,
            ],
        )

    def deliver(self, action: Deliver) -> list[tuple[Any, ...]]:
        return self.rows(
            f"""
            SELECT {DELIVERY}
            FROM flow_signal_v1.deliver_signals(
                p_run_ids => %s::uuid[], p_signal_names => %s::text[], p_payloads_json => %s::text[],
                p_delivery_ids => %s::text[], p_buffer_until => %s
            ) AS d
            """,
            [
                [self.ids[signal.run] for signal in action.signals],
                [signal.name for signal in action.signals],
                [signal.payload for signal in action.signals],
                [signal.id for signal in action.signals],
                action.buffer_until,
            ],
        )


class Singles(Copy):
    def register(self, action: Register) -> list[tuple[Any, ...]]:
        query = f"""
            SELECT {WAITER}
            FROM flow_signal_v1.register_waiter(
                p_run_id => %s, p_step_key => %s, p_signal_name => %s, p_expires_at => %s, p_queue => %s
            ) AS w
        """
        return [
            row
            for step in action.steps
            for row in self.rows(query, [self.ids[step.run], step.key, step.signal, step.until, action.queue])
        ]

    def deliver(self, action: Deliver) -> list[tuple[Any, ...]]:
        query = f"""
            SELECT {DELIVERY}
            FROM flow_signal_v1.deliver_signal(
                p_run_id => %s, p_signal_name => %s, p_payload_json => %s, p_delivery_id => %s, p_buffer_until => %s
            ) AS d
        """
        return [
            row
            for signal in action.signals
            for row in self.rows(
                query, [self.ids[signal.run], signal.name, signal.payload, signal.id, action.buffer_until]
            )
        ]


def outcome(copy: Batches | Singles, action: Action) -> list[tuple[Any, ...]] | str | None:
    """The rows, or the SQLSTATE of the error that undid the action."""
    try:
        with copy.connection.transaction():
            if isinstance(action, Register):
                return copy.register(action)
            if isinstance(action, Deliver):
                return copy.deliver(action)
            return copy.remove(action)
    except psycopg.Error as error:
        return error.sqlstate


@pytest.fixture
def connection(database: str) -> Iterator[Connection]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=st.lists(actions, min_size=1, max_size=8))
@example(  # the id is known to a waiter behind an open head
    [
        Register([Step(0, "s", "B", None), Step(0, "t", "A", None)], None),
        Register([Step(0, "s", "A", None)], None),
        Deliver([Signal(0, "A", None, "x")], None),
        Deliver([Signal(0, "A", None, "x"), Signal(1, "A", None, "x")], None),
        Deliver([Signal(0, "A", "null", "x")], None),
    ]
)
def test_as_single_calls(connection: Connection, history: list[Action]) -> None:
    batches, singles = Batches(connection), Singles(connection)
    for action in history:
        assert outcome(batches, action) == outcome(singles, action)
        assert batches.contents() == singles.contents()
