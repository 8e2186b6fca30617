-- no SET clause, so that the planner inlines it; every name in it is qualified
CREATE OR REPLACE FUNCTION flow_signal.waiter_state(
    p_delivered_at timestamptz, p_expired_at timestamptz, p_expires_at timestamptz,
    p_now timestamptz
)
RETURNS text
LANGUAGE sql
IMMUTABLE
PARALLEL SAFE
AS $function$
SELECT CASE
    WHEN p_delivered_at IS NOT NULL THEN 'delivered'
    WHEN p_expired_at IS NOT NULL OR p_expires_at OPERATOR(pg_catalog.<=) p_now THEN 'expired'
    ELSE 'waiting'
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.waiter_state(
    timestamptz, timestamptz, timestamptz, timestamptz
) FROM public;
COMMENT ON FUNCTION flow_signal.waiter_state(
    timestamptz, timestamptz, timestamptz, timestamptz
) IS
'The state of a waiter at p_now: delivered, expired or waiting.';
