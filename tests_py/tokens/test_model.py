"""One client at random, with tokens: each answer is that of a model in which a registration is a number."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import count
from typing import Any
from uuid import uuid4

import psycopg
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from flow_signal import DeliveryIdReusedError, FlowSignalStore, SignalMismatchError

PAST = datetime(2001, 1, 1, tzinfo=timezone.utc)
END = datetime(9999, 1, 1, tzinfo=timezone.utc)

runs, steps = st.integers(0, 1), st.sampled_from(["s", "t"])
signals, payloads = st.sampled_from(["go", "stop"]), st.sampled_from(["1", '"A"', None])
numbers = st.integers(0, 50)


@dataclass
class Waiter:
    signal: str
    registration: int
    state: str


@dataclass
class Token:
    text: str
    key: tuple[int, str]
    signal: str
    registration: int
    is_late: bool
    payload: str | None = field(default="not redeemed")

    @property
    def is_redeemed(self) -> bool:
        return self.payload != "not redeemed"


class Tokens(RuleBasedStateMachine):
    conninfo: str

    def __init__(self) -> None:
        super().__init__()
        self.connection = psycopg.connect(self.conninfo, autocommit=True)
        self.store = FlowSignalStore(self.connection)
        self.ids = [uuid4(), uuid4()]
        self.registrations = count()
        self.waiters: dict[tuple[int, str], Waiter] = {}
        self.tokens: list[Token] = []
        """Those that are stored, usable or not."""
        self.gone = [f"fst_{self.ids[0].hex}_{'0' * 64}"]
        """Those that were stored once, or never."""

    @rule(run=runs, step=steps, signal=signals, is_late=st.booleans())
    def register(self, run: int, step: str, signal: str, is_late: bool) -> None:
        key, waiter = (run, step), self.waiters.get((run, step))
        try:
            answer = self.store.register_waiter(self.ids[run], step, signal, expires_at=PAST if is_late else None)
        except SignalMismatchError:
            assert waiter
            assert (waiter.state, waiter.signal != signal) == ("delivered", True)
            return
        if waiter is None or (waiter.state != "delivered" and waiter.signal != signal):
            self.waiters[key] = waiter = Waiter(signal, next(self.registrations), "")
        if waiter.state != "delivered":
            waiter.state = "expired" if is_late else "waiting"
        assert answer.state == waiter.state

    @rule(run=runs, step=steps)
    def remove(self, run: int, step: str) -> None:
        waiter = self.waiters.pop((run, step), None)
        removed = self.store.remove_waiter(self.ids[run], step)
        assert (removed and removed.state) == (waiter and waiter.state)

    @rule(run=runs, step=steps, payload=payloads)
    def deliver(self, run: int, step: str, payload: str | None) -> None:
        result = self.store.deliver_to_step(self.ids[run], step, payload_json=payload)
        assert result.status == self.deliver_in_model(self.waiters.get((run, step)))

    def deliver_in_model(self, waiter: Waiter | None) -> str:
        if waiter is None:
            return "not_found"
        if waiter.state == "waiting":
            waiter.state = "delivered"
            return "delivered"
        return "already_delivered" if waiter.state == "delivered" else "expired"

    @rule(run=runs, step=steps, is_late=st.booleans())
    def issue(self, run: int, step: str, is_late: bool) -> None:
        text = self.store.issue_token(self.ids[run], step, expires_at=PAST if is_late else None)
        waiter = self.waiters.get((run, step))
        assert (text is None) == (waiter is None)
        if text and waiter:
            self.tokens.append(Token(text, (run, step), waiter.signal, waiter.registration, is_late))

    def holder(self, token: Token) -> Waiter | None:
        """The waiter of the registration that the token is for."""
        waiter = self.waiters.get(token.key)
        return waiter if waiter and waiter.registration == token.registration else None

    @rule(number=numbers, payload=payloads)
    def redeem(self, number: int, payload: str | None) -> None:
        if not self.tokens:
            return
        token = self.tokens[number % len(self.tokens)]
        if token.is_redeemed and token.payload != payload:
            try:
                raise AssertionError(self.store.redeem_token(token.text, payload_json=payload))
            except DeliveryIdReusedError:
                return
        result = self.store.redeem_token(token.text, payload_json=payload)
        if token.is_redeemed:
            assert (result.status, result.replayed) == ("delivered", True)
            return
        status = "not_found" if token.is_late else self.deliver_in_model(self.holder(token))
        assert (result.status, result.replayed) == (status, False)
        if status == "delivered":
            token.payload = payload
        run, step = token.key
        assert (result.run_id, result.step_key) == ((None, None) if status == "not_found" else (self.ids[run], step))

    @rule(number=numbers, payload=payloads)
    def redeem_what_is_gone(self, number: int, payload: str | None) -> None:
        text = self.gone[number % len(self.gone)]
        assert self.store.redeem_token(text, payload_json=payload).status == "not_found"
        assert self.store.describe_token(text) is None

    @rule(number=numbers)
    def describe(self, number: int) -> None:
        if not self.tokens:
            return
        token = self.tokens[number % len(self.tokens)]
        waiter = self.holder(token)
        state = "redeemed" if token.is_redeemed else waiter and not token.is_late and waiter.state
        shown = self.store.describe_token(token.text)
        assert (shown and (shown.state, shown.signal_name)) == ((state, token.signal) if state else None)

    def forget(self, tokens: list[Token]) -> None:
        self.gone += [token.text for token in tokens]
        self.tokens = [token for token in self.tokens if token not in tokens]

    @rule(run=runs, step=steps)
    def revoke(self, run: int, step: str) -> None:
        revoked = [token for token in self.tokens if token.key == (run, step) and not token.is_redeemed]
        assert self.store.revoke_tokens(self.ids[run], step) == len(revoked)
        self.forget(revoked)

    @rule(run=runs)
    def remove_run(self, run: int) -> None:
        self.store.remove_run(self.ids[run])
        self.waiters = {key: waiter for key, waiter in self.waiters.items() if key[0] != run}
        self.forget([token for token in self.tokens if token.key[0] == run])

    @rule(is_now=st.booleans())
    def purge(self, is_now: bool) -> None:
        """Of long ago: what is void. Of now: what is settled, too."""
        while self.store.purge(END if is_now else PAST):
            pass
        if is_now:
            self.waiters = {key: waiter for key, waiter in self.waiters.items() if waiter.state == "waiting"}
        self.forget(
            [
                token
                for token in self.tokens
                if (self.holder(token) is None and (is_now or not token.is_redeemed))
                or (token.is_late and is_now and not token.is_redeemed)
            ]
        )

    @invariant()
    def the_stored_tokens_are_those_of_the_model(self) -> None:
        query = "SELECT count(*) FROM flow_signal.flow_signal_tokens WHERE run_id = ANY (%s)"
        assert self.connection.execute(query, [self.ids]).fetchone() == (len(self.tokens),)

    def teardown(self) -> None:
        for id in self.ids:
            self.store.remove_run(id)
        self.connection.close()


def test_one_client(database: str) -> None:
    class OnDatabase(Tokens):
        conninfo = database

    options: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
    run_state_machine_as_test(OnDatabase, settings=settings(max_examples=30, stateful_step_count=50, **options))
