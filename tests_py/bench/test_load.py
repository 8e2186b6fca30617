"""The load driver serves each number once, measures what it should, and fails when a statement does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from bench.rivals.load import WARM_UP, Condition, LoadError, payload, run
from bench.rivals.site import ROLE, Database, Site

CALLS = WARM_UP + 5
CONDITION = Condition(clients=3)
TABLE = f"CREATE TABLE served (n bigint, payload text, flush text); ALTER TABLE served OWNER TO {ROLE}"
SERVE = "INSERT INTO served VALUES (:n, :payload, current_setting('synchronous_commit'));"


@pytest.fixture(scope="module")
def template(site: Site) -> Database:
    database = site.create("load")
    database.execute(TABLE)
    return database


@pytest.fixture
def database(site: Site, template: Database) -> Iterator[Database]:
    with site.copy(template) as database:
        yield database


@pytest.mark.parametrize("prepared", [True, False])
def test_each_number_is_served_once(site: Site, database: Database, prepared: bool) -> None:
    run(site.pgbench, database, SERVE, replace(CONDITION, prepared=prepared), calls=CALLS, first=100, stride=7)
    served = database.execute("SELECT n FROM served")
    assert sorted(n for (n,) in served) == [100 + 7 * number for number in range(CALLS * CONDITION.clients)]
    assert served != sorted(served)


@pytest.mark.parametrize(("flush", "setting"), [(True, "on"), (False, "off")])
def test_the_condition_holds(site: Site, database: Database, flush: bool, setting: str) -> None:
    run(site.pgbench, database, SERVE, replace(CONDITION, flush=flush, payload=10_000), calls=CALLS)
    assert database.execute("SELECT DISTINCT payload, flush FROM served") == [(payload(10_000), setting)]


@pytest.mark.parametrize("size", [100, 10_000, 1_000_000])
def test_a_payload_is_json_of_its_size(size: int) -> None:
    assert len(payload(size)) == size
    assert json.loads(payload(size))["data"]


def test_the_time_of_a_call_is_measured(site: Site, database: Database) -> None:
    one, three = (
        run(site.pgbench, database, "SELECT pg_sleep(0.01);" * times, CONDITION, calls=CALLS, latencies=True)
        for times in (1, 3)
    )
    assert one.rate <= CONDITION.clients / 0.01
    assert three.rate <= CONDITION.clients / 0.03
    assert min(one.latencies) >= 10_000
    assert min(three.latencies) >= 30_000
    assert len(one.latencies) == (CALLS - WARM_UP - 2) * CONDITION.clients


def test_only_work_is_cpu_time(site: Site, database: Database) -> None:
    sleep, work = (
        run(site.pgbench, database, script, CONDITION, calls=CALLS).cpu
        for script in ("SELECT pg_sleep(0.02);", "SELECT count(*) FROM generate_series(1, 100000);")
    )
    assert sleep < work


def test_a_statement_that_fails_is_no_figure(site: Site, database: Database) -> None:
    with pytest.raises(LoadError, match="division by zero"):
        run(site.pgbench, database, "SELECT 1 / (:n - 5);", CONDITION, calls=CALLS)
