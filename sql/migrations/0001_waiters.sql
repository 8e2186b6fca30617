-- why: the waiters and the signals that came before their waiter
-- locks: new objects only
CREATE TABLE flow_signal.flow_signal_waiters (
    run_id uuid NOT NULL,
    step_key text COLLATE "C" NOT NULL,
    signal_name text COLLATE "C" NOT NULL,
    place text COLLATE "C" NOT NULL,
    followed boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    delivered_at timestamptz,
    expired_at timestamptz,
    due_at timestamptz,
    delivery_id text COLLATE "C",
    wake_channel text COLLATE "C",
    queue text COLLATE "C",
    payload_json json,
    CONSTRAINT flow_signal_waiters_pkey PRIMARY KEY (run_id, step_key)
)
WITH (fillfactor = 70);

CREATE UNIQUE INDEX flow_signal_waiters_head_key
ON flow_signal.flow_signal_waiters (run_id, signal_name)
WHERE place = 'head';

CREATE INDEX flow_signal_waiters_line_idx
ON flow_signal.flow_signal_waiters (run_id, signal_name, place, created_at, step_key)
WHERE place <> 'head';

CREATE UNIQUE INDEX flow_signal_waiters_delivery_key
ON flow_signal.flow_signal_waiters (run_id, signal_name, delivery_id)
WHERE delivery_id IS NOT NULL;

CREATE INDEX flow_signal_waiters_due_idx
ON flow_signal.flow_signal_waiters (queue, due_at, run_id, step_key)
WHERE due_at IS NOT NULL;

CREATE TABLE flow_signal.flow_signal_buffered_signals (
    run_id uuid NOT NULL,
    signal_name text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    buffered_at timestamptz NOT NULL,
    buffered_until timestamptz NOT NULL,
    dead boolean NOT NULL DEFAULT false,
    delivery_id text COLLATE "C",
    payload_json json,
    CONSTRAINT flow_signal_buffered_signals_pkey PRIMARY KEY (run_id, signal_name, position)
);

CREATE INDEX flow_signal_buffered_signals_next_idx
ON flow_signal.flow_signal_buffered_signals (run_id, signal_name, position)
WHERE NOT dead;

CREATE INDEX flow_signal_buffered_signals_delivery_idx
ON flow_signal.flow_signal_buffered_signals (run_id, signal_name, delivery_id)
WHERE delivery_id IS NOT NULL;

-- All positions are. Only a query that says so can use this index; to those of one line, which
-- compare buffered_until too, it would be a trap.
CREATE INDEX flow_signal_buffered_signals_until_idx
ON flow_signal.flow_signal_buffered_signals (buffered_until)
WHERE position > 0;

COMMENT ON TABLE flow_signal.flow_signal_waiters IS
'One row per parked step. Waiters of one (run_id, signal_name) form a line; see sql/README.md.';
COMMENT ON COLUMN flow_signal.flow_signal_waiters.place IS
'Where the line keeps this waiter: head (at most one, unique), waiting, delivered or '
'expired. A head keeps this place when it is settled, so that the delivery touches no '
'index.';
COMMENT ON COLUMN flow_signal.flow_signal_waiters.followed IS
'Of a head: somebody stands behind it, or once stood.';
COMMENT ON COLUMN flow_signal.flow_signal_waiters.expires_at IS
'The deadline; NULL waits for ever.';
COMMENT ON COLUMN flow_signal.flow_signal_waiters.expired_at IS
'When the waiter was found past its deadline and settled as expired for good.';
COMMENT ON COLUMN flow_signal.flow_signal_waiters.due_at IS
'When claim_waiters may hand this waiter out; NULL without a queue.';
COMMENT ON COLUMN flow_signal.flow_signal_waiters.delivery_id IS
'The sender''s id of the delivered signal, unique within (run_id, signal_name).';
COMMENT ON TABLE flow_signal.flow_signal_buffered_signals IS
'Signals that came before their waiter, first in first out within (run_id, signal_name).';
COMMENT ON COLUMN flow_signal.flow_signal_buffered_signals.dead IS
'Found past buffered_until by a waiter, so that nobody looks at it again.';
