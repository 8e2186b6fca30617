-- since: 1.0 | role: sender | raises: 22004 22023 22P02 54001 WS002 WS003 WS004 0A000
-- locks: waiters' rows, receipts, then lock rows, each in the order that sql/README.md says
CREATE OR REPLACE FUNCTION flow_signal_v1.deliver_signals(
    p_run_ids uuid[],
    p_signal_names text[],
    p_payloads_json text[],
    p_delivery_ids text[] DEFAULT NULL,
    p_buffer_until timestamptz DEFAULT NULL
)
RETURNS SETOF flow_signal_v1.delivery
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $function$
DECLARE
    v_lengths integer[] := array_remove(ARRAY[
        cardinality(p_run_ids), cardinality(p_signal_names), cardinality(p_payloads_json),
        cardinality(p_delivery_ids)
    ], NULL);
    v_dimensions integer := greatest(
        array_ndims(p_run_ids), array_ndims(p_signal_names), array_ndims(p_payloads_json),
        array_ndims(p_delivery_ids)
    );
    v_payloads json[];
    -- How many rows of each FIFO to lock in place of overdue ones.
    v_more integer := 0;
    v_verdicts flow_signal_v1.delivery[];
    v_verdict flow_signal_v1.delivery;
    -- The signal name of that verdict, if it is a refusal.
    v_refused text;
    v_signal record;
