"""A delivery costs about the same however many waiters the run has."""

import statistics

from bench.run_size import SMALL, deliver_times


def test_deliver_in_a_run_of_100_000_waiters(database: str) -> None:
    # The best of some attempts: other load on the machine can only make a ratio worse.
    worst = []
    for _ in range(3):
        times = deliver_times(database, calls=400)
        medians = {kind: statistics.median(seconds) for kind, seconds in times.items()}
        worst.append(max(medians[large] / medians[small] for large, small in SMALL.items()))
        if worst[-1] <= 1.4:
            return
    raise AssertionError(f"a delivery costs {worst} times as much as in a small run")
