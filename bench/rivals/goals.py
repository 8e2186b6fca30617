"""What was wanted, as ratios within a round, and whether it was reached."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench.rivals import figures as f
from bench.rivals.contenders import ABSURD, BARE_TABLE, DBOS_SEND, DBOS_SEND_MESSAGE, FLOW_SIGNAL, ORIGIN
from bench.rivals.contenders.contender import Contender, Work
from bench.rivals.figures import Figures
from bench.rivals.load import Condition

BASE = Condition()
UNPREPARED = Condition(prepared=False)
NOT_MEASURED = "not measured"
Ratios = Callable[[Figures], list[float]]


@dataclass(frozen=True)
class Goal:
    """ratios: one a round, none if it was not measured. full: only the full form measures what the goal says."""

    title: str
    bound: Literal["at least", "at most"]
    target: float
    ratios: Ratios
    full: bool = False

    def verdict(self, figures: Figures) -> str:
        ratios = self.ratios(figures)
        if not ratios or (self.full and not figures.full):
            return NOT_MEASURED
        median = statistics.median(ratios)
        return "reached" if (median >= self.target if self.bound == "at least" else median <= self.target) else "missed"


def compare(
    value: Literal["rate", "cpu"], ours: tuple[Work, Contender, Condition], theirs: tuple[Work, Contender, Condition]
) -> Ratios:
    """By round; a round that one of them has not done is left out."""

    def ratios(figures: Figures) -> list[float]:
        rivals = {reading.round: getattr(reading, value) for reading in figures.of(*theirs)}
        return [
            getattr(reading, value) / rivals[reading.round] for reading in figures.of(*ours) if reading.round in rivals
        ]

    return ratios


def rate(work: Work, condition: Condition, rival: Contender) -> Ratios:
    """Our rate by the rival's."""
    return compare("rate", (work, FLOW_SIGNAL, condition), (work, rival, condition))


def cpu(work: Work, condition: Condition, rival: Contender) -> Ratios:
    """Our CPU time by the rival's."""
    return compare("cpu", (work, FLOW_SIGNAL, condition), (work, rival, condition))


def batch(many: Work, single: Work) -> Ratios:
    return compare("rate", (many, FLOW_SIGNAL, BASE), (single, FLOW_SIGNAL, BASE))


def wake(slow: str, fast: str) -> Ratios:
    """The median of each round of one who is woken, by that of another."""
    return lambda figures: [
        a.p50 / b.p50
        for a in figures.wakes
        for b in figures.wakes
        if (a.name, b.name) == (slow, fast) and a.round == b.round
    ]


def size(contender: Contender) -> Ratios:
    """The p50 of a delivery in the largest table by that in the smallest."""

    def by_round(figures: Figures) -> list[float]:
        readings = [reading for reading in figures.sizes if reading.contender == contender.name]
        largest, smallest = (choose((r.rows for r in readings), default=0) for choose in (max, min))
        p50 = {(reading.rows, reading.round): reading.p50 for reading in readings}
        return [p50[largest, number] / p50[smallest, number] for number in sorted({r.round for r in readings})]

    return by_round


def churn_rate(figures: Figures) -> list[float]:
    return [figures.churn[-1].rate / figures.churn[0].rate] if figures.churn else []


def churn_bytes(figures: Figures) -> list[float]:
    """The bytes at the end by those after a tenth of the way."""
    if not figures.churn:
        return []
    tenth, end = figures.churn[max(0, len(figures.churn) // 10 - 1)], figures.churn[-1]
    return [(end.table_bytes + end.index_bytes) / (tenth.table_bytes + tenth.index_bytes)]


GOALS = (
    Goal("lifecycle, unprepared: rate against the origin's", "at least", 1.3, rate(Work.LIFECYCLE, UNPREPARED, ORIGIN)),
    Goal("lifecycle, prepared: rate against the origin's", "at least", 1.0, rate(Work.LIFECYCLE, BASE, ORIGIN)),
    Goal("lifecycle, prepared: rate against a bare table's", "at least", 0.75, rate(Work.LIFECYCLE, BASE, BARE_TABLE)),
    Goal("deliver, prepared: rate against absurd's emit_event", "at least", 6, rate(Work.DELIVER, BASE, ABSURD)),
    Goal("deliver, prepared: rate against DBOS send's", "at least", 3, rate(Work.DELIVER, BASE, DBOS_SEND)),
    Goal(
        "deliver, prepared: rate against DBOS send_message()'s",
        "at least",
        2,
        rate(Work.DELIVER, BASE, DBOS_SEND_MESSAGE),
    ),
    Goal("deliver, prepared: server CPU against the origin's", "at most", 1.1, cpu(Work.DELIVER, BASE, ORIGIN)),
    Goal("deliver, prepared: server CPU against a bare update's", "at most", 1.6, cpu(Work.DELIVER, BASE, BARE_TABLE)),
    Goal("deliver, unprepared: rate against the origin's", "at least", 1.7, rate(Work.DELIVER, UNPREPARED, ORIGIN)),
    Goal(
        "deliver 1,000 a call: signals a second against one a call",
        "at least",
        8,
        batch(Work.DELIVER_1000, Work.DELIVER),
    ),
    Goal("deliver: p50 with 10 million waiting rows against 10 thousand", "at most", 1.3, size(FLOW_SIGNAL), full=True),
    Goal("lifecycle: rate after 5 million against the first 100,000", "at least", 0.9, churn_rate, full=True),
    Goal("lifecycle: bytes on disk after 5 million against 500,000", "at most", 1.5, churn_bytes, full=True),
    Goal("wake-up: FlowSignalStore.wait against LISTEN/NOTIFY", "at most", 3, wake(f.OURS_SYNC, f.BARE_SYNC)),
    Goal("wake-up: AsyncWaitHub.wait against LISTEN/NOTIFY", "at most", 3, wake(f.OURS_ASYNC, f.BARE_ASYNC)),
    Goal("wake-up: DBOS.recv against FlowSignalStore.wait", "at least", 10, wake(f.DBOS, f.OURS_SYNC)),
    Goal("wake-up: absurd's worker against FlowSignalStore.wait", "at least", 100, wake(f.ABSURD, f.OURS_SYNC)),
)
