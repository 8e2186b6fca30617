-- locks: the receipt; the caller has the waiter's row
CREATE OR REPLACE FUNCTION flow_signal.record_delivery(
    p_run_id uuid, p_step_key text, p_signal_name text, p_payload json, p_delivery_id text,
    p_sender text, p_now timestamptz
)
RETURNS boolean
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_wake_channel text;
BEGIN
    IF p_delivery_id IS NOT NULL THEN
        -- Waits for a transaction that is delivering a signal with this id to another waiter. If
        -- that commits, this delivery must not happen.
        INSERT INTO flow_signal.flow_signal_receipts (
            run_id, delivery_id, signal_name, step_key, delivered_at, payload_hash,
            delivered_by
        )
        VALUES (
            p_run_id, p_delivery_id, p_signal_name, p_step_key, p_now,
            flow_signal.hash_payload(p_payload::text),
            coalesce(p_sender, session_user)
        )
        ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            RETURN false;
        END IF;
    END IF;
    UPDATE flow_signal.flow_signal_waiters AS w
    SET
        status = 'delivered',
        delivered_at = p_now,
        delivered_by = coalesce(p_sender, session_user),
        payload_json = p_payload,
        due_at = CASE WHEN w.queue IS NOT NULL THEN p_now END
    WHERE w.run_id = p_run_id AND w.step_key = p_step_key COLLATE "C"
    RETURNING w.wake_channel INTO v_wake_channel;
    IF v_wake_channel IS NOT NULL THEN
        PERFORM pg_notify(v_wake_channel, p_run_id || '/' || p_step_key);
    END IF;
    RETURN true;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.record_delivery(
    uuid, text, text, json, text, text, timestamptz
) FROM public;
COMMENT ON FUNCTION flow_signal.record_delivery(
    uuid, text, text, json, text, text, timestamptz
) IS
'Gives a payload to a live waiter whose row the caller has locked, with the receipt of its '
'delivery id and the NOTIFY. Returns false, and delivers nothing, when the id has a receipt. '
'p_sender: NULL for the login of this session.';
