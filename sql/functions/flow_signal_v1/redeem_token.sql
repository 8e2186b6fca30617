-- since: 1.1 | role: redeemer | raises: 22004 22P02 54001 WS002 WS003 0A000
-- locks: the step's row, then the token
CREATE OR REPLACE FUNCTION flow_signal_v1.redeem_token(
    p_token text, p_payload_json text DEFAULT NULL
)
RETURNS SETOF flow_signal_v1.delivery
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
ROWS 1
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $function$
DECLARE
    v_payload json;
    v_payload_hash bytea;
    v_key flow_signal.flow_signal_tokens;
    v_token flow_signal.flow_signal_tokens;
    v_status text COLLATE "C";
    v_deadline timestamptz;
    v_delivered_at timestamptz;
    v_now timestamptz;
BEGIN
    IF p_token IS NULL THEN
        PERFORM flow_signal.refuse_null('token');
    -- A redemption that was committed after the snapshot would end the call with 40001.
    ELSIF current_setting('transaction_isolation') NOT LIKE 'read %' THEN
        PERFORM flow_signal.refuse_isolation('redeem_token');
    END IF;
    v_payload := flow_signal.parse_payload('payload', p_payload_json);
    v_payload_hash := flow_signal.hash_payload(p_payload_json);

    v_key := flow_signal.parse_token(p_token);
    SELECT t.*
    INTO v_token
    FROM flow_signal.flow_signal_tokens AS t
    WHERE t.run_id = v_key.run_id AND t.token_hash = v_key.token_hash;
    v_now := clock_timestamp();
    -- An unusable token locks nothing: it leaves nothing to flush, so all take the same time. For
    -- a text that is not a token, too, the waiter is looked up, by a key that is NULL.
    IF v_token.delivered_at IS NULL AND (v_token.expires_at <= v_now) IS NOT TRUE THEN
        -- Waits for a transaction that is changing the waiter. A step that was removed, or moved
        -- to another signal, and registered anew has another registration.
        SELECT w.status, w.expires_at, w.delivered_at
        INTO v_status, v_deadline, v_delivered_at
        FROM flow_signal.flow_signal_waiters AS w
        WHERE w.run_id = v_key.run_id
            AND w.step_key = v_token.step_key
            AND coalesce(w.moved_at, w.created_at) = v_token.registered_at
        FOR NO KEY UPDATE;
        -- The token once more, since it may have been redeemed or revoked meanwhile. One that can
        -- be redeemed is locked, so that no purge deletes it from now on.
        IF FOUND THEN
            SELECT t.*
            INTO v_token
            FROM flow_signal.flow_signal_tokens AS t
            WHERE t.run_id = v_key.run_id AND t.token_hash = v_key.token_hash
            FOR UPDATE;
        ELSE
            SELECT t.*
            INTO v_token
            FROM flow_signal.flow_signal_tokens AS t
            WHERE t.run_id = v_key.run_id AND t.token_hash = v_key.token_hash;
        END IF;
        v_now := clock_timestamp();
    END IF;

    IF v_token.delivered_at IS NOT NULL THEN
        IF v_token.payload_hash IS DISTINCT FROM v_payload_hash THEN
            PERFORM flow_signal.refuse_reuse(
                v_token.run_id, v_token.signal_name, NULL, 'delivered'
            );
        END IF;
        RETURN NEXT (
            'delivered', v_token.run_id, v_token.step_key, v_token.delivered_at, true
        )::flow_signal_v1.delivery;
    ELSIF v_token.run_id IS NULL OR v_token.expires_at <= v_now OR v_status IS NULL THEN
        RETURN NEXT ('not_found', NULL, NULL, NULL, false)::flow_signal_v1.delivery;
    ELSIF v_status = 'delivered' THEN
        RETURN NEXT (
            'already_delivered', v_token.run_id, v_token.step_key, v_delivered_at, false
        )::flow_signal_v1.delivery;
    ELSIF v_status = 'expired' OR v_deadline <= v_now THEN
        UPDATE flow_signal.flow_signal_waiters AS w
        SET status = 'expired'
        WHERE w.run_id = v_token.run_id
            AND w.step_key = v_token.step_key
            AND w.status = 'waiting';
        RETURN NEXT ('expired', v_token.run_id, v_token.step_key, NULL, false)
        ::flow_signal_v1.delivery;
    ELSE
        PERFORM flow_signal.record_delivery(
            v_token.run_id, v_token.step_key, v_token.signal_name, v_payload, NULL, NULL,
            v_now
        );
        UPDATE flow_signal.flow_signal_tokens AS t
        SET delivered_at = v_now, payload_hash = v_payload_hash
        WHERE t.run_id = v_key.run_id AND t.token_hash = v_key.token_hash;
        RETURN NEXT ('delivered', v_token.run_id, v_token.step_key, v_now, false)
        ::flow_signal_v1.delivery;
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.redeem_token(text, text) FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.redeem_token(text, text) TO flow_signal_redeemer;
COMMENT ON FUNCTION flow_signal_v1.redeem_token(text, text) IS
'Sends a signal to the step that the token was issued for. Returns one row with the verdict: '
'delivered, already_delivered, expired, or not_found for every token that is void or was never '
'issued. p_payload_json: JSON text, at most 1 MiB. The same token and payload again get the '
'first answer, also after the waiter was removed.';
