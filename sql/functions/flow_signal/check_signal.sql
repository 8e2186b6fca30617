-- raises: 22004 22023 22P02 54001 WS003 0A000
CREATE OR REPLACE FUNCTION flow_signal.check_signal(
    p_run_id uuid, p_signal_name text, p_payload_json text, p_delivery_id text,
    p_buffer_until timestamptz
)
RETURNS json
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF p_run_id IS NULL THEN
        PERFORM flow_signal.refuse_null('run id');
    ELSIF flow_signal.is_name(p_signal_name) IS NOT TRUE THEN
        PERFORM flow_signal.refuse_name('signal name', p_signal_name);
    ELSIF NOT flow_signal.is_name(p_delivery_id) THEN
        PERFORM flow_signal.refuse_name('delivery id', p_delivery_id);
    ELSIF NOT flow_signal.is_instant(p_buffer_until) THEN
        PERFORM flow_signal.refuse_instant('buffer time', p_buffer_until);
    -- A waiter that was committed after the snapshot would be not_found.
    ELSIF current_setting('transaction_isolation') NOT LIKE 'read %' THEN
        PERFORM flow_signal.refuse_isolation('deliver_signal');
    END IF;
    RETURN flow_signal.parse_payload('payload', p_payload_json);
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.check_signal(
    uuid, text, text, text, timestamptz
) FROM public;
COMMENT ON FUNCTION flow_signal.check_signal(uuid, text, text, text, timestamptz) IS
'Refuses arguments that deliver_signal does not accept; returns the payload.';
