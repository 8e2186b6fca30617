-- no SET clause, so that the planner inlines it; every name in it is qualified
CREATE OR REPLACE FUNCTION flow_signal.hash_payload(p_payload_json text)
RETURNS bytea
LANGUAGE sql
STABLE
PARALLEL SAFE
AS $function$
SELECT pg_catalog.sha256(
    pg_catalog.convert_to(p_payload_json, pg_catalog.getdatabaseencoding())
)
$function$;
REVOKE ALL ON FUNCTION flow_signal.hash_payload(text) FROM public;
COMMENT ON FUNCTION flow_signal.hash_payload(text) IS
'SHA-256 of a payload as it is stored, in any encoding of the database; NULL for NULL.';
