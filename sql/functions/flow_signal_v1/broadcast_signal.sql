-- since: 1.0 | role: broadcaster | raises: 22004 22023 22P02 WS003 0A000
-- locks: the lines of that name in which somebody waits, in the order of their runs
CREATE OR REPLACE FUNCTION flow_signal_v1.broadcast_signal(
    p_signal_name text,
    p_payload_json text DEFAULT NULL
)
RETURNS SETOF flow_signal_v1.delivery
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $function$
DECLARE
    v_payload json;
    v_run_ids uuid[];
    v_waiter record;
    v_now timestamptz;
BEGIN
    IF flow_signal.is_name(p_signal_name) IS NOT TRUE THEN
        PERFORM flow_signal.refuse_name('signal name', p_signal_name);
    -- A waiter that was committed after the snapshot would be passed over.
    ELSIF current_setting('transaction_isolation') NOT LIKE 'read %' THEN
        PERFORM flow_signal.refuse_isolation('broadcast_signal');
    END IF;
    v_payload := flow_signal.parse_payload('payload', p_payload_json);

    v_run_ids := ARRAY(
        SELECT w.run_id
        FROM flow_signal.flow_signal_waiters AS w
        WHERE w.signal_name = p_signal_name COLLATE "C"
            AND w.place = 'head'
            AND w.delivered_at IS NULL
            AND w.expired_at IS NULL
        UNION
        SELECT w.run_id
        FROM flow_signal.flow_signal_waiters AS w
        WHERE w.signal_name = p_signal_name COLLATE "C" AND w.place = 'waiting'
    );
    PERFORM flow_signal.hold_lines(
        v_run_ids, array_fill(p_signal_name, ARRAY[cardinality(v_run_ids)])
    );
    v_now := clock_timestamp();

    FOR v_waiter IN
        WITH heads AS (
            UPDATE flow_signal.flow_signal_waiters AS w
            SET
                delivered_at = v_now,
                payload_json = v_payload,
                due_at = CASE WHEN w.queue IS NOT NULL THEN v_now END
            WHERE w.run_id = ANY(v_run_ids)
                AND w.signal_name = p_signal_name COLLATE "C"
                AND w.place = 'head'
                AND w.delivered_at IS NULL
                AND w.expired_at IS NULL
                AND (w.expires_at IS NULL OR w.expires_at > v_now)
            RETURNING w.run_id, w.step_key, w.wake_channel
        ),

        others AS (
            UPDATE flow_signal.flow_signal_waiters AS w
            SET
                delivered_at = v_now,
                payload_json = v_payload,
                due_at = CASE WHEN w.queue IS NOT NULL THEN v_now END,
                place = 'delivered'
            WHERE w.run_id = ANY(v_run_ids)
                AND w.signal_name = p_signal_name COLLATE "C"
                AND w.place = 'waiting'
                AND (w.expires_at IS NULL OR w.expires_at > v_now)
            RETURNING w.run_id, w.step_key, w.wake_channel
        )

        SELECT h.run_id, h.step_key, h.wake_channel FROM heads AS h
        UNION ALL
        SELECT o.run_id, o.step_key, o.wake_channel FROM others AS o
        ORDER BY run_id, step_key
    LOOP
        RETURN NEXT ('delivered', v_waiter.run_id, v_waiter.step_key, v_now, false)
        ::flow_signal_v1.delivery;
        IF v_waiter.wake_channel IS NOT NULL THEN
            PERFORM pg_notify(v_waiter.wake_channel, v_waiter.run_id || '/' || v_waiter.step_key);
        END IF;
    END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.broadcast_signal(text, text) FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.broadcast_signal(text, text)
TO flow_signal_broadcaster;
COMMENT ON FUNCTION flow_signal_v1.broadcast_signal(text, text) IS
'Sends a signal to every live waiter of that name in every run and returns who got it, in the '
'order of (run_id, step_key). Reads an index over all waiters; until it is committed, other '
'calls about these lines wait.';
