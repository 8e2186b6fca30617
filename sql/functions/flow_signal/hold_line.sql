-- locks: the head of the line, or its key while there is none, until the transaction ends
CREATE OR REPLACE FUNCTION flow_signal.hold_line(p_run_id uuid, p_signal_name text)
RETURNS boolean
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $function$
DECLARE
    v_place_holder CONSTANT text := flow_signal.place_holder(p_signal_name);
BEGIN
    LOOP
        PERFORM
        FROM flow_signal.flow_signal_waiters AS w
        WHERE w.run_id = p_run_id
            AND w.signal_name = p_signal_name COLLATE "C"
            AND w.place = 'head'
        FOR NO KEY UPDATE;
        IF FOUND THEN
            RETURN true;
        END IF;

        -- Nobody ever reads this row, but until we commit its key makes others wait.
        INSERT INTO flow_signal.flow_signal_waiters (
            run_id, step_key, signal_name, place, created_at
        )
        VALUES (p_run_id, v_place_holder, p_signal_name, 'head', '-infinity')
        ON CONFLICT DO NOTHING;
        IF FOUND THEN
            DELETE FROM flow_signal.flow_signal_waiters AS w
            WHERE w.run_id = p_run_id AND w.step_key = v_place_holder COLLATE "C";
            RETURN false;
        END IF;
    END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.hold_line(uuid, text) FROM public;
COMMENT ON FUNCTION flow_signal.hold_line(uuid, text) IS
'Waits until nobody else holds the line (run, signal) and holds it until the transaction ends. '
'Returns whether the line has a head.';
