"""One client at random, with tokens: each answer is that of a model in which a registration is a number."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import count
from uuid import uuid4

import psycopg

from flow_signal import DeliveryIdReusedError, FlowSignalStore, SignalMismatchError

PAST = datetime(2001, 1, 1, tzinfo=timezone.utc)
END = datetime(9999, 1, 1, tzinfo=timezone.utc)

OPERATIONS = 3000


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


class Machine:
    """The database, and the model of what it should say."""

    def __init__(self, conninfo: str, dice: random.Random) -> None:
        self.dice = dice
        self.connection = psycopg.connect(conninfo, autocommit=True)
        self.store = FlowSignalStore(self.connection)
        self.ids = [uuid4(), uuid4()]
        self.registrations = count()
        self.waiters: dict[tuple[int, str], Waiter] = {}
        self.tokens: list[Token] = []
        """Those that are stored, usable or not."""
        self.gone = [f"fst_{self.ids[0].hex}_{'0' * 64}"]
        """Those that were stored once, or never."""

    def act(self) -> str:
        """Do something at random; return what it was."""
        run, step, payload = self.dice.randrange(2), self.dice.choice("st"), self.dice.choice(["1", '"A"', None])
        number, is_late = self.dice.randrange(50), self.dice.random() < 0.2
        acts: dict[Callable[[], object], int] = {
            lambda: self.register(run, step, self.dice.choice(["go", "stop"]), is_late): 30,
            lambda: self.remove(run, step): 5,
            lambda: self.deliver(run, step, payload): 8,
            lambda: self.issue(run, step, is_late): 20,
            lambda: self.redeem(number, payload): 20,
            lambda: self.redeem_what_is_gone(number, payload): 3,
            lambda: self.describe(number): 10,
            lambda: self.revoke(run, step): 2,
            lambda: self.remove_run(run): 1,
            lambda: self.purge(is_late): 2,
        }
        [act] = self.dice.choices([*acts], [*acts.values()])
        return str(act() or "")

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

    def remove(self, run: int, step: str) -> None:
        waiter = self.waiters.pop((run, step), None)
        removed = self.store.remove_waiter(self.ids[run], step)
        assert (removed and removed.state) == (waiter and waiter.state)

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

    def redeem(self, number: int, payload: str | None) -> str | None:
        if not self.tokens:
            return None
        token = self.tokens[number % len(self.tokens)]
        if token.is_redeemed and token.payload != payload:
            try:
                raise AssertionError(self.store.redeem_token(token.text, payload_json=payload))
            except DeliveryIdReusedError:
                return "another payload"
        result = self.store.redeem_token(token.text, payload_json=payload)
        if token.is_redeemed:
            assert (result.status, result.replayed) == ("delivered", True)
            return "replayed"
        status = "not_found" if token.is_late else self.deliver_in_model(self.holder(token))
        assert (result.status, result.replayed) == (status, False)
        if status == "delivered":
            token.payload = payload
        run, step = token.key
        assert (result.run_id, result.step_key) == ((None, None) if status == "not_found" else (self.ids[run], step))
        return status

    def redeem_what_is_gone(self, number: int, payload: str | None) -> None:
        text = self.gone[number % len(self.gone)]
        assert self.store.redeem_token(text, payload_json=payload).status == "not_found"
        assert self.store.describe_token(text) is None

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

    def revoke(self, run: int, step: str) -> None:
        revoked = [token for token in self.tokens if token.key == (run, step) and not token.is_redeemed]
        assert self.store.revoke_tokens(self.ids[run], step) == len(revoked)
        self.forget(revoked)

    def remove_run(self, run: int) -> None:
        self.store.remove_run(self.ids[run])
        self.waiters = {key: waiter for key, waiter in self.waiters.items() if key[0] != run}
        self.forget([token for token in self.tokens if token.key[0] == run])

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

    def the_stored_tokens_are_those_of_the_model(self) -> None:
        query = "SELECT count(*) FROM flow_signal.flow_signal_tokens WHERE run_id = ANY (%s)"
        assert self.connection.execute(query, [self.ids]).fetchone() == (len(self.tokens),)


def test_one_client(database: str) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    machine = Machine(database, random.Random(seed))
    done: Counter[str] = Counter()
    with machine.connection:
        for _ in range(OPERATIONS):
            done[machine.act()] += 1
            machine.the_stored_tokens_are_those_of_the_model()
    print(done)
    expected = {"delivered", "replayed", "another payload", "already_delivered", "expired", "not_found"}
    assert expected <= done.keys()
