-- raises: WS003 | 54001 | 22P02, always
CREATE OR REPLACE FUNCTION flow_signal.refuse_payload(
    p_what text, p_payload_json text, p_sqlstate text, p_context text
)
RETURNS void
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    -- PostgreSQL's context of the error: "JSON data, line 3: ..." and the last characters of that
    -- line that it read. Only their place in the payload may be told.
    v_found CONSTANT text[] := regexp_match(p_context, '^[^\n:]*?(\d+): (?:\.\.\.)?([^\n]*)');
    v_line CONSTANT text := split_part(p_payload_json, E'\n', v_found[1]::integer);
    v_read CONSTANT text := regexp_replace(v_found[2], '\.\.\.$', '');
BEGIN
    IF octet_length(p_payload_json) > 1048576 THEN
        RAISE EXCEPTION USING
            ERRCODE = 'WS003',
            MESSAGE = format('%s of %s bytes is too large',
                p_what, octet_length(p_payload_json)),
            DETAIL = 'a payload has at most 1048576 bytes of text',
            HINT = 'store the data elsewhere and send a reference to it';
    ELSIF p_sqlstate = '54001' THEN
        RAISE EXCEPTION USING
            ERRCODE = '54001',
            MESSAGE = format('%s is nested too deeply', p_what),
            DETAIL = format('%s characters; this server cannot parse so many nested arrays '
                'or objects', length(p_payload_json)),
            HINT = 'send the inner part as a JSON string';
    ELSE
        RAISE EXCEPTION USING
            ERRCODE = '22P02',
            MESSAGE = format('%s is not valid JSON', p_what),
            DETAIL = format('%s characters; the error is in line %s, before character %s of it',
                length(p_payload_json), coalesce(v_found[1], '1'),
                coalesce(nullif(strpos(v_line, v_read), 0) + length(v_read), length(v_line) + 1)
            ),
            HINT = 'send JSON text: a string needs double quotes, NULL means no payload';
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.refuse_payload(text, text, text, text) FROM public;
COMMENT ON FUNCTION flow_signal.refuse_payload(text, text, text, text) IS
'Refuses a payload that is over 1 MiB, nested too deeply or not JSON, in the one wording for '
'each. No text has a part of the payload.';
