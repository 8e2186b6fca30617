"""absurd, with the statements that its Python SDK sends. In a lifecycle each client works off a queue of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench.rivals.contenders.contender import PAYLOAD, Contender, Job, Work
from bench.rivals.site import ROLE, Database

QUEUE = "'q' || :client_id"
QUEUES = range(32)
SPAWN = f"SELECT task_id, run_id, attempt FROM absurd.spawn_task({QUEUE}, 'wait', '{{}}', '{{}}');"
CLAIM_COLUMNS = """
    run_id, task_id, attempt, task_name, params, retry_strategy, max_attempts, headers, wake_event, event_payload"""
CLAIM = f"""
SELECT {CLAIM_COLUMNS} FROM absurd.claim_task({QUEUE}, 'worker', 120, 1) \\gset
SELECT checkpoint_name, state, status, owner_run_id, updated_at
FROM absurd.get_task_checkpoint_states({QUEUE}, :task_id, :run_id);"""
AWAIT = f"""
SELECT should_suspend, payload
FROM absurd.await_event({QUEUE}, :task_id, :run_id, '$awaitEvent:' || md5(:n), md5(:n), NULL);"""
EMIT = "SELECT absurd.emit_event({}, md5(:n), :payload);"
COMPLETE = f"SELECT absurd.complete_run({QUEUE}, :run_id, :payload);"

SPAWN_ALL = """
SELECT count(s.task_id)
FROM generate_series(%(first)s::bigint, %(last)s) AS n
CROSS JOIN LATERAL absurd.spawn_task('default', 'wait', to_jsonb(n)) AS s"""
WAIT = f"""{SPAWN_ALL};
SELECT count(a.should_suspend)
FROM (
    SELECT c.task_id, c.run_id, md5((%(first)s::bigint - 1 + row_number() OVER ())::text) AS event
    FROM absurd.claim_task('default', 'worker', 86400, %(last)s - %(first)s + 1) AS c
) AS task
CROSS JOIN LATERAL absurd.await_event(
    'default', task.task_id, task.run_id, '$awaitEvent:' || task.event, task.event
) AS a"""
OVER = " UNION ALL ".join(
    f"SELECT t.state, c.state AS awaited FROM absurd.t_q{n} AS t INNER JOIN absurd.c_q{n} AS c USING (task_id)"
    for n in QUEUES
)
WORKED_OFF = f"""
SELECT count(*) = %(count)s FROM ({OVER}) AS task WHERE state = 'completed' AND awaited = {PAYLOAD}::jsonb"""
DELIVERED = f"""
SELECT count(*) = %(count)s
FROM absurd.t_default AS t INNER JOIN absurd.c_default AS c USING (task_id)
WHERE t.state = 'pending' AND c.state = {PAYLOAD}::jsonb"""


def install(database: Database) -> None:
    command: list[str | Path] = [Path(sys.executable).with_name("absurdctl"), "init", "--database", database.url()]
    path = f"{database.server.bin_dir}{os.pathsep}{os.environ['PATH']}"  # for its psql
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PATH": path})
    for queue in ("default", *(f"q{n}" for n in QUEUES)):
        database.execute(f"SELECT absurd.create_queue('{queue}')", ROLE)
    database.execute(WAIT, first=-1000, last=-1)


ABSURD = Contender(
    name="absurd",
    label="absurd",
    install=install,
    jobs={
        Work.LIFECYCLE: Job(script=SPAWN + CLAIM + AWAIT + EMIT.format(QUEUE) + CLAIM + COMPLETE, done=WORKED_OFF),
        Work.DELIVER: Job(script=EMIT.format("'default'"), before=WAIT, done=DELIVERED),
        Work.EARLY: Job(script=EMIT.format(QUEUE) + SPAWN + CLAIM + AWAIT + COMPLETE, done=WORKED_OFF),
        Work.CLAIM: Job(
            script=f"SELECT {CLAIM_COLUMNS} FROM absurd.claim_task('default', 'worker', 120, 100);",
            before=SPAWN_ALL,
            done="SELECT count(*) = %(count)s FROM absurd.t_default WHERE state = 'running'",
        ),
    },
)
