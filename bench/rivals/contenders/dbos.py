"""DBOS: the statement of its Python client's send, its SQL function send_message, and what recv has to do at least."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.rivals.contenders.contender import PAYLOAD, Contender, Job, Work
from bench.rivals.site import Database

START = "SELECT dbos.enqueue_workflow('wait', 'queue', workflow_id => md5(:n));"
SEND = """
BEGIN;
INSERT INTO dbos.notifications (destination_uuid, topic, message, message_uuid, serialization)
VALUES (md5(:n), 'signal', :payload, md5(:n), 'portable_json') ON CONFLICT (message_uuid) DO NOTHING;
COMMIT;"""
SEND_MESSAGE = "SELECT dbos.send_message(md5(:n), :payload, 'signal');"
# The library besides looks for what it recorded before, and whether it still owns the workflow.
RECEIVE = """
BEGIN;
UPDATE dbos.notifications SET consumed = true, consumed_by_function_id = 1
WHERE destination_uuid = md5(:n) AND topic = 'signal' AND consumed = false AND message_uuid = (
    SELECT message_uuid FROM dbos.notifications
    WHERE destination_uuid = md5(:n) AND topic = 'signal' AND consumed = false
    ORDER BY created_at_epoch_ms LIMIT 1
) RETURNING message, serialization;
INSERT INTO dbos.operation_outputs (workflow_uuid, function_id, function_name, output, serialization)
VALUES (md5(:n), 1, 'DBOS.recv', :payload, 'portable_json');
COMMIT;"""
FINISH = "UPDATE dbos.workflow_status SET status = 'SUCCESS' WHERE workflow_uuid = md5(:n);"

WAIT = """
SELECT count(dbos.enqueue_workflow('wait', 'queue', workflow_id => md5(n::text)))
FROM generate_series(%(first)s::bigint, %(last)s) AS n"""
SENT = f"SELECT count(*) = %(count)s FROM dbos.notifications WHERE message = {PAYLOAD}"
FINISHED = f"""
SELECT count(*) = %(count)s
FROM dbos.notifications AS n
INNER JOIN dbos.workflow_status AS w ON w.workflow_uuid = n.destination_uuid
INNER JOIN dbos.operation_outputs AS o USING (workflow_uuid)
WHERE n.consumed AND w.status = 'SUCCESS' AND o.output = {PAYLOAD}"""


def install(database: Database) -> None:
    command: list[str | Path] = [Path(sys.executable).with_name("dbos"), "migrate", "--sys-db-url", database.url()]
    subprocess.run(command, check=True, capture_output=True)
    database.execute(WAIT, first=-1000, last=-1)


DBOS_SEND = Contender(
    name="dbos",
    label="DBOS send",
    install=install,
    jobs={
        Work.LIFECYCLE: Job(script=START + SEND + RECEIVE + FINISH, done=FINISHED),
        Work.DELIVER: Job(script=SEND, before=WAIT, done=SENT),
    },
)

DBOS_SEND_MESSAGE = Contender(
    name="dbos_function",
    label="DBOS send_message()",
    install=install,
    jobs={Work.DELIVER: Job(script=SEND_MESSAGE, before=WAIT, done=SENT)},
)
