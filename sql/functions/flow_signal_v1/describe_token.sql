-- since: 1.1 | role: redeemer | raises: 22004
-- locks: nothing
CREATE OR REPLACE FUNCTION flow_signal_v1.describe_token(p_token text)
RETURNS SETOF flow_signal_v1.token
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
ROWS 1
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $function$
DECLARE
    v_key flow_signal.flow_signal_tokens;
    v_now timestamptz;
BEGIN
    IF p_token IS NULL THEN
        PERFORM flow_signal.refuse_null('token');
    END IF;
    v_key := flow_signal.parse_token(p_token);
    v_now := clock_timestamp();
    RETURN QUERY
    SELECT
        t.signal_name::text,
        CASE WHEN t.delivered_at IS NOT NULL THEN 'redeemed'
            ELSE flow_signal.waiter_state(w.status, w.expires_at, v_now)
        END,
        CASE WHEN t.delivered_at IS NULL THEN least(t.expires_at, w.expires_at) END
    FROM flow_signal.flow_signal_tokens AS t
    -- LIMIT 1, so that the waiter is looked up by its key: a join could read the whole run.
    LEFT JOIN LATERAL (
        SELECT k.status, k.expires_at
        FROM flow_signal.flow_signal_waiters AS k
        WHERE k.run_id = t.run_id
            AND k.step_key = t.step_key
            AND coalesce(k.moved_at, k.created_at) = t.registered_at
        LIMIT 1
    ) AS w ON true
    WHERE t.run_id = v_key.run_id
        AND t.token_hash = v_key.token_hash
        AND (
            t.delivered_at IS NOT NULL
            OR w.status IS NOT NULL AND (t.expires_at <= v_now) IS NOT TRUE
        );
END
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.describe_token(text) FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.describe_token(text) TO flow_signal_redeemer;
COMMENT ON FUNCTION flow_signal_v1.describe_token(text) IS
'What a page may show before the token is redeemed; no row for a token that is void or was '
'never issued. Reads only; works on a hot standby.';
