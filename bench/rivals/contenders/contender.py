"""What a contender is: a schema, and its way to do each kind of work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from bench.rivals.site import Database

PAYLOAD = "(SELECT payload FROM bench_load.payload)"


class Work(Enum):
    """What is measured. `signals`: how many runs one transaction of the script serves."""

    LIFECYCLE = "lifecycle: register, deliver, get, remove", 1
    DELIVER = "deliver", 1
    ALREADY_DELIVERED = "deliver again: already_delivered", 1
    NOT_FOUND = "deliver to nobody: not_found", 1
    EARLY = "early signal, then register", 1
    CLAIM = "claim, 100 a call", 100
    DELIVER_10 = "deliver, 10 a call", 10
    DELIVER_100 = "deliver, 100 a call", 100
    DELIVER_1000 = "deliver, 1,000 a call", 1000
    REGISTER_10 = "register, 10 a call", 10
    REGISTER_100 = "register, 100 a call", 100
    REGISTER_1000 = "register, 1,000 a call", 1000

    def __init__(self, title: str, signals: int) -> None:
        self.title = title
        self.signals = signals


@dataclass(frozen=True, kw_only=True)
class Job:
    """One kind of work in the words of a contender.

    script: pgbench commands. `:n` is a number, another one in each transaction, `:payload` the payload. The run of
        number n is `md5(:n)`; a call that serves many runs serves those of the numbers n * signals and following.
    before: SQL that makes the runs of the numbers %(first)s to %(last)s ready.
    done: SQL that tells whether the work was done for %(count)s runs.
    """

    script: str
    before: str = ""
    done: str


@dataclass(frozen=True, kw_only=True)
class Contender:
    """name: unique, also its database. install: makes the schema, with 1,000 waiters of other runs."""

    name: str
    label: str
    install: Callable[[Database], object]
    jobs: Mapping[Work, Job]


def prepare(contender: Contender, work: Work, database: Database, first: int, count: int) -> None:
    """Make `count` runs ready for the work, with fresh statistics, as autovacuum would leave them in the long run."""
    if before := contender.jobs[work].before:
        database.execute(before, first=first, last=first + count - 1)
    database.execute("VACUUM ANALYZE")


def check(contender: Contender, work: Work, database: Database, count: int) -> None:
    """Raise AssertionError unless the work was done for `count` runs."""
    [(done,)] = database.execute(contender.jobs[work].done, count=count)
    assert done is True, f"{contender.label} has not done {count} times: {work.title}"
