-- locks: the line, if its head is settled and followed; then the waiter
CREATE OR REPLACE FUNCTION flow_signal.deliver_to_next(
    p_run_id uuid, p_signal_name text, p_payload_json json
)
RETURNS flow_signal_v1.delivery
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $function$
DECLARE
    v_step_key text COLLATE "C";
    v_wake_channel text;
    v_now timestamptz;
BEGIN
    PERFORM
    FROM flow_signal.flow_signal_waiters AS w
    WHERE w.run_id = p_run_id
        AND w.signal_name = p_signal_name COLLATE "C"
        AND w.place = 'head'
        AND (w.delivered_at IS NOT NULL OR w.expired_at IS NOT NULL)
        AND w.followed
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;

    v_now := clock_timestamp();
    -- IS NOT DISTINCT FROM leaves the planner only the primary key.
    UPDATE flow_signal.flow_signal_waiters AS w
    SET
        delivered_at = v_now,
        payload_json = p_payload_json,
        due_at = CASE WHEN w.queue IS NOT NULL THEN v_now END,
        place = 'delivered'
    WHERE w.run_id = p_run_id
        AND w.step_key = (
            SELECT o.step_key
            FROM flow_signal.flow_signal_waiters AS o
            WHERE o.run_id = p_run_id
                AND o.signal_name = p_signal_name COLLATE "C"
                AND o.place = 'waiting'
            ORDER BY o.created_at, o.step_key
            LIMIT 1
        )
        AND w.signal_name IS NOT DISTINCT FROM p_signal_name COLLATE "C"
        AND w.place IS NOT DISTINCT FROM 'waiting'
        AND (w.expires_at IS NULL OR w.expires_at > v_now)
    RETURNING w.step_key, w.wake_channel INTO v_step_key, v_wake_channel;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF v_wake_channel IS NOT NULL THEN
        PERFORM pg_notify(v_wake_channel, p_run_id || '/' || v_step_key);
    END IF;
    RETURN ('delivered', p_run_id, v_step_key, v_now, false)::flow_signal_v1.delivery;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.deliver_to_next(uuid, text, json) FROM public;
COMMENT ON FUNCTION flow_signal.deliver_to_next(uuid, text, json) IS
'Delivers to the oldest waiter behind a settled head; NULL if settle_signal has to decide.';
