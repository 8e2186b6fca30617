-- locks: run after run, the key of the step and its line; none if it returns false
CREATE OR REPLACE FUNCTION flow_signal.register_first_steps(
    p_run_ids uuid[], p_step_keys text[], p_signal_names text[], p_expires_at timestamptz[],
    p_created_at timestamptz[], p_wake_channel text, p_queue text
)
RETURNS boolean
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $function$
BEGIN
    IF cardinality(p_run_ids) > (
        SELECT count(DISTINCT s.run_id) FROM unnest(p_run_ids) AS s (run_id)
    ) THEN
        RETURN false;
    END IF;
    -- One of them is enough to see a batch that is only repeated, which shall write nothing.
    PERFORM
    FROM flow_signal.flow_signal_waiters AS w
    WHERE w.run_id = p_run_ids[array_lower(p_run_ids, 1)]
        AND w.step_key = p_step_keys[array_lower(p_step_keys, 1)] COLLATE "C";
    IF FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO flow_signal.flow_signal_waiters (
        run_id, step_key, signal_name, place, created_at, expires_at, due_at, wake_channel,
        queue
    )
    SELECT
        s.run_id, s.step_key, s.signal_name, 'head', s.created_at, s.expires_at,
        CASE WHEN p_queue IS NOT NULL THEN s.expires_at END, p_wake_channel, p_queue
    FROM unnest(p_run_ids, p_step_keys, p_signal_names, p_expires_at, p_created_at)
        AS s (run_id, step_key, signal_name, expires_at, created_at)
    ORDER BY s.run_id;
    RETURN true;
EXCEPTION
    WHEN unique_violation THEN
        RETURN false;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.register_first_steps(
    uuid[], text[], text[], timestamptz[], timestamptz[], text, text
) FROM public;
COMMENT ON FUNCTION flow_signal.register_first_steps(
    uuid[], text[], text[], timestamptz[], timestamptz[], text, text
) IS
'Registers steps that are the first of their lines, each of another run; else does nothing and '
'returns false.';
