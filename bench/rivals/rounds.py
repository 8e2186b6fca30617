"""Measure contenders at the same work under the same condition: in turn, several rounds, each from the same state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from bench.rivals.contenders.contender import Contender, Work, check, prepare
from bench.rivals.figures import Reading
from bench.rivals.load import WARM_UP, Condition, Measured, run
from bench.rivals.site import Database, Site

CALIBRATION = 50
"""Runs that a client serves to find out how fast it is."""
FEWEST = 5
"""Calls of a client, however slow it is."""


def measure(
    site: Site,
    databases: Mapping[str, Database],
    contenders: Sequence[Contender],
    work: Work,
    condition: Condition,
    *,
    rounds: int,
    seconds: float,
) -> list[Reading]:
    """Let each contender work for about `seconds` in each round."""
    readings = []
    with ExitStack() as stack:
        calls, ready = {}, {}
        for contender in contenders:
            database = databases[contender.name]
            with site.copy(database) as copy:
                attempt = WARM_UP + max(FEWEST, CALIBRATION // work.signals)
                prepare(contender, work, copy, 0, attempt * condition.clients * work.signals)
                rate = work_once(site, copy, contender, work, condition, attempt).rate
            calls[contender.name] = WARM_UP + max(FEWEST, round(rate * seconds / condition.clients))
            copy = ready[contender.name] = stack.enter_context(site.copy(database))
            prepare(contender, work, copy, 0, calls[contender.name] * condition.clients * work.signals)
        for number in range(rounds):
            for contender in contenders if number % 2 == 0 else reversed(contenders):
                with site.copy(ready[contender.name]) as copy:
                    measured = work_once(site, copy, contender, work, condition, calls[contender.name])
                readings.append(
                    Reading(
                        work=work.name,
                        contender=contender.name,
                        condition=condition,
                        round=number,
                        rate=round(measured.rate * work.signals, 1),
                        cpu=round(measured.cpu / work.signals, 2),
                    )
                )
    return readings


def work_once(
    site: Site, database: Database, contender: Contender, work: Work, condition: Condition, calls: int
) -> Measured:
    measured = run(site.pgbench, database, contender.jobs[work].script, condition, calls=calls)
    check(contender, work, database, calls * condition.clients * work.signals)
    return measured
