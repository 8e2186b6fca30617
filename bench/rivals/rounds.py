"""Measure contenders at the same work under the same condition: in turn, several rounds, each from the same state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from bench.rivals.contenders.contender import Contender, Work, check, prepare
from bench.rivals.figures import Reading
from bench.rivals.load import WARM_UP, Condition, LoadError, Measured, run
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
) -> tuple[list[Reading], list[str]]:
    """Let each contender work for about `seconds` in each round. Return also the errors that ended a round of one."""
    readings, errors = [], []
    with ExitStack() as stack:
        calls, ready = {}, {}
        for contender in contenders:
            name, database = contender.name, databases[contender.name]
            attempt = WARM_UP + max(FEWEST, CALIBRATION // work.signals)
            with site.copy(database) as copy:
                prepare(contender, work, copy, 0, attempt * condition.clients * work.signals)
                rate = work_once(site, copy, contender, work, condition, attempt).rate
            calls[name] = WARM_UP + max(FEWEST, round(rate * seconds / condition.clients))
            ready[name] = stack.enter_context(site.copy(database))
            prepare(contender, work, ready[name], 0, calls[name] * condition.clients * work.signals)
        for number in range(rounds):
            for contender in contenders if number % 2 == 0 else reversed(contenders):
                with site.copy(ready[contender.name]) as copy:
                    try:
                        measured = work_once(site, copy, contender, work, condition, calls[contender.name])
                    except LoadError as error:
                        errors.append(f"{contender.label}, {work.title}: {error}")
                        continue
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
    return readings, errors


def work_once(
    site: Site, database: Database, contender: Contender, work: Work, condition: Condition, calls: int
) -> Measured:
    measured = run(site.pgbench, database, contender.jobs[work].script, condition, calls=calls)
    check(contender, work, database, calls * condition.clients * work.signals)
    return measured
