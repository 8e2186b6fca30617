"""Several processes that call at random on few keys, and what the judge says about the history of each run.

Each worker is a process with one connection. It makes single calls, and transactions of several calls that it commits
or rolls back, some of them in savepoints; now and then its connection is terminated amid a call, so that the outcome is
unknown. A listener notes which wake-ups are heard.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from typing import Any
from uuid import UUID, uuid4

import psycopg

from tests_py.proof.database import Client, clock
from tests_py.proof.history import UNKNOWN, Operation, split_by_run
from tests_py.proof.judge import Judge
from tests_py.proof.model import DAY

STEPS, SIGNALS, IDS = ["s", "t", "u"], ["go", "stop"], ["x", "y", "z"]
CHANNELS = {"s": "wake", "t": None, "u": "wake"}
"""A step has its channel for ever, so that it is certain which deliveries must be heard."""

MILLISECOND = 1_000

Call = tuple[str, dict[str, Any]]


@dataclass
class Plan:
    """What the workers of one round have to do."""

    conninfo: str
    seed: str
    runs: Sequence[str]
    operations: int
    """For each worker."""
    sweeping: bool = False
    """Whether there are calls for a whole run, or all of them, too."""
    lost: float = 0.0
    """How often a connection is lost."""


@dataclass
class Round:
    operations: list[Operation] = field(default_factory=list)
    heard: Counter[str] = field(default_factory=Counter)


class Worker:
    """Random calls on one connection after another."""

    def __init__(self, plan: Plan, number: int) -> None:
        self.plan = plan
        self.number = number
        self.dice = random.Random(f"{plan.seed} {number}")
        self.connections = 0
        self.operations: list[Operation] = []
        self.claims: list[tuple[str, str, str]] = []
        self.tokens: list[str] = []
        self.payloads = 0
        self.client = self.connect()

    def connect(self) -> Client:
        self.connections += 1
        return Client(self.plan.conninfo, f"{self.number}.{self.connections}")

    def work(self) -> list[Operation]:
        made = 0
        while made < self.plan.operations:
            made += self.transaction() if self.dice.random() < 0.3 else self.single()
            if self.client.connection.broken:
                self.leave()
                self.client = self.connect()
        self.leave()
        return self.operations

    def leave(self) -> None:
        self.operations += self.client.history
        self.client.close()

    def single(self) -> int:
        self.make(self.call())
        return 1

    def transaction(self) -> int:
        """A few calls; an error ends it, or goes back to the savepoint before it."""
        client, dice = self.client, self.dice
        count = dice.choice([1, 2, 2, 3])
        end = dice.choice(["commit", "commit", "commit", "rollback"])
        if client("begin") is UNKNOWN:
            return 1
        for call in self.calls_of_transaction(count):
            saved = dice.random() < 0.4
            undone = saved and dice.random() < 0.5
            if saved:
                client("savepoint")
            answer = self.make(call)
            if answer is UNKNOWN or client.connection.broken:
                return count
            if isinstance(answer, str) and (not saved or answer == "40P01"):
                end = "rollback"
                break
            if saved:
                client("rollback to" if undone or isinstance(answer, str) else "release")
        client(end)
        return count

    def calls_of_transaction(self, count: int) -> Iterator[Call]:
        """At random, or as an engine's step does it: remove the own waiter, register the next one."""
        if self.dice.random() < 0.3:
            run = self.run()
            yield self.remove(run)
            yield self.register(run)
        else:
            for _ in range(count):
                yield self.call()

    def make(self, call: Call) -> Any:
        function, arguments = call
        answer = self.client(function, **arguments)
        if function == "claim_waiters" and isinstance(answer, tuple):
            self.claims += [(row[0], row[1], row[8]) for row in answer]
        if function == "issue_token" and isinstance(answer, tuple):
            self.tokens += [token for [token] in answer if token]
        return answer

    def run(self) -> str:
        return self.dice.choice(self.plan.runs)

    def call(self) -> Call:
        weighted: dict[Callable[..., Call], int] = {
            self.register: 8,
            self.deliver: 10,
            self.to_step: 3,
            self.get: 2,
            self.remove: 5,
            self.register_many: 2,
            self.deliver_many: 3,
            self.claim: 2,
            self.extend: 1,
            self.await_waiter: 1,
            self.issue: 2,
            self.redeem: 3,
            self.describe: 1,
            self.revoke: 1,
        }
        if self.plan.sweeping:
            weighted |= {self.remove_run: 1, self.purge: 1, self.withdraw: 1, self.broadcast: 1}
        [maker] = self.dice.choices(list(weighted), list(weighted.values()))
        return maker(self.run())

    def until(self) -> int | None:
        distance = self.dice.choice([None, None, None, -DAY, 2 * MILLISECOND, 20 * MILLISECOND, DAY])
        return None if distance is None else clock() + distance

    def payload(self) -> str:
        self.payloads += 1
        return f'"{self.number}.{self.payloads}"'

    def id(self) -> str | None:
        return self.dice.choice([None, None, *IDS])

    def payload_of(self, id: str | None) -> str:
        """One under an id, nearly always, so that a retry is one."""
        return f'"{id}"' if id and self.dice.random() < 0.9 else self.payload()

    def keep(self) -> int | None:
        distance = self.dice.choice([None, None, 2 * MILLISECOND, DAY])
        return None if distance is None else clock() + distance

    def registration(self, run: str) -> dict[str, Any]:
        step = self.dice.choice(STEPS)
        return {"run_id": run, "step_key": step, "signal_name": self.dice.choice(SIGNALS), "expires_at": self.until()}

    def queue_of(self, run: str) -> str | None:
        return self.dice.choice([None, f"queue of {run}"])

    def register(self, run: str) -> Call:
        arguments = self.registration(run)
        more = {"wake_channel": CHANNELS[arguments["step_key"]], "queue": self.queue_of(run)}
        return "register_waiter", {**arguments, **more}

    def register_many(self, run: str) -> Call:
        inputs = [self.registration(self.run()) for _ in range(self.dice.randint(1, 4))]
        inputs = [i for i in inputs if CHANNELS[i["step_key"]] is not None] or [
            {**self.registration(run), "step_key": "s"}
        ]
        return "register_waiters", {
            "run_ids": tuple(i["run_id"] for i in inputs),
            "step_keys": tuple(i["step_key"] for i in inputs),
            "signal_names": tuple(i["signal_name"] for i in inputs),
            "expires_at": tuple(i["expires_at"] for i in inputs),
            "wake_channel": "wake",
        }

    def deliver(self, run: str) -> Call:
        id = self.id()
        return "deliver_signal", {
            "run_id": run,
            "signal_name": self.dice.choice(SIGNALS),
            "payload_json": self.payload_of(id),
            "delivery_id": id,
            "buffer_until": self.keep(),
        }

    def deliver_many(self, run: str) -> Call:
        count = self.dice.randint(1, 4)
        ids = tuple(self.id() for _ in range(count))
        return "deliver_signals", {
            "run_ids": tuple(self.run() for _ in range(count)),
            "signal_names": tuple(self.dice.choice(SIGNALS) for _ in range(count)),
            "payloads_json": tuple(self.payload_of(id) for id in ids),
            "delivery_ids": ids,
            "buffer_until": self.keep(),
        }

    def to_step(self, run: str) -> Call:
        id = self.id()
        step = self.dice.choice(STEPS)
        arguments = {"run_id": run, "step_key": step, "payload_json": self.payload_of(id), "delivery_id": id}
        return "deliver_to_step", arguments

    def issue(self, run: str) -> Call:
        return "issue_token", {"run_id": run, "step_key": self.dice.choice(STEPS), "expires_at": self.until()}

    def token(self, run: str) -> str:
        """One of the last that this worker was given, or a guess."""
        return self.dice.choice(self.tokens[-4:] or [f"fst_{UUID(run).hex}_{'0' * 64}"])

    def redeem(self, run: str) -> Call:
        return "redeem_token", {"token": self.token(run), "payload_json": self.payload()}

    def describe(self, run: str) -> Call:
        return "describe_token", {"token": self.token(run)}

    def revoke(self, run: str) -> Call:
        return "revoke_tokens", {"run_id": run, "step_key": self.dice.choice(STEPS)}

    def get(self, run: str) -> Call:
        return "get_waiter", {"run_id": run, "step_key": self.dice.choice(STEPS)}

    def await_waiter(self, run: str) -> Call:
        wait = self.dice.choice([0, MILLISECOND, 5 * MILLISECOND])
        return "await_waiter", {"run_id": run, "step_key": self.dice.choice(STEPS), "max_wait": wait}

    def remove(self, run: str) -> Call:
        if self.claims and self.dice.random() < 0.5:
            run, step, claim = self.dice.choice(self.claims[-5:])
            return "remove_waiter", {"run_id": run, "step_key": step, "claim_id": claim}
        return "remove_waiter", {"run_id": run, "step_key": self.dice.choice(STEPS)}

    def claim(self, run: str) -> Call:
        limit, lease = self.dice.choice([1, 100]), self.dice.choice([MILLISECOND, DAY, DAY])
        return "claim_waiters", {"queue": f"queue of {run}", "limit": limit, "lease": lease}

    def extend(self, run: str) -> Call:
        run, step, claim = self.dice.choice(self.claims[-5:] or [(run, "s", str(uuid4()))])
        return "extend_claim", {
            "run_id": run,
            "step_key": step,
            "claim_id": claim,
            "lease": self.dice.choice([0, DAY]),
        }

    def withdraw(self, run: str) -> Call:
        """A signal that is there, if there is one."""
        signals = self.make(("list_buffered_signals", {"run_id": run}))
        position = signals[0][2] if isinstance(signals, tuple) and signals else 1
        name = signals[0][1] if isinstance(signals, tuple) and signals else "go"
        return "withdraw_signal", {"run_id": run, "signal_name": name, "position": position}

    def broadcast(self, run: str) -> Call:
        return "broadcast_signal", {"signal_name": self.dice.choice(SIGNALS), "payload_json": self.payload()}

    def remove_run(self, run: str) -> Call:
        return "remove_run", {"run_id": run}

    def purge(self, run: str) -> Call:
        return "purge", {"settled_before": clock() - self.dice.choice([0, 50 * MILLISECOND])}


