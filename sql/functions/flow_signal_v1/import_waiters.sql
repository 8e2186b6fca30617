-- since: 1.0 | role: admin | raises: 22004 22023 0A000
-- locks: as register_waiters
CREATE OR REPLACE FUNCTION flow_signal_v1.import_waiters(
    p_run_ids uuid[],
    p_step_keys text[],
    p_signal_names text[],
    p_created_at timestamptz[],
    p_expires_at timestamptz[],
    p_delivered_at timestamptz[],
    p_payloads_json text[],
    p_dry_run boolean DEFAULT false
)
RETURNS SETOF flow_signal_v1.imported_waiter
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $function$
DECLARE
    v_arrays CONSTANT text[] := ARRAY[
        'run ids', 'step keys', 'signal names', 'created_at', 'expires_at', 'delivered_at',
        'payloads'
    ];
    v_lengths integer[] := ARRAY[
        cardinality(p_run_ids), cardinality(p_step_keys), cardinality(p_signal_names),
        cardinality(p_created_at), cardinality(p_expires_at), cardinality(p_delivered_at),
        cardinality(p_payloads_json)
    ];
    v_dimensions integer := greatest(
        array_ndims(p_run_ids), array_ndims(p_step_keys), array_ndims(p_signal_names),
        array_ndims(p_created_at), array_ndims(p_expires_at), array_ndims(p_delivered_at),
        array_ndims(p_payloads_json)
    );
    -- NULL where there is nothing to import
    v_waiters flow_signal.flow_signal_waiters[];
    v_waiter flow_signal.flow_signal_waiters;
    v_outcomes text[];
    v_details text[];
    v_row record;
    v_detail text;
BEGIN
    IF array_position(v_lengths, NULL) IS NOT NULL THEN
        PERFORM flow_signal.refuse_null('array of ' || v_arrays[array_position(v_lengths, NULL)]);
    ELSIF v_dimensions > 1 OR cardinality(p_run_ids) <> ANY(v_lengths) THEN
        PERFORM flow_signal.refuse_arrays(v_lengths, v_dimensions);
    ELSIF p_dry_run IS NULL THEN
        PERFORM flow_signal.refuse_null('dry run');
    -- A buffered signal that was committed after the snapshot would be overlooked for ever.
    ELSIF current_setting('transaction_isolation') NOT LIKE 'read %' THEN
        PERFORM flow_signal.refuse_isolation('import_waiters');
    END IF;

    FOR v_row IN
        SELECT
            s.run_id, s.step_key, s.signal_name, s.created_at,
            nullif(s.expires_at, 'infinity') AS expires_at, s.delivered_at, s.payload_json, s.n
        FROM unnest(
            p_run_ids, p_step_keys, p_signal_names, p_created_at, p_expires_at, p_delivered_at,
            p_payloads_json
        ) WITH ORDINALITY AS s (
            run_id, step_key, signal_name, created_at, expires_at, delivered_at, payload_json, n
        )
    LOOP
        BEGIN
            v_waiter := flow_signal.fit_waiter(
                v_row.run_id, v_row.step_key, v_row.signal_name, v_row.created_at,
                v_row.expires_at, v_row.delivered_at, v_row.payload_json
            );
            v_waiters[v_row.n] := v_waiter;
            v_details[v_row.n] := nullif(concat_ws(
                '; ',
                CASE WHEN v_waiter.payload_json IS NULL AND v_row.payload_json IS NOT NULL
                    THEN 'the payload is left out: it was not delivered' END,
                CASE WHEN v_waiter.payload_json::text <> v_row.payload_json
                    THEN 'the payload is no JSON: it is now a JSON string' END,
                CASE WHEN v_waiter.delivered_at > v_row.delivered_at
                    THEN 'delivered_at is now created_at, which was later' END,
                CASE WHEN v_waiter.expires_at IS NULL AND v_row.expires_at IS NOT NULL
                    THEN 'the deadline is left out: it was delivered later' END
            ), '');
            v_outcomes[v_row.n] := CASE
                WHEN v_details[v_row.n] IS NULL THEN 'imported' ELSE 'changed' END;
        EXCEPTION
            WHEN null_value_not_allowed OR invalid_parameter_value OR SQLSTATE 'WS003' THEN
                GET STACKED DIAGNOSTICS v_detail = MESSAGE_TEXT;
                v_waiters[v_row.n] := NULL;
                v_outcomes[v_row.n] := 'refused';
                v_details[v_row.n] := v_detail;
        END;
    END LOOP;

    LOOP
        FOR v_row IN
            SELECT
                s.n,
                CASE
                    WHEN w.signal_name <> s.signal_name
                        THEN format('it waits here for signal "%s"', w.signal_name)
                    WHEN w.delivered_at IS NULL AND s.delivered_at IS NOT NULL
                        THEN 'it is delivered there and not here'
                END AS conflict
            FROM (
                SELECT
                    u.run_id, u.step_key, u.signal_name, u.delivered_at, u.ordinality AS n,
                    row_number() OVER (
                        PARTITION BY u.run_id, u.step_key ORDER BY u.ordinality
                    ) AS nth
                FROM unnest(v_waiters) WITH ORDINALITY AS u
                WHERE u.run_id IS NOT NULL
            ) AS s
            -- LIMIT 1, so that each is looked up by its key
            LEFT JOIN LATERAL (
                SELECT k.run_id, k.signal_name, k.delivered_at
                FROM flow_signal.flow_signal_waiters AS k
                WHERE k.run_id = s.run_id AND k.step_key = s.step_key
                LIMIT 1
            ) AS w ON true
            WHERE w.run_id IS NOT NULL OR s.nth > 1
        LOOP
            v_waiters[v_row.n] := NULL;
            v_outcomes[v_row.n] := CASE
                WHEN v_row.conflict IS NULL THEN 'present' ELSE 'conflict' END;
            v_details[v_row.n] := v_row.conflict;
        END LOOP;
        EXIT WHEN p_dry_run OR flow_signal.insert_waiters(v_waiters);
    END LOOP;

    RETURN QUERY
    SELECT s.run_id, s.step_key, s.outcome, s.detail
    FROM unnest(p_run_ids, p_step_keys, v_outcomes, v_details) AS s (
        run_id, step_key, outcome, detail
    );
END
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.import_waiters(
    uuid[], text[], text[], timestamptz[], timestamptz[], timestamptz[], text[], boolean
) FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.import_waiters(
    uuid[], text[], text[], timestamptz[], timestamptz[], timestamptz[], text[], boolean
)
TO flow_signal_admin;
COMMENT ON FUNCTION flow_signal_v1.import_waiters(
    uuid[], text[], text[], timestamptz[], timestamptz[], timestamptz[], text[], boolean
) IS
'Takes over waiters of another store, each with the created_at that it had; element n of each '
'array belongs to waiter n. Returns what became of each, in their order. A step that waits '
'here already is left as it is, so that a repeat brings only what is new. p_dry_run: say it '
'and change nothing.';
