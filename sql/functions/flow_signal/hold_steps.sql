-- locks: run after run: the keys of steps that do not wait yet, then the lines, each in the
-- order of their names; at last the steps that wait already
CREATE OR REPLACE FUNCTION flow_signal.hold_steps(
    p_run_ids uuid[], p_step_keys text[], p_signal_names text[]
)
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $function$
DECLARE
    v_lines text[];
    v_place_holders tid[];
BEGIN
    LOOP
        v_lines := ARRAY(
            SELECT (
                SELECT w.signal_name
                FROM flow_signal.flow_signal_waiters AS w
                WHERE w.run_id = s.run_id AND w.step_key = s.step_key COLLATE "C"
            )
            FROM unnest(p_run_ids, p_step_keys) AS s (run_id, step_key)
        );
        BEGIN
            -- Place-holders as those of hold_lines, for keys too.
            WITH place_holders AS (
                INSERT INTO flow_signal.flow_signal_waiters AS w (
                    run_id, step_key, signal_name, place, created_at
                )
                SELECT
                    n.run_id,
                    CASE WHEN n.is_line THEN flow_signal.place_holder(n.name) ELSE n.name END,
                    CASE WHEN n.is_line THEN n.name ELSE '' END,
                    CASE WHEN n.is_line THEN 'head' ELSE 'expired' END,
                    '-infinity'
                FROM (
                    SELECT s.run_id, false AS is_line, s.step_key COLLATE "C" AS name
                    FROM unnest(p_run_ids, p_step_keys, v_lines) AS s (run_id, step_key, line)
                    WHERE s.line IS NULL
                    UNION
                    SELECT l.run_id, true, l.name COLLATE "C"
                    FROM unnest(p_run_ids || p_run_ids, p_signal_names || v_lines)
                        AS l (run_id, name)
                    WHERE l.name IS NOT NULL
                ) AS n
                ORDER BY n.run_id, n.is_line, n.name
                ON CONFLICT (run_id, signal_name) WHERE place = 'head' DO UPDATE
                SET place = excluded.place
                WHERE false
                RETURNING w.ctid
            )

            SELECT array_agg(h.ctid) INTO v_place_holders FROM place_holders AS h;
            DELETE FROM flow_signal.flow_signal_waiters AS w WHERE w.ctid = ANY(v_place_holders);

            -- Not in another line: its row may be the lock of that.
            IF v_lines = ARRAY(
                SELECT (
                    SELECT w.signal_name
                    FROM flow_signal.flow_signal_waiters AS w
                    WHERE w.run_id = s.run_id
                        AND w.step_key = s.step_key COLLATE "C"
                        AND w.signal_name = s.line COLLATE "C"
                    FOR NO KEY UPDATE
                )
                FROM unnest(p_run_ids, p_step_keys, v_lines) AS s (run_id, step_key, line)
            ) COLLATE "C" THEN
                RETURN;
            END IF;
            PERFORM flow_signal.start_over('a step has gone or left its line');
        EXCEPTION
            -- The second is a step that has come.
            WHEN serialization_failure OR unique_violation THEN
                NULL;
        END;
    END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.hold_steps(uuid[], text[], text[]) FROM public;
COMMENT ON FUNCTION flow_signal.hold_steps(uuid[], text[], text[]) IS
'Holds all that registering these steps one by one can wait for: the steps, the lines that are '
'named, and those that the steps are in.';
