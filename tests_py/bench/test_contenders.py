"""The contenders of the benchmark do the same job, and who does not is found out."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

import pytest

from bench.rivals.contenders import (
    ABSURD,
    BARE_TABLE,
    CONTENDERS,
    DBOS_SEND,
    DBOS_SEND_MESSAGE,
    EMPTY_CALL,
    FLOW_SIGNAL,
    ORIGIN,
)
from bench.rivals.contenders.contender import Contender, Work, check, prepare
from bench.rivals.load import WARM_UP, Condition, Measured, run
from bench.rivals.site import Database, Site

PACKAGES = {ABSURD.name: "absurdctl", DBOS_SEND.name: "dbos", DBOS_SEND_MESSAGE.name: "dbos"}
CONDITION = Condition(clients=2)
CALLS = WARM_UP + 2
JOBS = [
    pytest.param(contender, work, id=f"{contender.name}-{work.name.lower()}")
    for contender in CONTENDERS
    for work in contender.jobs
]
Install = Callable[[Contender], Database]


@pytest.fixture(scope="module")
def install(site: Site) -> Install:
    """The database of a contender, made when it is first asked for."""

    @cache
    def installed(name: str) -> Database:
        [contender] = [contender for contender in CONTENDERS if contender.name == name]
        database = site.create(name)
        contender.install(database)
        return database

    def install(contender: Contender) -> Database:
        package = PACKAGES.get(contender.name)
        if package and not find_spec(package):
            pytest.skip(f"{package} is not installed: make bench does it")
        return installed(contender.name)

    return install


def runs(work: Work) -> int:
    return CALLS * CONDITION.clients * work.signals


def do(site: Site, database: Database, contender: Contender, work: Work, script: str) -> Measured:
    prepare(contender, work, database, 0, runs(work))
    return run(site.pgbench, database, script, CONDITION, calls=CALLS)


@pytest.mark.parametrize(("contender", "work"), JOBS)
def test_the_work_is_done(site: Site, install: Install, contender: Contender, work: Work) -> None:
    with site.copy(install(contender)) as database:
        measured = do(site, database, contender, work, contender.jobs[work].script)
        check(contender, work, database, runs(work))
    assert measured.rate > 0
    assert measured.cpu > 0


@pytest.mark.parametrize(
    ("contender", "work"),
    [
        job
        for job in JOBS
        if job.values[0] is not EMPTY_CALL
        and job.values[1] not in {Work.LIFECYCLE, Work.ALREADY_DELIVERED, Work.NOT_FOUND}
    ],
)
def test_who_does_nothing_is_found_out(site: Site, install: Install, contender: Contender, work: Work) -> None:
    with site.copy(install(contender)) as database:
        prepare(contender, work, database, 0, runs(work))
        with pytest.raises(AssertionError, match="has not done"):
            check(contender, work, database, runs(work))


@pytest.mark.parametrize("contender", [c for c in CONTENDERS if Work.LIFECYCLE in c.jobs], ids=lambda c: c.name)
def test_an_unfinished_lifecycle_is_found_out(site: Site, install: Install, contender: Contender) -> None:
    with site.copy(install(contender)) as database:
        do(site, database, contender, Work.LIFECYCLE, without_last_statement(contender))
        with pytest.raises(AssertionError, match="has not done"):
            check(contender, Work.LIFECYCLE, database, runs(Work.LIFECYCLE))


@pytest.mark.parametrize("contender", [FLOW_SIGNAL, ORIGIN, BARE_TABLE], ids=lambda c: c.name)
def test_a_lifecycle_delivers(site: Site, install: Install, contender: Contender) -> None:
    """What is removed in the end cannot be looked at any more; before that, the payload is there."""
    with site.copy(install(contender)) as database:
        do(site, database, contender, Work.LIFECYCLE, without_last_statement(contender))
        check(contender, Work.DELIVER, database, runs(Work.LIFECYCLE))


def without_last_statement(contender: Contender) -> str:
    statements = contender.jobs[Work.LIFECYCLE].script.rstrip().removesuffix(";")
    return statements.rpartition(";")[0] + ";"
