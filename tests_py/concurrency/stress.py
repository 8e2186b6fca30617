"""Workers that call at random, and the books that they keep of what they were told."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.rows import namedtuple_row

from flow_signal.errors import SignalMismatchError

STEPS = ["s1", "s2", "s3", "s4"]
SIGNALS = ["A", "B", "C"]
FAR = datetime(2999, 1, 1, tzinfo=timezone.utc)
LEASE = timedelta(days=1)

REGISTER = """
SELECT w.step_key, w.signal_name, w.state, w.created_at, w.expires_at, w.delivered_at, w.payload_json
FROM flow_signal_v1.register_waiter(
    p_run_id => %(run)s, p_step_key => %(step)s, p_signal_name => %(signal)s, p_expires_at => %(until)s,
    p_wake_channel => %(channel)s, p_queue => %(queue)s
) AS w
"""
GET = """
SELECT w.run_id, w.step_key, w.signal_name, w.state, w.created_at, w.expires_at, w.delivered_at, w.payload_json
FROM flow_signal_v1.get_waiter(p_run_id => %(run)s, p_step_key => %(step)s) AS w
"""
REMOVE = GET.replace("get_waiter", "remove_waiter")
CLAIM = """
SELECT w.run_id, w.step_key, w.signal_name, w.state, w.created_at, w.expires_at, w.delivered_at, w.payload_json
FROM flow_signal_v1.claim_waiters(p_queue => %(queue)s, p_limit => %(limit)s, p_lease => %(lease)s) AS w
"""
DELIVER = """
SELECT d.status, d.step_key, d.replayed
FROM flow_signal_v1.deliver_signal(
    p_run_id => %(run)s, p_signal_name => %(signal)s, p_payload_json => %(payload)s,
    p_delivery_id => %(id)s, p_buffer_until => %(buffer_until)s
) AS d
"""
"""A payload says which run and signal it belongs to; `n` makes it unique."""
REGISTER_MANY = """
SELECT w.step_key, w.signal_name, w.state, w.created_at, w.expires_at, w.delivered_at, w.payload_json
FROM flow_signal_v1.register_waiters(
    p_run_ids => %(run)s, p_step_keys => %(step)s, p_signal_names => %(signal)s, p_expires_at => %(until)s,
    p_wake_channel => %(channel)s, p_queue => %(queue)s
) AS w
"""
DELIVER_MANY = """
SELECT d.status, d.step_key, d.replayed
FROM flow_signal_v1.deliver_signals(
    p_run_ids => %(run)s, p_signal_names => %(signal)s, p_payloads_json => %(payload)s,
    p_delivery_ids => %(id)s, p_buffer_until => %(buffer_until)s
) AS d
"""
BROADCAST = """
SELECT flow_signal_v1.broadcast_signal(
    p_signal_name => %(signal)s, p_payload_json => json_build_object('signal', %(signal)s::text)::text
)
"""
ISSUE = """
SELECT i.token, t.signal_name
FROM (SELECT flow_signal_v1.issue_token(p_run_id => %(run)s, p_step_key => %(step)s) AS token) AS i
INNER JOIN LATERAL flow_signal_v1.describe_token(p_token => i.token) AS t ON i.token IS NOT NULL
"""
REDEEM = """
SELECT d.status, d.step_key, d.replayed
FROM flow_signal_v1.redeem_token(p_token => %(token)s, p_payload_json => %(payload)s) AS d
"""
REMOVE_RUN = "SELECT flow_signal_v1.remove_run(p_run_id => %(run)s)"

Row = Any
Call = Callable[[psycopg.Connection[Row], "Books"], None]


@dataclass
class Books:
    """What the committed calls were told."""

    calls: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    """Payloads that were delivered or buffered, not as a replay."""
    given_to: set[tuple[str, str]] = field(default_factory=set)
    """The same as (payload, step), or (payload, '') for what was buffered."""
    replayed_to: set[tuple[str, str]] = field(default_factory=set)
    removed: Counter[str] = field(default_factory=Counter)
    claimed: Counter[tuple[UUID, str, datetime, datetime | None]] = field(default_factory=Counter)
    """Waits that were handed out: run, step, and what tells one wait of a step from the next."""
    misplaced: list[str] = field(default_factory=list)

    def add(self, other: Books) -> None:
        self.calls.update(other.calls)
        self.accepted.update(other.accepted)
        self.given_to.update(other.given_to)
        self.replayed_to.update(other.replayed_to)
        self.removed.update(other.removed)
        self.claimed.update(other.claimed)
        self.misplaced.extend(other.misplaced)

    def inspect(self, run: UUID, row: Row) -> None:
        """A waiter's row: state, payload and times belong together."""
        fits = row.payload_json is None or (
            row.payload_json["signal"] == row.signal_name and row.payload_json.get("run", str(run)) == str(run)
        )
        in_time = row.delivered_at is None or (
            row.created_at <= row.delivered_at and (row.expires_at is None or row.delivered_at < row.expires_at)
        )
        if not fits or not in_time or (row.state == "delivered") != (row.delivered_at is not None):
            self.misplaced.append(f"{run} {row}")


