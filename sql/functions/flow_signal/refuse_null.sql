-- raises: 22004, always
CREATE OR REPLACE FUNCTION flow_signal.refuse_null(p_what text)
RETURNS void
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = '22004',
        MESSAGE = format('%s is null', p_what),
        DETAIL = 'this call needs a value there',
        HINT = format('pass a%s %s', CASE WHEN p_what LIKE 'array%' THEN 'n' ELSE '' END, p_what);
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.refuse_null(text) FROM public;
COMMENT ON FUNCTION flow_signal.refuse_null(text) IS
'Refuses a NULL, in the one wording for it.';
