CREATE OR REPLACE FUNCTION flow_signal.parse_token(p_token text)
RETURNS flow_signal.flow_signal_tokens
LANGUAGE plpgsql
IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_token flow_signal.flow_signal_tokens;
BEGIN
    -- Any other text becomes a token that was never issued: the caller looks for it just the same.
    IF octet_length(p_token) <> 101
        OR p_token COLLATE "C" !~ '^fst_[0-9a-f]{32}_[0-9a-f]{64}$' THEN
        p_token := 'fst_' || repeat('0', 32) || '_' || repeat('0', 64);
    END IF;
    v_token.run_id := substr(p_token, 5, 32)::uuid;
    -- The hash is of bytes, so that it is the same in every encoding of the database.
    v_token.token_hash := sha256(decode(substr(p_token, 38), 'hex'));
    RETURN v_token;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.parse_token(text) FROM public;
COMMENT ON FUNCTION flow_signal.parse_token(text) IS
'The key under which a token is stored: its run id and its hash.';