class Worker:
    """One connection that makes random calls until the time is over."""

    def __init__(self, conninfo: str, runs: Sequence[UUID], queue: str, dice: random.Random) -> None:
        self.runs = runs
        self.queue = queue
        self.dice = dice
        self.books = Books()
        self.deadlocks = 0
        self.error: BaseException | None = None
        self.recent: list[dict[str, Any]] = []
        self.own_steps: dict[UUID, str] = {}
        # 50 ms, because every deadlock stands for that long.
        self.connection = psycopg.connect(
            conninfo,
            autocommit=True,
            options="-c deadlock_timeout=50ms -c statement_timeout=60s",
            row_factory=namedtuple_row,
        )

    def single_statement(self) -> None:
        books = Books()
        with suppress(SignalMismatchError):
            self.random_call()(self.connection, books)
        self.books.add(books)

    def transaction(self) -> None:
        """One to four calls, some undone by a savepoint, the whole by a rollback; a deadlock is tried again."""
        calls = [(self.random_call(), self.dice.random() < 0.2) for _ in range(self.dice.choice([1, 2, 2, 3, 4]))]
        rolled_back = self.dice.random() < 0.2
        while True:
            try:
                books = Books()
                with self.connection.transaction(force_rollback=rolled_back):
                    for call, undone in calls:
                        self.savepoint(call, undone, books)
            except psycopg.errors.DeadlockDetected:
                self.deadlocks += 1
                continue
            if not rolled_back:
                self.books.add(books)
            return

    def savepoint(self, call: Call, undone: bool, books: Books) -> None:
        mine = Books()
        with suppress(SignalMismatchError), self.connection.transaction(force_rollback=undone):
            call(self.connection, mine)
            if not undone:
                books.add(mine)

    def random_call(self) -> Call:
        makers = {
            self.register: 8,
            self.register_many: 3,
            self.deliver: 9,
            self.deliver_many: 3,
            self.remove: 4,
            self.claim: 1,
            self.get: 1,
            self.issue: 3,
            self.repeat: 4,
        }
        [maker] = self.dice.choices(list(makers), list(makers.values()))
        return maker()

    def sweeping_statement(self) -> None:
        """As single_statement, or a call for all runs or a whole run, of which no books can be kept."""
        if self.dice.random() < 0.9:
            self.single_statement()
        else:
            query = self.dice.choice([BROADCAST, REMOVE_RUN])
            self.connection.execute(query, {"signal": self.dice.choice(SIGNALS), "run": self.dice.choice(self.runs)})

    def send(self) -> None:
        """A sender's single call: a new signal, or one of the recent ones again."""
        books = Books()
        self.dice.choice([self.deliver, self.deliver, self.repeat])()(self.connection, books)
        self.books.add(books)

    def engine_step(self) -> None:
        """An engine's transaction: remove the own step of a run, delivered or not, and register the next one."""
        books = Books()
        values = self.registration() | {"step": uuid4().hex}
        own = self.own_steps.get(values["run"])
        with self.connection.transaction():
            if own:
                self.make_removal(self.connection, books, {"run": values["run"], "step": own})
            self.make_registration(self.connection, books, values)
            if self.dice.random() < 0.3:
                self.make_token(self.connection, books, values)
        self.own_steps[values["run"]] = values["step"]
        books.calls["engine's transactions"] += 1
        self.books.add(books)

    def registration(self) -> dict[str, Any]:
        now = datetime.now(timezone.utc)
        return {
            "run": self.dice.choice(self.runs),
            "step": self.dice.choice(STEPS),
            "signal": self.dice.choice(SIGNALS),
            # Unique if it can pass, so that two waits of a step can be told apart.
            "until": self.dice.choice(
                [None, None, FAR, now - timedelta(seconds=1), now + timedelta(milliseconds=self.dice.uniform(1, 60))]
            ),
            "channel": self.dice.choice([None, None, None, "flow"]),
            "queue": self.dice.choice([None, self.queue]),
        }

    def register(self) -> Call:
        values = self.registration()
        if values["until"] in (None, FAR):
            self.remember("register", values)
        return lambda connection, books: self.make_registration(connection, books, values)

    def make_registration(self, connection: psycopg.Connection[Row], books: Books, values: dict[str, Any]) -> None:
        [row] = connection.execute(REGISTER, values)
        self.note_registration(books, values["run"], row)

    def note_registration(self, books: Books, run: UUID, row: Row) -> None:
        books.calls[f"register: {row.state}"] += 1
        books.inspect(run, row)

    def register_many(self) -> Call:
        batch = columns([self.registration() for _ in range(self.dice.randint(1, 12))], "channel", "queue")

        def call(connection: psycopg.Connection[Row], books: Books) -> None:
            for run, row in zip(batch["run"], connection.execute(REGISTER_MANY, batch), strict=True):
                self.note_registration(books, run, row)

        return call

    def delivery(self) -> dict[str, Any]:
        run, signal = self.dice.choice(self.runs), self.dice.choice(SIGNALS)
        keep_ms = self.dice.choice([None, None, None, None, None, 1, 20, 1000])
        return {
            "run": run,
            "signal": signal,
            "payload": json.dumps({"run": str(run), "signal": signal, "n": uuid4().hex}),
            "id": self.dice.choice([None, uuid4().hex]),
            "buffer_until": keep_ms and datetime.now(timezone.utc) + timedelta(milliseconds=keep_ms),
        }

    def deliver(self) -> Call:
        values = self.delivery()
        if values["id"]:
            self.remember("deliver", values)
        return lambda connection, books: self.make_delivery(connection, books, values)

    def make_delivery(self, connection: psycopg.Connection[Row], books: Books, values: dict[str, Any]) -> None:
        [row] = connection.execute(DELIVER, values)
        self.note_delivery(books, values["payload"], row)

    def note_delivery(self, books: Books, payload: str, row: Row) -> None:
        books.calls[f"{'replayed ' if row.replayed else ''}{row.status}"] += 1
        told = (payload, row.step_key or "")
        if row.replayed:
            books.replayed_to.add(told)
        elif row.status in {"delivered", "buffered"}:
            books.accepted[payload] += 1
            books.given_to.add(told)

    def deliver_many(self) -> Call:
        batch = columns([self.delivery() for _ in range(self.dice.randint(1, 12))], "buffer_until")

        def call(connection: psycopg.Connection[Row], books: Books) -> None:
            for payload, row in zip(batch["payload"], connection.execute(DELIVER_MANY, batch), strict=True):
                self.note_delivery(books, payload, row)

        return call

    def issue(self) -> Call:
        values = {"run": self.dice.choice(self.runs), "step": self.dice.choice(STEPS)}
        return lambda connection, books: self.make_token(connection, books, values)

    def make_token(self, connection: psycopg.Connection[Row], books: Books, values: dict[str, Any]) -> None:
        """Issue a token, which somebody may redeem by a repeat: void by then, if the step was removed or moved."""
        for row in connection.execute(ISSUE, values):
            payload = json.dumps({"run": str(values["run"]), "signal": row.signal_name, "n": uuid4().hex})
            self.remember("redeem", {"token": row.token, "payload": payload})
            books.calls["issue"] += 1

    def make_redemption(self, connection: psycopg.Connection[Row], books: Books, values: dict[str, Any]) -> None:
        [row] = connection.execute(REDEEM, values)
        books.calls[f"redeem: {row.status}{', replayed' if row.replayed else ''}"] += 1
        self.note_delivery(books, values["payload"], row)

    def remember(self, call: str, values: dict[str, Any]) -> None:
        self.recent.append({"call": call, "values": values})
        del self.recent[:-20]

    def repeat(self) -> Call:
        """Repeat a recent registration, or delivery with an id, or redeem a token: one's own or another worker's."""
        if not self.recent:
            return self.deliver()
        recent = self.dice.choice(self.recent)
        make = {
            "register": self.make_registration,
            "deliver": self.make_delivery,
            "redeem": self.make_redemption,
        }[recent["call"]]
        return lambda connection, books: make(connection, books, recent["values"])

    def remove(self) -> Call:
        values = {"run": self.dice.choice(self.runs), "step": self.dice.choice(STEPS)}
        return lambda connection, books: self.make_removal(connection, books, values)

    def make_removal(self, connection: psycopg.Connection[Row], books: Books, values: dict[str, Any]) -> None:
        for row in connection.execute(REMOVE, values):
            books.calls[f"remove: {row.state}"] += 1
            books.inspect(row.run_id, row)
            if row.payload_json is not None:
                books.removed[json.dumps(row.payload_json)] += 1

    def claim(self) -> Call:
        values = {"queue": self.queue, "limit": self.dice.choice([1, 3, 100]), "lease": LEASE}

        def call(connection: psycopg.Connection[Row], books: Books) -> None:
            for row in connection.execute(CLAIM, values):
                books.calls[f"claim: {row.state}"] += 1
                books.inspect(row.run_id, row)
                if row.state == "delivered":
                    books.claimed[row.run_id, row.step_key, row.delivered_at, None] += 1
                else:
                    books.claimed[row.run_id, row.step_key, row.created_at, row.expires_at] += 1

        return call

    def get(self) -> Call:
        values = {"run": self.dice.choice(self.runs), "step": self.dice.choice(STEPS)}

        def call(connection: psycopg.Connection[Row], books: Books) -> None:
            for row in connection.execute(GET, values):
                books.calls[f"get: {row.state}"] += 1
                books.inspect(row.run_id, row)

        return call

    def work(self, act: Callable[[Worker], None], until: float) -> None:
        try:
            with self.connection:
                while time.monotonic() < until:
                    act(self)
        except BaseException as error:
            self.error = error


