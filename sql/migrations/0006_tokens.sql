-- why: capability tokens, which name one registration of one step
-- locks: ACCESS EXCLUSIVE on the waiters for a moment, to add a column without a rewrite
ALTER TABLE flow_signal.flow_signal_waiters
ADD COLUMN moved_at timestamptz;

CREATE TABLE flow_signal.flow_signal_tokens (
    run_id uuid NOT NULL,
    token_hash bytea NOT NULL,
    step_key text COLLATE "C" NOT NULL,
    signal_name text COLLATE "C" NOT NULL,
    registered_at timestamptz NOT NULL,
    expires_at timestamptz,
    delivered_at timestamptz,
    payload_hash bytea,
    CONSTRAINT flow_signal_tokens_pkey PRIMARY KEY (run_id, token_hash)
);

-- For revoke_tokens. All rows have a step, but only a query that says so can use this index: to
-- one that looks for a token it would be a trap.
CREATE INDEX flow_signal_tokens_step_idx
ON flow_signal.flow_signal_tokens (run_id, step_key)
WHERE step_key <> '';

CREATE TYPE flow_signal_v1.token AS (
    signal_name text,
    state text,
    expires_at timestamptz
);
REVOKE ALL ON TYPE flow_signal_v1.token FROM public;

COMMENT ON COLUMN flow_signal.flow_signal_waiters.moved_at IS
'When the step was moved here from another signal; NULL if it was not. Tokens that were issued '
'before then are void.';
COMMENT ON TABLE flow_signal.flow_signal_tokens IS
'One row for each token that was issued and not revoked. A redeemed token outlives its waiter, '
'as a receipt does: remove_run or purge deletes it.';
COMMENT ON COLUMN flow_signal.flow_signal_tokens.token_hash IS
'SHA-256 of the random part of the token. The token itself is stored nowhere.';
COMMENT ON COLUMN flow_signal.flow_signal_tokens.registered_at IS
'The registration that the token is for: coalesce(moved_at, created_at) of its waiter.';
COMMENT ON COLUMN flow_signal.flow_signal_tokens.expires_at IS
'The token''s own deadline; NULL: as long as its waiter is there.';
COMMENT ON COLUMN flow_signal.flow_signal_tokens.delivered_at IS
'When the token was redeemed; NULL if it was not.';
COMMENT ON COLUMN flow_signal.flow_signal_tokens.payload_hash IS
'SHA-256 of the payload that the token delivered, as in a receipt.';
COMMENT ON TYPE flow_signal_v1.token IS
'What a page may show to the holder of a token. state: waiting; redeemed, by this token; '
'delivered, by another signal; or expired. expires_at: until when the token can be redeemed, '
'NULL for ever, and NULL once it is redeemed.';
