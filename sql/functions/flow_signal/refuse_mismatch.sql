-- raises: WS001, always
CREATE OR REPLACE FUNCTION flow_signal.refuse_mismatch(
    p_waiter flow_signal.flow_signal_waiters, p_signal_name text
)
RETURNS void
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'WS001',
        MESSAGE = format('step "%s" of run %s already has the payload of signal "%s"',
            flow_signal.excerpt(p_waiter.step_key), p_waiter.run_id,
            flow_signal.excerpt(p_waiter.signal_name)),
        DETAIL = format('it was delivered at %s; the call asks for signal "%s"',
            p_waiter.delivered_at, flow_signal.excerpt(p_signal_name)),
        HINT = 'read the payload with get_waiter, then remove_waiter and register again';
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.refuse_mismatch(
    flow_signal.flow_signal_waiters, text
) FROM public;
COMMENT ON FUNCTION flow_signal.refuse_mismatch(flow_signal.flow_signal_waiters, text) IS
'Refuses to register a delivered step for another signal, in the one wording for it.';
