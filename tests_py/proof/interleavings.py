"""Named interleavings: transactions of one or two calls, moved step by step over a queue in a known state."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import count, product
from typing import Any
from uuid import uuid4

import psycopg

from tests_py.proof.database import Client, clock
from tests_py.proof.history import Operation
from tests_py.proof.judge import Judge

HOUR = 3_600_000_000
PATIENCE_SECONDS = 60
POLL_SECONDS = 0.0005

Call = tuple[str, dict[str, Any]]


@dataclass
class Scene:
    """A run, its signal, and what the set-up has found out."""

    number: int
    run: str = field(default_factory=lambda: str(uuid4()))
    claim_id: str = field(default_factory=lambda: str(uuid4()))
    position: int = 1

    @property
    def signal(self) -> str:
        return f"go {self.number}"

    @property
    def queue(self) -> str:
        return f"queue {self.number}"

    def register(self, step: str, signal: str | None = None, **more: Any) -> Call:
        return "register_waiter", {"run_id": self.run, "step_key": step, "signal_name": signal or self.signal, **more}

    def register_w(self, signal: str | None = None, **more: Any) -> Call:
        return self.register("w", signal, queue=self.queue, **more)

    def deliver(self, payload: str, **more: Any) -> Call:
        return "deliver_signal", {
            "run_id": self.run,
            "signal_name": self.signal,
            "payload_json": f'"{payload}"',
            **more,
        }

    def of_step(self, function: str, step: str, **more: Any) -> Call:
        return function, {"run_id": self.run, "step_key": step, **more}


SetUp = Callable[[Scene, Client], None]


def make(client: Client, *calls: Call) -> None:
    for function, arguments in calls:
        answer = client(function, **arguments)
        assert not isinstance(answer, str), answer


def empty(scene: Scene, client: Client) -> None:
    pass


def live(scene: Scene, client: Client) -> None:
    make(client, scene.register_w())


def two_live(scene: Scene, client: Client) -> None:
    make(client, scene.register_w(), scene.register("z"))


def overdue(scene: Scene, client: Client) -> None:
    deadline = clock() + 2_000
    make(client, scene.register_w(expires_at=deadline))
    while clock() <= deadline:
        time.sleep(POLL_SECONDS)


def expired(scene: Scene, client: Client) -> None:
    make(client, scene.register_w(expires_at=clock() - HOUR))


def settled(scene: Scene, client: Client) -> None:
    make(client, scene.register_w(), scene.deliver("O", delivery_id="o"))


def settled_and_live(scene: Scene, client: Client) -> None:
    make(client, scene.register("h"), scene.deliver("O"), scene.register_w())


def overdue_and_live(scene: Scene, client: Client) -> None:
    overdue(scene, client)
    make(client, scene.register("z"))


def expired_and_live(scene: Scene, client: Client) -> None:
    expired(scene, client)
    make(client, scene.register("z"))


def buffered(scene: Scene, client: Client) -> None:
    make(client, scene.deliver("O", delivery_id="o", buffer_until=clock() + HOUR))
    [row] = client("list_buffered_signals", run_id=scene.run)
    scene.position = row[2]


def claimed(scene: Scene, client: Client) -> None:
    settled(scene, client)
    claim(scene, client)


def claimed_overdue(scene: Scene, client: Client) -> None:
    overdue(scene, client)
    claim(scene, client)


def claim(scene: Scene, client: Client) -> None:
    [row] = client("claim_waiters", queue=scene.queue, lease=HOUR)
    scene.claim_id = row[8]


STATES: dict[str, SetUp] = {
    "empty": empty,
    "live": live,
    "two live": two_live,
    "overdue": overdue,
    "expired": expired,
    "settled first": settled,
    "settled and live behind": settled_and_live,
    "overdue and live behind": overdue_and_live,
    "expired and live behind": expired_and_live,
    "buffered": buffered,
    "claimed": claimed,
    "claimed overdue": claimed_overdue,
}
"""Step v waits for another signal in all of them."""

CALLS: dict[str, Callable[[Scene, str], Call]] = {
    "new": lambda scene, actor: scene.register(actor),
    "new a": lambda scene, actor: scene.register("a"),
    "repeat": lambda scene, actor: scene.register_w(),
    "deadline": lambda scene, actor: scene.register_w(expires_at=clock() + HOUR),
    "z deadline": lambda scene, actor: scene.register("z", expires_at=clock() + HOUR),
    "channel": lambda scene, actor: scene.register_w(wake_channel="wake"),
    "late": lambda scene, actor: scene.register_w(expires_at=clock() - HOUR),
    "away": lambda scene, actor: scene.register_w("other"),
    "hither": lambda scene, actor: scene.register("v"),
    "send": lambda scene, actor: scene.deliver(actor),
    "send id": lambda scene, actor: scene.deliver("S", delivery_id="x"),
    "retry": lambda scene, actor: scene.deliver("O", delivery_id="o"),
    "keep": lambda scene, actor: scene.deliver(actor, buffer_until=clock() + HOUR),
    "keep id": lambda scene, actor: scene.deliver("S", delivery_id="x", buffer_until=clock() + HOUR),
    "to w": lambda scene, actor: scene.of_step("deliver_to_step", "w", payload_json=f'"{actor}"'),
    "to w id": lambda scene, actor: scene.of_step("deliver_to_step", "w", payload_json='"S"', delivery_id="x"),
    "to a": lambda scene, actor: scene.of_step("deliver_to_step", "a", payload_json=f'"{actor}"'),
    "get": lambda scene, actor: scene.of_step("get_waiter", "w"),
    "await": lambda scene, actor: scene.of_step("await_waiter", "w", max_wait=0),
    "remove": lambda scene, actor: scene.of_step("remove_waiter", "w"),
    "acknowledge": lambda scene, actor: scene.of_step("remove_waiter", "w", claim_id=scene.claim_id),
    "claim": lambda scene, actor: ("claim_waiters", {"queue": scene.queue, "lease": HOUR}),
    "extend": lambda scene, actor: scene.of_step("extend_claim", "w", claim_id=scene.claim_id, lease=HOUR),
    "give back": lambda scene, actor: scene.of_step("extend_claim", "w", claim_id=scene.claim_id, lease=0),
    "broadcast": lambda scene, actor: (
        "broadcast_signal",
        {"signal_name": scene.signal, "payload_json": f'"{actor}"'},
    ),
    "register two": lambda scene, actor: (
        "register_waiters",
        {
            "run_ids": (scene.run, scene.run),
            "step_keys": (actor, "w"),
            "signal_names": (scene.signal, scene.signal),
            "queue": scene.queue,
        },
    ),
    "send two": lambda scene, actor: (
        "deliver_signals",
        {
            "run_ids": (scene.run, scene.run),
            "signal_names": (scene.signal, "other"),
            "payloads_json": (f'"{actor}1"', f'"{actor}2"'),
        },
    ),
    "send two ids": lambda scene, actor: (
        "deliver_signals",
        {
            "run_ids": (scene.run, scene.run),
            "signal_names": (scene.signal, scene.signal),
            "payloads_json": (f'"{actor}"', '"S"'),
            "delivery_ids": (None, "x"),
            "buffer_until": clock() + HOUR,
        },
    ),
    "withdraw": lambda scene, actor: (
        "withdraw_signal",
        {"run_id": scene.run, "signal_name": scene.signal, "position": scene.position},
    ),
    "remove run": lambda scene, actor: ("remove_run", {"run_id": scene.run}),
    "purge": lambda scene, actor: ("purge", {"settled_before": clock()}),
}


LOCKING = {"new", "deadline", "away", "hither", "send", "send id", "keep id", "to w", "remove", "claim"}
WAITING = {"new", "send", "send id", "keep", "keep id", "to w id", "await", "broadcast"}


REMOVALS, NEW_STEPS = ("remove", "acknowledge"), ("new", "new a")
"""The engine's transaction removes its step, then registers the next one."""


