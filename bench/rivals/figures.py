"""What was measured, as the report reads it and as it is kept in a file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.rivals.contenders.contender import Contender, Work
from bench.rivals.load import Condition
from bench.rivals.machine import Machine

BARE_SYNC, BARE_ASYNC = "LISTEN/NOTIFY", "LISTEN/NOTIFY, async"
OURS_SYNC, OURS_ASYNC = "FlowSignalStore.wait", "AsyncWaitHub.wait"
DBOS, ABSURD = "DBOS.recv", "absurd's worker"
"""Who is woken."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One contender in one round. rate: runs served a second by all clients. cpu: server microseconds for one run."""

    work: str
    contender: str
    condition: Condition
    round: int
    rate: float
    cpu: float


@dataclass(frozen=True, kw_only=True)
class WakeReading:
    """Milliseconds from a commit to the return of who waited, in one round."""

    name: str
    round: int
    p5: float
    p50: float
    p95: float


@dataclass(frozen=True, kw_only=True)
class SizeReading:
    """Microseconds of a delivery in a table of so many waiting rows, in one round."""

    contender: str
    rows: int
    round: int
    p50: float
    p99: float


@dataclass(frozen=True, kw_only=True)
class ChurnReading:
    """`lifecycles`: how many there were at the end of this reading. snapshot: whether an old one was open."""

    lifecycles: int
    snapshot: bool
    rate: float
    cpu: float
    table_bytes: int
    index_bytes: int


@dataclass
class Figures:
    """errors: what ended a round of a contender. run_size: microseconds of a delivery by kind of run, p50 and p99."""

    machine: Machine
    full: bool
    readings: list[Reading] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    wakes: list[WakeReading] = field(default_factory=list)
    sizes: list[SizeReading] = field(default_factory=list)
    run_size: dict[str, list[float]] = field(default_factory=dict)
    churn: list[ChurnReading] = field(default_factory=list)
    snapshot_churn: list[ChurnReading] = field(default_factory=list)

    def of(self, work: Work, contender: Contender, condition: Condition) -> list[Reading]:
        """The readings by round; none if it was not measured."""
        wanted = (work.name, contender.name, condition)
        return [reading for reading in self.readings if (reading.work, reading.contender, reading.condition) == wanted]

    def save(self, path: Path) -> None:
        one_a_line = json.dumps(asdict(self)).replace("}, {", "},\n{").replace("}], ", "}],\n")
        path.write_text(one_a_line + "\n")

    @classmethod
    def load(cls, path: Path) -> Figures:
        stored = json.loads(path.read_text())
        stored["machine"] = Machine(**stored["machine"])
        stored["readings"] = [
            Reading(**{**reading, "condition": Condition(**reading["condition"])}) for reading in stored["readings"]
        ]
        stored["wakes"] = [WakeReading(**reading) for reading in stored["wakes"]]
        stored["sizes"] = [SizeReading(**reading) for reading in stored["sizes"]]
        for name in ("churn", "snapshot_churn"):
            stored[name] = [ChurnReading(**reading) for reading in stored[name]]
        return cls(**stored)


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that is not less than so many percent of them."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
