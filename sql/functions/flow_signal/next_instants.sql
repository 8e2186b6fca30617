CREATE OR REPLACE FUNCTION flow_signal.next_instants(p_count integer)
RETURNS timestamptz[]
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_now CONSTANT timestamptz := clock_timestamp();
BEGIN
    RETURN ARRAY(
        SELECT v_now + n * interval '1 microsecond' FROM generate_series(1, p_count) AS n
    );
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.next_instants(integer) FROM public;
COMMENT ON FUNCTION flow_signal.next_instants(integer) IS
'An instant for each row of a batch, from now on, so that they keep their order.';
