"""Senders and engines that go on through every crash, and the books that say afterwards whether a signal was lost.

A sender gives each signal an id and a payload of its own, and repeats it under this id until it has an answer. An
engine registers steps, each key once, claims what is due and removes it. Nobody knows what became of a call whose
connection broke: the sender repeats it, and the engine finds the step again or not.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from signal import SIGKILL
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.conninfo import make_conninfo

from flow_signal.embedded import EmbeddedServer, EmbeddedServerError
from sql.build import build
from tools.server import temporary_files

PATIENCE_SECONDS = 90
FAR = datetime(2999, 1, 1, tzinfo=timezone.utc)
SIGNALS = ["a", "b", "c"]
MOST_PENDING = 15
"""Signals of a sender that wait for their answer, at most."""

DEFINITE = {"57014", "55P03", "40P01", "53100", "53200", "WS004"}
"""After these nothing has changed. After any other end of a call it is unknown whether it took effect."""

DELIVER = """
SELECT status, step_key, delivered_at, replayed FROM flow_signal_v1.deliver_signal(
    p_run_id => %(run)s, p_signal_name => %(name)s, p_payload_json => %(payload)s, p_delivery_id => %(id)s,
    p_buffer_until => %(until)s
)
"""
DELIVER_MANY = """
SELECT status, step_key, delivered_at, replayed FROM flow_signal_v1.deliver_signals(
    p_run_ids => %(run)s, p_signal_names => %(name)s, p_payloads_json => %(payload)s::text[], p_delivery_ids => %(id)s,
    p_buffer_until => %(until)s
)
"""
REGISTER = """
SELECT state, payload_json FROM flow_signal_v1.register_waiters(
    p_run_ids => %s, p_step_keys => %s, p_signal_names => %s, p_expires_at => %s::timestamptz[],
    p_wake_channel => 'c', p_queue => 'q'
)
"""
CLAIM = """
SELECT run_id, step_key, state, payload_json::text, claim_id
FROM flow_signal_v1.claim_waiters('q', 50, '1 second')
"""
REMOVE = "SELECT state, payload_json::text FROM flow_signal_v1.remove_waiter(%s, %s, %s)"


class Server:
    """A server that can be killed and started anew, at the same address."""

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=temporary_files().get("TMPDIR", "/tmp")))
        self.folder.chmod(0o777)
        self.embedded = EmbeddedServer(data_dir=self.folder / "data", settings=settings)
        self._socket = self.folder / "socket"

    def start(self) -> None:
        limit = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                self.embedded.start()
                break
            except EmbeddedServerError:  # the sessions of a killed server have not all noticed yet
                if time.monotonic() > limit:
                    raise
                time.sleep(0.05)
        self._socket.unlink(missing_ok=True)
        self._socket.symlink_to(self.embedded.socket_dir)

    @property
    def conninfo(self) -> str:
        return make_conninfo(self.embedded.conninfo(), host=str(self._socket))

    def kill(self, *, sessions_too: bool) -> None:
        """End it without a word; start it anew."""
        kill_server(self.embedded.data_dir, sessions_too=sessions_too)
        self.embedded.stop()
        self.start()

    def remove(self) -> None:
        self.embedded.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def own_server(settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    server = Server(settings)
    try:
        server.start()
        install(server.conninfo)
        yield server
    finally:
        server.remove()


def install(conninfo: str) -> None:
    """The schema as it is in sql/ now, whether or not somebody has built the script."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(build().encode())


def kill_server(data_dir: Path, *, sessions_too: bool) -> None:
    postmaster = int((data_dir / "postmaster.pid").read_text().split()[0])
    sessions = children(postmaster) if sessions_too else []
    for pid in [postmaster, *sessions]:
        with suppress(ProcessLookupError):
            os.kill(pid, SIGKILL)


def children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(path.read_text().rsplit(")", 1)[1].split()[1]) == parent:
                found.append(int(path.parent.name))
    return found


class Signal:
    """One signal of a sender, and all that it was told about it."""

    def __init__(self, run: UUID, name: str) -> None:
        self.run = run
        self.name = name
        self.id = uuid4().hex
        self.payload = f'"{self.id}"'
        self.until = FAR if random.random() < 0.8 else None
        self.answers: list[tuple[str, str | None, datetime | None, bool]] = []
        self.is_uncertain = False
        """Some call with it has ended in a way that says nothing."""
        self.answered = 0.0

    @property
    def verdict(self) -> str:
        return self.answers[0][0]


