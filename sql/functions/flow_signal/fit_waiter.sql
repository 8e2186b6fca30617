-- raises: 22004 22023 WS003
CREATE OR REPLACE FUNCTION flow_signal.fit_waiter(
    p_run_id uuid, p_step_key text, p_signal_name text, p_created_at timestamptz,
    p_expires_at timestamptz, p_delivered_at timestamptz, p_payload_json text
)
RETURNS flow_signal.flow_signal_waiters
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_waiter flow_signal.flow_signal_waiters;
BEGIN
    IF p_run_id IS NULL THEN
        PERFORM flow_signal.refuse_null('run id');
    ELSIF flow_signal.is_name(p_step_key) IS NOT TRUE THEN
        PERFORM flow_signal.refuse_name('step key', p_step_key);
    ELSIF flow_signal.is_name(p_signal_name) IS NOT TRUE THEN
        PERFORM flow_signal.refuse_name('signal name', p_signal_name);
    ELSIF p_created_at IS NULL THEN
        PERFORM flow_signal.refuse_null('created_at');
    ELSIF NOT flow_signal.is_instant(p_created_at) THEN
        PERFORM flow_signal.refuse_instant('created_at', p_created_at);
    ELSIF NOT flow_signal.is_instant(p_expires_at) THEN
        PERFORM flow_signal.refuse_instant('deadline', p_expires_at);
    ELSIF NOT flow_signal.is_instant(p_delivered_at) THEN
        PERFORM flow_signal.refuse_instant('delivered_at', p_delivered_at);
    END IF;

    v_waiter.run_id := p_run_id;
    v_waiter.step_key := p_step_key;
    v_waiter.signal_name := p_signal_name;
    v_waiter.created_at := p_created_at;
    IF p_delivered_at IS NULL THEN
        v_waiter.status := CASE
            WHEN p_expires_at <= clock_timestamp() THEN 'expired' ELSE 'waiting' END;
        v_waiter.expires_at := p_expires_at;
        RETURN v_waiter;
    END IF;

    v_waiter.status := 'delivered';
    v_waiter.delivered_at := greatest(p_delivered_at, p_created_at);
    IF p_expires_at > v_waiter.delivered_at THEN
        v_waiter.expires_at := p_expires_at;
    END IF;
    BEGIN
        v_waiter.payload_json := flow_signal.parse_payload('payload', p_payload_json);
    EXCEPTION
        WHEN invalid_text_representation OR statement_too_complex THEN
            v_waiter.payload_json := flow_signal.parse_payload(
                'payload', to_json(p_payload_json)::text
            );
    END;
    RETURN v_waiter;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.fit_waiter(
    uuid, text, text, timestamptz, timestamptz, timestamptz, text
) FROM public;
COMMENT ON FUNCTION flow_signal.fit_waiter(
    uuid, text, text, timestamptz, timestamptz, timestamptz, text
) IS
'A waiter of another store as a row of ours: delivered after it was registered and before its '
'deadline, if it has one; a payload that is not JSON becomes a JSON string; a waiter that was '
'not delivered has no payload. Refuses what cannot be a waiter of ours.';
