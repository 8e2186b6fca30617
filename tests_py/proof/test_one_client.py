"""One client at random: each answer is the model's, and an error has changed nothing.

Hypothesis chooses the calls, alone or in a transaction with savepoints. As the database's clock goes on while a call is
under way, several states of the model may fit its answer; what follows must fit one of them.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any
from uuid import UUID, uuid4

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests_py.proof import soak
from tests_py.proof.database import Client, clock
from tests_py.proof.judge import Judge
from tests_py.proof.model import DAY, INFINITY, MINUS_INFINITY
from tests_py.proof.transactions import Hints, Place, State, following

SIGNALS = ["go", "stop"]
SECOND, SOON = 1_000_000, 3_000

runs = st.integers(0, 1)
steps, signals = st.sampled_from(["s", "t", "u"]), st.sampled_from(SIGNALS)
ids, payloads = st.sampled_from([None, None, "x", "y"]), st.sampled_from([None, '"A"', '{ "b": 1 }'])
distances = st.sampled_from([None, None, -SECOND, SOON, 60 * SECOND])
"""From now, in microseconds."""
leases = st.sampled_from([1, SOON, 60 * SECOND])
queues = st.sampled_from([None, True])

TABLES = """
SELECT format('SELECT t::text FROM %s AS t ORDER BY 1', c.oid::regclass)
FROM pg_class AS c
WHERE c.relnamespace = 'flow_signal'::regnamespace AND c.relkind = 'r'
"""
"""A query for each table."""


class OneClient(RuleBasedStateMachine):
    """The database, and the states of the model that fit what it has answered."""

    conninfo: str

    def __init__(self) -> None:
        super().__init__()
        self.client = Client(self.conninfo, "a")
        self.client.connection.execute("LISTEN wake")
        self.tables = self.client.connection.execute(TABLES).fetchall()
        self.runs = sorted(str(uuid4()) for _ in range(2))
        self.queue = f"queue of {self.runs[0]}"
        self.states = [State({}, {})]
        self.heard: Counter[str] = Counter()
        self.in_transaction = False
        self.claims: list[str] = [str(uuid4())]
        self.tokens = [f"fst_{UUID(self.runs[0]).hex}_{'0' * 64}", "a guess", ""]
        self.positions = [1]

    # -- calls

    def call(self, function: str, **arguments: Any) -> Any:
        """Make the call; in a transaction behind a savepoint, to which an error goes back."""
        arguments = {name: value for name, value in arguments.items() if value is not None}
        before = self.dump()
        if self.in_transaction:
            self.follow("savepoint")
        answer = self.follow(function, **arguments)
        if self.in_transaction:
            self.follow("rollback to" if isinstance(answer, str) else "release")
        if isinstance(answer, str):
            assert self.dump() == before, f"{answer} has changed something"
        return answer

    def follow(self, function: str, **arguments: Any) -> Any:
        answer = self.client(function, **arguments)
        operation = self.client.history[-1]
        kept = function.startswith("deliver_signal") and any(row[0] == "buffered" for row in answer)
        hints = Hints({}, frozenset(), self.buffered() if kept else {})
        fitting = [after for state in self.states for after in following(state, operation, False, hints)]
        if not fitting:
            raise AssertionError(f"{operation}\n      model: {Judge.answers(self.states[0], operation)}")
        self.states = list({after.fingerprint(): after for after in fitting}.values())
        return answer

    def dump(self) -> list[Any]:
        execute = self.client.connection.execute
        return [execute(query.encode()).fetchall() for [query] in self.tables]

    def buffered(self) -> dict[tuple[Any, ...], list[Place]]:
        """Where the signals are that are kept: a sender is not told."""
        rows = [row for run in self.runs for row in self.client.ask("list_buffered_signals", {"run_id": run})]
        self.positions = [row[2] for row in rows] or [1]
        places: dict[tuple[Any, ...], list[Place]] = {}
        for row in rows:
            places.setdefault((*row[:2], *row[5:]), []).append((row[2], row[4]))
        return places

    def at(self, distance: int | None) -> int | None:
        return None if distance is None else clock() + distance

    @rule(run=runs, step=steps, signal=signals, until=distances, wake=st.booleans(), queue=queues)
    def register(self, run: int, step: str, signal: str, until: int | None, wake: bool, queue: bool | None) -> None:
        self.call(
            "register_waiter",
            run_id=self.runs[run],
            step_key=step,
            signal_name=signal,
            expires_at=self.at(until),
            wake_channel="wake" if wake else None,
            queue=self.queue if queue else None,
        )

    @rule(
        inputs=st.lists(st.tuples(runs, steps, signals, distances), max_size=5),
        queue=queues,
    )
    def register_many(self, inputs: list[tuple[int, str, str, int | None]], queue: bool | None) -> None:
        self.call(
            "register_waiters",
            run_ids=tuple(self.runs[run] for run, *_ in inputs),
            step_keys=tuple(step for _, step, *_ in inputs),
            signal_names=tuple(signal for *_, signal, _ in inputs),
            expires_at=tuple(self.at(until) for *_, until in inputs),
            queue=self.queue if queue else None,
        )

    @rule(run=runs, signal=signals, payload=payloads, id=ids, keep=distances)
    def deliver(self, run: int, signal: str, payload: str | None, id: str | None, keep: int | None) -> None:
        self.call(
            "deliver_signal",
            run_id=self.runs[run],
            signal_name=signal,
            payload_json=payload,
            delivery_id=id,
            buffer_until=self.at(keep),
        )

    @rule(inputs=st.lists(st.tuples(runs, signals, payloads, ids), max_size=5), keep=distances)
    def deliver_many(self, inputs: list[tuple[int, str, str | None, str | None]], keep: int | None) -> None:
        self.call(
            "deliver_signals",
            run_ids=tuple(self.runs[run] for run, *_ in inputs),
            signal_names=tuple(signal for _, signal, *_ in inputs),
            payloads_json=tuple(payload for *_, payload, _ in inputs),
            delivery_ids=tuple(id for *_, id in inputs),
            buffer_until=self.at(keep),
        )

    @rule(run=runs, step=steps, payload=payloads, id=ids)
    def deliver_to_step(self, run: int, step: str, payload: str | None, id: str | None) -> None:
        self.call("deliver_to_step", run_id=self.runs[run], step_key=step, payload_json=payload, delivery_id=id)

    @rule(run=runs, step=steps, until=distances, signal=signals, is_new=st.booleans())
    def issue(self, run: int, step: str, until: int | None, signal: str, is_new: bool) -> None:
        """Make a token, mostly for a step that has just been registered, or moved."""
        if is_new:
            self.call("register_waiter", run_id=self.runs[run], step_key=step, signal_name=signal)
        answer = self.call("issue_token", run_id=self.runs[run], step_key=step, expires_at=self.at(until))
        self.tokens += [token for [token] in answer if token]

    @rule(token=st.integers(1, 3), payload=payloads)
    def redeem(self, token: int, payload: str | None) -> None:
        self.call("redeem_token", token=self.tokens[-token], payload_json=payload)

    @rule(token=st.integers(1, 3))
    def describe(self, token: int) -> None:
        self.call("describe_token", token=self.tokens[-token])

    @rule(run=runs, step=steps)
    def revoke(self, run: int, step: str) -> None:
        self.call("revoke_tokens", run_id=self.runs[run], step_key=step)

    @rule(signal=signals, payload=payloads)
    def broadcast(self, signal: str, payload: str | None) -> None:
        self.call("broadcast_signal", signal_name=signal, payload_json=payload)

    @rule(run=runs, step=steps)
    def get(self, run: int, step: str) -> None:
        self.call("get_waiter", run_id=self.runs[run], step_key=step)

    @rule(run=runs, step=steps)
    def await_a_moment(self, run: int, step: str) -> None:
        self.call("await_waiter", run_id=self.runs[run], step_key=step, max_wait=0)

    @rule(run=runs, step=steps, data=st.data(), claimed=st.booleans())
    def remove(self, run: int, step: str, data: st.DataObject, claimed: bool) -> None:
        claim = data.draw(st.sampled_from(self.claims)) if claimed else None
        self.call("remove_waiter", run_id=self.runs[run], step_key=step, claim_id=claim)

    @rule(limit=st.sampled_from([1, 100]), lease=leases)
    def claim(self, limit: int, lease: int) -> None:
        answer = self.call("claim_waiters", queue=self.queue, limit=limit, lease=lease)
        self.claims += {row[8] for row in answer}

    @rule(run=runs, step=steps, data=st.data(), lease=st.sampled_from([0, 0, SOON, DAY]))
    def extend(self, run: int, step: str, data: st.DataObject, lease: int) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        self.call("extend_claim", run_id=self.runs[run], step_key=step, claim_id=claim, lease=lease)

    @rule(run=runs)
    def remove_run(self, run: int) -> None:
        self.call("remove_run", run_id=self.runs[run])

    @rule(before=st.sampled_from([-SECOND, 0, SECOND]))
    def purge(self, before: int) -> None:
        self.call("purge", settled_before=clock() + before)

    @rule(before=st.sampled_from([-SECOND, 0]))
    def purge_buffered(self, before: int) -> None:
        self.call("purge_buffered", buffered_before=clock() + before)

    @rule(run=runs, signal=signals, data=st.data())
    def withdraw(self, run: int, signal: str, data: st.DataObject) -> None:
        position = data.draw(st.sampled_from(self.positions))
        self.call("withdraw_signal", run_id=self.runs[run], signal_name=signal, position=position)

    @rule(signal=st.sampled_from([None, *SIGNALS]), state=st.sampled_from([None, "waiting", "delivered", "expired"]))
    def list(self, signal: str | None, state: str | None) -> None:
        self.call("list_waiters", run_id=self.runs[0], signal_name=signal, state=state, limit=2)

    @rule(data=st.data())
    def refused(self, data: st.DataObject) -> None:
        function, wrong = data.draw(st.sampled_from(WRONG))
        answer = self.call(function, **{"run_id": self.runs[0]} | RIGHT[function] | wrong)
        assert isinstance(answer, str)

    @rule()
    def rest(self) -> None:
        """Deadlines and leases that were near pass."""
        time.sleep(2 * SOON / SECOND)

    # -- transactions

    @precondition(lambda self: not self.in_transaction)
    @rule()
    def begin(self) -> None:
        self.follow("begin")
        self.in_transaction = True

    @precondition(lambda self: self.in_transaction)
    @rule(end=st.sampled_from(["commit", "rollback"]))
    def end(self, end: str) -> None:
        self.follow(end)
        self.in_transaction = False

    # -- what must be true after each step

    @invariant()
    def contents_are_the_models(self) -> None:
        for run in self.runs:
            self.follow("list_waiters", run_id=run)
            self.follow("list_buffered_signals", run_id=run)

    @invariant()
    def notifications_are_the_models(self) -> None:
        for notification in self.client.connection.notifies(timeout=0):
            self.heard[notification.payload] += 1
        if not self.in_transaction:
            sent = Counter(f"{key[1]}/{key[2]}" for key in self.states[0].rows if key[0] == "notice")
            assert self.heard.keys() == sent.keys()
            assert self.heard <= sent  # those of one transaction that are equal come once

    def teardown(self) -> None:
        if self.in_transaction:
            self.client("rollback")
        for run in self.runs:
            self.client("remove_run", run_id=run)
        self.client.close()


RIGHT: dict[str, dict[str, Any]] = {
    "register_waiter": {"step_key": "s", "signal_name": "go"},
    "deliver_signal": {"signal_name": "go"},
    "deliver_to_step": {"step_key": "s"},
    "get_waiter": {"step_key": "s"},
    "await_waiter": {"step_key": "s", "max_wait": 0},
    "remove_waiter": {"step_key": "s"},
    "issue_token": {"step_key": "s"},
    "revoke_tokens": {"step_key": "s"},
}
WRONG: list[tuple[str, dict[str, Any]]] = [
    *(("register_waiter", wrong) for wrong in ({"step_key": " \t"}, {"signal_name": ""}, {"signal_name": "n" * 257})),
    *(("register_waiter", {"expires_at": instant}) for instant in (MINUS_INFINITY, INFINITY - 1)),
    *(("register_waiter", wrong) for wrong in ({"queue": ""}, {"wake_channel": "c" * 64}, {"wake_channel": " "})),
    *(("deliver_signal", {"payload_json": payload}) for payload in ("", "{", "'a'", "NaN", f'"{"x" * 2**20}"')),
    *(("deliver_signal", wrong) for wrong in ({"delivery_id": " "}, {"buffer_until": INFINITY}, {"signal_name": "\n"})),
    *(("deliver_to_step", wrong) for wrong in ({"payload_json": "{"}, {"delivery_id": ""}, {"step_key": "n" * 257})),
    *((function, {"step_key": ""}) for function in ("get_waiter", "await_waiter", "remove_waiter")),
    *((function, {"step_key": ""}) for function in ("issue_token", "revoke_tokens")),
    ("issue_token", {"expires_at": MINUS_INFINITY}),
    *(("await_waiter", {"max_wait": wait}) for wait in (-1, 300_000_001)),
]


def test_one_client(database: str) -> None:
    OneClient.conninfo = database
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    options = settings(
        max_examples=soak.scaled(40),
        stateful_step_count=30,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=checks,
    )
    run_state_machine_as_test(OneClient, settings=options)
