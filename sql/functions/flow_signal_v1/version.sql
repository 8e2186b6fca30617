-- since: 1.0 | role: sender, reader | locks: nothing
CREATE OR REPLACE FUNCTION flow_signal_v1.version()
RETURNS text
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
SELECT '@VERSION@'::text
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.version() FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.version() TO flow_signal_sender, flow_signal_reader;
COMMENT ON FUNCTION flow_signal_v1.version() IS
'The release of flow-signal that is installed here.';
