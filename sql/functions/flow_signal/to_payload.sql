-- raises: WS003 | 22P02
CREATE OR REPLACE FUNCTION flow_signal.to_payload(p_payload_json text)
RETURNS json
LANGUAGE plpgsql
IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_detail text;
BEGIN
    IF octet_length(p_payload_json) > 1048576 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'WS003',
            MESSAGE = format('payload of %s bytes is too large', octet_length(p_payload_json)),
            DETAIL = 'a payload has at most 1048576 bytes of text',
            HINT = 'store the data elsewhere and send a reference to it';
    END IF;
    RETURN p_payload_json::json;
EXCEPTION
    WHEN invalid_text_representation THEN
        GET STACKED DIAGNOSTICS v_detail = PG_EXCEPTION_DETAIL;
        RAISE EXCEPTION USING
            ERRCODE = '22P02',
            MESSAGE = format('payload "%s" is not valid JSON', left(p_payload_json, 40)),
            DETAIL = v_detail,
            HINT = 'send JSON text: a string needs double quotes, no payload is NULL';
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.to_payload(text) FROM public;
COMMENT ON FUNCTION flow_signal.to_payload(text) IS
'The payload as json, byte for byte; refuses text that is no JSON or has over 1 MiB.';
