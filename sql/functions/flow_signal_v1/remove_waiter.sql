-- since: 1.0; p_claim_id since 1.1 | role: engine | raises: 22004 22023
-- locks: the step's row
CREATE OR REPLACE FUNCTION flow_signal_v1.remove_waiter(
    p_run_id uuid,
    p_step_key text,
    p_claim_id uuid DEFAULT NULL
)
RETURNS SETOF flow_signal_v1.waiter
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
ROWS 1
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $function$
DECLARE
    v_waiter flow_signal.flow_signal_waiters;
BEGIN
    LOOP
        -- Waits for a transaction that is changing the row, and returns what that has left. The
        -- clock is read after the wait.
        DELETE FROM flow_signal.flow_signal_waiters AS w
        WHERE w.run_id = p_run_id
            AND w.step_key = p_step_key COLLATE "C"
            AND (p_claim_id IS NULL OR w.claim_id = p_claim_id)
        RETURNING w.* INTO v_waiter;
        IF FOUND THEN
            RETURN NEXT (
                v_waiter.run_id, v_waiter.step_key, v_waiter.signal_name,
                flow_signal.waiter_state(
                    v_waiter.status, v_waiter.expires_at, clock_timestamp()
                ),
                v_waiter.created_at, v_waiter.expires_at, v_waiter.delivered_at,
                v_waiter.payload_json
            )::flow_signal_v1.waiter;
            RETURN;
        END IF;
        -- That transaction may have moved the step to another signal: it has a new row then.
        PERFORM
        FROM flow_signal.flow_signal_waiters AS w
        WHERE w.run_id = p_run_id
            AND w.step_key = p_step_key COLLATE "C"
            AND (p_claim_id IS NULL OR w.claim_id = p_claim_id);
        EXIT WHEN NOT FOUND;
    END LOOP;
    IF p_run_id IS NULL THEN
        PERFORM flow_signal.refuse_null('run id');
    ELSIF flow_signal.is_name(p_step_key) IS NOT TRUE THEN
        PERFORM flow_signal.refuse_name('step key', p_step_key);
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.remove_waiter(uuid, text, uuid) FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.remove_waiter(uuid, text, uuid) TO flow_signal_engine;
COMMENT ON FUNCTION flow_signal_v1.remove_waiter(uuid, text, uuid) IS
'Deletes a waiter and returns what it deleted, with a payload that came at the last moment; no '
'row when there is nothing to delete. p_claim_id: only if that claim still has the waiter.';
