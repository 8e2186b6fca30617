"""The limit: a table with nothing but its primary key, and a function that does nothing."""

from __future__ import annotations

from bench.rivals.contenders.contender import PAYLOAD, Contender, Job, Work
from bench.rivals.site import ROLE

# Room on the pages, so that every update is a HOT update.
TABLE = f"""
CREATE TABLE waiters (
    run_id uuid NOT NULL,
    step_key text NOT NULL,
    signal_name text NOT NULL,
    created_at timestamptz NOT NULL,
    delivered_at timestamptz,
    payload_json text,
    PRIMARY KEY (run_id, step_key)
) WITH (fillfactor = 70);
ALTER TABLE waiters OWNER TO {ROLE};
INSERT INTO waiters SELECT md5(n::text)::uuid, 'other', 'signal', now() FROM generate_series(-1000, -1) AS n
"""
FUNCTION = """
CREATE FUNCTION nothing(p_run_id uuid, p_signal_name text, p_payload_json text) RETURNS text LANGUAGE plpgsql AS
'BEGIN RETURN NULL; END'"""
REGISTER = "INSERT INTO waiters VALUES (md5(:n)::uuid, 'step', 'signal', now());"
DELIVER = """
UPDATE waiters SET delivered_at = now(), payload_json = :payload WHERE run_id = md5(:n)::uuid AND step_key = 'step';"""
GET = """
SELECT signal_name, created_at, delivered_at, payload_json
FROM waiters WHERE run_id = md5(:n)::uuid AND step_key = 'step';"""
REMOVE = "DELETE FROM waiters WHERE run_id = md5(:n)::uuid AND step_key = 'step';"

WAIT = """
INSERT INTO waiters
SELECT md5(n::text)::uuid, 'step', 'signal', now() FROM generate_series(%(first)s::bigint, %(last)s) AS n"""
DELIVERED = f"SELECT count(*) = %(count)s FROM waiters WHERE step_key = 'step' AND payload_json = {PAYLOAD}"
NONE = "SELECT count(*) = 0 FROM waiters WHERE step_key = 'step'"

BARE_TABLE = Contender(
    name="bare_table",
    label="bare table",
    install=lambda database: database.execute(TABLE),
    jobs={
        Work.LIFECYCLE: Job(script=REGISTER + DELIVER + GET + REMOVE, done=NONE),
        Work.DELIVER: Job(script=DELIVER, before=WAIT, done=DELIVERED),
    },
)

EMPTY_CALL = Contender(
    name="empty_call",
    label="empty function",
    install=lambda database: database.execute(FUNCTION),
    jobs={Work.DELIVER: Job(script="SELECT nothing(md5(:n)::uuid, 'signal', :payload);", done="SELECT true")},
)
