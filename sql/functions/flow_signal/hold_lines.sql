-- locks: the lines, in the order of (run_id, signal_name), until the transaction ends
CREATE OR REPLACE FUNCTION flow_signal.hold_lines(p_run_ids uuid[], p_signal_names text[])
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $function$
DECLARE
    v_place_holders tid[];
BEGIN
    -- Locks the head where there is one (the condition is judged after the lock), else leaves
    -- a place-holder as hold_line does.
    WITH place_holders AS (
        INSERT INTO flow_signal.flow_signal_waiters AS w (
            run_id, step_key, signal_name, place, created_at
        )
        SELECT DISTINCT
            l.run_id, flow_signal.place_holder(l.signal_name), l.signal_name COLLATE "C", 'head',
            timestamptz '-infinity'
        FROM unnest(p_run_ids, p_signal_names) AS l (run_id, signal_name)
        ORDER BY 1, 3
        ON CONFLICT (run_id, signal_name) WHERE place = 'head' DO UPDATE
        SET place = excluded.place
        WHERE false
        RETURNING w.ctid
    )

    SELECT array_agg(h.ctid) INTO v_place_holders FROM place_holders AS h;

    DELETE FROM flow_signal.flow_signal_waiters AS w WHERE w.ctid = ANY(v_place_holders);
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.hold_lines(uuid[], text[]) FROM public;
COMMENT ON FUNCTION flow_signal.hold_lines(uuid[], text[]) IS
'hold_line for many lines, which never deadlocks with itself: element n of each array names '
'line n.';
