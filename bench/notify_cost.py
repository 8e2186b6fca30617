"""Compare deliver_signal to waiters without a wake channel with the same function without any NOTIFY in it.

python bench/notify_cost.py [--pairs N] [--seconds N] [--senders N] [--flush]

The bench makes copies of the function in its own server and cuts the NOTIFY out. Senders (a process each) deliver to
waiters that were registered before; two functions take turns, in pairs whose order alternates, and the ratio is taken
in each pair. The first line compares two equal copies: that is the noise. For information also with a part of the
waiters asking for a NOTIFY, with one session that listens. Printed are deliveries per second and the server's CPU time
of one delivery, each as the median without and with NOTIFY, and the median and the quartiles of the pairs' ratios.
--flush: on disk, flushed at every commit.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import statistics
import tempfile
import time
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path

import psycopg
from backend_cpu import backend_cpu

from flow_signal import migrate
from flow_signal.embedded import EmbeddedServer

FULL, CUT, CONTROL = "deliver_signal", "deliver_without_notify", "deliver_without_notify_again"
DELIVER = (
    "SELECT d.status FROM flow_signal_v1.{}(p_run_id => %s, p_signal_name => 'signal', p_payload_json => 'true') AS d"
)
REGISTER = """
SELECT w.run_id
FROM generate_series(0, %s - 1) AS n
CROSS JOIN LATERAL flow_signal_v1.register_waiter(
    p_run_id => gen_random_uuid(), p_step_key => 'step', p_signal_name => 'signal',
    p_wake_channel => CASE WHEN n %% 100 < %s THEN 'bench' END
) AS w
"""
Measured = tuple[float, float]
"""Deliveries per second of all senders, and the mean CPU time of one in microseconds."""

CHUNK = 250
"""Waiters that a sender has registered at a time."""


def make_copy(connection: psycopg.Connection[tuple[str]], name: str) -> None:
    for function, copy in (
        ("flow_signal.record_delivery", f"flow_signal.{name}"),
        (f"flow_signal_v1.{FULL}", f"flow_signal_v1.{name}"),
    ):
        [[source]] = connection.execute("SELECT pg_get_functiondef(%s::regproc)", [function]).fetchall()
        notify = r"\n *IF v_wake_channel IS NOT NULL THEN.*?END IF;"
        cut, cuts = re.subn(notify, "", source.replace(function, copy), flags=re.DOTALL)
        cut = re.sub(r"\n *RETURNING w\.wake_channel INTO v_wake_channel", "", cut)
        cut = cut.replace("flow_signal.record_delivery(", f"flow_signal.{name}(")
        assert cuts == (function == "flow_signal.record_delivery"), cut
        assert "pg_notify" not in cut, cut
        connection.execute(cut.encode())


def sender(conninfo: str, orders: Connection) -> None:
    """For each order (function, percent that ask, seconds): deliver, and tell how many a second, and CPU of one."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("SET plan_cache_mode = force_generic_plan")
        while order := orders.recv():
            function, percent, seconds = order
            statement = DELIVER.format(function)
            delivered = 0
            spent = cpu = 0.0
            while spent < seconds:
                runs = connection.execute(REGISTER, [CHUNK, percent], prepare=True).fetchall()
                cpu_before = backend_cpu(connection)
                began = time.perf_counter()
                for run in runs:
                    connection.execute(statement, run, prepare=True)
                spent += time.perf_counter() - began
                cpu += backend_cpu(connection) - cpu_before
                delivered += len(runs)
            orders.send((delivered / spent, cpu / delivered))


class Bench:
    def __init__(self, conninfo: str, senders: int, stack: ExitStack) -> None:
        self.connection = stack.enter_context(psycopg.connect(conninfo, autocommit=True))
        for name in (CUT, CONTROL):
            make_copy(self.connection, name)
        self.connection.execute("LISTEN bench")
        self.senders: list[Connection] = []
        for _ in range(senders):
            orders, other_end = multiprocessing.Pipe()
            process = multiprocessing.get_context("spawn").Process(target=sender, args=(conninfo, other_end))
            process.start()
            stack.callback(process.join)
            stack.callback(orders.send, None)
            self.senders.append(orders)

    def run(self, function: str, percent: int, seconds: float) -> Measured:
        for orders in self.senders:
            orders.send((function, percent, seconds))
        answers = [orders.recv() for orders in self.senders]
        for _ in self.connection.notifies(timeout=0):
            pass
        self.connection.execute("TRUNCATE flow_signal.flow_signal_waiters")
        return sum(rate for rate, _ in answers), statistics.mean(cpu for _, cpu in answers)

    def pairs(self, function: str, percent: int, pairs: int, seconds: float) -> list[tuple[Measured, Measured]]:
        """Return what was measured for CUT and the function, pair by pair."""
        taken = []
        for number in range(pairs + 1):
            order = (CUT, function) if number % 2 else (function, CUT)
            measured = {name: self.run(name, percent, seconds) for name in order}
            if number:  # the first pair warms up
                taken.append((measured[CUT], measured[function]))
        return taken


def show(name: str, pairs: list[tuple[Measured, Measured]]) -> None:
    for column, unit in enumerate(("/s", "us CPU")):
        without, with_notify = (statistics.median(pair[side][column] for pair in pairs) for side in (0, 1))
        quartiles = statistics.quantiles([pair[1][column] / pair[0][column] for pair in pairs], n=4)
        low, median, high = (f"{value:.3f}" for value in quartiles)
        print(f"{name:28} {without:9,.1f} {with_notify:9,.1f} {unit:7} {median} ({low}-{high})", flush=True)
        name = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each side of a pair")
    parser.add_argument("--senders", type=int, default=8)
    parser.add_argument("--flush", action="store_true")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "data" if options.flush else None
        server = stack.enter_context(EmbeddedServer(data_dir=folder))
        migrate.migrate(server.conninfo())
        bench = Bench(server.conninfo(), options.senders, stack)
        print(f"{options.senders} senders, {options.pairs} pairs, {'flush' if options.flush else 'no flush'}")
        print(f"{'':28}   without      with          ratio (quartiles)")
        for name, function, percent in (
            ("control: without twice", CONTROL, 0),
            ("0 % ask for a channel", FULL, 0),
            ("10 % ask for a channel", FULL, 10),
            ("100 % ask for a channel", FULL, 100),
        ):
            show(name, bench.pairs(function, percent, options.pairs, options.seconds))


if __name__ == "__main__":
    main()
