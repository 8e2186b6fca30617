"""The pictures of docs/performance.md."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench.rivals import figures as f
from bench.rivals.contenders import BARE_TABLE, CONTENDERS, EMPTY_CALL, FLOW_SIGNAL, ORIGIN
from bench.rivals.contenders.contender import Contender, Work
from bench.rivals.figures import Figures
from bench.rivals.goals import BASE, UNPREPARED, rate
from bench.rivals.report import changed, number, other_conditions

OURS, LIMIT, RIVAL, INK, FAINT = "#0f766e", "#b6c2cc", "#d97757", "#1f2933", "#e4e7eb"
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "flow-signal",
}
WIDTH = 9.5
THOUSANDS = FuncFormatter(lambda value, _: f"{value:,.0f}")


def color(contender: Contender) -> str:
    return {FLOW_SIGNAL.name: OURS, BARE_TABLE.name: LIMIT}.get(contender.name, RIVAL)


def bars(figures: Figures, work: Work) -> Figure:
    """Rate and server CPU by contender, prepared above unprepared. An empty function would squeeze all others."""
    shown = [c for c in CONTENDERS if c is not EMPTY_CALL and figures.of(work, c, BASE)]
    figure = Figure(figsize=(WIDTH, 0.9 + 0.62 * len(shown)))
    for axes, value, title in zip(
        figure.subplots(1, 2, sharey=True),
        ("rate", "cpu"),
        ("a second, 8 clients (more is better)", "server CPU, µs (less is better)"),
        strict=True,
    ):
        for condition, offset, alpha in ((BASE, -0.19, 1.0), (UNPREPARED, 0.19, 0.45)):
            for place, contender in enumerate(shown):
                values = [getattr(reading, value) for reading in figures.of(work, contender, condition)]
                if values:
                    bar(axes, place + offset, values, color(contender), alpha)
        axes.set_title(title)
        axes.xaxis.set_major_formatter(THOUSANDS)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis="y", visible=False)
        axes.margins(x=0.14)
        axes.set_yticks(range(len(shown)), [contender.label for contender in shown])
        axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    figure.supxlabel("dark: prepared, light: unprepared; median, smallest and largest of the rounds", fontsize=8.5)
    return figure


def bar(axes: Axes, place: float, values: Sequence[float], color: str, alpha: float) -> None:
    median = statistics.median(values)
    axes.barh(place, median, height=0.34, color=color, alpha=alpha)
    axes.hlines(place, min(values), max(values), color=INK, linewidth=1)
    axes.annotate(
        number(median), (max(values), place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8.5
    )


def batches(figures: Figures) -> Figure:
    figure = Figure(figsize=(WIDTH, 3.4))
    axes = figure.subplots()
    for works, label, color in (
        ((Work.DELIVER, Work.DELIVER_10, Work.DELIVER_100, Work.DELIVER_1000), "deliver_signals", OURS),
        ((Work.REGISTER_10, Work.REGISTER_100, Work.REGISTER_1000), "register_waiters", RIVAL),
    ):
        measured = {work.signals: [r.rate for r in figures.of(work, FLOW_SIGNAL, BASE)] for work in works}
        with_spread(axes, {size: rates for size, rates in measured.items() if rates}, label, color)
    axes.set(xscale="log", xlabel="in one call (1: the single call)", title="runs served a second, 8 clients")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(THOUSANDS)
    axes.yaxis.set_major_formatter(THOUSANDS)
    axes.legend()
    return figure


def with_spread(axes: Axes, values: dict[int, list[float]], label: str, color: str, style: str = "-") -> None:
    """A line through the medians in a band from the smallest to the largest."""
    places = sorted(values)
    axes.plot(places, [statistics.median(values[p]) for p in places], style, marker="o", color=color, label=label)
    axes.fill_between(
        places, [min(values[p]) for p in places], [max(values[p]) for p in places], color=color, alpha=0.15, linewidth=0
    )


def wakes(figures: Figures) -> Figure:
    figure = Figure(figsize=(WIDTH, 3.2))
    axes = figure.subplots()
    names = list(dict.fromkeys(reading.name for reading in figures.wakes))
    for place, name in enumerate(names):
        readings = [reading for reading in figures.wakes if reading.name == name]
        low, median, high = (statistics.median(getattr(r, value) for r in readings) for value in ("p5", "p50", "p95"))
        shade = OURS if name in (f.OURS_SYNC, f.OURS_ASYNC) else LIMIT if "NOTIFY" in name else RIVAL
        axes.plot([low, high], [place, place], color=shade, linewidth=7, alpha=0.35, solid_capstyle="round")
        axes.plot(median, place, "o", color=shade, markersize=9)
        axes.annotate(
            f"{number(median)} ms", (high, place), xytext=(10, 0), textcoords="offset points", va="center", fontsize=8.5
        )
    axes.set_yticks(range(len(names)), names)
    axes.set(xscale="log", xlabel="ms; median, and from the 5th to the 95th percentile")
    axes.set_title("from COMMIT to the return of who waits (less is better)")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.12)
    axes.invert_yaxis()
    return figure


def growth(figures: Figures) -> Figure:
    figure = Figure(figsize=(WIDTH, 3.4))
    axes = figure.subplots()
    for contender in (FLOW_SIGNAL, BARE_TABLE):
        for value, style in (("p50", "-"), ("p99", "--")):
            by_rows: dict[int, list[float]] = {}
            for reading in figures.sizes:
                if reading.contender == contender.name:
                    by_rows.setdefault(reading.rows, []).append(getattr(reading, value))
            with_spread(axes, by_rows, f"{contender.label}, {value}", color(contender), style)
    axes.set(xscale="log", xlabel="waiting rows", title="one delivery, µs (less is better)")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(THOUSANDS)
    axes.legend(ncols=2)
    return figure


def churn(figures: Figures) -> Figure:
    figure = Figure(figsize=(WIDTH, 4.6))
    runs = [readings for readings in (figures.churn, figures.snapshot_churn) if readings]
    grid = figure.subplots(2, len(runs), sharex="col", sharey="row", squeeze=False)
    for (above, below), readings in zip(grid.T, runs, strict=True):
        lifecycles = [reading.lifecycles for reading in readings]
        above.plot(lifecycles, [reading.rate for reading in readings], color=OURS)
        for name, shade in (("table", OURS), ("index", RIVAL)):
            sizes = [getattr(reading, f"{name}_bytes") / 2**20 for reading in readings]
            below.plot(lifecycles, sizes, color=shade, label=name)
        held = [reading.lifecycles for reading in readings if reading.snapshot]
        if held:
            for axes in (above, below):
                axes.axvspan(held[0], held[-1], color=LIMIT, alpha=0.3, linewidth=0)
        above.set_title("a second (grey: an old snapshot is open)" if held else "lifecycles a second")
        below.set_title("MiB on disk")
        below.set_xlabel("lifecycles so far")
        below.xaxis.set_major_formatter(THOUSANDS)
        above.yaxis.set_major_formatter(THOUSANDS)
        below.legend()
    # Only now that all is drawn: from then on the shared axis keeps its top.
    for axes in grid[:, 0]:
        axes.set_ylim(bottom=0)
    return figure


def conditions(figures: Figures) -> Figure:
    """How our rate compares under each condition."""
    measured = other_conditions(figures)
    figure = Figure(figsize=(WIDTH, 1.4 + 0.4 * len(measured)))
    for axes, work, title in zip(
        figure.subplots(1, 2, sharey=True), (Work.DELIVER, Work.LIFECYCLE), ("deliver", "lifecycle"), strict=True
    ):
        for rival, offset in ((BARE_TABLE, 0.12), (ORIGIN, -0.12)):
            for place, condition in enumerate(measured):
                if ratios := rate(work, condition, rival)(figures):
                    axes.hlines(place + offset, min(ratios), max(ratios), color=color(rival), linewidth=3, alpha=0.5)
                    axes.plot(statistics.median(ratios), place + offset, "o", color=color(rival), markersize=8)
        axes.axvline(1, color=INK, linewidth=1)
        axes.set_yticks(range(len(measured)), [changed(condition) for condition in measured])
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(left=0)
        axes.set_title(f"{title}: our rate by theirs")
        axes.grid(axis="y", visible=False)
    axes.invert_yaxis()
    for rival in (ORIGIN, BARE_TABLE):
        axes.plot([], "o", color=color(rival), label=rival.label)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


PLOTS: dict[str, Callable[[Figures], Figure]] = {
    "deliver": lambda figures: bars(figures, Work.DELIVER),
    "lifecycle": lambda figures: bars(figures, Work.LIFECYCLE),
    "batches": batches,
    "conditions": conditions,
    "wake": wakes,
    "growth": growth,
    "churn": churn,
}


def draw(figures: Figures, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(STYLE):
        for name, plot in PLOTS.items():
            plot(figures).savefig(folder / f"{name}.svg", metadata={"Date": None})
