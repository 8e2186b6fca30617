-- raises: WS003 | 22P02, always
CREATE OR REPLACE FUNCTION flow_signal.refuse_payload(
    p_what text, p_payload_json text, p_detail text
)
RETURNS void
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF octet_length(p_payload_json) > 1048576 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'WS003',
            MESSAGE = format('%s of %s bytes is too large',
                p_what, octet_length(p_payload_json)),
            DETAIL = 'a payload has at most 1048576 bytes of text',
            HINT = 'store the data elsewhere and send a reference to it';
    ELSE
        RAISE EXCEPTION USING
            ERRCODE = '22P02',
            MESSAGE = format('%s "%s" is not valid JSON', p_what, left(p_payload_json, 40)),
            DETAIL = p_detail,
            HINT = 'send JSON text: a string needs double quotes, no payload is NULL';
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.refuse_payload(text, text, text) FROM public;
COMMENT ON FUNCTION flow_signal.refuse_payload(text, text, text) IS
'Refuses a payload that is over 1 MiB or, with the DETAIL that PostgreSQL gave, no JSON; in '
'the one wording for it.';
