"""Contenders are measured in turn, and an error ends a round, not the measurement."""

from __future__ import annotations

from bench.rivals.contenders.contender import Contender, Job, Work
from bench.rivals.load import Condition
from bench.rivals.rounds import measure
from bench.rivals.site import ROLE, Site

TABLE = f"CREATE TABLE served (n bigint); ALTER TABLE served OWNER TO {ROLE}"
SERVE = "INSERT INTO served VALUES (:n);"
# Only a round, which has more calls than the attempt before, comes to this number.
FAIL_LATER = "INSERT INTO served SELECT 1 / (:n - 150);"


def test_errors_are_told(site: Site) -> None:
    contenders = [
        Contender(
            name=name,
            label=name.title(),
            install=lambda database: database.execute(TABLE),
            jobs={Work.DELIVER: Job(script=script, done="SELECT count(*) = %(count)s FROM served")},
        )
        for name, script in (("steady", SERVE), ("failing", FAIL_LATER))
    ]
    databases = {contender.name: site.create(contender.name) for contender in contenders}
    for contender in contenders:
        contender.install(databases[contender.name])
    condition = Condition(clients=2)
    readings, errors = measure(site, databases, contenders, Work.DELIVER, condition, rounds=2, seconds=1)
    assert [(reading.contender, reading.round) for reading in readings] == [("steady", 0), ("steady", 1)]
    assert all(reading.rate > 0 and reading.cpu > 0 for reading in readings)
    assert len(errors) == 2
    assert all(error.startswith("Failing, deliver: ") and "division by zero" in error for error in errors)
