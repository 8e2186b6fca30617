-- raises: 22023, always
CREATE OR REPLACE FUNCTION flow_signal.refuse_instant(p_what text, p_value timestamptz)
RETURNS void
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = '22023',
        MESSAGE = format('%s %s is out of range', p_what, p_value),
        DETAIL = 'drivers carry finite instants of the years 1 to 9999',
        HINT = CASE
            WHEN p_what LIKE 'deadline%' THEN 'pass NULL to wait for ever'
            WHEN p_what = 'purge time' THEN 'pass an instant; older rows are deleted'
            ELSE 'pass an instant at which the buffered signal may be forgotten'
        END;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.refuse_instant(text, timestamptz) FROM public;
COMMENT ON FUNCTION flow_signal.refuse_instant(text, timestamptz) IS
'Refuses an instant that flow_signal.is_instant does not accept, in the one wording for it.';
