CREATE OR REPLACE FUNCTION flow_signal.excerpt(p_value text)
RETURNS text
LANGUAGE plpgsql
IMMUTABLE
PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RETURN regexp_replace(
        left(p_value, 256) COLLATE "C", E'[\\u0001-\\u001f\\u007f-\\u009f]', '?', 'g'
    )
        || CASE WHEN length(p_value) > 256 THEN '...' ELSE '' END;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.excerpt(text) FROM public;
COMMENT ON FUNCTION flow_signal.excerpt(text) IS
'A name as messages show it: at most 256 characters, control characters as question marks.';
