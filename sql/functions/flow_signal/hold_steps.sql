-- locks: the keys of steps that do not wait yet, in the order of (run_id, step_key); then the
-- lines, in the order of (run_id, signal_name); then the steps that wait already
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
    v_new tid[];
    v_lines text[] := array_fill(NULL::text, ARRAY[cardinality(p_run_ids)]);
    v_found text[];
    v_steps integer;
    v_locked integer;
BEGIN
    LOOP
        BEGIN
            -- Nobody ever reads these rows, but until we commit their keys make others wait.
            WITH new AS (
                INSERT INTO flow_signal.flow_signal_waiters AS w (
                    run_id, step_key, signal_name, place, created_at
                )
                SELECT DISTINCT
                    s.run_id, s.step_key COLLATE "C", '', 'expired', timestamptz '-infinity'
                FROM unnest(p_run_ids, p_step_keys) AS s (run_id, step_key)
                ORDER BY 1, 2
                ON CONFLICT (run_id, step_key) DO NOTHING
                RETURNING w.ctid
            )

            SELECT array_agg(n.ctid) INTO v_new FROM new AS n;
            DELETE FROM flow_signal.flow_signal_waiters AS w WHERE w.ctid = ANY(v_new);

            PERFORM flow_signal.hold_lines(p_run_ids || p_run_ids, p_signal_names || v_lines);

            v_found := ARRAY(
                SELECT (
                    SELECT w.signal_name
                    FROM flow_signal.flow_signal_waiters AS w
                    WHERE w.run_id = s.run_id AND w.step_key = s.step_key COLLATE "C"
                )
                FROM unnest(p_run_ids, p_step_keys) AS s (run_id, step_key)
            );
            -- Not in a line that is not held: a row may be the lock of that.
            IF v_found = v_lines COLLATE "C" THEN
                SELECT
                    count(DISTINCT (s.run_id, s.step_key COLLATE "C")),
                    count(DISTINCT (
                        SELECT w.ctid
                        FROM flow_signal.flow_signal_waiters AS w
                        WHERE w.run_id = s.run_id AND w.step_key = s.step_key COLLATE "C"
                        FOR NO KEY UPDATE
                    ))
                INTO v_steps, v_locked
                FROM unnest(p_run_ids, p_step_keys) AS s (run_id, step_key);
                IF v_steps = v_locked + coalesce(cardinality(v_new), 0) THEN
                    RETURN;
                END IF;
            END IF;
            PERFORM flow_signal.start_over('a step has come, gone or left its line');
        EXCEPTION
            WHEN serialization_failure THEN
                v_lines := v_found;
        END;
    END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.hold_steps(uuid[], text[], text[]) FROM public;
COMMENT ON FUNCTION flow_signal.hold_steps(uuid[], text[], text[]) IS
'Holds all that registering these steps one by one can wait for: the steps, the lines that are '
'named, and those that the steps are in.';
