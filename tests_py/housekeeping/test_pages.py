"""Pages show everybody who was there all the while exactly once, whoever comes and goes between them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import psycopg
import pytest

Connection = psycopg.Connection[Any]
Key = tuple[Any, ...]

BIG_RUN = uuid4()
STEPS = ["a", "B", "b", "ä", "step"]
WAITERS = """
SELECT w.run_id, w.step_key
FROM flow_signal_v1.list_waiters(
    p_run_id => %(run)s, p_after_run_id => %(after_0)s, p_after_step_key => %(after_1)s, p_limit => %(limit)s
) AS w
"""
SIGNALS = """
SELECT b.run_id, b.signal_name, b.position
FROM flow_signal_v1.list_buffered_signals(
    p_run_id => %(run)s, p_after_run_id => %(after_0)s, p_after_signal_name => %(after_1)s,
    p_after_position => %(after_2)s, p_limit => %(limit)s
) AS b
"""
REGISTER = "SELECT FROM flow_signal_v1.register_waiter(%s, %s, %s)"
REMOVE = "SELECT FROM flow_signal_v1.remove_waiter(%s, %s)"
BUFFER = "SELECT FROM flow_signal_v1.deliver_signal(%s, %s, NULL, NULL, clock_timestamp() + interval '1 day')"


class Chance(random.Random):
    def run_and_name(self) -> Key:
        return self.choice([BIG_RUN, uuid4()]), f"{self.choice(STEPS)} {self.random()}"


@pytest.fixture
def chance() -> Chance:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    return Chance(seed)


def list_all(connection: Connection, query: str, run: object, between: Callable[[], None], chance: Chance) -> list[Key]:
    """The keys page by page; `between` is called after each."""
    listed: list[Key] = []
    after: Key = (None, None, None)
    while True:
        values = {"run": run, "limit": chance.randrange(1, 20), **{f"after_{n}": part for n, part in enumerate(after)}}
        page = connection.execute(query, values).fetchall()
        if not page:
            return listed
        listed += page
        after = page[-1]
        between()


def in_order(keys: set[Key]) -> list[Key]:
    return sorted(keys, key=lambda key: (key[0], key[1].encode(), *key[2:]))


@pytest.mark.parametrize("run", [None, BIG_RUN])
def test_waiters(connection: Connection, run: object, chance: Chance) -> None:
    """Some that stay change their signal meanwhile."""
    staying = [chance.run_and_name() for _ in range(200)]
    coming = [chance.run_and_name() for _ in range(200)]
    for key in staying + coming:
        connection.execute(REGISTER, [*key, "go"])

    def come_and_go() -> None:
        for _ in range(10):
            connection.execute(REGISTER, [*chance.choice(staying), chance.choice(["go", "stop"])])
            coming.append(chance.run_and_name())
            connection.execute(REGISTER, [*coming[-1], "go"])
            connection.execute(REMOVE, coming.pop(chance.randrange(len(coming))))

    listed = list_all(connection, WAITERS, run, come_and_go, chance)
    expected = {key for key in staying if run in (None, key[0])}
    assert listed == in_order(set(listed))
    assert set(listed) > expected


@pytest.mark.parametrize("run", [None, BIG_RUN])
def test_buffered_signals(connection: Connection, run: object, chance: Chance) -> None:
    """Those that go are taken by a waiter."""
    staying = [chance.run_and_name() for _ in range(100)] * 2
    coming = [chance.run_and_name() for _ in range(200)]
    for key in staying + coming:
        connection.execute(BUFFER, key)

    def come_and_go() -> None:
        for _ in range(10):
            coming.append(chance.run_and_name())
            connection.execute(BUFFER, coming[-1])
            run_id, name = coming.pop(chance.randrange(len(coming)))
            connection.execute(REGISTER, [run_id, name, name])

    listed = list_all(connection, SIGNALS, run, come_and_go, chance)
    expected = Counter(key for key in staying if run in (None, key[0]))
    assert listed == in_order(set(listed))
    assert Counter(key[:2] for key in listed) > expected


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE", "SERIALIZABLE READ ONLY DEFERRABLE"])
def test_all_pages_of_one_snapshot(database: str, connection: Connection, level: str) -> None:
    """In the upper isolation levels a listing of any length is that of one moment."""
    key = (BIG_RUN, "step")
    connection.execute(REGISTER, [*key, "go"])
    connection.execute(BUFFER, [BIG_RUN, "early"])
    with psycopg.connect(database, autocommit=True) as other:
        other.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
        first = {"run": None, "limit": 10, "after_0": None, "after_1": None, "after_2": None}
        assert other.execute(WAITERS, first).fetchall() == [key]
        connection.execute(REMOVE, key)
        connection.execute(REGISTER, [BIG_RUN, "taker", "early"])
        assert other.execute(WAITERS, first).fetchall() == [key]
        assert [key[:2] for key in other.execute(SIGNALS, first)] == [(BIG_RUN, "early")]
        other.execute("COMMIT")
        assert other.execute(WAITERS, first).fetchall() == [(BIG_RUN, "taker")]
        assert other.execute(SIGNALS, first).fetchall() == []
