-- raises: 0A000, always
CREATE OR REPLACE FUNCTION flow_signal.refuse_isolation(p_call text)
RETURNS void
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = '0A000',
        MESSAGE = format('%s cannot run at isolation level %s',
            p_call, current_setting('transaction_isolation')),
        DETAIL = 'its answer must count what other transactions committed up to now, '
        'which a snapshot from the start of the transaction does not show',
        HINT = 'call it in a READ COMMITTED transaction';
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.refuse_isolation(text) FROM public;
COMMENT ON FUNCTION flow_signal.refuse_isolation(text) IS
'Refuses a call at REPEATABLE READ or SERIALIZABLE, in the one wording for it.';
