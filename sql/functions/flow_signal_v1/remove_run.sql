-- since: 1.0 | role: engine | raises: 22004 0A000
-- locks: all lines of the run, in the order of their names
CREATE OR REPLACE FUNCTION flow_signal_v1.remove_run(p_run_id uuid)
RETURNS bigint
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $function$
DECLARE
    v_now CONSTANT timestamptz := clock_timestamp();
    v_names text[];
    v_removed bigint;
BEGIN
    IF p_run_id IS NULL THEN
        PERFORM flow_signal.refuse_null('run id');
    -- What was committed after the snapshot would stay.
    ELSIF current_setting('transaction_isolation') NOT LIKE 'read %' THEN
        PERFORM flow_signal.refuse_isolation('remove_run');
    END IF;

    LOOP
        BEGIN
            v_names := ARRAY(
                SELECT w.signal_name
                FROM flow_signal.flow_signal_waiters AS w
                WHERE w.run_id = p_run_id
                UNION
                SELECT b.signal_name
                FROM flow_signal.flow_signal_buffered_signals AS b
                WHERE b.run_id = p_run_id
            );
            PERFORM flow_signal.hold_lines(
                array_fill(p_run_id, ARRAY[cardinality(v_names)]), v_names
            );
            DELETE FROM flow_signal.flow_signal_waiters AS w
            WHERE w.run_id = p_run_id
                AND (w.signal_name IN (SELECT n.name FROM unnest(v_names) AS n (name))) IS TRUE;
            GET DIAGNOSTICS v_removed = ROW_COUNT;
            DELETE FROM flow_signal.flow_signal_buffered_signals AS b
            WHERE b.run_id = p_run_id
                AND (b.signal_name IN (SELECT n.name FROM unnest(v_names) AS n (name))) IS TRUE;
            IF EXISTS (
                SELECT FROM flow_signal.flow_signal_waiters AS w
                WHERE w.run_id = p_run_id AND w.created_at < v_now
            ) THEN
                PERFORM flow_signal.start_over('a step has moved to a line that is not held');
            END IF;
            RETURN v_removed;
        EXCEPTION
            WHEN serialization_failure THEN
                NULL;
        END;
    END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.remove_run(uuid) FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.remove_run(uuid) TO flow_signal_engine;
COMMENT ON FUNCTION flow_signal_v1.remove_run(uuid) IS
'Forgets all waiters and buffered signals of a run that is over and returns how many waiters '
'that were. What is registered or buffered meanwhile, and not committed yet, stays.';
