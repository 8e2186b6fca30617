"""The page is built from figures; what it says of a goal follows from them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench.rivals import figures as f
from bench.rivals import goals, report
from bench.rivals.contenders import FLOW_SIGNAL, ORIGIN
from bench.rivals.contenders.contender import Contender, Work
from bench.rivals.figures import ChurnReading, Figures, Reading, SizeReading, WakeReading, percentile
from bench.rivals.goals import BASE, UNPREPARED, Goal
from bench.rivals.load import Condition
from bench.rivals.machine import Machine

MACHINE = Machine(
    day="2000-01-01",
    commit="0123456789",
    cpu="abacus",
    cores=2,
    memory_gib=1.5,
    system="none",
    load=0.0,
    flush=1.25,
    postgresql="18.0",
    settings={"max_wal_size": "8GB"},
    packages={"dbos": "1.0"},
)


def read(work: Work, contender: Contender, condition: Condition, rates: list[float]) -> list[Reading]:
    return [
        Reading(work=work.name, contender=contender.name, condition=condition, round=n, rate=rate, cpu=1e6 / rate)
        for n, rate in enumerate(rates)
    ]


@pytest.fixture
def figures() -> Figures:
    churn = [
        ChurnReading(
            lifecycles=n * 1000, snapshot=n == 2, rate=100.0, cpu=5.0, table_bytes=2**20, index_bytes=n * 2**20
        )
        for n in (1, 2, 3)
    ]
    return Figures(
        machine=MACHINE,
        full=True,
        readings=[
            *read(Work.DELIVER, FLOW_SIGNAL, BASE, [2000, 1800, 4400]),
            *read(Work.DELIVER, ORIGIN, BASE, [1000, 1000, 2000]),
            *read(Work.DELIVER_1000, FLOW_SIGNAL, BASE, [20_000, 18_000, 4400]),
            *read(Work.DELIVER, FLOW_SIGNAL, replace(BASE, clients=32), [500]),
            *read(Work.LIFECYCLE, FLOW_SIGNAL, UNPREPARED, [100]),
            *read(Work.NOT_FOUND, ORIGIN, UNPREPARED, [77]),
        ],
        wakes=[
            WakeReading(name=name, round=n, p5=0.1, p50=p50, p95=0.9)
            for name, p50s in ((f.BARE_SYNC, [0.2, 0.4]), (f.OURS_SYNC, [0.4, 0.4]))
            for n, p50 in enumerate(p50s)
        ],
        sizes=[
            SizeReading(contender=FLOW_SIGNAL.name, rows=rows, round=n, p50=p50, p99=9.0)
            for rows, p50s in ((10, [1.0, 2.0]), (1000, [1.5, 2.0]))
            for n, p50 in enumerate(p50s)
        ],
        run_size={"one waiter": [1.0, 2.0]},
        churn=churn,
        snapshot_churn=churn,
    )


def test_a_round_that_failed_is_left_out(figures: Figures) -> None:
    figures.readings = [reading for reading in figures.readings if (reading.contender, reading.round) != ("origin", 1)]
    figures.errors = ["origin, deliver: deadlock"]
    assert goals.rate(Work.DELIVER, BASE, ORIGIN)(figures) == [2.0, 2.2]
    assert "left out: \n* origin, deliver: deadlock\n" in report.build(figures)


def goal(title: str) -> Goal:
    [goal] = [goal for goal in goals.GOALS if goal.title.startswith(title)]
    return goal


def test_ratios_are_taken_within_a_round(figures: Figures) -> None:
    assert goals.rate(Work.DELIVER, BASE, ORIGIN)(figures) == [2.0, 1.8, 2.2]
    assert goals.cpu(Work.DELIVER, BASE, ORIGIN)(figures) == pytest.approx([1 / 2, 1 / 1.8, 1 / 2.2])
    assert goal("deliver 1,000 a call").ratios(figures) == [10.0, 10.0, 1.0]
    assert goal("wake-up: FlowSignalStore").ratios(figures) == [2.0, 1.0]
    assert goal("deliver: p50").ratios(figures) == [1.5, 1.0]
    assert goal("lifecycle: rate after").ratios(figures) == [1.0]
    assert goal("lifecycle: bytes").ratios(figures) == [2.0]


@pytest.mark.parametrize(
    ("bound", "target", "verdict"),
    [
        ("at least", 2.0, "reached"),
        ("at least", 2.01, "missed"),
        ("at most", 2.0, "reached"),
        ("at most", 1.99, "missed"),
    ],
)
def test_the_median_of_the_rounds_decides(figures: Figures, bound: str, target: float, verdict: str) -> None:
    ratios = goals.rate(Work.DELIVER, BASE, ORIGIN)
    assert Goal("", bound, target, ratios).verdict(figures) == verdict  # type: ignore[arg-type]


def test_what_was_not_measured_is_neither_reached_nor_missed(figures: Figures) -> None:
    assert goal("lifecycle, prepared: rate against a bare").verdict(figures) == "not measured"
    assert goal("deliver: p50").verdict(figures) == "reached"
    figures.full = False
    assert goal("deliver: p50").verdict(figures) == "not measured"


def test_figures_are_kept_whole(figures: Figures, tmp_path: Path) -> None:
    figures.save(tmp_path / "figures.json")
    assert Figures.load(tmp_path / "figures.json") == figures


def test_the_page_says_what_the_figures_do(figures: Figures) -> None:
    page = report.build(figures)
    for text in (
        "| machine | abacus, 2 cores, 1.5 GiB, none |",
        "| flow-signal | 2,000 (1,800-4,400) |  | 500 (227-556) |  |",
        "| FlowOrchestrator's way | 1,000 (1,000-2,000) | 2.00 (1.80-2.20) |",
        "| deliver 1,000 a call: signals a second against one a call | at least 8 | 10.0 (1.00-10.0) | reached |",
        "| lifecycle: bytes on disk after 5 million against 500,000 | at most 1.5 | 2.00 (2.00-2.00) | missed |",
        "**deliver**, 32 clients:",
        "| deliver to nobody: not_found, unprepared | FlowOrchestrator's way | 77.0 (77.0-77.0) |",
        "| FlowSignalStore.wait | 0.40 (0.40-0.40) | 0.90 (0.90-0.90) | 1.50 (1.00-2.00) |",
        "| flow-signal | 1,000 | 1.75 (1.50-2.00) | 9.00 (9.00-9.00) |",
        "| 2,000 | with a snapshot, open | 100 | 5.00 | 1.0 | 2.0 |",
    ):
        assert text in page


def test_a_page_of_nothing_says_so(figures: Figures) -> None:
    page = report.build(Figures(machine=MACHINE, full=False))
    assert page.count("| not measured |") == len(goals.GOALS)
    assert "`make bench`" in page


def test_each_picture_of_the_page_is_drawn(figures: Figures, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: make bench does it")
    from bench.rivals import plots

    plots.draw(figures, tmp_path)
    linked = re.findall(r"\(images/(.*)\)", report.build(figures))
    assert sorted(linked) == sorted(path.name for path in tmp_path.iterdir())


def test_percentiles() -> None:
    assert [percentile(range(1, 101), percent) for percent in (0, 50, 99, 100)] == [1, 51, 100, 100]
