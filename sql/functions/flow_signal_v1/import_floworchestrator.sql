-- since: 1.0 | role: admin, who may read that table | raises: 22004 22023 42P01 0A000
-- locks: as import_waiters. SECURITY INVOKER: reads only what the caller may read, and as him
CREATE OR REPLACE FUNCTION flow_signal_v1.import_floworchestrator(
    p_schema text,
    p_limit integer DEFAULT 1000,
    p_after_run_id uuid DEFAULT NULL,
    p_after_step_key text DEFAULT NULL,
    p_dry_run boolean DEFAULT false
)
RETURNS SETOF flow_signal_v1.imported_waiter
LANGUAGE plpgsql
VOLATILE
SECURITY INVOKER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $function$
DECLARE
    -- of payloads in one call, so that it needs no more memory than a server has
    v_bytes CONSTANT integer := 33554432;
    v_null text;
    v_run_ids uuid[];
    v_step_keys text[];
    v_signal_names text[];
    v_created_at timestamptz[];
    v_expires_at timestamptz[];
    v_delivered_at timestamptz[];
    v_payloads_json text[];
BEGIN
    -- Raised here: the caller, as whom this function runs, may not call the helpers.
    v_null := CASE
        WHEN p_schema IS NULL THEN 'schema'
        WHEN p_limit IS NULL THEN 'limit'
        WHEN p_after_run_id IS NULL AND p_after_step_key IS NOT NULL THEN 'run id to start after'
        WHEN p_after_run_id IS NOT NULL AND p_after_step_key IS NULL
            THEN 'step key to start after'
    END;
    IF v_null IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = '22004',
            MESSAGE = format('%s is null', v_null),
            DETAIL = 'this call needs a value there',
            HINT = format('pass a %s', v_null);
    ELSIF octet_length(p_schema) NOT BETWEEN 1 AND 63 THEN
        RAISE EXCEPTION USING
            ERRCODE = '22023',
            MESSAGE = format('schema of %s bytes is out of range', octet_length(p_schema)),
            DETAIL = 'it may be a name of 1 to 63 bytes',
            HINT = 'pass the name of the schema that has the table';
    ELSIF p_limit NOT BETWEEN 0 AND 10000 THEN
        RAISE EXCEPTION USING
            ERRCODE = '22023',
            MESSAGE = format('limit %s is out of range', p_limit),
            DETAIL = 'it may be 0 to 10000',
            HINT = 'pass a limit in that range';
    END IF;
    EXECUTE format(
        $query$
        SELECT
            coalesce(array_agg(s.run_id), '{}'),
            coalesce(array_agg(s.step_key), '{}'),
            coalesce(array_agg(s.signal_name), '{}'),
            coalesce(array_agg(s.created_at), '{}'),
            coalesce(array_agg(s.expires_at), '{}'),
            coalesce(array_agg(s.delivered_at), '{}'),
            coalesce(array_agg(s.payload_json), '{}')
        FROM (
            SELECT
                w.run_id, w.step_key::text, w.signal_name::text, w.created_at, w.expires_at,
                w.delivered_at, w.payload_json::text,
                sum(octet_length(w.payload_json::text)) OVER (
                    ORDER BY w.run_id, w.step_key
                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                ) AS bytes_before
            FROM %I.flow_signal_waiters AS w
            WHERE $1 IS NULL OR (w.run_id, w.step_key) > ($1, $2)
            ORDER BY w.run_id, w.step_key
            LIMIT $3
        ) AS s
        WHERE (s.bytes_before < $4) IS NOT FALSE
        $query$,
        p_schema
    )
    INTO
        v_run_ids, v_step_keys, v_signal_names, v_created_at, v_expires_at, v_delivered_at,
        v_payloads_json
    USING p_after_run_id, p_after_step_key, p_limit, v_bytes;

    RETURN QUERY
    SELECT i.run_id, i.step_key, i.outcome, i.detail
    FROM flow_signal_v1.import_waiters(
        p_run_ids => v_run_ids, p_step_keys => v_step_keys, p_signal_names => v_signal_names,
        p_created_at => v_created_at, p_expires_at => v_expires_at,
        p_delivered_at => v_delivered_at, p_payloads_json => v_payloads_json,
        p_dry_run => p_dry_run
    ) AS i;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.import_floworchestrator(
    text, integer, uuid, text, boolean
) FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.import_floworchestrator(
    text, integer, uuid, text, boolean
)
TO flow_signal_admin;
COMMENT ON FUNCTION flow_signal_v1.import_floworchestrator(
    text, integer, uuid, text, boolean
) IS
'Takes over the waiters of a FlowOrchestrator table, flow_signal_waiters in schema p_schema, '
'which the caller must be able to read: at most p_limit of them, behind '
'(p_after_run_id, p_after_step_key) in the order of its key. Returns what became of each; call '
'it again with the key of the last row until it returns none. Sees what was committed there '
'when the call began and writes nothing there: stop the writers there before the last run.';