@dataclass(frozen=True)
class Case:
    """The calls of each transaction, in the state; the first waits with its last step until the others have begun."""

    state: str
    transactions: Sequence[Sequence[str]]
    end: str
    """Of the first transaction; the others are single calls, so they commit themselves."""

    def __str__(self) -> str:
        return f"{self.state}: {' | '.join(', '.join(calls) for calls in self.transactions)}; {self.end}"


class Theatre:
    """Connections that play one case after another."""

    def __init__(self, conninfo: str) -> None:
        self.clients = [Client(conninfo, name) for name in "abc"]
        self.reader = Client(conninfo, "reader")
        self.monitor = psycopg.connect(conninfo, autocommit=True)
        self.threads = ThreadPoolExecutor(len(self.clients))
        self.numbers = count()

    def close(self) -> None:
        self.threads.shutdown()
        for client in (*self.clients, self.reader):
            client.close()
        self.monitor.close()

    def play(self, case: Case) -> tuple[list[Operation], list[str]]:
        """Play it; return its history, and the calls that deadlocked."""
        scene = Scene(next(self.numbers))
        for client in (*self.clients, self.reader):
            client.history.clear()
        make(self.reader, scene.register("v", "other"))
        STATES[case.state](scene, self.reader)
        self.perform(scene, case)
        self.reader("list_waiters", run_id=scene.run)
        self.reader("list_buffered_signals", run_id=scene.run)
        for payload, id in (("S", "x"), ("O", "o")):
            self.reader(*scene.deliver(payload, delivery_id=id)[:1], **scene.deliver(payload, delivery_id=id)[1])
        self.reader("list_waiters", run_id=scene.run)
        history = [operation for client in (*self.clients, self.reader) for operation in client.history]
        self.reader("remove_run", run_id=scene.run)
        return history, [operation.function for operation in history if operation.answer == "40P01"]

    def perform(self, scene: Scene, case: Case) -> None:
        (*begun, last), *others = case.transactions
        first = self.clients[0]
        first("begin")
        # A first transaction of two calls makes the second when the others wait for the first.
        steps = begun or [last]
        for name in steps:
            self.settle(self.start(first, scene, name), [])
        started: list[tuple[Client, Future[Any]]] = []
        for client, [name] in zip(self.clients[1:], others, strict=False):
            started.append((client, self.start(client, scene, name)))
            self.settle(started[-1][1], [client])
        failed = isinstance(first.history[-1].answer, str)
        if begun and not failed:
            future = self.start(first, scene, last)
            wait([future], PATIENCE_SECONDS)
            failed = isinstance(future.result(), str)
        first("rollback" if failed else case.end)
        for _, future in started:
            future.result(PATIENCE_SECONDS)

    def start(self, client: Client, scene: Scene, name: str) -> Future[Any]:
        function, arguments = CALLS[name](scene, client.name)
        return self.threads.submit(client, function, **arguments)

    def settle(self, future: Future[Any], clients: Sequence[Client]) -> None:
        """Return when the call has ended or waits for another one."""
        pids = {client.pid for client in self.clients}
        while not future.done():
            for client in clients:
                row = self.monitor.execute("SELECT pg_blocking_pids(%s)", [client.pid]).fetchone()
                if row and pids.intersection(row[0]):
                    return
            wait([future], POLL_SECONDS)


