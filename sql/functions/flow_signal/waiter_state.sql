-- no SET clause, so that the planner inlines it; every name in it is qualified
CREATE OR REPLACE FUNCTION flow_signal.waiter_state(
    p_status text, p_expires_at timestamptz, p_now timestamptz
)
RETURNS text
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
AS $function$
SELECT CASE
    WHEN p_status OPERATOR(pg_catalog.=) 'waiting'
        AND p_expires_at OPERATOR(pg_catalog.<=) p_now THEN 'expired'
    ELSE p_status
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.waiter_state(text, timestamptz, timestamptz) FROM public;
COMMENT ON FUNCTION flow_signal.waiter_state(text, timestamptz, timestamptz) IS
'The state of a waiter at p_now: waiting, delivered or expired.';
