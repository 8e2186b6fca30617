-- since: 1.1 | role: engine | raises: 22004 22023
-- locks: the step's row
CREATE OR REPLACE FUNCTION flow_signal_v1.extend_claim(
    p_run_id uuid,
    p_step_key text,
    p_claim_id uuid,
    p_lease interval
)
RETURNS boolean
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $function$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    IF p_run_id IS NULL THEN
        PERFORM flow_signal.refuse_null('run id');
    ELSIF flow_signal.is_name(p_step_key) IS NOT TRUE THEN
        PERFORM flow_signal.refuse_name('step key', p_step_key);
    ELSIF p_claim_id IS NULL THEN
        PERFORM flow_signal.refuse_null('claim id');
    ELSIF p_lease IS NULL THEN
        PERFORM flow_signal.refuse_null('lease');
    ELSIF NOT flow_signal.is_soon(p_lease, v_now, '1 day') THEN
        PERFORM flow_signal.refuse_range('lease', p_lease::text, '0 to 1 day');
    END IF;

    -- Locked first, so that the lease counts from the moment at which the row is ours.
    PERFORM
    FROM flow_signal.flow_signal_waiters AS w
    WHERE w.run_id = p_run_id
        AND w.step_key = p_step_key COLLATE "C"
        AND w.claim_id = p_claim_id
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    v_now := clock_timestamp();
    UPDATE flow_signal.flow_signal_waiters AS w
    SET
        due_at = v_now + p_lease,
        claim_id = CASE WHEN v_now + p_lease > v_now THEN w.claim_id END
    WHERE w.run_id = p_run_id AND w.step_key = p_step_key COLLATE "C";
    RETURN true;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.extend_claim(uuid, text, uuid, interval) FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.extend_claim(
    uuid, text, uuid, interval
) TO flow_signal_engine;
COMMENT ON FUNCTION flow_signal_v1.extend_claim(uuid, text, uuid, interval) IS
'Gives a claim a longer lease, p_lease from now (up to 1 day), for work that takes longer. 0 '
'gives the waiter back: it is due at once and the claim has ended. Returns false, and changes '
'nothing, when the claim no longer has the waiter.';
