"""The way of FlowOrchestrator's PostgreSQL store: its table, and statements that do what it does."""

from __future__ import annotations

from bench.rivals.contenders.contender import PAYLOAD, Contender, Job, Work
from bench.rivals.site import ROLE

TABLE = f"""
CREATE TABLE waiters (
    run_id uuid NOT NULL,
    step_key varchar(256) NOT NULL,
    signal_name varchar(256) NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    delivered_at timestamptz,
    payload_json text,
    PRIMARY KEY (run_id, step_key)
);
CREATE INDEX ON waiters (run_id, signal_name);
ALTER TABLE waiters OWNER TO {ROLE};
INSERT INTO waiters SELECT md5(n::text)::uuid, 'other', 'signal' FROM generate_series(-1000, -1) AS n
"""
REGISTER = """
INSERT INTO waiters (run_id, step_key, signal_name, created_at, expires_at)
VALUES (md5(:n)::uuid, 'step', 'signal', now(), NULL)
ON CONFLICT (run_id, step_key) DO UPDATE SET signal_name = excluded.signal_name, expires_at = excluded.expires_at;"""
# \aset keeps what a statement returned, if it returned a row.
DELIVER = r"""
\set done 0
WITH oldest AS (
    SELECT run_id, step_key FROM waiters
    WHERE run_id = md5(:n)::uuid AND signal_name = 'signal' AND delivered_at IS NULL
    ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE waiters AS w SET delivered_at = now(), payload_json = :payload FROM oldest AS o
WHERE w.run_id = o.run_id AND w.step_key = o.step_key
RETURNING w.step_key, w.delivered_at, 1 AS done \aset
\if :done = 0
SELECT step_key, delivered_at FROM waiters
WHERE run_id = md5(:n)::uuid AND signal_name = 'signal' ORDER BY created_at LIMIT 1;
\endif"""
GET = """
SELECT run_id, step_key, signal_name, created_at, expires_at, delivered_at, payload_json
FROM waiters WHERE run_id = md5(:n)::uuid AND step_key = 'step';"""
REMOVE = "DELETE FROM waiters WHERE run_id = md5(:n)::uuid AND step_key = 'step';"

WAIT = """
INSERT INTO waiters (run_id, step_key, signal_name)
SELECT md5(n::text)::uuid, 'step', 'signal' FROM generate_series(%(first)s::bigint, %(last)s) AS n"""
GIVE = "UPDATE waiters SET delivered_at = now(), payload_json = 'true' WHERE step_key = 'step'"
COUNT = "SELECT count(*) = %(count)s FROM waiters WHERE step_key = 'step' AND payload_json = {}"
NONE = "SELECT count(*) = 0 FROM waiters WHERE step_key = 'step'"

ORIGIN = Contender(
    name="origin",
    label="FlowOrchestrator's way",
    install=lambda database: database.execute(TABLE),
    jobs={
        Work.LIFECYCLE: Job(script=REGISTER + DELIVER + GET + REMOVE, done=NONE),
        Work.DELIVER: Job(script=DELIVER, before=WAIT, done=COUNT.format(PAYLOAD)),
        Work.ALREADY_DELIVERED: Job(script=DELIVER, before=f"{WAIT}; {GIVE}", done=COUNT.format("'true'")),
        Work.NOT_FOUND: Job(script=DELIVER, done=NONE),
    },
)
