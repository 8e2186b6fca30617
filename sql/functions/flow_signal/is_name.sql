-- no SET clause, so that the planner inlines it; every name in it is qualified, and the string
-- means the same whatever standard_conforming_strings is
CREATE OR REPLACE FUNCTION flow_signal.is_name(p_value text)
RETURNS boolean
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
AS $function$
SELECT pg_catalog.length(p_value) OPERATOR(pg_catalog.<=) 256
    AND p_value COLLATE "C" OPERATOR(pg_catalog.~)
    E'[^\\s\\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]'
$function$;
REVOKE ALL ON FUNCTION flow_signal.is_name(text) FROM public;
COMMENT ON FUNCTION flow_signal.is_name(text) IS
'Whether a step key, signal name, delivery id or queue is one: not blank, at most 256 '
'characters; NULL for NULL.';
