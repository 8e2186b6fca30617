-- locks: the lock row of (run, signal), until the transaction or the caller's block ends
CREATE OR REPLACE FUNCTION flow_signal.lock_signal(p_run_id uuid, p_signal_name text)
RETURNS boolean
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $function$
DECLARE
    v_has_buffered boolean;
BEGIN
    -- Waits for a transaction that has the row, or is about to insert it. Where no signal is
    -- buffered, it writes nothing: the condition is judged on the newest row version, which stays
    -- locked.
    INSERT INTO flow_signal.flow_signal_locks AS l (run_id, signal_name)
    VALUES (p_run_id, p_signal_name)
    ON CONFLICT (run_id, signal_name) DO UPDATE SET has_buffered = true WHERE l.has_buffered
    RETURNING l.has_buffered INTO v_has_buffered;
    RETURN coalesce(v_has_buffered, false);
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.lock_signal(uuid, text) FROM public;
COMMENT ON FUNCTION flow_signal.lock_signal(uuid, text) IS
'Locks (run, signal) against registrations, refusals and buffering of other transactions. '
'Returns whether signals may be buffered there. A caller that has this lock waits for no other '
'row.';
