-- since: 1.0 | role: reader | raises: 22004 22023
-- locks: nothing
CREATE OR REPLACE FUNCTION flow_signal_v1.get_waiter(p_run_id uuid, p_step_key text)
RETURNS SETOF flow_signal_v1.waiter
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
ROWS 1
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $function$
BEGIN
    RETURN QUERY
    SELECT
        w.run_id, w.step_key::text, w.signal_name::text,
        flow_signal.waiter_state(w.status, w.expires_at, clock_timestamp()),
        w.created_at, w.expires_at, w.delivered_at, w.payload_json
    FROM flow_signal.flow_signal_waiters AS w
    WHERE w.run_id = p_run_id AND w.step_key = p_step_key COLLATE "C";
    IF FOUND THEN
        RETURN;
    ELSIF p_run_id IS NULL THEN
        PERFORM flow_signal.refuse_null('run id');
    ELSIF flow_signal.is_name(p_step_key) IS NOT TRUE THEN
        PERFORM flow_signal.refuse_name('step key', p_step_key);
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.get_waiter(uuid, text) FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.get_waiter(uuid, text) TO flow_signal_reader;
COMMENT ON FUNCTION flow_signal_v1.get_waiter(uuid, text) IS
'The waiter of a step, or no row. Reads only; works on a hot standby.';
