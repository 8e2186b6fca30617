-- raises: WS002, always
CREATE OR REPLACE FUNCTION flow_signal.refuse_reuse(
    p_run_id uuid, p_signal_name text, p_delivery_id text, p_status text
)
RETURNS void
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF p_delivery_id IS NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = 'WS002',
            MESSAGE = 'token was used with another payload',
            DETAIL = format('signal "%s" of run %s is recorded under it as %s',
                flow_signal.excerpt(p_signal_name), p_run_id, p_status),
            HINT = 'repeat the payload byte for byte to get the first answer';
    END IF;
    RAISE EXCEPTION USING
        ERRCODE = 'WS002',
        MESSAGE = format('delivery id "%s" was used with another payload',
            flow_signal.excerpt(p_delivery_id)),
        DETAIL = format('signal "%s" of run %s is recorded under it as %s',
            flow_signal.excerpt(p_signal_name), p_run_id, p_status),
        HINT = 'repeat the payload byte for byte, or send a new signal under a new id';
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.refuse_reuse(uuid, text, text, text) FROM public;
COMMENT ON FUNCTION flow_signal.refuse_reuse(uuid, text, text, text) IS
'Refuses a delivery id, or a token (p_delivery_id is NULL), that was used with another '
'payload, in the one wording for it.';
