-- no SET clause, so that the planner inlines it; every name in it is qualified
CREATE OR REPLACE FUNCTION flow_signal.buffered_state(
    p_dead boolean, p_buffered_until timestamptz, p_now timestamptz
)
RETURNS text
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
AS $function$
SELECT CASE
    WHEN p_dead OR p_buffered_until OPERATOR(pg_catalog.<=) p_now THEN 'dead'
    ELSE 'buffered'
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.buffered_state(
    boolean, timestamptz, timestamptz
) FROM public;
COMMENT ON FUNCTION flow_signal.buffered_state(boolean, timestamptz, timestamptz) IS
'The state of a buffered signal at p_now: buffered or dead.';
