-- why: a delivery id outlives its waiter; one lock row for each (run, signal); claims have ids;
-- a delivery has its sender
-- locks: ACCESS EXCLUSIVE on both tables, so that no call of the former release runs beside it;
-- reads both, writes each settled waiter once, builds one index: docs/operations.md has figures
LOCK TABLE flow_signal.flow_signal_waiters, flow_signal.flow_signal_buffered_signals
IN ACCESS EXCLUSIVE MODE;

CREATE TABLE flow_signal.flow_signal_locks (
    run_id uuid NOT NULL,
    signal_name text COLLATE "C" NOT NULL,
    has_buffered boolean NOT NULL DEFAULT false,
    CONSTRAINT flow_signal_locks_pkey PRIMARY KEY (run_id, signal_name)
)
WITH (fillfactor = 90);

INSERT INTO flow_signal.flow_signal_locks (run_id, signal_name, has_buffered)
SELECT DISTINCT
    b.run_id,
    b.signal_name,
    true AS has_buffered
FROM flow_signal.flow_signal_buffered_signals AS b
WHERE NOT b.dead;

CREATE TABLE flow_signal.flow_signal_receipts (
    run_id uuid NOT NULL,
    delivery_id text COLLATE "C" NOT NULL,
    signal_name text COLLATE "C" NOT NULL,
    step_key text COLLATE "C" NOT NULL,
    delivered_at timestamptz NOT NULL,
    payload_hash bytea,
    delivered_by text COLLATE "C",
    CONSTRAINT flow_signal_receipts_pkey PRIMARY KEY (run_id, delivery_id, signal_name)
);

INSERT INTO flow_signal.flow_signal_receipts (
    run_id, delivery_id, signal_name, step_key, delivered_at, payload_hash
)
SELECT
    w.run_id,
    w.delivery_id,
    w.signal_name,
    w.step_key,
    w.delivered_at,
    sha256(convert_to(w.payload_json::text, getdatabaseencoding())) AS payload_hash
FROM flow_signal.flow_signal_waiters AS w
WHERE w.delivery_id IS NOT NULL AND w.delivered_at IS NOT NULL;

CREATE TABLE flow_signal.flow_signal_settings (
    only_row boolean NOT NULL DEFAULT true,
    max_buffered integer NOT NULL DEFAULT 1000,
    -- where the view health sees a problem
    max_due_age interval NOT NULL DEFAULT '5 minutes',
    max_overdue_age interval NOT NULL DEFAULT '1 day',
    max_dead_age interval NOT NULL DEFAULT '7 days',
    max_buffered_age interval NOT NULL DEFAULT '30 days',
    max_buffered_rows bigint NOT NULL DEFAULT 100000,
    max_settled_age interval NOT NULL DEFAULT '90 days',
    max_needless_locks bigint NOT NULL DEFAULT 1000000,
    max_dead_bytes bigint NOT NULL DEFAULT 268435456,
    max_snapshot_xids bigint NOT NULL DEFAULT 1000000,
    max_notify_percent integer NOT NULL DEFAULT 50,
    CONSTRAINT flow_signal_settings_pkey PRIMARY KEY (only_row),
    CONSTRAINT flow_signal_settings_only_row_check CHECK (only_row),
    CONSTRAINT flow_signal_settings_max_buffered_check CHECK (max_buffered > 0)
);

INSERT INTO flow_signal.flow_signal_settings DEFAULT VALUES;

ALTER TABLE flow_signal.flow_signal_waiters
ADD COLUMN status text COLLATE "C" NOT NULL DEFAULT 'waiting',
ADD COLUMN claim_id uuid,
ADD COLUMN attempt integer,
ADD COLUMN delivered_by text COLLATE "C";

ALTER TABLE flow_signal.flow_signal_buffered_signals
ADD COLUMN buffered_by text COLLATE "C" NOT NULL DEFAULT '';

UPDATE flow_signal.flow_signal_waiters AS w
SET status = CASE WHEN w.delivered_at IS NULL THEN 'expired' ELSE 'delivered' END
WHERE w.delivered_at IS NOT NULL OR w.expired_at IS NOT NULL;

-- The indexes that name these columns go with them.
ALTER TABLE flow_signal.flow_signal_waiters
ALTER COLUMN status DROP DEFAULT,
DROP COLUMN place,
DROP COLUMN followed,
DROP COLUMN expired_at,
DROP COLUMN delivery_id;

-- A delivery changes the status, which is in an index, so it cannot be a HOT update.
ALTER TABLE flow_signal.flow_signal_waiters RESET (fillfactor);

-- All rows have a status. Only a query that says so can use this index; to one that looks for a
-- step by its key it would be a trap, since it has both columns of the key.
CREATE INDEX flow_signal_waiters_fifo_idx
ON flow_signal.flow_signal_waiters (run_id, signal_name, status, created_at, step_key)
WHERE status <> '';

-- NULLS FIRST, though there are none: so only this index has the order that a query about live
-- signals asks for, and no plan reads the dead ones in the primary key instead.
DROP INDEX flow_signal.flow_signal_buffered_signals_next_idx;
CREATE INDEX flow_signal_buffered_signals_next_idx
ON flow_signal.flow_signal_buffered_signals (run_id, signal_name, position NULLS FIRST)
WHERE NOT dead;

