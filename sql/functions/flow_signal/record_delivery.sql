-- locks: the waiter, which the caller has locked
CREATE OR REPLACE FUNCTION flow_signal.record_delivery(
    p_run_id uuid, p_step_key text, p_payload_json json, p_delivery_id text, p_now timestamptz
)
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $function$
DECLARE
    v_wake_channel text;
BEGIN
    UPDATE flow_signal.flow_signal_waiters AS w
    SET
        delivered_at = p_now,
        payload_json = p_payload_json,
        delivery_id = p_delivery_id,
        due_at = CASE WHEN w.queue IS NOT NULL THEN p_now END,
        place = CASE w.place WHEN 'head' THEN w.place ELSE 'delivered' END
    WHERE w.run_id = p_run_id AND w.step_key = p_step_key COLLATE "C"
    RETURNING w.wake_channel INTO v_wake_channel;

    IF v_wake_channel IS NOT NULL THEN
        PERFORM pg_notify(v_wake_channel, p_run_id || '/' || p_step_key);
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.record_delivery(
    uuid, text, json, text, timestamptz
) FROM public;
COMMENT ON FUNCTION flow_signal.record_delivery(uuid, text, json, text, timestamptz) IS
'Records the payload in a live waiter and notifies its wake channel, if it asked for one.';
