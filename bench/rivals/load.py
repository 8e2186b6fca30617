"""The load driver: pgbench, which leaves the processors to the server that is measured."""

from __future__ import annotations

import json
import random
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from psycopg.conninfo import make_conninfo

from bench.rivals.site import ROLE, Database

# A client's first transactions are not measured: they fill its caches and settle its plans.
WARM_UP = 8
PREAMBLE = r"""
\set i :i + 1
\set n :first + :stride * permute(:i * :clients + :client_id, :clients * :calls)
\if :i = 0
SELECT payload FROM bench_load.payload \gset
\endif
\if :i = :warm_up
SELECT bench_load.mark(:client_id);
\endif
"""
EPILOGUE = r"""
\if :i = :calls - 1
SELECT bench_load.mark(:client_id);
\endif
"""
# Each client's own rate, added up: who ends early takes nothing from the others' figures.
MEASURED = """
SELECT sum(%(calls)s / extract(epoch FROM seconds))::float, (sum(cpu) / %(calls)s / count(*) / 1000)::float, count(*)
FROM (SELECT max(at) - min(at) AS seconds, max(cpu) - min(cpu) AS cpu FROM bench_load.mark GROUP BY client) AS client
"""


class LoadError(Exception):
    """A statement failed; what pgbench says of it."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """prepared: statements are prepared once; else parsed and planned at each call, as Npgsql and poolers do.
    flush: synchronous_commit. payload: bytes."""

    clients: int = 8
    prepared: bool = True
    flush: bool = True
    payload: int = 100


@dataclass(frozen=True)
class Measured:
    rate: float
    """Transactions a second, of all clients."""
    cpu: float
    """Microseconds of CPU that the server process of a client used for one transaction."""
    latencies: list[int]
    """Microseconds of each transaction, if they were asked for."""


def payload(size: int) -> str:
    """JSON text of so many bytes, which is neither all alike nor incompressible."""
    frame = len(json.dumps({"data": ""}))
    return json.dumps({"data": random.Random(size).randbytes(size).hex()[: size - frame]})


def run(
    pgbench: Path,
    database: Database,
    script: str,
    condition: Condition,
    *,
    calls: int,
    first: int = 0,
    stride: int = 1,
    latencies: bool = False,
) -> Measured:
    """Run the script `calls` times in each client, the first WARM_UP times unmeasured.

    :n is `first` and the numbers that follow at intervals of `stride`, in random order, each once.
    """
    database.execute("TRUNCATE bench_load.payload, bench_load.mark")
    database.execute("INSERT INTO bench_load.payload VALUES (%(payload)s)", payload=payload(condition.payload))
    variables = {
        **{"i": -1, "calls": calls, "first": first, "stride": stride},
        **{"clients": condition.clients, "warm_up": WARM_UP},
    }
    options = f"-c synchronous_commit={'on' if condition.flush else 'off'}"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "script.sql"
        file.write_text(PREAMBLE + script + EPILOGUE)
        command = [
            *(pgbench, "--no-vacuum", "--file", file, "--protocol", "prepared" if condition.prepared else "extended"),
            *("--client", str(condition.clients), "--transactions", str(calls)),
            *(f"--define={name}={value}" for name, value in variables.items()),
            *(["--log"] if latencies else []),
            make_conninfo(database.conninfo(ROLE), options=options),
        ]
        result = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)
        if result.returncode != 0:
            raise LoadError(next(line for line in result.stderr.splitlines() if "error" in line))
        lines = [line.split() for log in Path(folder).glob("pgbench_log.*") for line in log.read_text().splitlines()]
    [(rate, cpu, clients)] = database.execute(MEASURED, calls=calls - WARM_UP)
    assert clients == condition.clients
    # The transactions with a mark or the payload in them are left out.
    return Measured(rate, cpu, [int(line[2]) for line in lines if WARM_UP + 1 < int(line[1]) < calls])
