-- raises: 22023, always
CREATE OR REPLACE FUNCTION flow_signal.refuse_channel(p_value text)
RETURNS void
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = '22023',
        MESSAGE = format('wake channel "%s" is not a channel name',
            flow_signal.excerpt(left(p_value, 80))),
        DETAIL = format('it has %s bytes; NOTIFY takes 1 to 63, not only white space',
            octet_length(p_value)),
        HINT = 'use a short channel name, for example one per worker process';
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.refuse_channel(text) FROM public;
COMMENT ON FUNCTION flow_signal.refuse_channel(text) IS
'Refuses a wake channel that NOTIFY would not take, in the one wording for it.';
