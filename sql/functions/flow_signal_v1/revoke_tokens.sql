-- since: 1.1 | role: engine | raises: 22004 22023 0A000
-- locks: the step's row, then its tokens
CREATE OR REPLACE FUNCTION flow_signal_v1.revoke_tokens(p_run_id uuid, p_step_key text)
RETURNS bigint
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_sort = off
AS $function$
DECLARE
    v_hash bytea;
    v_revoked bigint := 0::bigint;
BEGIN
    IF p_run_id IS NULL THEN
        PERFORM flow_signal.refuse_null('run id');
    ELSIF flow_signal.is_name(p_step_key) IS NOT TRUE THEN
        PERFORM flow_signal.refuse_name('step key', p_step_key);
    -- A token that was issued after the snapshot would stay.
    ELSIF current_setting('transaction_isolation') NOT LIKE 'read %' THEN
        PERFORM flow_signal.refuse_isolation('revoke_tokens');
    END IF;

    LOOP
        -- Waits for a redemption that is not committed yet. The row comes before the tokens: so
        -- a transaction may revoke and then remove the step.
        PERFORM
        FROM flow_signal.flow_signal_waiters AS w
        WHERE w.run_id = p_run_id AND w.step_key = p_step_key COLLATE "C"
        FOR NO KEY UPDATE;
        EXIT WHEN FOUND;
        -- The transaction that it waited for may have moved the step to another signal: it has a
        -- new row then.
        PERFORM
        FROM flow_signal.flow_signal_waiters AS w
        WHERE w.run_id = p_run_id AND w.step_key = p_step_key COLLATE "C";
        EXIT WHEN NOT FOUND;
    END LOOP;
    -- One by one, each by its key: to the statement that deletes all at once, the statistics could
    -- suggest to read the whole run.
    FOR v_hash IN
        SELECT t.token_hash
        FROM flow_signal.flow_signal_tokens AS t
        WHERE t.run_id = p_run_id
            -- A range, so that its order is not a matter of course: one index has it.
            AND t.step_key >= p_step_key COLLATE "C"
            AND t.step_key <= p_step_key COLLATE "C"
            AND t.step_key <> ''
            AND t.delivered_at IS NULL
        -- In the order of their hashes, as remove_run takes them.
        ORDER BY t.step_key, t.token_hash
    LOOP
        DELETE FROM flow_signal.flow_signal_tokens AS t
        WHERE t.run_id = p_run_id AND t.token_hash = v_hash AND t.delivered_at IS NULL;
        v_revoked := v_revoked + FOUND::integer;
    END LOOP;
    RETURN v_revoked;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.revoke_tokens(uuid, text) FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.revoke_tokens(uuid, text) TO flow_signal_engine;
COMMENT ON FUNCTION flow_signal_v1.revoke_tokens(uuid, text) IS
'Makes all tokens of a step void, except those that were redeemed. Returns how many. '
'remove_waiter makes them void as well.';
