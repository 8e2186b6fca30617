"""Count the instructions that a call costs the server: a figure without noise, to compare bodies with one another.

python bench/instructions.py [--source SCRIPT] [--call TEXT]

Runs a single-user PostgreSQL under callgrind (needs valgrind): (240 calls minus 40 calls) / 200, each committed, and
the loop around them taken off. So neither the client, the kernel nor parsing is counted. Beside the functions: the
statements of FlowOrchestrator's store in minimal functions of their own (SECURITY DEFINER, a pinned search_path, a
composite row), which is what any package of stored procedures would cost at least, and the same statements bare.
--source installs another script than today's, for instance one of tests_sql/upgrade/releases. --call measures only the
calls whose name contains the text.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from pathlib import Path

import psycopg

from flow_signal import migrate
from flow_signal.embedded import EmbeddedServer

RUNS, FEW = 240, 40
PAYLOAD = '{"approved": true, "by": "somebody", "comment": "as we said on the telephone, so be it, and more"}'
SEND = f"deliver_signal(r, 'go', '{PAYLOAD}')"
SEND_ID = f"deliver_signal(r, 'go', '{PAYLOAD}', 'id')"
SEND_EARLY = f"deliver_signal(r, 'go', '{PAYLOAD}', NULL, '2999-01-01')"
WAIT = "register_waiter(r, 'step', 'go')"
WAIT_TOO = "register_waiter(r, 'second', 'go')"
WAIT_UNTIL = "register_waiter(r, 'step', 'go', '2999-01-01')"
OVERDUE = "register_waiter(r, 'step', 'go', '2000-01-01')"
GET = "get_waiter(r, 'step')"
REMOVE = "remove_waiter(r, 'step')"
ISSUE = "issue_token(r, 'step')"
# A token whose text follows from the run: to make it costs a call some 3,000 instructions.
SECRET = "repeat(md5(r::text), 2)"
KNOWN_TOKEN = f"""INSERT INTO flow_signal.flow_signal_tokens (run_id, token_hash, step_key, signal_name, registered_at)
SELECT r, sha256(decode({SECRET}, 'hex')), 'step', 'go', w.created_at
FROM flow_signal.flow_signal_waiters AS w WHERE w.run_id = r"""
TOKEN = f"concat('fst_', replace(r::text, '-', ''), '_', {SECRET})"
REDEEM = f"redeem_token({TOKEN}, '{PAYLOAD}')"
# name of a call -> (calls made before, for each run; the call)
CALLS: dict[str, tuple[tuple[str, ...], str]] = {
    "register, first of its signal": ((), WAIT),
    "register, second": ((WAIT,), WAIT_TOO),
    "register again, the same": ((WAIT,), WAIT),
    "register again, new deadline": ((WAIT,), WAIT_UNTIL),
    "register takes a buffered signal": ((SEND_EARLY,), WAIT),
    "deliver, lone": ((WAIT,), SEND),
    "deliver, first of two": ((WAIT, WAIT_TOO), SEND),
    "deliver, second of two": ((WAIT, WAIT_TOO, SEND), SEND),
    "deliver with an id": ((WAIT,), SEND_ID),
    "deliver, the same id again": ((WAIT, SEND_ID), SEND_ID),
    "deliver, already_delivered": ((WAIT, SEND), SEND),
    "deliver, expired": ((OVERDUE, SEND), SEND),
    "deliver, not_found": ((), SEND),
    "deliver, buffered": ((), SEND_EARLY),
    "token, issue": ((WAIT,), ISSUE),
    "token, describe": ((WAIT, KNOWN_TOKEN), f"describe_token({TOKEN})"),
    "token, redeem": ((WAIT, KNOWN_TOKEN), REDEEM),
    "token, redeem again": ((WAIT, KNOWN_TOKEN, REDEEM), REDEEM),
    "token, redeem an unknown one": ((WAIT,), REDEEM),
    "token, redeem no token": ((WAIT,), f"redeem_token(repeat('x', 101), '{PAYLOAD}')"),
    "token, revoke": ((WAIT, KNOWN_TOKEN), "revoke_tokens(r, 'step')"),
    "get": ((WAIT,), GET),
    "remove": ((WAIT, SEND), REMOVE),
}
LIFECYCLE = "register, first of its signal", "deliver, lone", "get", "remove"
TABLES = f"""
CREATE TABLE runs AS SELECT gen_random_uuid() AS run_id FROM generate_series(1, {RUNS});
CREATE TABLE origin (
    run_id uuid, step_key text, signal_name text, created_at timestamptz DEFAULT now(), expires_at timestamptz,
    delivered_at timestamptz, payload_json text, PRIMARY KEY (run_id, step_key)
);
CREATE INDEX ON origin (run_id, signal_name);
ALTER TABLE origin OWNER TO flow_signal_owner;
GRANT CREATE ON SCHEMA public TO flow_signal_owner
"""
STATEMENTS = {
    "register": """INSERT INTO public.origin (run_id, step_key, signal_name) VALUES ({run}, 'step', 'go')
