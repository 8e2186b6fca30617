"""Measure flow-signal beside its rivals and write docs/performance.md.

python -m bench.rivals [--full | --report | --work WORK ...]

The quick form takes some five minutes, the full one three quarters of an hour. Every figure is kept in
bench/rivals/figures.json; --report builds the page from there without measuring. --work measures little and writes
nothing: for who tunes.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
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
    rounds=5,
    seconds=1,
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


BEGAN = time.monotonic()


def progress(text: str) -> None:
    print(f"{time.monotonic() - BEGAN:6.0f} s  {text}", flush=True)


class Measurement:
    """The stages of a measurement; each adds to the figures."""

    def __init__(self, site: Site, form: Form, figures: Figures) -> None:
        self.site = site
        self.form = form
        self.figures = figures
        progress("install the contenders")
        self.databases = {contender.name: site.create(contender.name) for contender in CONTENDERS}
        for contender in CONTENDERS:
            contender.install(self.databases[contender.name])

    def copy(self) -> AbstractContextManager[Database]:
        return self.site.copy(self.databases[FLOW_SIGNAL.name])

    def calls(self) -> None:
        form = self.form
        for work, condition, chosen in form.cells:
            progress(f"{work.title}: {report.in_words(condition)}")
            contenders = [contender for contender in chosen if work in contender.jobs]
            readings, errors = measure(
                self.site, self.databases, contenders, work, condition, rounds=form.rounds, seconds=form.seconds
            )
            self.figures.readings += readings
            self.figures.errors += errors
            for contender in contenders:
                taken = [reading for reading in readings if reading.contender == contender.name]
                rate, cpu = (report.spread([getattr(r, value) for r in taken]) for value in ("rate", "cpu"))
                print(f"{'':10}{contender.label:24} {rate:26} a second, server CPU {cpu} us", flush=True)
            for error in errors:
                print(f"{'':10}{error}", flush=True)

    def wakes(self) -> None:
        progress("wake-ups")
        with ExitStack() as stack:
            copies = {
                contender.name: stack.enter_context(self.site.copy(self.databases[contender.name]))
                for contender in (FLOW_SIGNAL, DBOS_SEND, ABSURD)
            }
            self.figures.wakes = asyncio.run(wake.measure(copies, self.form.rounds, self.form.wakes))

    def sizes(self) -> None:
        progress("a run of 100,000 waiters")
        with self.copy() as database:
            times = deliver_times(database.conninfo(), calls=1000)
        self.figures.run_size = {
            kind: [round(percentile(seconds, percent) * 1e6, 1) for percent in (50, 99)]
            for kind, seconds in times.items()
        }
        progress(f"tables of up to {max(self.form.sizes):,} rows")
        self.figures.sizes = growth.deliver_by_size(
            self.site,
            self.databases,
            (FLOW_SIGNAL, BARE_TABLE),
            self.form.sizes,
            rounds=self.form.rounds,
            calls=1000,
        )

    def churn(self) -> None:
        steps, calls = self.form.churn_steps, self.form.churn
        progress(f"churn of {steps * calls * BASE.clients:,} lifecycles")
        with self.copy() as database:
            self.figures.churn = growth.churn(self.site, database, FLOW_SIGNAL, steps=steps, calls=calls)
        progress("churn under an old snapshot")
        with self.copy() as database:
            self.figures.snapshot_churn = growth.churn(
                self.site, database, FLOW_SIGNAL, steps=steps, calls=calls // 5, snapshot=True
            )


@contextmanager
def start_site() -> Iterator[Site]:
    with (
        tempfile.TemporaryDirectory() as folder,
        # In a folder that is named, the server flushes.
        EmbeddedServer(data_dir=Path(folder) / "data", settings=settings()) as server,
    ):
        yield Site(server)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure flow-signal beside its rivals; write docs/performance.md.")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--full", action="store_true", help="all that is measured, in three quarters of an hour")
    choice.add_argument("--report", action="store_true", help="only build the page from the figures that were kept")
    choice.add_argument("--work", nargs="+", metavar="WORK", help="only print what is measured of this: deliver, ...")
    options = parser.parse_args()
    if options.work:
        works = [Work[name.upper()] for name in options.work]
        cells = [(work, condition, CONTENDERS) for work in works for condition in (BASE, UNPREPARED)]
        with start_site() as site:
            Measurement(site, replace(QUICK, cells=cells), Figures(machine=describe(site), full=False)).calls()
        return
    if not options.report:
        with start_site() as site:
            figures = Figures(machine=describe(site), full=options.full)
            measurement = Measurement(site, FULL if options.full else QUICK, figures)
            for stage in (measurement.calls, measurement.wakes, measurement.sizes, measurement.churn):
                stage()
                figures.save(FIGURES)
    figures = Figures.load(FIGURES)
    plots.draw(figures, PAGE.parent / "images")
    PAGE.write_text(report.build(figures))
    progress(f"written: {PAGE.relative_to(ROOT)}")
    for title, wanted, measured, verdict in report.goal_rows(figures):
        print(f"{title:66} {wanted:14} {measured:26} {verdict}")


if __name__ == "__main__":
    main()
