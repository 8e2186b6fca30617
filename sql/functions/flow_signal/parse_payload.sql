-- raises: WS003 22P02 54001
CREATE OR REPLACE FUNCTION flow_signal.parse_payload(p_what text, p_payload_json text)
RETURNS json
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_context text;
BEGIN
    IF octet_length(p_payload_json) > 1048576 THEN
        PERFORM flow_signal.refuse_payload(p_what, p_payload_json, NULL, NULL);
    END IF;
    RETURN p_payload_json::json;
EXCEPTION
    WHEN invalid_text_representation OR statement_too_complex THEN
        GET STACKED DIAGNOSTICS v_context = PG_EXCEPTION_CONTEXT;
        PERFORM flow_signal.refuse_payload(p_what, p_payload_json, SQLSTATE, v_context);
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.parse_payload(text, text) FROM public;
COMMENT ON FUNCTION flow_signal.parse_payload(text, text) IS
'A payload as JSON, byte for byte; refuses a text that is not JSON, too deep or over 1 MiB.';
