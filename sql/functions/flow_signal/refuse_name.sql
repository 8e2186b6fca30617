-- raises: 22004 | 22023, always
CREATE OR REPLACE FUNCTION flow_signal.refuse_name(p_what text, p_value text)
RETURNS void
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF p_value IS NULL THEN
        PERFORM flow_signal.refuse_null(p_what);
    ELSIF length(p_value) > 256 THEN
        RAISE EXCEPTION USING
            ERRCODE = '22023',
            MESSAGE = format('%s "%s..." is too long', p_what,
                flow_signal.excerpt(left(p_value, 40))),
            DETAIL = format('it has %s characters, at most 256 are kept', length(p_value)),
            HINT = 'shorten it, or send a hash of it';
    ELSE
        RAISE EXCEPTION USING
            ERRCODE = '22023',
            MESSAGE = format('%s "%s" is blank', p_what,
                flow_signal.excerpt(p_value)),
            DETAIL = 'it is empty or only white space',
            HINT = format('give the %s a name', p_what);
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.refuse_name(text, text) FROM public;
COMMENT ON FUNCTION flow_signal.refuse_name(text, text) IS
'Refuses a value that flow_signal.is_name does not accept, in the one wording for it.';
