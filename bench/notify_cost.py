"""Compare deliver_signal to waiters without a wake channel with the same function without any NOTIFY in it.

python bench/notify_cost.py [--rounds N] [--seconds N] [--senders N] [--flush]

The bench makes a copy of the function in its own server and cuts the NOTIFY out. Senders (a process each) deliver to
waiters that were registered before; the two functions take turns, in pairs whose order alternates, and the ratio is
taken in each pair. For information also with a part of the waiters asking for a NOTIFY, with one session that listens.
Printed are deliveries per second and the ratio to the function without NOTIFY (median and spread of the pairs), and
server CPU of one delivery by a single sender. --flush: on disk, flushed at every commit.
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

FULL, CUT = "deliver_signal", "deliver_without_notify"
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
Pair = tuple[tuple[float, float], tuple[float, float]]

CHUNK = 250
"""Waiters that a sender has registered at a time."""


def make_copy(connection: psycopg.Connection[tuple[str]]) -> None:
    query = "SELECT pg_get_functiondef('flow_signal_v1.deliver_signal'::regproc)"
    [[source]] = connection.execute(query).fetchall()
    notify = r"\n *IF v_waiter\.wake_channel IS NOT NULL THEN.*?END IF;"
    cut, cuts = re.subn(notify, "", source.replace(f"flow_signal_v1.{FULL}", f"flow_signal_v1.{CUT}"), flags=re.DOTALL)
    cut = re.sub(r", w\.wake_channel\b", "", cut)
    assert cuts == 1, cut
    assert not re.search("pg_notify|wake_channel", cut), cut
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
        make_copy(self.connection)
        self.connection.execute("LISTEN bench")
        self.senders: list[Connection] = []
        for _ in range(senders):
            orders, other_end = multiprocessing.Pipe()
            process = multiprocessing.get_context("spawn").Process(target=sender, args=(conninfo, other_end))
            process.start()
            stack.callback(process.join)
            stack.callback(orders.send, None)
            self.senders.append(orders)

    def run(self, function: str, percent: int, seconds: float, senders: int | None = None) -> tuple[float, float]:
        """Return the deliveries per second of all senders, and the mean CPU of one delivery in microseconds."""
        busy = self.senders[:senders]
        for orders in busy:
            orders.send((function, percent, seconds))
        answers = [orders.recv() for orders in busy]
        for _ in self.connection.notifies(timeout=0):
            pass
        self.connection.execute("TRUNCATE flow_signal.flow_signal_waiters")
        return sum(rate for rate, _ in answers), statistics.mean(cpu for _, cpu in answers)

    def pairs(self, rounds: int, percent: int, seconds: float, senders: int | None = None) -> list[Pair]:
        """Return pairs of what `run` measured for CUT and FULL."""
        self.run(FULL, percent, seconds / 4, senders)
        self.run(CUT, percent, seconds / 4, senders)
        taken = []
        for number in range(rounds):
            order = (CUT, FULL) if number % 2 else (FULL, CUT)
            measured = {function: self.run(function, percent, seconds, senders) for function in order}
            taken.append((measured[CUT], measured[FULL]))
        return taken


def show(name: str, pairs: list[tuple[float, float]], unit: str) -> None:
    ratios = [full / cut for cut, full in pairs]
    cut, full = (statistics.median(values) for values in zip(*pairs, strict=True))
    spread = f"({min(ratios):.2f}-{max(ratios):.2f})"
    print(f"{name:34} {cut:9,.1f} {full:9,.1f} {unit:5} {statistics.median(ratios):6.3f} {spread}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--senders", type=int, default=8)
    parser.add_argument("--flush", action="store_true")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "data" if options.flush else None
        server = stack.enter_context(EmbeddedServer(data_dir=folder))
        migrate.migrate(server.conninfo())
        bench = Bench(server.conninfo(), options.senders, stack)
        print(f"{options.senders} senders, {options.rounds} pairs, {'flush' if options.flush else 'no flush'}")
        print(f"{'':34}   without      with          ratio (min-max of the pairs)")
        for percent in (0, 10, 100):
            pairs = bench.pairs(
                options.rounds if percent == 0 else max(3, options.rounds // 3), percent, options.seconds
            )
            show(f"{percent} % ask for a channel", [(cut[0], full[0]) for cut, full in pairs], "/s")
        pairs = bench.pairs(options.rounds, 0, options.seconds, 1)
        show("0 %, one sender, CPU of a delivery", [(cut[1], full[1]) for cut, full in pairs], "us")


if __name__ == "__main__":
    main()
