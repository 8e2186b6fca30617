"""Hostile input through the Python stores: a result, TypeError, ValueError, or an error of psycopg that is documented.

Every argument of every method gets values of every kind. After an error the tables and the connection are as they were,
and no text has anything of a payload. The short form is a fixed sample; FLOW_SIGNAL_PROOF=long sends 10,000 inputs.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID, uuid1

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from flow_signal import (
    AsyncFlowSignalStore,
    FlowSignalStore,
    ForeignWaiter,
    NewSignal,
    NewWaiter,
    WaiterExpiredError,
    WaiterNotFoundError,
)
from tests_py.proof import soak
from tests_py.proof.hostile import BLANKS, IDS, INSTANTS, NUMBERS, ODD_TEXTS, SECRET, SIGNALS, STEPS, UUIDS, Values
from tests_py.proof.hostile_calls import IMPOSSIBLE, OWN, RAISED, SCENE, Tables

MOST_CHARACTERS = 2_000
"""Of an error with its DETAIL, HINT and CONTEXT."""

INPUTS = 800
WAIT_ERRORS = (TimeoutError, WaiterExpiredError, WaiterNotFoundError)

UTC = timezone.utc
EAST, WEST = timezone(timedelta(hours=23, minutes=59)), timezone(-timedelta(hours=23, minutes=59))
GOOD_INSTANTS = [datetime(2999, 1, 1, tzinfo=UTC), datetime(2001, 1, 1, tzinfo=UTC)]

METHODS = sorted(
    name
    for name, method in inspect.getmembers(FlowSignalStore, inspect.isfunction)
    if not name.startswith("_") and name not in {"health", "signal_stats", "version"}
)


class Odd(str, Enum):
    STEP = "s"


class Text(str):
    """A str that says something else of itself."""

    def __str__(self) -> str:
        return "else"

    def __repr__(self) -> str:
        return "odd"


class Number(int):
    pass


def circular() -> Any:
    found: list[Any] = [SECRET]
    found.append(found)
    return found


def nested(depth: int) -> Any:
    found: Any = SECRET
    for _ in range(depth):
        found = [found]
    return found


class Objects:
    """Objects for the arguments, good ones and hostile ones."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.values = Values(dice)

    def anything(self) -> Any:
        dice = self.dice
        return dice.choice(
            [
                *(None, True, False, 0, 1, -1, 2**31 - 1, 2**31, 2**63, 10**400, 10**5000, 0.0, 1e308, Number(3)),
                *(float("nan"), float("inf"), Decimal("NaN"), Decimal("sNaN"), Decimal(1), Fraction(1, 3), 1j),
                *(b"", b"x", b"\xff", bytearray(b"1"), memoryview(b"1"), (), [], {}, set(), frozenset({1}), object()),
                *(int, len, ..., NotImplemented, Ellipsis, range(3), iter([1]), (n for n in [1]), Path("/"), Odd.STEP),
                *(UUID(int=0), uuid1(), str(UUID(int=0)), date(2030, 1, 1), datetime(2030, 1, 1), threading.Lock()),
                *(
                    timedelta(0),
                    timedelta.max,
                    timedelta.min,
                    timedelta(microseconds=1),
                    timedelta(days=-1),
                    "x",
                    Text("x"),
                ),
                *(ValueError("x"), type("T", (), {})(), "x" * 10**6, "\ud800", "a\0b", Exception, lambda: 1),
                *(asyncio.Lock, re.compile(SECRET), inspect.Parameter.empty),
            ]
        )

    def text(self) -> Any:
        return self.dice.choice([*BLANKS, *ODD_TEXTS, *UUIDS, Text("t"), Odd.STEP])

    def instant(self) -> Any:
        return self.dice.choice(
            [
                *(datetime.min, datetime.max, datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)),
                *(datetime.min.replace(tzinfo=EAST), datetime.max.replace(tzinfo=WEST), datetime.now(UTC)),
                *(datetime.min.replace(tzinfo=WEST), datetime.max.replace(tzinfo=EAST), datetime.now(EAST)),
                *(
                    datetime(2030, 1, 1, tzinfo=timezone(timedelta(microseconds=1))),
                    datetime(2030, 3, 31, 2, 30, fold=1),
                ),
                *(self.dice.choice(INSTANTS), 0, 1e12, float("inf")),
            ]
        )

    def span(self) -> Any:
        return self.dice.choice(
            [
                *(timedelta.max, timedelta.min, timedelta.resolution, -timedelta.resolution, timedelta(0)),
                *(timedelta(days=1), timedelta(days=1, microseconds=1), timedelta(minutes=5), timedelta(days=3652058)),
                *(timedelta(days=-3652058), timedelta(days=3652059), "1 minute", 60, 0.5, float("nan"), True),
            ]
        )

    def payload(self) -> Any:
        return self.dice.choice(
            [
                *({SECRET: object()}, {SECRET: {1, 2}}, {(SECRET,): 1}, circular(), {SECRET: circular()}, {1: SECRET}),
                *(
                    nested(100),
                    nested(990),
                    nested(100_000),
                    [SECRET, float("nan")],
                    [float("inf"), SECRET],
                    SECRET * 200_000,
                ),
                *(
                    SECRET + "\ud800",
                    {SECRET + "\udfff": 1},
                    f"{SECRET}\0",
                    [10**5000, SECRET],
                    [SECRET.encode()],
                    SECRET,
                ),
                *(
                    [Decimal(1), SECRET],
                    [datetime.now(UTC), SECRET],
                    {SECRET: 1, None: 2, True: 3, 1.5: 4},
                    Text(SECRET),
                ),
                *(
                    [SECRET, ...],
                    (SECRET, (1, 2)),
                    [SECRET] * 50_000,
                    {SECRET: Odd.STEP},
                    (n for n in [SECRET]),
                    None,
                    True,
                ),
                *(lambda: SECRET, Exception(SECRET), [SECRET, "\U0001f600"], 1e400, -0.0, "é" * 600_000),
            ]
        )

    def payload_json(self) -> Any:
        text = self.values.json()
        data = text.encode("utf-8", "surrogatepass")
        return self.dice.choice(
            [text, text, data, bytearray(data), memoryview(data), b"\xff" + data, [text], {"a": text}]
        )

    def rows(self, kind: Any) -> Any:
        """What a batch takes: rows of it, and other things."""
        dice = self.dice
        names = [name for name in inspect.signature(kind).parameters if name != "_"]
        made = []
        for _ in range(dice.choice([0, 1, 2, 3])):
            hostile = set(dice.sample(names, dice.choice([0, 1, 2])))
            needed = {"run_id", "step_key", "signal_name", "created_at"}
            chosen = [name for name in names if name in hostile | needed or dice.random() < 0.2]
            made.append(kind(**{name: self.hostile(name) if name in hostile else self.good(name) for name in chosen}))
        if dice.random() < 0.15:
            made.insert(dice.randrange(len(made) + 1), self.anything())
        return dice.choice([made, made, tuple(made), iter(made), (row for row in made), dict(enumerate(made))])

    def good(self, name: str) -> Any:
        dice = self.dice
        match name:
            case "run_id":
                return UUID(dice.choice(self.values.runs))
            case "step_key" | "signal_name" | "delivery_id":
                return dice.choice({"step_key": STEPS, "signal_name": SIGNALS, "delivery_id": IDS}[name])
            case "queue":
                return "q"
            case "wake_channel":
                return "c"
            case "payload":
                return {SECRET: dice.randrange(10**6)}
            case "payload_json":
                return self.values.payload()
            case "state":
                return dice.choice(["waiting", "delivered", "expired"])
            case "lease" | "max_wait" | "timeout" | "expires_in" | "buffer_for" | "older_than" | "buffered_before":
                return timedelta(milliseconds=5)
            case "limit" | "position":
                return dice.randint(1, 10)
            case "after":
                return (self.good("run_id"), "s")
            case "waiters":
                return [NewWaiter(self.good("run_id"), "s", "go")]
            case "signals":
                return [NewSignal(self.good("run_id"), "go")]
            case "claim_id":
                return UUID(int=dice.getrandbits(128))
            case "dry_run":
                return True
            case "schema":
                return "engine"
            case _:
                return dice.choice(GOOD_INSTANTS)

    def hostile(self, name: str) -> Any:
        dice = self.dice
        if dice.random() < 0.4:
            return self.anything()
        match name:
            case "payload":
                return self.payload()
            case "payload_json":
                return self.payload_json()
            case "lease" | "max_wait" | "timeout" | "expires_in" | "buffer_for" | "older_than":
                return self.span()
            case "limit" | "position":
                return int(dice.choice([n for n in NUMBERS if n.lstrip("-").isdigit()]))
            case "waiters" | "signals":
                return self.rows(dice.choice([NewWaiter, NewSignal, ForeignWaiter]))
            case "after":
                return dice.choice(
                    [(), (1,), (self.text(), self.text()), [self.good("run_id"), self.text(), 2**63], "ab"]
                )
            case "expires_at" | "buffer_until" | "settled_before" | "buffered_before" | "created_at" | "delivered_at":
                return self.instant()
            case _:
                return self.text()


