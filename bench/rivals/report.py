"""The page docs/performance.md, built from figures alone."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template

from bench.rivals.contenders import CONTENDERS, FLOW_SIGNAL
from bench.rivals.contenders.contender import Contender, Work
from bench.rivals.figures import BARE_SYNC, Figures, Reading
from bench.rivals.goals import BASE, GOALS, NOT_MEASURED, UNPREPARED, cpu, rate, wake
from bench.rivals.load import WARM_UP, Condition

TEMPLATE = Path(__file__).with_name("performance.md.template")
QUICK = "Not measured in the quick form."
VERDICTS = (Work.ALREADY_DELIVERED, Work.NOT_FOUND, Work.EARLY, Work.CLAIM)
BATCHES = (
    *(Work.DELIVER, Work.DELIVER_10, Work.DELIVER_100, Work.DELIVER_1000),
    *(Work.REGISTER_10, Work.REGISTER_100, Work.REGISTER_1000),
)


def number(value: float) -> str:
    """With three significant digits at least."""
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f}"


def spread(values: Sequence[float]) -> str:
    """The median, and the smallest and largest."""
    if not values:
        return ""
    return f"{number(statistics.median(values))} ({number(min(values))}-{number(max(values))})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    if len(lines) == 1:
        return QUICK
    return "\n".join([lines[0], "|---" + "|---:" * (len(head) - 1) + "|", *lines[1:]])


def in_words(condition: Condition) -> str:
    size = {100: "100 B", 10_000: "10 kB", 1_000_000: "1 MB"}[condition.payload]
    return ", ".join(
        (
            "1 client" if condition.clients == 1 else f"{condition.clients} clients",
            "prepared" if condition.prepared else "unprepared",
            f"synchronous_commit {'on' if condition.flush else 'off'}",
            f"payload {size}",
        )
    )


def changed(condition: Condition) -> str:
    """What is not as in BASE."""
    base = in_words(BASE).split(", ")
    return ", ".join(part for part in in_words(condition).split(", ") if part not in base) or "base"


def other_conditions(figures: Figures) -> list[Condition]:
    """BASE, then what was measured beside it, in the order in which it was."""
    return list(dict.fromkeys([BASE, *(reading.condition for reading in figures.readings)]))


def goal_rows(figures: Figures) -> Iterable[Sequence[str]]:
    for goal in GOALS:
        verdict = goal.verdict(figures)
        measured = "" if verdict == NOT_MEASURED else spread(goal.ratios(figures))
        yield goal.title, f"{goal.bound} {goal.target:g}", measured, verdict


def contender_rows(figures: Figures, work: Work, conditions: Sequence[Condition]) -> Iterable[Sequence[str]]:
    """One row a contender; for each condition its rate and CPU and how ours compare."""
    for contender in CONTENDERS:
        measured = [figures.of(work, contender, condition) for condition in conditions]
        if any(measured):
            yield (
                contender.label,
                *(cell for readings in measured for cell in cells(figures, work, contender, readings)),
            )


def cells(figures: Figures, work: Work, contender: Contender, readings: Sequence[Reading]) -> Sequence[str]:
    if not readings:
        return "", "", "", ""
    ours = contender is FLOW_SIGNAL
    condition = readings[0].condition
    return (
        spread([reading.rate for reading in readings]),
        "" if ours else spread(rate(work, condition, contender)(figures)),
        spread([reading.cpu for reading in readings]),
        "" if ours else spread(cpu(work, condition, contender)(figures)),
    )


COLUMNS = ("a second", "ours by theirs", "server CPU, us", "ours by theirs")


def contenders(figures: Figures, work: Work) -> str:
    """The contenders at one kind of work, prepared and unprepared."""
    return "\n\n".join(
        f"{title}:\n\n{table(('', *COLUMNS), contender_rows(figures, work, [condition]))}"
        for title, condition in (("Prepared", BASE), ("Unprepared", UNPREPARED))
    )


def conditions(figures: Figures) -> str:
    parts = [
        f"**{work.title}**, {changed(condition)}:\n\n{table(('', *COLUMNS), rows)}"
        for work in (Work.DELIVER, Work.LIFECYCLE)
        for condition in other_conditions(figures)
        if condition not in (BASE, UNPREPARED) and (rows := list(contender_rows(figures, work, [condition])))
    ]
    return "\n\n".join(parts) or "The others are not measured in the quick form."


def other_rows(figures: Figures, works: Sequence[Work]) -> Iterable[Sequence[str]]:
    for work in works:
        for contender in CONTENDERS:
            for kind, condition in (("prepared", BASE), ("unprepared", UNPREPARED)):
                readings = figures.of(work, contender, condition)
                if readings:
                    yield f"{work.title}, {kind}", contender.label, *cells(figures, work, contender, readings)


def batch_rows(figures: Figures) -> Iterable[Sequence[str]]:
    for work in BATCHES:
        if readings := figures.of(work, FLOW_SIGNAL, BASE):
            rates, times = ([getattr(r, name) for r in readings] for name in ("rate", "cpu"))
            yield work.title, spread(rates), spread(times)


def wake_rows(figures: Figures) -> Iterable[Sequence[str]]:
    for name in dict.fromkeys(reading.name for reading in figures.wakes):
        readings = [reading for reading in figures.wakes if reading.name == name]
        medians, p95s = [reading.p50 for reading in readings], [reading.p95 for reading in readings]
        yield name, spread(medians), spread(p95s), spread(wake(name, BARE_SYNC)(figures))


def growth_rows(figures: Figures) -> Iterable[Sequence[str]]:
    for contender in CONTENDERS:
        for rows in sorted({r.rows for r in figures.sizes if r.contender == contender.name}):
            readings = [r for r in figures.sizes if (r.contender, r.rows) == (contender.name, rows)]
            yield contender.label, f"{rows:,}", spread([r.p50 for r in readings]), spread([r.p99 for r in readings])


def run_size_rows(figures: Figures) -> Iterable[Sequence[str]]:
    for kind, percentiles in figures.run_size.items():
        yield kind, *map(number, percentiles)


def churn_rows(figures: Figures) -> Iterable[Sequence[str]]:
    for title, readings in (("", figures.churn), ("with a snapshot", figures.snapshot_churn)):
        for reading in readings[:: max(1, len(readings) // 10)]:
            yield (
                f"{reading.lifecycles:,}",
                f"{title}, open" if reading.snapshot else title,
                number(reading.rate),
                number(reading.cpu),
                *(f"{size / 2**20:,.1f}" for size in (reading.table_bytes, reading.index_bytes)),
            )


def build(figures: Figures) -> str:
    machine = figures.machine
    return Template(TEMPLATE.read_text()).substitute(
        command="make bench FULL=1" if figures.full else "make bench",
        form="The full form." if figures.full else "The quick form; `make bench FULL=1` measures all, in 45 minutes.",
        **{"day": machine.day, "cpu": machine.cpu, "cores": machine.cores, "memory": machine.memory_gib},
        **{"system": machine.system, "load": number(machine.load), "flush": number(machine.flush)},
        postgresql=machine.postgresql,
        settings=", ".join(f"{name} {value}" for name, value in machine.settings.items()),
        commit=machine.commit,
        packages=", ".join(f"{name} {version}" for name, version in machine.packages.items()),
        errors="".join(f"\n* {error}" for error in figures.errors) or "none.",
        goals=table(("", "wanted", "measured", ""), goal_rows(figures)),
        base=in_words(BASE),
        deliver=contenders(figures, Work.DELIVER),
        lifecycle=contenders(figures, Work.LIFECYCLE),
        other=table(("", "", *COLUMNS), other_rows(figures, VERDICTS)),
        batches=table(("", "runs a second", "server CPU of one, us"), batch_rows(figures)),
        conditions=conditions(figures),
        wake=table(("", "median, ms", "p95, ms", "by LISTEN/NOTIFY"), wake_rows(figures)),
        growth=table(("", "waiting rows", "p50", "p99"), growth_rows(figures)),
        run_size=table(("a run of", "p50, us", "p99, us"), run_size_rows(figures)),
        churn=table(
            ("lifecycles", "", "a second", "server CPU, us", "table, MiB", "indexes, MiB"), churn_rows(figures)
        ),
        warm_up=WARM_UP,
    )
