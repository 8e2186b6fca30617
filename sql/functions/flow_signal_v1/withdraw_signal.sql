-- since: 1.1 | role: engine | raises: 22004 22023 0A000
-- locks: the lock row of (run, signal), then the buffered signal
CREATE OR REPLACE FUNCTION flow_signal_v1.withdraw_signal(
    p_run_id uuid,
    p_signal_name text,
    p_position bigint
)
RETURNS SETOF flow_signal_v1.buffered_signal
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
ROWS 1
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $function$
DECLARE
    v_signal flow_signal.flow_signal_buffered_signals;
BEGIN
    IF p_run_id IS NULL THEN
        PERFORM flow_signal.refuse_null('run id');
    ELSIF flow_signal.is_name(p_signal_name) IS NOT TRUE THEN
        PERFORM flow_signal.refuse_name('signal name', p_signal_name);
    ELSIF p_position IS NULL THEN
        PERFORM flow_signal.refuse_null('position');
    -- A registration that took the signal after the snapshot would end the call with 40001.
    ELSIF current_setting('transaction_isolation') NOT LIKE 'read %' THEN
        PERFORM flow_signal.refuse_isolation('withdraw_signal');
    END IF;

    -- Waits for a registration that is about to take the signal.
    PERFORM flow_signal.lock_signal(p_run_id, p_signal_name);
    DELETE FROM flow_signal.flow_signal_buffered_signals AS b
    WHERE b.run_id = p_run_id
        AND b.signal_name = p_signal_name COLLATE "C"
        AND b.position = p_position
    RETURNING b.* INTO v_signal;
    IF FOUND THEN
        RETURN NEXT (
            v_signal.run_id, v_signal.signal_name, v_signal.position,
            flow_signal.buffered_state(
                v_signal.dead, v_signal.buffered_until, clock_timestamp()
            ),
            v_signal.buffered_at, v_signal.buffered_until, v_signal.delivery_id,
            v_signal.payload_json
        )::flow_signal_v1.buffered_signal;
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.withdraw_signal(uuid, text, bigint) FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.withdraw_signal(
    uuid, text, bigint
) TO flow_signal_engine;
COMMENT ON FUNCTION flow_signal_v1.withdraw_signal(uuid, text, bigint) IS
'Takes one buffered signal back and returns it; no row when it is not there (any more). Its '
'delivery id is forgotten: the next retry is a new signal. p_position: as '
'list_buffered_signals shows it.';
