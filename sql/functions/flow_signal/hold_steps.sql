-- locks: the lines, in the order of (run_id, signal_name), until the transaction ends
CREATE OR REPLACE FUNCTION flow_signal.hold_steps(
    p_run_ids uuid[], p_step_keys text[], p_signal_names text[]
)
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $function$
DECLARE
    v_lines text[] := p_signal_names;
    v_found text[];
BEGIN
    LOOP
        BEGIN
            PERFORM flow_signal.hold_lines(p_run_ids || p_run_ids, p_signal_names || v_lines);
            v_found := ARRAY(
                SELECT coalesce((
                    SELECT w.signal_name
                    FROM flow_signal.flow_signal_waiters AS w
                    WHERE w.run_id = s.run_id AND w.step_key = s.step_key COLLATE "C"
                ), s.signal_name)
                FROM unnest(p_run_ids, p_step_keys, p_signal_names) AS s (
                    run_id, step_key, signal_name
                )
            );
            IF v_found = v_lines COLLATE "C" THEN
                RETURN;
            END IF;
            PERFORM flow_signal.start_over('a step is in a line that is not held');
        EXCEPTION
            WHEN serialization_failure THEN
                v_lines := v_found;
        END;
    END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.hold_steps(uuid[], text[], text[]) FROM public;
COMMENT ON FUNCTION flow_signal.hold_steps(uuid[], text[], text[]) IS
'Holds the lines that are named and those that the steps are in: all that registering them '
'can take.';
