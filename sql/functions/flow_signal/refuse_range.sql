-- raises: 22023, always
CREATE OR REPLACE FUNCTION flow_signal.refuse_range(p_what text, p_value text, p_range text)
RETURNS void
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = '22023',
        MESSAGE = format('%s %s is out of range', p_what, p_value),
        DETAIL = format('it may be %s', p_range),
        HINT = format('pass a %s in that range', p_what);
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.refuse_range(text, text, text) FROM public;
COMMENT ON FUNCTION flow_signal.refuse_range(text, text, text) IS
'Refuses a limit, lease or wait that is out of range, in the one wording for it.';
