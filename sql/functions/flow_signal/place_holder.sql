-- no SET clause, so that the planner inlines it; every name in it is qualified
CREATE OR REPLACE FUNCTION flow_signal.place_holder(p_signal_name text)
RETURNS text
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
AS $function$
SELECT pg_catalog.repeat('-', 257) OPERATOR(pg_catalog.||) p_signal_name
$function$;
REVOKE ALL ON FUNCTION flow_signal.place_holder(text) FROM public;
COMMENT ON FUNCTION flow_signal.place_holder(text) IS
'The step key of the place-holder of a line: longer than any that a caller can have.';
