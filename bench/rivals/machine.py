"""On what it was measured."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from bench.rivals.site import Site, settings

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """load: processes that wanted to run in the minute before, which is other people's work. flush: milliseconds."""

    day: str
    commit: str
    cpu: str
    cores: int
    memory_gib: float
    system: str
    load: float
    flush: float
    postgresql: str
    settings: dict[str, str]
    packages: dict[str, str]


def describe(site: Site) -> Machine:
    [(server_version,)] = site.postgres.execute("SHOW server_version")
    return Machine(
        day=time.strftime("%Y-%m-%d"),
        commit=commit(),
        cpu=cpu_model(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        system=f"{platform.system()} {platform.release()}",
        load=round(os.getloadavg()[0], 2),
        flush=round(flush_milliseconds(), 3),
        postgresql=server_version,
        settings=settings(),
        packages={name: version(name) for name in ("absurd-sdk", "dbos", "psycopg")},
    )


def commit() -> str:
    """The commit of the sources, with a plus if they were changed since."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()

    try:
        return git("rev-parse", "--short=10", "HEAD") + (
            "+" if git("status", "--short", "sql", "python_wrapper") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def flush_milliseconds() -> float:
    """How long it takes to flush 8 kB to disk."""
    times = []
    with tempfile.TemporaryFile() as file:
        for _ in range(100):
            file.write(bytes(8192))
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000
