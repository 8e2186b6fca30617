-- why: the rows that the API returns
-- locks: new objects only
CREATE TYPE flow_signal_v1.waiter AS (
    run_id uuid,
    step_key text,
    signal_name text,
    state text,
    created_at timestamptz,
    expires_at timestamptz,
    delivered_at timestamptz,
    payload_json json
);
REVOKE ALL ON TYPE flow_signal_v1.waiter FROM public;
COMMENT ON TYPE flow_signal_v1.waiter IS
'A parked step. state: waiting, delivered or expired. expires_at: the deadline, NULL waits '
'for ever. payload_json: the payload of the signal, byte for byte as sent.';

CREATE TYPE flow_signal_v1.delivery AS (
    status text,
    run_id uuid,
    step_key text,
    delivered_at timestamptz,
    replayed boolean
);
REVOKE ALL ON TYPE flow_signal_v1.delivery FROM public;
COMMENT ON TYPE flow_signal_v1.delivery IS
'What became of a signal. status: delivered, already_delivered, expired, buffered or '
'not_found. replayed: this delivery id was recorded before and nothing was written now.';

CREATE TYPE flow_signal_v1.buffered_signal AS (
    run_id uuid,
    signal_name text,
    position bigint,
    state text,
    buffered_at timestamptz,
    buffered_until timestamptz,
    delivery_id text,
    payload_json json
);
REVOKE ALL ON TYPE flow_signal_v1.buffered_signal FROM public;
COMMENT ON TYPE flow_signal_v1.buffered_signal IS
'A signal that came before its waiter. position: its place in its line, smallest first. state: '
'buffered, or dead when buffered_until has passed and nobody took it.';