ON CONFLICT (run_id, step_key) DO UPDATE SET signal_name = excluded.signal_name""",
    "deliver": """WITH oldest AS (
SELECT run_id, step_key FROM public.origin WHERE run_id = {run} AND signal_name = 'go' AND delivered_at IS NULL
ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED
) UPDATE public.origin AS w SET delivered_at = now(), payload_json = '{payload}' FROM oldest AS o
WHERE w.run_id = o.run_id AND w.step_key = o.step_key""".replace("{payload}", PAYLOAD),
    "get": "SELECT * FROM public.origin WHERE run_id = {run} AND step_key = 'step'",
    "remove": "DELETE FROM public.origin WHERE run_id = {run} AND step_key = 'step'",
}
BEFORE_STATEMENT = {"register": (), "deliver": ("register",), "get": ("register",), "remove": ("register",)}
FUNCTION = """CREATE FUNCTION public.origin_{name}(p_run_id uuid) RETURNS SETOF public.origin ROWS 1
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $f$ BEGIN RETURN QUERY {body}; END $f$;
ALTER FUNCTION public.origin_{name} OWNER TO flow_signal_owner"""
LOOP = """DO $$ DECLARE r uuid; runs CONSTANT uuid[] := ARRAY(SELECT run_id FROM runs LIMIT {calls});
BEGIN FOREACH r IN ARRAY runs LOOP {call}; COMMIT; END LOOP; END $$"""


class Callgrind:
    def __init__(self, server: EmbeddedServer, folder: Path) -> None:
        self.data = Path(server.data_dir)
        self.postgres = [f"{server.bin_dir}/postgres", "--single", "-c", "fsync=off", "-c", "autovacuum=off", "-D"]
        self.user = self.data.stat().st_uid
        self.folder = folder

    def count(self, before: list[str], call: str) -> float:
        """The instructions of one call, with its commit."""
        return (self.run(before, call, RUNS) - self.run(before, call, FEW)) / (RUNS - FEW)

    def run(self, before: list[str], call: str, calls: int) -> int:
        statements = [*(LOOP.format(call=each, calls=RUNS) for each in before), LOOP.format(call=call, calls=calls)]
        copy = self.folder / "copy"
        subprocess.run(["cp", "-a", self.data, copy], check=True)
        done = subprocess.run(
            [
                "valgrind",
                "--tool=callgrind",
                f"--callgrind-out-file={self.folder}/out",
                *self.postgres,
                copy,
                "postgres",
            ],
            input="".join(" ".join(statement.split()) + ";\n" for statement in statements),
            capture_output=True,
            text=True,
            check=True,
            user=self.user,
            cwd="/",
        )
        subprocess.run(["rm", "-rf", copy], check=True)
        if "ERROR" in done.stderr:
            raise SystemExit(done.stderr)
        return int(re.findall(r"Collected : (\d+)", done.stderr)[0])


def install(conn: psycopg.Connection, script: str) -> str:
    # So slow, every delivery of 1.0 would look as if it had waited for a lock.
    conn.execute(script.replace("interval '1 millisecond'", "interval '1 hour'").encode())
    conn.execute(TABLES.encode())
    for name, statement in STATEMENTS.items():
        body = statement.replace("{run}", "p_run_id")
        returning = "" if name == "get" else " RETURNING w.*" if name == "deliver" else " RETURNING *"
        conn.execute(FUNCTION.format(name=name, body=body + returning).encode())
    return conn.info.parameter_status("server_version") or ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--source", type=Path, help="an installation script, as flow-signal sql prints it")
    parser.add_argument("--call", default="", help="only the calls whose name contains this")
    options = parser.parse_args()
    script = options.source.read_text() if options.source else migrate.script()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        server = EmbeddedServer(data_dir=folder / "data")
        with server, psycopg.connect(server.conninfo(), autocommit=True) as conn:
            version = install(conn, script)
        callgrind = Callgrind(server, folder)
        loop = callgrind.count([], "NULL")
        print(f"PostgreSQL {version}, instructions a call, without the {loop:,.0f} of the loop and its commit")
        counts = {}
        for call, (before, ours) in CALLS.items():
            if options.call in call:
                setup = [
                    each if " " in each.split("(")[0] else f"PERFORM * FROM flow_signal_v1.{each}" for each in before
                ]
                counts[call] = callgrind.count(setup, f"PERFORM * FROM flow_signal_v1.{ours}") - loop
                print(f"{call:36}{counts[call]:10,.0f}", flush=True)
        if counts.keys() >= set(LIFECYCLE):
            print(f"{'lifecycle':36}{sum(counts[call] for call in LIFECYCLE):10,.0f}")
        totals = [0.0, 0.0]
        for call, statement in STATEMENTS.items():
            bare = (
                ("" if call != "get" else "PERFORM * FROM (")
                + statement.replace("{run}", "r")
                + (") AS s" * (call == "get"))
            )
            function = [f"PERFORM * FROM origin_{each}(r)" for each in (*BEFORE_STATEMENT[call], call)]
            figures = callgrind.count(function[:-1], function[-1]) - loop, callgrind.count(function[:-1], bare) - loop
            totals = [total + figure for total, figure in zip(totals, figures, strict=True)]
            print(f"origin, {call:10} in a function {figures[0]:8,.0f}, bare {figures[1]:8,.0f}", flush=True)
        print(f"origin, lifecycle  in functions {totals[0]:9,.0f}, bare {totals[1]:8,.0f}")


if __name__ == "__main__":
    main()
