"""Count the instructions that a call costs the server: a figure without noise, to compare bodies with one another.

python bench/instructions.py [--source SCRIPT]

Runs a single-user PostgreSQL under callgrind (needs valgrind): (600 calls minus 100 calls) / 500, each committed, and
the loop around them taken off. So neither the client, the kernel nor parsing is counted. Beside the functions stand
the statements of a bare table and those of FlowOrchestrator's store. --source installs another script than today's.
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

RUNS = 600
PAYLOAD = '{"approved": true, "by": "somebody", "comment": "as we said on the telephone, so be it, and more"}'
TABLES = f"""
CREATE TABLE runs AS SELECT gen_random_uuid() AS run_id FROM generate_series(1, {RUNS});
CREATE TABLE bare (
    run_id uuid, step_key text, signal_name text, created_at timestamptz DEFAULT now(), expires_at timestamptz,
    delivered_at timestamptz, payload_json text, PRIMARY KEY (run_id, step_key)
);
CREATE TABLE origin (LIKE bare INCLUDING ALL);
CREATE INDEX ON origin (run_id, signal_name);
"""
EMPTY = "TRUNCATE flow_signal.flow_signal_waiters, bare, origin;"
WAITING = f"""{EMPTY}
INSERT INTO flow_signal.flow_signal_waiters (run_id, step_key, signal_name, place, created_at)
SELECT run_id, 'step', 'go', 'head', now() FROM runs;
INSERT INTO bare (run_id, step_key, signal_name) SELECT run_id, 'step', 'go' FROM runs;
INSERT INTO origin SELECT * FROM bare;
"""
INSERT = "INSERT INTO {} (run_id, step_key, signal_name) VALUES (r, 'step', 'go')"
UPDATE = f"UPDATE bare SET delivered_at = now(), payload_json = '{PAYLOAD}' WHERE run_id = r AND step_key = 'step'"
SELECT = "PERFORM * FROM {} WHERE run_id = r AND step_key = 'step'"
DELETE = "DELETE FROM {} WHERE run_id = r AND step_key = 'step'"
UPSERT = f"{INSERT.format('origin')} ON CONFLICT (run_id, step_key) DO UPDATE SET signal_name = excluded.signal_name"
ORIGIN = f"""
WITH oldest AS (
    SELECT run_id, step_key FROM origin WHERE run_id = r AND signal_name = 'go' AND delivered_at IS NULL
    ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE origin AS w SET delivered_at = now(), payload_json = '{PAYLOAD}' FROM oldest AS o
WHERE w.run_id = o.run_id AND w.step_key = o.step_key"""
OURS = "PERFORM * FROM flow_signal_v1.{}"
CALLS = {
    "register": (EMPTY, OURS.format("register_waiter(r, 'step', 'go')"), INSERT.format("bare"), UPSERT),
    "deliver": (WAITING, OURS.format(f"deliver_signal(r, 'go', '{PAYLOAD}')"), UPDATE, ORIGIN),
    "deliver with an id": (WAITING, OURS.format(f"deliver_signal(r, 'go', '{PAYLOAD}', 'id')"), UPDATE, ORIGIN),
    "get": (WAITING, OURS.format("get_waiter(r, 'step')"), SELECT.format("bare"), SELECT.format("origin")),
    "remove": (WAITING, OURS.format("remove_waiter(r, 'step')"), DELETE.format("bare"), DELETE.format("origin")),
}
FUNCTION = """CREATE FUNCTION {}(uuid) RETURNS flow_signal_v1.delivery LANGUAGE plpgsql {}
AS $$ BEGIN RETURN NULL; END $$;"""
FUNCTIONS = {
    "no_options": "",
    "search_path": "SET search_path = pg_catalog, pg_temp",
    "and_enable_seqscan": "SET search_path = pg_catalog, pg_temp SET enable_seqscan = off",
    "and_definer": "SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off",
}
LOOP = """DO $$
DECLARE r uuid; runs CONSTANT uuid[] := ARRAY(SELECT run_id FROM runs LIMIT {calls});
BEGIN FOREACH r IN ARRAY runs LOOP {call}; COMMIT; END LOOP; END $$;"""


class Callgrind:
    def __init__(self, server: EmbeddedServer, folder: Path) -> None:
        self.postgres = [f"{server.bin_dir}/postgres", "--single", "-D", str(server.data_dir), "-c", "fsync=off"]
        self.user = Path(server.data_dir).stat().st_uid
        self.folder = folder

    def count(self, setup: str, call: str) -> float:
        """The instructions of one call, with its commit."""
        return (self.run(setup, call, RUNS) - self.run(setup, call, 100)) / (RUNS - 100)

    def run(self, setup: str, call: str, calls: int) -> int:
        statements = [*setup.split(";"), LOOP.format(call=call, calls=calls)]
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={self.folder}/out", *self.postgres, "postgres"],
            input="\n".join(" ".join(statement.split()) for statement in statements) + "\n",
            capture_output=True,
            text=True,
            check=True,
            user=self.user,
            cwd="/",
        )
        if "ERROR" in done.stderr:
            raise SystemExit(done.stderr)
        return int(re.findall(r"Collected : (\d+)", done.stderr)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--source", type=Path, help="an installation script, as flow-signal sql prints it")
    options = parser.parse_args()
    script = options.source.read_text() if options.source else migrate.script()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        server = EmbeddedServer(data_dir=folder / "data")
        with server, psycopg.connect(server.conninfo(), autocommit=True) as conn:
            # So slow, every delivery would look as if it had waited for a lock.
            conn.execute(script.replace("interval '1 millisecond'", "interval '1 hour'").encode())
            conn.execute(TABLES)
            for function, settings in FUNCTIONS.items():
                conn.execute(FUNCTION.format(function, settings).encode())
            version = conn.info.parameter_status("server_version")
        callgrind = Callgrind(server, folder)
        loop = callgrind.count(EMPTY, "NULL")
        print(f"PostgreSQL {version}, instructions a call, without the {loop:,.0f} of the loop and its commit")
        print(f"{'':20}{'flow-signal':>14}{'bare table':>14}{'origin':>14}")
        for what, (setup, *calls) in CALLS.items():
            counts = [callgrind.count(setup, call) - loop for call in calls]
            print(f"{what:20}" + "".join(f"{count:14,.0f}" for count in counts), flush=True)
        print("\na function that returns NULL, with these options")
        for function in FUNCTIONS:
            print(f"{function:20}{callgrind.count(EMPTY, f'PERFORM {function}(r)') - loop:14,.0f}", flush=True)


if __name__ == "__main__":
    main()