def work(plan: Plan, number: int) -> list[Operation]:
    return Worker(plan, number).work()


class Troop:
    """Worker processes, a listener and a reader on one database."""

    def __init__(self, conninfo: str, workers: int) -> None:
        self.conninfo = conninfo
        self.workers = workers
        self.processes = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
        self.listener = psycopg.connect(conninfo, autocommit=True)
        self.listener.execute("LISTEN wake")

    def close(self) -> None:
        self.processes.shutdown()
        self.listener.close()

    def round(self, seed: str, *, runs: int, operations: int, **more: Any) -> Round:
        """Let them work, on new runs; return the history, with the contents at the end."""
        names = sorted(str(uuid4()) for _ in range(runs))
        plan = Plan(self.conninfo, seed, names, operations // self.workers, **more)
        histories = list(self.processes.map(partial(work, plan), range(self.workers)))
        reader = Client(self.conninfo, "reader")
        for run in names:
            reader("list_waiters", run_id=run)
            reader("list_buffered_signals", run_id=run)
        found = Round([operation for history in (*histories, reader.history) for operation in history])
        for run in names:
            reader("remove_run", run_id=run)
        reader.close()
        for notification in self.listener.notifies(timeout=0.2):
            found.heard[notification.payload] += 1
        return found


def objections(found: Round) -> Iterator[str]:
    """What is wrong with the round: a run that nothing explains, a wake-up that was not heard, or one too many."""
    queues = {f"queue of {run}": run for operation in found.operations for run in runs_of_queue(operation)}
    for run, history in split_by_run(found.operations, queues).items():
        judge = Judge(history)
        text = judge.objection()
        if text:
            yield f"run {run}: {text}"
            continue
        sent = Counter(f"{key[1]}/{key[2]}" for key in judge.furthest[2].rows if key[0] == "notice")
        heard = Counter({name: n for name, n in found.heard.items() if name.startswith(run)})
        if heard.keys() != sent.keys() or not heard <= sent:
            yield f"run {run}: heard {heard}, sent {sent}"


def runs_of_queue(operation: Operation) -> Iterator[str]:
    if operation.function == "claim_waiters":
        yield operation.arguments["queue"].removeprefix("queue of ")


def deadlocks(operations: Sequence[Operation]) -> Mapping[str, int]:
    """How many calls ended with 40P01, those in transactions and those that were their own."""
    counted: Counter[str] = Counter()
    begun: set[str] = set()
    for operation in sorted(operations, key=lambda operation: operation.invoked):
        if operation.function == "begin":
            begun.add(operation.client)
        elif operation.function in ("commit", "rollback"):
            begun.discard(operation.client)
        elif operation.answer == "40P01":
            counted["in a transaction" if operation.client in begun else "single"] += 1
    return counted