def columns(rows: Sequence[Mapping[str, Any]], *common: str) -> dict[str, Any]:
    """The values of a batch: an array of each, but for those that all rows have in common, as the first has it."""
    return {name: rows[0][name] if name in common else [row[name] for row in rows] for name in rows[0]}


@dataclass
class Report:
    books: Books
    deadlocks: int
    errors: list[BaseException]
    runs: Sequence[UUID]


def stress(
    conninfo: str, *acts: Callable[[Worker], None], runs: int, workers: int, seconds: float, seed: int
) -> Report:
    """Let the workers act for that long, each in one of these ways, in turn; return what they were told."""
    ids = [uuid4() for _ in range(runs)]
    queue = uuid4().hex
    crew = [Worker(conninfo, ids, queue, random.Random(f"{seed} {number}")) for number in range(workers)]
    recent: list[dict[str, Any]] = []
    until = time.monotonic() + seconds
    threads = []
    for number, worker in enumerate(crew):
        worker.recent = recent
        threads.append(threading.Thread(target=worker.work, args=(acts[number % len(acts)], until)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = Report(Books(), 0, [], ids)
    for worker in crew:
        report.books.add(worker.books)
        report.deadlocks += worker.deadlocks
        if worker.error:
            report.errors.append(worker.error)
    return report
