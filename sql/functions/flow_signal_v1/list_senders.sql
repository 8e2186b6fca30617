-- since: 1.1 | role: admin | raises: 22004
-- locks: nothing
CREATE OR REPLACE FUNCTION flow_signal_v1.list_senders(p_run_id uuid)
RETURNS SETOF flow_signal_v1.sender
LANGUAGE plpgsql
STABLE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $function$
BEGIN
    IF p_run_id IS NULL THEN
        PERFORM flow_signal.refuse_null('run id');
    END IF;

    -- A waiter that was delivered with an id has a receipt: the two are one signal.
    RETURN QUERY
    SELECT
        p_run_id, d.signal_name::text, d.step_key::text, max(d.delivery_id)::text, 'delivered',
        d.delivered_at, nullif(d.delivered_by, '')::text
    FROM (
        SELECT r.signal_name, r.step_key, r.delivery_id, r.delivered_at, r.delivered_by
        FROM flow_signal.flow_signal_receipts AS r
        WHERE r.run_id = p_run_id
        UNION ALL
        SELECT w.signal_name, w.step_key, NULL, w.delivered_at, w.delivered_by
        FROM flow_signal.flow_signal_waiters AS w
        WHERE w.run_id = p_run_id AND w.delivered_at IS NOT NULL
    ) AS d
    GROUP BY d.signal_name, d.step_key, d.delivered_at, d.delivered_by
    UNION ALL
    SELECT
        b.run_id, b.signal_name::text, NULL, b.delivery_id::text, 'buffered', b.buffered_at,
        nullif(b.buffered_by, '')::text
    FROM flow_signal.flow_signal_buffered_signals AS b
    WHERE b.run_id = p_run_id
    ORDER BY 6, 2, 3;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.list_senders(uuid) FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.list_senders(uuid) TO flow_signal_admin;
COMMENT ON FUNCTION flow_signal_v1.list_senders(uuid) IS
'Who sent the signals of a run: a row for each delivery and each buffered signal that is '
'recorded, oldest first, with the login (session_user) that sent it. Without a delivery id a '
'delivery is recorded as long as its waiter is there, with one until remove_run or purge.';