class Caller:
    """Calls a store; judges each answer."""

    def __init__(self, conninfo: str, seed: object, stores: dict[str, Any]) -> None:
        self.dice = random.Random(str(seed))
        self.objects = Objects(self.dice)
        self.tables = Tables(conninfo, self.objects.values.runs)
        self.contents = self.tables.refill()
        self.stores = stores
        self.counts: Counter[str] = Counter()

    def round(self, inputs: int, call: Callable[[str, str, dict[str, Any]], Any]) -> list[str]:
        found: list[str] = []
        for number in range(inputs):
            if number % 50 == 0:
                found += self.tables.unsound()
                self.contents = self.tables.refill()
            method = self.dice.choice(METHODS)
            arguments = self.choose(method)
            kind = "async" if self.dice.random() < 0.3 else "sync"
            error: BaseException | None = None
            try:
                call(kind, method, arguments)
            except BaseException as raised:
                if isinstance(raised, (KeyboardInterrupt, SystemExit, MemoryError)):
                    raise
                error = raised
            self.counts[type(error).__name__ if error else "result"] += 1
            texts = list(self.objections(method, error, self.stores[kind]))
            if texts:
                given = {name: described(value) for name, value in arguments.items()}
                found.append(f"{texts}: {kind} {method}({given}) {type(error)} {str(error)[:300]!r}")
        return found

    def choose(self, method: str) -> dict[str, Any]:
        parameters = [
            p for p in inspect.signature(getattr(FlowSignalStore, method)).parameters.values() if p.name != "self"
        ]
        names = [p.name for p in parameters]
        hostile = set(self.dice.sample(names, min(len(names), self.dice.choice([0, 1, 1, 1, 2, 2, 9]))))
        chosen: dict[str, Any] = {}
        for parameter in parameters:
            if parameter.name in hostile:
                chosen[parameter.name] = self.objects.hostile(parameter.name)
            elif parameter.default is inspect.Parameter.empty or self.dice.random() < 0.3:
                chosen[parameter.name] = self.objects.good(parameter.name)
        if method in {"wait", "await_waiter"}:
            name = "timeout" if method == "wait" else "max_wait"
            if is_long(chosen.get(name)):
                chosen[name] = self.objects.good(name)
        return chosen

    def objections(self, method: str, error: BaseException | None, store: Any) -> Iterator[str]:
        contents = self.tables.contents()
        connection = store.flow_signal_connection
        if connection.info.transaction_status != TransactionStatus.IDLE:
            yield f"the connection is {connection.info.transaction_status!r}"
        if error is None:
            self.contents = contents
            return
        if contents != self.contents:
            yield "an error changes the tables"
            self.contents = contents
        sqlstate = getattr(error, "sqlstate", None)
        if isinstance(error, psycopg.Error) and sqlstate:
            function = "get_waiter" if method == "wait" else method
            if sqlstate not in RAISED[function] | OWN or sqlstate in IMPOSSIBLE:
                yield f"{sqlstate} is not documented"
        elif not isinstance(
            error, (TypeError, ValueError, psycopg.DataError, *(WAIT_ERRORS if method == "wait" else ()))
        ):
            yield "not documented"
        for text in texts_of(error):
            if SECRET in text:
                yield f"a payload in {text[:200]!r}"
            if len(text) > MOST_CHARACTERS:
                yield f"a text of {len(text)}"


