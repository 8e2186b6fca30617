"""Compare today's SQL with that of a release: WAL, batches, and what eight clients get done.

python bench/against_release.py SCRIPT [--rounds N] [--seconds N]

SCRIPT is the installation script of a release, one of tests_sql/upgrade/releases. Both are installed in databases of
one server, without full page images and autovacuum, and take turns. Printed for each, and as a ratio: the bytes of WAL
of a lone lifecycle (register, deliver, get, remove), the server's CPU for batches of 1,000 (medians), and the
transactions a second of pgbench with eight clients, flushed to disk and prepared (median of the rounds' ratios).
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import tempfile
from pathlib import Path
from uuid import uuid4

import psycopg
from backend_cpu import backend_cpu

from flow_signal import migrate
from flow_signal.embedded import EmbeddedServer

PAYLOAD = '{"approved": true, "by": "somebody", "comment": "as we said on the telephone, so be it, and more"}'
CALL = "SELECT * FROM flow_signal_v1."
REGISTER_MANY = f"{CALL}register_waiters(%s::uuid[], %s::text[], %s::text[])"
DELIVER_MANY = f"{CALL}deliver_signals(%s::uuid[], %s::text[], %s::text[])"
MANY = 1000
OWN_RUN = "md5(:a::text || '-' || :b::text)::uuid"
ONE_RUN = "'00000000-0000-0000-0000-000000000001'::uuid"
LOADS = {
    "lifecycle": (OWN_RUN, ["register w", "deliver", "get w", "remove w"]),
    "two waiters of one signal": (OWN_RUN, ["register w", "register x", "deliver", "deliver", "remove w", "remove x"]),
    "eight engines on one signal": (ONE_RUN, ["register own", "deliver", "remove own"]),
}


def statement(act: str, run: str) -> str:
    verb, *step = act.split()
    step_key = "'w' || :client_id::text || '-' || :a::text" if step == ["own"] else f"'{' '.join(step)}'"
    if verb == "register":
        return f"{CALL}register_waiter({run}, {step_key}, 'go');"
    if verb == "deliver":
        return f"{CALL}deliver_signal({run}, 'go', '{PAYLOAD}');"
    return f"{CALL}{verb}_waiter({run}, {step_key});"


def script(run: str, acts: list[str]) -> str:
    lines = ["\\set a random(0, 1000000000000)", "\\set b random(0, 1000000000000)"]
    return "\n".join([*lines, *(statement(act, run) for act in acts)])


def wal_of_lifecycle(conn: psycopg.Connection[tuple[object, ...]], calls: int = 500) -> float:
    begun = lsn(conn)
    for _ in range(calls):
        run = uuid4()
        conn.execute(f"{CALL}register_waiter(%s, 'w', 'go')".encode(), [run])
        conn.execute(f"{CALL}deliver_signal(%s, 'go', %s)".encode(), [run, PAYLOAD])
        conn.execute(f"{CALL}get_waiter(%s, 'w')".encode(), [run])
        conn.execute(f"{CALL}remove_waiter(%s, 'w')".encode(), [run])
    return (lsn(conn) - begun) / calls


def lsn(conn: psycopg.Connection[tuple[object, ...]]) -> int:
    row = conn.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").fetchone()
    assert row
    return int(str(row[0]))


def batches(conn: psycopg.Connection[tuple[object, ...]], runs: int) -> tuple[float, float]:
    """Milliseconds of CPU to register and to deliver MANY, over that many runs."""
    ids = [uuid4() for _ in range(runs)] * (MANY // runs)
    steps = [f"step {n}" for n in range(MANY)]
    taken = []
    for query, last in ((REGISTER_MANY, None), (DELIVER_MANY, PAYLOAD)):
        arguments = [ids, steps, ["go"] * MANY] if last is None else [ids, ["go"] * MANY, [last] * MANY]
        begun = backend_cpu(conn)
        conn.execute(query.encode(), arguments)
        taken.append((backend_cpu(conn) - begun) / 1000)
    conn.execute("DELETE FROM flow_signal.flow_signal_waiters")
    return taken[0], taken[1]


def rate(server: EmbeddedServer, database: str, file: Path, seconds: int) -> float:
    """Transactions a second."""
    arguments = ["-n", "-M", "prepared", "-c", "8", "-j", "2", "-T", str(seconds), "-f", file]
    place = ["-h", server.socket_dir, "-p", str(server.port), "-U", "postgres", database]
    done = subprocess.run([f"{server.bin_dir}/pgbench", *arguments, *place], capture_output=True, text=True, check=True)
    return float(re.findall(r"tps = ([\d.]+)", done.stdout)[-1])


def show(what: str, then: float, now: float, ratio: float | None = None) -> None:
    print(f"{what:56}{then:10,.1f}{now:10,.1f}{now / then if ratio is None else ratio:8.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("script", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=5)
    options = parser.parse_args()
    scripts = {"former": options.script.read_text(), "now": migrate.script()}
    settings = {"full_page_writes": "off", "autovacuum": "off", "max_wal_size": "8GB"}
    with EmbeddedServer(settings=settings) as server, tempfile.TemporaryDirectory() as folder:
        with psycopg.connect(server.conninfo(), autocommit=True) as admin:
            for name in scripts:
                admin.execute(f"CREATE DATABASE {name}".encode())
        # A connection each, with its plans, which the turns leave as they are.
        conns = {name: psycopg.connect(server.conninfo(name), autocommit=True) for name in scripts}
        for name, text in scripts.items():
            conns[name].execute(text.encode())
        print(f"PostgreSQL {conns['now'].info.parameter_status('server_version')}")
        print(f"{'':56}{options.script.stem[-10:]:>10}{'now':>10}{'ratio':>8}")
        for conn in conns.values():
            wal_of_lifecycle(conn, 20)
        show("WAL of a lone lifecycle, bytes", *(wal_of_lifecycle(conns[name]) for name in ("former", "now")))
        for label, runs in ((f"{MANY} runs", MANY), ("one run and signal", 1)):
            found: dict[str, list[tuple[float, float]]] = {"former": [], "now": []}
            for _ in range(3 * options.rounds):
                for name, conn in conns.items():
                    found[name].append(batches(conn, runs))
            for n, verb in enumerate(("register", "deliver")):
                medians = [statistics.median(each[n] for each in found[name]) for name in ("former", "now")]
                show(f"{verb} a batch of {MANY}, {label}, ms CPU", *medians)
        for label, (run, acts) in LOADS.items():
            file = Path(folder, "load.sql")
            file.write_text(script(run, acts))
            rounds = [
                [rate(server, name, file, options.seconds) for name in ("former", "now")] for _ in range(options.rounds)
            ]
            medians = [statistics.median(each) for each in zip(*rounds, strict=True)]
            show(f"{label}, 8 clients, 1/s", *medians, statistics.median(now / then for then, now in rounds))
        for conn in conns.values():
            conn.close()


if __name__ == "__main__":
    main()
