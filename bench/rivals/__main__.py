"""Measure flow-signal beside its rivals and write docs/performance.md.

python -m bench.rivals [--full | --report]

The quick form takes some five minutes, the full one some hours. Every figure is kept in bench/rivals/figures.json;
--report builds the page from there without measuring.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from bench.rivals import growth, plots, report, wake
from bench.rivals.contenders import ABSURD, BARE_TABLE, CONTENDERS, DBOS_SEND, FLOW_SIGNAL, ORIGIN
from bench.rivals.contenders.contender import Contender, Work
from bench.rivals.figures import Figures, percentile
from bench.rivals.goals import BASE, UNPREPARED
from bench.rivals.load import Condition
from bench.rivals.machine import ROOT, describe
from bench.rivals.rounds import measure
from bench.rivals.site import Database, Site, settings
from bench.run_size import deliver_times
from flow_signal.embedded import EmbeddedServer

OTHERS = (
    replace(BASE, clients=1),
    replace(BASE, clients=32),
    replace(BASE, flush=False),
    replace(BASE, payload=10_000),
    replace(BASE, payload=1_000_000),
)


@dataclass(frozen=True)
class Form:
    """How much is measured. sizes: rows of the growing tables. churn: lifecycles of a client in a step."""

    rounds: int
    seconds: float
    cells: Sequence[tuple[Work, Condition, Sequence[Contender]]]
    wakes: int
    sizes: Sequence[int]
    churn_steps: int
    churn: int


BATCHES = [work for work in Work if work.name.partition("_")[2].isdigit()]
QUICK = Form(
    rounds=7,
    seconds=0.4,
    cells=[
        *((work, BASE, CONTENDERS) for work in (Work.DELIVER, Work.LIFECYCLE, *BATCHES)),
        *((work, UNPREPARED, (FLOW_SIGNAL, BARE_TABLE, ORIGIN)) for work in (Work.DELIVER, Work.LIFECYCLE)),
    ],
    wakes=24,
    sizes=(10_000, 100_000),
    churn_steps=10,
    churn=250,
)
FULL = Form(
    rounds=9,
    seconds=3,
    cells=[
        *((work, condition, CONTENDERS) for work in Work for condition in (BASE, UNPREPARED)),
        *((work, condition, CONTENDERS) for work in (Work.DELIVER, Work.LIFECYCLE) for condition in OTHERS),
    ],
    wakes=100,
    sizes=(10_000, 100_000, 1_000_000, 10_000_000),
    churn_steps=50,
    churn=12_500,
)

FIGURES = ROOT / "bench/rivals/figures.json"
PAGE = ROOT / "docs/performance.md"


class Progress:
    def __init__(self) -> None:
        self.began = time.monotonic()

    def __call__(self, text: str) -> None:
        print(f"{time.monotonic() - self.began:6.0f} s  {text}", flush=True)


def take(site: Site, form: Form, full: bool, progress: Progress) -> Figures:
    figures = Figures(machine=describe(Database(site.server, "postgres")), full=full)
    progress("install the contenders")
    databases = {contender.name: site.create(contender.name) for contender in CONTENDERS}
    for contender in CONTENDERS:
        contender.install(databases[contender.name])

    for work, condition, chosen in form.cells:
        contenders = [contender for contender in chosen if work in contender.jobs]
        readings, errors = measure(
            site, databases, contenders, work, condition, rounds=form.rounds, seconds=form.seconds
        )
        figures.readings += readings
        figures.errors += errors
        progress(f"{work.title}: {report.in_words(condition)}")
        for contender in contenders:
            rates = [reading.rate for reading in readings if reading.contender == contender.name]
            print(f"{'':10}{contender.label:24} {report.spread(rates)} a second", flush=True)
        for error in errors:
            print(f"{'':10}{error}", flush=True)

    progress("wake-ups")
    with ExitStack() as stack:
        copies = {c.name: stack.enter_context(site.copy(databases[c.name])) for c in (FLOW_SIGNAL, DBOS_SEND, ABSURD)}
        figures.wakes = asyncio.run(wake.measure(copies, form.rounds, form.wakes))
    progress("a run of 100,000 waiters")
    with site.copy(databases[FLOW_SIGNAL.name]) as database:
        times = deliver_times(database.conninfo(), calls=1000)
    figures.run_size = {
        kind: [round(percentile(seconds, percent) * 1e6, 1) for percent in (50, 99)] for kind, seconds in times.items()
    }
    progress(f"tables of up to {max(form.sizes):,} rows")
    growing = [FLOW_SIGNAL, BARE_TABLE]
    figures.sizes = growth.deliver_by_size(site, databases, growing, form.sizes, rounds=form.rounds, calls=1000)
    progress(f"churn of {form.churn_steps * form.churn * BASE.clients:,} lifecycles")
    with site.copy(databases[FLOW_SIGNAL.name]) as database:
        figures.churn = growth.churn(site, database, FLOW_SIGNAL, steps=form.churn_steps, calls=form.churn)
    progress("churn under an old snapshot")
    with site.copy(databases[FLOW_SIGNAL.name]) as database:
        figures.snapshot_churn = growth.churn(
            site, database, FLOW_SIGNAL, steps=form.churn_steps, calls=form.churn // 5, snapshot=True
        )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure flow-signal beside its rivals; write docs/performance.md.")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--full", action="store_true", help="all that is measured, in some hours")
    choice.add_argument("--report", action="store_true", help="only build the page from the figures that were kept")
    options = parser.parse_args()
    progress = Progress()
    if options.report:
        figures = Figures.load(FIGURES)
    else:
        with (
            tempfile.TemporaryDirectory() as folder,
            # In a folder that is named, the server flushes.
            EmbeddedServer(data_dir=Path(folder) / "data", settings=settings()) as server,
        ):
            figures = take(Site(server), FULL if options.full else QUICK, options.full, progress)
        figures.save(FIGURES)
    plots.draw(figures, PAGE.parent / "images")
    PAGE.write_text(report.build(figures))
    progress(f"written: {PAGE.relative_to(ROOT)}")
    for title, wanted, measured, verdict in report.goal_rows(figures):
        print(f"{title:66} {wanted:14} {measured:26} {verdict}")


if __name__ == "__main__":
    main()
