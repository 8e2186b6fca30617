-- raises: 40001, always
CREATE OR REPLACE FUNCTION flow_signal.start_over(p_why text)
RETURNS void
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = '40001',
        MESSAGE = format('%s: begin again', p_why),
        DETAIL = 'no caller sees this: the block that it ends catches it',
        HINT = 'let go of all locks of the block first';
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.start_over(text) FROM public;
COMMENT ON FUNCTION flow_signal.start_over(text) IS
'Undoes what a block has locked and written, since something changed before it had its locks.';