class Books:
    """What everybody was told, kept outside of the server."""

    def __init__(self, runs: int) -> None:
        self.runs = [uuid4() for _ in range(runs)]
        self.signals: list[Signal] = []
        self.registered: set[tuple[UUID, str]] = set()
        self.received: dict[tuple[UUID, str], str | None] = {}
        """What an engine was handed for a step; None if the step was expired."""
        self.acknowledged = 0
        self.wrong: list[str] = []
        self.errors: Counter[str] = Counter()
        self.over = threading.Event()
        self.no_more_steps = threading.Event()

    def receive(self, run: UUID, step: str, state: str, payload: str | None) -> None:
        got = payload if state == "delivered" else None
        if self.received.setdefault((run, step), got) != got:
            self.wrong.append(f"step {step} has {self.received[run, step]} and {got}")


class Worker(threading.Thread):
    """Works over one connection, and over the next one when it breaks."""

    def __init__(self, conninfo: str, books: Books, *, timeouts: bool, transactions: bool) -> None:
        super().__init__(daemon=True)
        self.conninfo = conninfo
        self.transactions = transactions
        self.books = books
        self.timeouts = timeouts
        self.dice = random.Random()
        self.connection: psycopg.Connection[Any] | None = None
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while self.goes_on():
                self.attempt()
        except BaseException as error:
            self.failure = error
        finally:
            if self.connection:
                self.connection.close()

    def goes_on(self) -> bool:
        raise NotImplementedError

    def step(self, connection: psycopg.Connection[Any]) -> None:
        raise NotImplementedError

    def failed(self, sqlstate: str | None) -> None:
        """The step ended with this error."""

    def attempt(self) -> None:
        try:
            if self.connection is None or self.connection.broken:
                limit = "20ms" if self.transactions else "1h"
                options = f"-c deadlock_timeout={limit}"
                self.connection = psycopg.connect(self.conninfo, autocommit=True, options=options)
        except psycopg.Error:
            time.sleep(0.02)
            return
        try:
            if self.timeouts and self.dice.random() < 0.1:
                name = self.dice.choice(["statement_timeout", "lock_timeout"])
                self.connection.execute(f"SET {name} = {self.dice.choice([0, 0, 1, 2, 5, 20])}".encode())
            self.step(self.connection)
        except psycopg.Error as error:
            broken = self.connection.broken
            self.books.errors[error.sqlstate or "no SQLSTATE"] += 1
            self.failed(None if broken else error.sqlstate)
            if not broken and self.connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                with suppress(psycopg.Error):
                    self.connection.rollback()

    @property
    def descriptor(self) -> int | None:
        with suppress(psycopg.Error, AttributeError):
            return self.connection.fileno() if self.connection else None
        return None


