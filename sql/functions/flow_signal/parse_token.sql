CREATE OR REPLACE FUNCTION flow_signal.parse_token(p_token text)
RETURNS flow_signal.flow_signal_tokens
LANGUAGE plpgsql
IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_token flow_signal.flow_signal_tokens;
BEGIN
    -- fst_, 32 digits of the run, _, 64 random ones: 101 bytes. Any other text becomes a token that
    -- was never issued: the caller looks for it just the same. Trimmed, since a regular expression
    -- with so many repetitions costs as much as a delivery.
    IF octet_length(p_token) <> 101
        OR left(p_token, 4) <> 'fst_'
        OR substr(p_token, 37, 1) <> '_'
        OR rtrim(substr(p_token, 5, 32) || substr(p_token, 38), '0123456789abcdef') <> '' THEN
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
