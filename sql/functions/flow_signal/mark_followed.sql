-- locks: nothing that its caller does not hold
CREATE OR REPLACE FUNCTION flow_signal.mark_followed(p_run_ids uuid[], p_signal_names text[])
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $function$
BEGIN
    UPDATE flow_signal.flow_signal_waiters AS w
    SET followed = true
    WHERE w.ctid = ANY(ARRAY(
        SELECT (
            SELECT h.ctid
            FROM flow_signal.flow_signal_waiters AS h
            WHERE h.run_id = l.run_id
                AND h.signal_name = l.signal_name COLLATE "C"
                AND h.place = 'head'
                AND NOT h.followed
        )
        FROM unnest(p_run_ids, p_signal_names) AS l (run_id, signal_name)
        WHERE (
            SELECT true
            FROM flow_signal.flow_signal_waiters AS o
            WHERE o.run_id = l.run_id
                AND o.signal_name = l.signal_name COLLATE "C"
                AND o.place <> 'head'
            LIMIT 1
        )
    ));
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.mark_followed(uuid[], text[]) FROM public;
COMMENT ON FUNCTION flow_signal.mark_followed(uuid[], text[]) IS
'Notes in the heads of lines, which the caller holds, that somebody stands behind them; '
'element n of each array names line n.';
