"""Compare deliveries in a run with 100,000 waiters with deliveries in runs of one or two.

python bench/run_size.py [--calls N]

The big runs: 100,000 waiters for one signal, and one waiter for each of 100,000 signals. Beside them runs of
one waiter, and runs of two for one signal of which the second gets it. The four are delivered to in turn on one
connection, each call a transaction of its own, without a flush. Printed: median, first and last tenth of the calls in
microseconds as the client sees them, and the median by that of the small run of that kind.
"""

from __future__ import annotations

import argparse
import statistics
import time
import uuid

import psycopg

from flow_signal.embedded import EmbeddedServer
from flow_signal.migrate import migrate

WAITERS = 100_000
REGISTER = """
SELECT count(*)
FROM generate_series(1, %(count)s) AS i
CROSS JOIN LATERAL flow_signal_v1.register_waiter(
    p_run_id => %(run)s, p_step_key => 'step ' || i, p_signal_name => 'go' || {suffix}
) AS w"""
SMALL = {"100,000 for one signal": "two for one signal", "100,000 signals": "one waiter"}
DELIVER = """
SELECT status FROM flow_signal_v1.deliver_signal(p_run_id => %s, p_signal_name => %s, p_payload_json => '{}')"""


def deliver_times(conninfo: str, calls: int) -> dict[str, list[float]]:
    """Seconds of each call, by kind of run."""
    one_signal, many_signals = uuid.uuid4(), uuid.uuid4()
    small = [(uuid.uuid4(), uuid.uuid4()) for _ in range(calls)]
    times: dict[str, list[float]] = {"one waiter": [], "two for one signal": [], **{kind: [] for kind in SMALL}}
    with psycopg.connect(conninfo, autocommit=True) as conn:
        conn.execute("SET synchronous_commit = off")
        conn.execute(REGISTER.format(suffix="''"), {"run": one_signal, "count": WAITERS})
        conn.execute(REGISTER.format(suffix="i"), {"run": many_signals, "count": WAITERS})
        conn.execute(DELIVER, (one_signal, "go"))
        for one, two in small:
            conn.execute(REGISTER.format(suffix="''"), {"run": one, "count": 1})
            conn.execute(REGISTER.format(suffix="''"), {"run": two, "count": 2})
            conn.execute(DELIVER, (two, "go"))
        for number, (one, two) in enumerate(small, start=1):
            targets = [(one, "go"), (two, "go"), (one_signal, "go"), (many_signals, f"go{number}")]
            for kind, arguments in zip(times, targets, strict=True):
                start = time.perf_counter()
                row = conn.execute(DELIVER, arguments, prepare=True).fetchone()
                times[kind].append(time.perf_counter() - start)
                assert row == ("delivered",)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=5000)
    calls = parser.parse_args().calls
    with EmbeddedServer() as server:
        migrate(server.conninfo())
        times = deliver_times(server.conninfo(), calls)
    print(f"{'a run of':20} median us   first tenth   last tenth   ratio")
    for kind, seconds in times.items():
        tenth = max(len(seconds) // 10, 1)
        median, first, last = (statistics.median(part) for part in (seconds, seconds[:tenth], seconds[-tenth:]))
        ratio = median / statistics.median(times[SMALL.get(kind, kind)])
        print(f"{kind:20} {median * 1e6:9.0f} {first * 1e6:13.0f} {last * 1e6:12.0f} {ratio:7.2f}")


if __name__ == "__main__":
    main()
