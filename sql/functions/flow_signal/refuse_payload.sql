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
    -- PostgreSQL's context of the error: "JSON data, line 3: ..." in the language of the server,
    -- then what it read of that line, at least the last fifty bytes. Only their place may be told.
    v_found CONSTANT text[] := regexp_match(
        p_context, '^\D*(\d+)[^\d\n:]*: (\.\.\.)?([^\n]*)'
    );
    v_line CONSTANT text := split_part(p_payload_json, E'\n', v_found[1]::integer);
    v_read CONSTANT text := CASE
        WHEN right(v_line, length(v_found[3])) = v_found[3] THEN v_found[3]
        ELSE regexp_replace(v_found[3], '\.\.\.$', '')
    END;
    v_from CONSTANT integer := CASE
        WHEN v_found[2] IS NULL THEN 1 ELSE strpos(v_line, v_read)
    END;
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
            DETAIL = format('%s characters; the error is in line %s',
                length(p_payload_json), v_found[1])
            -- The line may have the same text twice.
            || CASE
                WHEN v_found[2] IS NOT NULL AND strpos(substr(v_line, v_from + 1), v_read) > 0
                    THEN ''
                ELSE format(', before character %s', v_from + length(v_read))
            END,
            HINT = 'send JSON text: a string needs double quotes, NULL means no payload';
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.refuse_payload(text, text, text, text) FROM public;
COMMENT ON FUNCTION flow_signal.refuse_payload(text, text, text, text) IS
'Refuses a payload that is over 1 MiB, nested too deeply or not JSON, in the one wording for '
'each. No text has a part of the payload.';
