-- since: 1.1 | role: engine | raises: 22004 22023
-- locks: the step's row, FOR KEY SHARE: against removal, not against deliveries
CREATE OR REPLACE FUNCTION flow_signal_v1.issue_token(
    p_run_id uuid,
    p_step_key text,
    p_expires_at timestamptz DEFAULT NULL
)
RETURNS text
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $function$
DECLARE
    v_expires_at timestamptz := nullif(p_expires_at, 'infinity');
    v_waiter record;
    v_token text;
    v_key flow_signal.flow_signal_tokens;
BEGIN
    IF p_run_id IS NULL THEN
        PERFORM flow_signal.refuse_null('run id');
    ELSIF flow_signal.is_name(p_step_key) IS NOT TRUE THEN
        PERFORM flow_signal.refuse_name('step key', p_step_key);
    ELSIF NOT flow_signal.is_instant(v_expires_at) THEN
        PERFORM flow_signal.refuse_instant('deadline', v_expires_at);
    END IF;

    LOOP
        SELECT w.signal_name, coalesce(w.moved_at, w.created_at) AS registered_at
        INTO v_waiter
        FROM flow_signal.flow_signal_waiters AS w
        WHERE w.run_id = p_run_id AND w.step_key = p_step_key COLLATE "C"
        FOR KEY SHARE;
        EXIT WHEN FOUND;
        -- The transaction that it waited for may have moved the step to another signal: it has a
        -- new row then.
        PERFORM
        FROM flow_signal.flow_signal_waiters AS w
        WHERE w.run_id = p_run_id AND w.step_key = p_step_key COLLATE "C";
        IF NOT FOUND THEN
            RETURN NULL;
        END IF;
    END LOOP;

    -- Each UUID has 122 bits of the server's strong random source.
    v_token := 'fst_' || replace(p_run_id::text, '-', '')
        || '_' || replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '');
    v_key := flow_signal.parse_token(v_token);
    INSERT INTO flow_signal.flow_signal_tokens (
        run_id, token_hash, step_key, signal_name, registered_at, expires_at
    )
    VALUES (
        p_run_id, v_key.token_hash, p_step_key, v_waiter.signal_name, v_waiter.registered_at,
        v_expires_at
    );
    RETURN v_token;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.issue_token(uuid, text, timestamptz) FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.issue_token(uuid, text, timestamptz)
TO flow_signal_engine;
COMMENT ON FUNCTION flow_signal_v1.issue_token(uuid, text, timestamptz) IS
'Makes a token, with which somebody who knows nothing else can answer this step, once: send it '
'after the commit. Only its hash is stored. NULL if the step is not registered. The token is '
'void when the waiter is removed or moved to another signal, from p_expires_at on (NULL: as '
'long as the waiter is there), and after revoke_tokens.';