class Sender(Worker):
    """Sends signals until it is told to stop, and then until each has its answer."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.pending: list[Signal] = []
        self.asked: list[Signal] = []

    def goes_on(self) -> bool:
        return bool(self.pending) or not self.books.over.is_set()

    def step(self, connection: psycopg.Connection[Any]) -> None:
        dice = self.dice
        if self.books.over.is_set():
            connection.execute("SET statement_timeout = 0; SET lock_timeout = 0")
            self.timeouts = False
        while not self.books.over.is_set() and len(self.pending) < MOST_PENDING:
            self.pending.append(Signal(dice.choice(self.books.runs), dice.choice(SIGNALS)))
        self.asked = (
            [dice.choice(self.pending)] if dice.random() < 0.5 else dice.sample(self.pending, len(self.pending))
        )
        until = self.asked[0].until
        self.asked = [signal for signal in self.asked if signal.until == until]
        # In the order of all calls, so that transactions of several do not deadlock.
        self.asked.sort(key=lambda signal: (signal.run, signal.name))
        if len(self.asked) == 1:
            rows = connection.execute(DELIVER, self.arguments(self.asked[0])).fetchall()
        elif not self.transactions or dice.random() < 0.5:
            each = [self.arguments(signal) for signal in self.asked]
            many = {name: [arguments[name] for arguments in each] for name in ("run", "name", "payload", "id")}
            rows = connection.execute(DELIVER_MANY, {**many, "until": until}).fetchall()
        else:
            rows = []
            with connection.transaction():
                for signal in self.asked:
                    rows += connection.execute(DELIVER, self.arguments(signal)).fetchall()
        for signal, row in zip(self.asked, rows, strict=True):
            self.note(signal, row)

    def arguments(self, signal: Signal) -> dict[str, Any]:
        return {k: getattr(signal, k) for k in ("run", "name", "payload", "id", "until")}

    def note(self, signal: Signal, row: Any) -> None:
        if row[3] and not signal.is_uncertain:
            self.books.wrong.append(f"{signal.id} is replayed, though nothing had come of it")
        signal.answers.append(row)
        signal.answered = time.monotonic()
        self.pending.remove(signal)
        self.books.signals.append(signal)
        self.books.acknowledged += signal.verdict in {"delivered", "buffered"}

    def failed(self, sqlstate: str | None) -> None:
        if sqlstate not in DEFINITE:
            for signal in self.asked:
                signal.is_uncertain = True


class Engine(Worker):
    """Registers steps and takes away what is over."""

    def goes_on(self) -> bool:
        return not self.books.no_more_steps.is_set()

    def step(self, connection: psycopg.Connection[Any]) -> None:
        dice = self.dice
        if dice.random() < 0.4:
            steps = [(dice.choice(self.books.runs), uuid4().hex, dice.choice(SIGNALS)) for _ in range(8)]
            soon = datetime.now(timezone.utc) + timedelta(milliseconds=dice.randrange(200))
            deadlines = [dice.choice([None, None, None, soon]) for _ in steps]
            runs, keys, names = zip(*steps, strict=True)
            connection.execute(REGISTER, [list(runs), list(keys), list(names), deadlines]).fetchall()
            self.books.registered.update(zip(runs, keys, strict=True))
        for run, step, state, payload, claim in connection.execute(CLAIM).fetchall():
            self.books.receive(run, step, state, payload)
            if dice.random() < 0.5:
                rows = connection.execute(REMOVE, [run, step, claim]).fetchall()
            else:
                with connection.transaction():
                    rows = connection.execute(REMOVE, [run, step, claim]).fetchall()
                    new = uuid4().hex
                    connection.execute(REGISTER, [[run], [new], [dice.choice(SIGNALS)], [None]])
                self.books.registered.add((run, new))
            for row in rows:
                self.books.receive(run, step, *row)


class Load:
    """Senders and engines, at work since `start`."""

    def __init__(
        self,
        conninfo: str,
        *,
        senders: int = 4,
        engines: int = 2,
        runs: int = 6,
        timeouts: bool = True,
        transactions: bool = True,
    ) -> None:
        """Without transactions of several deliveries no call can deadlock, and no server sets a timer for that."""
        self.conninfo = conninfo
        self.books = Books(runs)
        options = {"timeouts": timeouts, "transactions": transactions}
        self.senders = [Sender(conninfo, self.books, **options) for _ in range(senders)]
        self.engines = [Engine(conninfo, self.books, **options) for _ in range(engines)]

    def start(self) -> Load:
        for worker in self.workers:
            worker.start()
        return self

    @property
    def workers(self) -> list[Worker]:
        return [*self.senders, *self.engines]

    def wait_for(self, acknowledged: int) -> None:
        """Return when so many more are acknowledged."""
        wanted = self.books.acknowledged + acknowledged
        limit = time.monotonic() + PATIENCE_SECONDS
        while self.books.acknowledged < wanted:
            self.check()
            assert time.monotonic() < limit, f"nobody gets on: {self.books.errors}"
            time.sleep(0.005)

    def check(self) -> None:
        for worker in self.workers:
            if worker.failure:
                raise worker.failure

    def cut(self) -> None:
        """Break the connection of some workers from their side; what they have sent still arrives."""
        for worker in random.sample(self.workers, 2):
            descriptor = worker.descriptor
            if descriptor is not None:
                with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as end:
                    end.shutdown(socket.SHUT_RDWR)

    def finish(self) -> None:
        """Let each signal get its answer, then the engines stop."""
        self.books.over.set()
        for sender in self.senders:
            sender.join(PATIENCE_SECONDS)
            assert not sender.is_alive(), "a signal gets no answer"
        self.books.no_more_steps.set()
        for engine in self.engines:
            engine.join(PATIENCE_SECONDS)
            assert not engine.is_alive(), "an engine does not get on"
        self.check()

    def drain(self) -> None:
        """Give every waiter that is left a signal, and every signal that is kept a waiter; hand out all."""
        books = self.books
        with psycopg.connect(self.conninfo, autocommit=True, options="-c statement_timeout=60s") as connection:
            for run in books.runs:
                for name in SIGNALS:
                    while True:
                        last = Signal(run, name)
                        last.until = None
                        arguments = {k: getattr(last, k) for k in ("run", "name", "payload", "id", "until")}
                        [row] = connection.execute(DELIVER, arguments).fetchall()
                        last.answers.append(row)
                        books.signals.append(last)
                        if row[0] != "delivered":
                            break
                    kept = "SELECT count(*) FROM flow_signal_v1.list_buffered_signals(%s, %s) WHERE state = 'buffered'"
                    while connection.execute(kept, [run, name]).fetchone() != (0,):
                        step = uuid4().hex
                        rows = connection.execute(REGISTER, [[run], [step], [name], [None]]).fetchall()
                        books.registered.add((run, step))
                        if rows[0][0] != "delivered":
                            books.wrong.append(f"step {step} does not take a buffered signal")
                            break
            left = "SELECT count(*) FROM flow_signal.flow_signal_waiters"
            limit = time.monotonic() + 10  # since the last was handed out
            while connection.execute(left).fetchone() != (0,) and time.monotonic() < limit:
                with connection.transaction():
                    claimed = connection.execute(CLAIM).fetchall()
                    for run, step, state, payload, claim in claimed:
                        books.receive(run, step, state, payload)
                        connection.execute(REMOVE, [run, step, claim])
                if claimed:
                    limit = time.monotonic() + 10
                else:
                    time.sleep(0.01)

    def audit(self) -> dict[str, list[str]]:
        """Lost, doubled, stuck, or otherwise not as it was said."""
        books = self.books
        steps_of = defaultdict(set)
        for (run, step), payload in books.received.items():
            if payload is not None:
                steps_of[payload].add((run, step))
        faults: dict[str, list[str]] = {"lost": [], "doubled": [], "stuck": [], "wrong": list(books.wrong)}
        for signal in books.signals:
            [(status, at, _, _)] = signal.answers
            got = steps_of.pop(signal.payload, set())
            if len(got) > 1:
                faults["doubled"].append(f"{signal.id} at {got}")
            if status == "delivered" and (signal.run, at) not in got:
                faults["lost"].append(f"{signal.id} at {at}")
            elif status == "buffered" and not got:
                faults["lost"].append(f"{signal.id}, buffered")
            elif status not in {"delivered", "buffered"} and got:
                faults["wrong"].append(f"{signal.id} was refused as {status} and is at {got}")
        faults["wrong"] += [f"nobody sent {payload}" for payload in steps_of]
        faults["stuck"] += [str(key) for key in books.registered if key not in books.received]
        return {name: texts for name, texts in faults.items() if texts}

    def clean_up(self) -> list[str]:
        """Delete all by remove_run and purge; return what is left."""
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            for run in self.books.runs[::2]:
                connection.execute("SELECT flow_signal_v1.remove_run(%s)", [run])
            while connection.execute("SELECT flow_signal_v1.purge(clock_timestamp())").fetchone() != (0,):
                pass
            left = []
            for table in ("waiters", "locks", "receipts", "buffered_signals"):
                row = connection.execute(f"SELECT count(*) FROM flow_signal.flow_signal_{table}".encode()).fetchone()
                if row != (0,):
                    left.append(f"{table}: {row}")
            for query in ("pg_locks WHERE locktype = 'advisory'", "pg_prepared_xacts"):
                row = connection.execute(f"SELECT count(*) FROM {query}".encode()).fetchone()
                if row != (0,):
                    left.append(f"{query}: {row}")
        return left