COMMENT ON TABLE flow_signal.flow_signal_waiters IS
'One row for each parked step. The waiters of one (run_id, signal_name) form a FIFO: a signal '
'goes to the oldest live one.';
COMMENT ON COLUMN flow_signal.flow_signal_waiters.status IS
'waiting, delivered (has a payload) or expired (found past its deadline, for good). A row that '
'says waiting may be past its deadline: no call has found it yet.';
COMMENT ON COLUMN flow_signal.flow_signal_waiters.claim_id IS
'The claim that has the waiter; NULL if it was never claimed, or given back.';
COMMENT ON COLUMN flow_signal.flow_signal_waiters.attempt IS
'How many times the waiter was claimed; NULL before the first claim.';
COMMENT ON COLUMN flow_signal.flow_signal_waiters.delivered_by IS
'The login that sent the payload; NULL or empty if it was sent to 1.0, or imported.';
COMMENT ON COLUMN flow_signal.flow_signal_receipts.delivered_by IS
'As in the waiter.';
COMMENT ON COLUMN flow_signal.flow_signal_buffered_signals.buffered_by IS
'The login that sent the signal; empty if it was buffered by 1.0.';
COMMENT ON COLUMN flow_signal.flow_signal_waiters.due_at IS
'When claim_waiters may hand the waiter out; NULL without a queue.';
COMMENT ON TABLE flow_signal.flow_signal_locks IS
'The lock row of one (run_id, signal_name): a mutex between registrations, and calls that '
'refuse or buffer a signal. A missing or a needless row is harmless.';
COMMENT ON COLUMN flow_signal.flow_signal_locks.has_buffered IS
'Whether a registration has to look for buffered signals. True while there is a live one.';
COMMENT ON TABLE flow_signal.flow_signal_receipts IS
'What became of each signal that was delivered with an id. A receipt outlives its waiter: '
'remove_run or purge deletes it.';
COMMENT ON COLUMN flow_signal.flow_signal_receipts.payload_hash IS
'SHA-256 of the payload, in the bytes of the database''s encoding; NULL without a payload.';
COMMENT ON TABLE flow_signal.flow_signal_settings IS
'One row, which only the owner can change.';
COMMENT ON COLUMN flow_signal.flow_signal_settings.max_buffered IS
'How many live buffered signals one (run_id, signal_name) may have; beyond it WS004.';
COMMENT ON COLUMN flow_signal.flow_signal_settings.max_due_age IS
'How long a waiter of a queue may be due and not claimed before health sees a problem.';
COMMENT ON COLUMN flow_signal.flow_signal_settings.max_overdue_age IS
'How long a waiter without a queue may stay past its deadline before health sees a problem.';
COMMENT ON COLUMN flow_signal.flow_signal_settings.max_dead_age IS
'How long a buffered signal may be dead before health sees a problem.';
COMMENT ON COLUMN flow_signal.flow_signal_settings.max_buffered_age IS
'How long a live buffered signal may wait for its waiter before health sees a problem.';
COMMENT ON COLUMN flow_signal.flow_signal_settings.max_buffered_rows IS
'How many buffered signals of all runs there may be before health sees a problem.';
COMMENT ON COLUMN flow_signal.flow_signal_settings.max_settled_age IS
'How long rows that purge would delete may stay before health sees a problem.';
COMMENT ON COLUMN flow_signal.flow_signal_settings.max_needless_locks IS
'How many more lock rows than waiters and buffered signals there may be before health sees a '
'problem.';
COMMENT ON COLUMN flow_signal.flow_signal_settings.max_dead_bytes IS
'How many bytes more than the live rows of a table, or of its TOAST table, the dead ones may '
'take before health sees a problem; four times as many if vacuum was there in the last ten '
'minutes.';
COMMENT ON COLUMN flow_signal.flow_signal_settings.max_snapshot_xids IS
'How many transactions old a snapshot may be before health sees a problem.';
COMMENT ON COLUMN flow_signal.flow_signal_settings.max_notify_percent IS
'How full, in percent, the notification queue may be before health sees a problem.';
COMMENT ON COLUMN flow_signal.flow_signal_buffered_signals.dead IS
'Found past buffered_until, so that no call looks at it again. Its id may be used anew.';

CREATE TYPE flow_signal_v1.health_report AS (
    checked_at timestamptz,
    version text,
    waiters_estimate bigint,
    buffered_signals_estimate bigint,
    total_bytes bigint,
    dead_rows_estimate bigint,
    oldest_due_at timestamptz,
    oldest_dead_at timestamptz,
    oldest_snapshot_xids bigint,
    notify_queue_usage double precision,
    -- as in the view of 1.0, which could not be replaced else
    problems text [] COLLATE "C",
    receipts_estimate bigint,
    tokens_estimate bigint,
    lock_rows_estimate bigint,
    toast_bytes bigint,
    dead_bytes_estimate bigint,
    overdue_estimate bigint,
    oldest_overdue_at timestamptz,
    oldest_buffered_at timestamptz,
    oldest_settled_at timestamptz,
    oldest_snapshot_holder text
);
REVOKE ALL ON TYPE flow_signal_v1.health_report FROM public;
COMMENT ON TYPE flow_signal_v1.health_report IS
'The row of the view health, which says what each column means.';

CREATE TYPE flow_signal_v1.sender AS (
    run_id uuid,
    signal_name text,
    step_key text,
    delivery_id text,
    status text,
    recorded_at timestamptz,
    login text
);
REVOKE ALL ON TYPE flow_signal_v1.sender FROM public;
COMMENT ON TYPE flow_signal_v1.sender IS
'Who sent one signal. status: delivered, recorded_at then is delivered_at; or buffered. login: '
'the session_user of the call, NULL if it is not known.';