BEGIN
    IF p_run_ids IS NULL THEN
        PERFORM flow_signal.refuse_null('array of run ids');
    ELSIF p_signal_names IS NULL THEN
        PERFORM flow_signal.refuse_null('array of signal names');
    ELSIF v_dimensions > 1 OR cardinality(p_run_ids) <> ANY(v_lengths) THEN
        PERFORM flow_signal.refuse_arrays(v_lengths, v_dimensions);
    ELSIF NOT flow_signal.is_instant(p_buffer_until) THEN
        PERFORM flow_signal.refuse_instant('buffer time', p_buffer_until);
    -- A waiter that was committed after the snapshot would be not_found.
    ELSIF current_setting('transaction_isolation') NOT LIKE 'read %' THEN
        PERFORM flow_signal.refuse_isolation('deliver_signals');
    END IF;
    SELECT s.run_id, s.signal_name, s.payload_json, s.delivery_id, s.n
    INTO v_signal
    FROM unnest(p_run_ids, p_signal_names, p_payloads_json, p_delivery_ids)
        WITH ORDINALITY AS s (run_id, signal_name, payload_json, delivery_id, n)
    WHERE s.run_id IS NULL
        OR flow_signal.is_name(s.signal_name) IS NOT TRUE
        OR NOT flow_signal.is_name(s.delivery_id)
        OR octet_length(s.payload_json) > 1048576
    LIMIT 1;
    IF FOUND THEN
        -- Those before it may be no JSON.
        PERFORM flow_signal.parse_payload('payload ' || s.n, s.payload_json)
        FROM unnest(p_payloads_json) WITH ORDINALITY AS s (payload_json, n)
        WHERE s.n < v_signal.n;
        IF v_signal.run_id IS NULL THEN
            PERFORM flow_signal.refuse_null('run id ' || v_signal.n);
        ELSIF flow_signal.is_name(v_signal.signal_name) IS NOT TRUE THEN
            PERFORM flow_signal.refuse_name('signal name ' || v_signal.n, v_signal.signal_name);
        ELSIF NOT flow_signal.is_name(v_signal.delivery_id) THEN
            PERFORM flow_signal.refuse_name('delivery id ' || v_signal.n, v_signal.delivery_id);
        END IF;
        PERFORM flow_signal.parse_payload('payload ' || v_signal.n, v_signal.payload_json);
    END IF;
    BEGIN
        v_payloads := p_payloads_json::json[];
    EXCEPTION
        WHEN invalid_text_representation OR statement_too_complex THEN
            PERFORM flow_signal.parse_payload('payload ' || s.n, s.payload_json)
            FROM unnest(p_payloads_json) WITH ORDINALITY AS s (payload_json, n);
    END;

    -- A slice has its elements numbered from 1, whatever numbers the caller gave them.
    p_run_ids := p_run_ids[:];
    p_signal_names := p_signal_names[:];
    v_payloads := v_payloads[:];
    p_delivery_ids := p_delivery_ids[:];

    LOOP
        BEGIN
            v_verdicts := flow_signal.deliver_to_waiters(
                p_run_ids, p_signal_names, v_payloads, p_delivery_ids, v_more
            );
            -- The signals that found no waiter: their lock rows, after all rows of waiters, since
            -- no call waits for a waiter while it has a lock row.
            IF EXISTS (SELECT FROM unnest(v_verdicts) AS v WHERE v.status IS NULL) THEN
                INSERT INTO flow_signal.flow_signal_locks AS l (run_id, signal_name)
                SELECT DISTINCT s.run_id, s.signal_name COLLATE "C"
                FROM unnest(p_run_ids, p_signal_names, v_verdicts)
                    AS s (
                        run_id, signal_name, status, of_run_id, step_key, delivered_at, replayed
                    )
                WHERE s.status IS NULL
                ORDER BY s.run_id, s.signal_name COLLATE "C"
                -- A row that is there is locked and not written.
                ON CONFLICT (run_id, signal_name) DO UPDATE
                SET has_buffered = l.has_buffered WHERE false;
                v_refused := NULL;
                FOR v_signal IN
                    SELECT s.run_id, s.signal_name, s.payload, s.delivery_id, s.n
                    FROM unnest(
                        p_run_ids, p_signal_names, v_payloads, p_delivery_ids, v_verdicts
                    ) WITH ORDINALITY AS s (
                        run_id, signal_name, payload, delivery_id, status, of_run_id, step_key,
                        delivered_at, replayed, n
                    )
                    WHERE s.status IS NULL
                    ORDER BY s.run_id, s.signal_name COLLATE "C", s.n
                LOOP
                    -- A refusal holds for all signals of a FIFO that have no id.
                    IF v_signal.delivery_id IS NULL
                        AND v_signal.run_id = v_verdict.run_id
                        AND v_signal.signal_name = v_refused COLLATE "C"
                    THEN
                        v_verdicts[v_signal.n] := v_verdict;
                        CONTINUE;
                    END IF;
                    v_verdict := flow_signal.refuse_or_buffer(
                        v_signal.run_id, v_signal.signal_name, v_signal.payload,
                        v_signal.delivery_id, p_buffer_until
                    );
                    IF v_verdict.status IS NULL THEN
                        RAISE SQLSTATE 'WS099';
                    END IF;
                    v_verdicts[v_signal.n] := v_verdict;
                    v_refused := CASE
                        WHEN v_verdict.status <> 'buffered' THEN v_signal.signal_name
                    END;
                END LOOP;
                -- Lock rows that nothing needs.
                FOR v_signal IN
                    SELECT DISTINCT s.run_id, s.signal_name COLLATE "C" AS signal_name
                    FROM unnest(p_run_ids, p_signal_names, v_verdicts)
                        AS s (
                        run_id, signal_name, status, of_run_id, step_key, delivered_at, replayed
                    )
                    WHERE s.status = 'not_found'
                LOOP
                    DELETE FROM flow_signal.flow_signal_locks AS l
                    WHERE l.run_id = v_signal.run_id
                        AND l.signal_name = v_signal.signal_name
                        AND NOT l.has_buffered;
                END LOOP;
            END IF;
            EXIT;
        EXCEPTION
            -- A waiter is live, or an id known, that was not when the rows were locked, or too
            -- many waiters are overdue: let all locks go and begin again.
            WHEN SQLSTATE 'WS099' THEN
                v_more := least(2 * v_more + 1, 1000000);
        END;
    END LOOP;

    RETURN QUERY
    SELECT v.status, v.run_id, v.step_key, v.delivered_at, v.replayed
    FROM unnest(v_verdicts) AS v;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.deliver_signals(
    uuid[], text[], text[], text[], timestamptz
) FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.deliver_signals(
    uuid[], text[], text[], text[], timestamptz
)
TO flow_signal_sender;
COMMENT ON FUNCTION flow_signal_v1.deliver_signals(
    uuid[], text[], text[], text[], timestamptz
) IS
'Sends many signals; element n of each array belongs to signal n. Returns one row per signal, '
'in their order, with the verdicts that deliver_signal would give one after another. All or '
'nothing. p_payloads_json, p_delivery_ids: NULL is an array of NULLs.';