def is_long(span: Any) -> bool:
    """Whether a wait for it would take long."""
    if span is None:
        return True
    if isinstance(span, timedelta):
        return span > timedelta(seconds=1)
    return isinstance(span, (int, float)) and span > 1


def texts_of(error: BaseException | None) -> Iterator[str]:
    """All that a log would show of it."""
    while error is not None:
        yield str(error)
        yield repr(error)
        yield from getattr(error, "__notes__", [])
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def described(value: Any) -> str:
    try:
        text = ascii(value)
    except Exception as error:
        text = f"{type(value)} {error!r}"
    return text if len(text) < 150 else f"{text[:120]}...{len(text)}"


@pytest.mark.time_limit(3600)
def test_hostile_python(database: str) -> None:
    """Both stores, over connections in autocommit."""
    seed = soak.seed() if soak.LONG else 1
    options = "-c statement_timeout=20s"
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(SCENE.encode())
    loop = asyncio.new_event_loop()
    with psycopg.connect(database, autocommit=True, options=options) as connection, closing(loop):
        connecting = psycopg.AsyncConnection.connect(database, autocommit=True, options=options)
        async_connection = loop.run_until_complete(connecting)
        stores: dict[str, Any] = {"sync": Store(connection), "async": AsyncStore(async_connection)}

        def call(kind: str, method: str, arguments: dict[str, Any]) -> Any:
            bound = getattr(stores[kind], method)
            if kind == "sync":
                return bound(**arguments)

            return loop.run_until_complete(bound(**arguments))

        caller = Caller(database, seed, stores)
        found = caller.round(soak.scaled(INPUTS, 13), call)
        caller.tables.connection.close()
        loop.run_until_complete(async_connection.close())
    print(seed, caller.counts.total(), dict(caller.counts))
    assert not found, f"seed {seed}, {len(found)}:\n" + "\n\n".join(found[:10])
    assert caller.counts["result"] > caller.counts.total() / 10
    assert caller.counts["TypeError"] > caller.counts.total() / 10


class Store(FlowSignalStore):
    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        super().__init__(connection)
        self.flow_signal_connection = connection


class AsyncStore(AsyncFlowSignalStore):
    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        super().__init__(connection)
        self.flow_signal_connection = connection
