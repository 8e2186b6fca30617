-- no SET clause, so that the planner inlines it; every name in it is qualified
CREATE OR REPLACE FUNCTION flow_signal.is_instant(p_value timestamptz)
RETURNS boolean
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
AS $function$
SELECT p_value OPERATOR(pg_catalog.>=) '0001-01-01 00:00:00+00'::pg_catalog.timestamptz
    AND p_value OPERATOR(pg_catalog.<) '10000-01-01 00:00:00+00'::pg_catalog.timestamptz
$function$;
REVOKE ALL ON FUNCTION flow_signal.is_instant(timestamptz) FROM public;
COMMENT ON FUNCTION flow_signal.is_instant(timestamptz) IS
'Whether every driver can carry this instant: finite, of the years 1 to 9999; NULL for NULL.';
