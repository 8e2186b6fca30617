-- locks: nothing
CREATE OR REPLACE FUNCTION flow_signal.sample_percent(p_table regclass)
RETURNS real
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_bytes CONSTANT numeric := 128 * current_setting('block_size')::numeric;
BEGIN
    RETURN least(100 * v_bytes / greatest(pg_relation_size(p_table), 1), 100)::real;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.sample_percent(regclass) FROM public;
COMMENT ON FUNCTION flow_signal.sample_percent(regclass) IS
'For TABLESAMPLE: what part of a table 128 blocks are; a smaller table is read whole.';
