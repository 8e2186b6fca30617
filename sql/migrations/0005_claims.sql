-- why: what claim_waiters returns names the claim
-- locks: new objects only
CREATE TYPE flow_signal_v1.claimed_waiter AS (
    run_id uuid,
    step_key text,
    signal_name text,
    state text,
    created_at timestamptz,
    expires_at timestamptz,
    delivered_at timestamptz,
    payload_json json,
    claim_id uuid,
    attempt integer
);
REVOKE ALL ON TYPE flow_signal_v1.claimed_waiter FROM public;
COMMENT ON TYPE flow_signal_v1.claimed_waiter IS
'A waiter that was handed out by claim_waiters. claim_id: pass it to remove_waiter and '
'extend_claim. attempt: how many times the waiter was claimed, this claim included.';