def objection(theatre: Theatre, case: Case) -> str | None:
    """Play the case; say what is wrong with it."""
    history, deadlocks = theatre.play(case)
    if deadlocks and not may_deadlock(case):
        return f"{case}: 40P01 in {deadlocks}"
    text = Judge(history).objection()
    return text and f"{case}\n{text}"


def may_deadlock(case: Case) -> bool:
    """Whether errors.md lists it: a transaction of several calls, but not one of the engine's form."""
    calls = case.transactions[0]
    return len(calls) > 1 and not (calls[0] in REMOVALS and calls[1] in NEW_STEPS)


def pairs(state: str) -> Iterator[Case]:
    """One transaction that is not over, and a call beside it."""
    for first, second, end in product(CALLS, CALLS, ("commit", "rollback")):
        yield Case(state, ((first,), (second,)), end)


def locking_pairs(state: str) -> Iterator[Case]:
    """The pairs that most depend on waiting for one another."""
    for case in pairs(state):
        [[first], [second]] = case.transactions
        if first in LOCKING and second in WAITING:
            yield case


def beside_engines(state: str) -> Iterator[Case]:
    """The engine's transaction, and a call beside it."""
    for removal, step, call, end in product(REMOVALS, NEW_STEPS, CALLS, ("commit", "rollback")):
        yield Case(state, ((removal, step), (call,)), end)


def triples(state: str) -> Iterator[Case]:
    """The same with two calls beside the transaction, or two in it."""
    for first, second, third in product(CALLS, repeat=3):
        yield Case(state, ((first,), (second,), (third,)), "commit")
        yield Case(state, ((first,), (second,), (third,)), "rollback")
        yield Case(state, ((first, second), (third,)), "commit")
