-- since: 1.1 | role: sender | raises: 22004 22023 22P02 54001 WS002 WS003 0A000
-- locks: the step's row
CREATE OR REPLACE FUNCTION flow_signal_v1.deliver_to_step(
    p_run_id uuid,
    p_step_key text,
    p_payload_json text DEFAULT NULL,
    p_delivery_id text DEFAULT NULL
)
RETURNS SETOF flow_signal_v1.delivery
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
ROWS 1
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_sort = off
SET jit = off
AS $function$
DECLARE
    v_payload json;
    v_known record;
    v_signal_name text COLLATE "C";
    v_waiter flow_signal.flow_signal_waiters;
    v_is_new boolean;
    v_delivered boolean;
    v_verdict flow_signal_v1.delivery;
    v_now timestamptz;
BEGIN
    IF p_run_id IS NULL THEN
        PERFORM flow_signal.refuse_null('run id');
    ELSIF flow_signal.is_name(p_step_key) IS NOT TRUE THEN
        PERFORM flow_signal.refuse_name('step key', p_step_key);
    ELSIF NOT flow_signal.is_name(p_delivery_id) THEN
        PERFORM flow_signal.refuse_name('delivery id', p_delivery_id);
    -- A waiter that was committed after the snapshot would be not_found.
    ELSIF current_setting('transaction_isolation') NOT LIKE 'read %' THEN
        PERFORM flow_signal.refuse_isolation('deliver_to_step');
    END IF;
    v_payload := flow_signal.parse_payload('payload', p_payload_json);

    LOOP
        -- 1. The same id again: it was delivered to this step under any signal, or delivered or
        -- buffered for the signal that the step waits for now.
        IF p_delivery_id IS NOT NULL THEN
            v_now := clock_timestamp();
            SELECT w.signal_name
            INTO v_signal_name
            FROM flow_signal.flow_signal_waiters AS w
            WHERE w.run_id = p_run_id AND w.step_key = p_step_key COLLATE "C";
            SELECT k.*
            INTO v_known
            FROM (
                SELECT
                    'delivered' AS status, r.signal_name, r.step_key, r.delivered_at,
                    r.payload_hash
                FROM flow_signal.flow_signal_receipts AS r
                WHERE r.run_id = p_run_id AND r.delivery_id = p_delivery_id COLLATE "C"
                UNION ALL
                (
                    SELECT
                        'buffered', b.signal_name, NULL, NULL,
                        flow_signal.hash_payload(b.payload_json::text)
                    FROM flow_signal.flow_signal_buffered_signals AS b
                    WHERE b.run_id = p_run_id
                        AND b.signal_name = v_signal_name
                        -- A range, so that its order is not a matter of course: one index has it.
                        AND b.delivery_id >= p_delivery_id COLLATE "C"
                        AND b.delivery_id <= p_delivery_id COLLATE "C"
                        AND NOT b.dead
                        AND b.buffered_until > v_now
                    ORDER BY b.delivery_id
                    LIMIT 1
                )
            ) AS k
            WHERE k.step_key = p_step_key COLLATE "C" OR k.signal_name = v_signal_name
            ORDER BY (k.step_key = p_step_key COLLATE "C") IS TRUE DESC, k.delivered_at DESC
            LIMIT 1;
            IF FOUND THEN
                IF v_known.payload_hash
                    IS DISTINCT FROM flow_signal.hash_payload(p_payload_json) THEN
                    PERFORM flow_signal.refuse_reuse(
                        p_run_id, v_known.signal_name, p_delivery_id, v_known.status
                    );
                END IF;
                RETURN NEXT (
                    v_known.status, p_run_id, v_known.step_key, v_known.delivered_at, true
                )::flow_signal_v1.delivery;
                RETURN;
            END IF;
        END IF;
        -- The second look at the id, after the wait for the step's row, has found nothing.
        EXIT WHEN v_verdict.status IS NOT NULL;

        SELECT w.*
        INTO v_waiter
        FROM flow_signal.flow_signal_waiters AS w
        WHERE w.run_id = p_run_id AND w.step_key = p_step_key COLLATE "C"
        FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            -- Its first registration may not be committed: an INSERT of the same key waits for
            -- that. The block takes the row back at once, so the call leaves and holds nothing.
            BEGIN
                INSERT INTO flow_signal.flow_signal_waiters (
                    run_id, step_key, signal_name, status, created_at
                )
                VALUES (p_run_id, p_step_key, '', 'expired', '-infinity')
                ON CONFLICT DO NOTHING;
                v_is_new := FOUND;
                RAISE SQLSTATE 'WS099';
            EXCEPTION
                WHEN SQLSTATE 'WS099' THEN
                    NULL;
            END;
            CONTINUE WHEN NOT v_is_new;
            v_verdict := ('not_found', p_run_id, NULL, NULL, false)::flow_signal_v1.delivery;
        ELSIF v_waiter.status = 'delivered' THEN
            v_verdict := (
                'already_delivered', p_run_id, p_step_key, v_waiter.delivered_at, false
            )::flow_signal_v1.delivery;
        ELSE
            v_now := clock_timestamp();
            IF v_waiter.status = 'waiting' AND v_waiter.expires_at <= v_now THEN
                UPDATE flow_signal.flow_signal_waiters AS w
                SET status = 'expired'
                WHERE w.run_id = p_run_id AND w.step_key = p_step_key COLLATE "C";
                v_waiter.status := 'expired';
            END IF;
            IF v_waiter.status = 'waiting' THEN
                v_delivered := flow_signal.record_delivery(
                    p_run_id, p_step_key, v_waiter.signal_name, v_payload, p_delivery_id,
                    NULL, v_now
                );
                CONTINUE WHEN NOT v_delivered;
                RETURN NEXT ('delivered', p_run_id, p_step_key, v_now, false)
                ::flow_signal_v1.delivery;
                RETURN;
            END IF;
            v_verdict := (
                'expired', p_run_id, p_step_key, NULL, false
            )::flow_signal_v1.delivery;
        END IF;
    END LOOP;
    RETURN NEXT v_verdict;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.deliver_to_step(uuid, text, text, text) FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.deliver_to_step(uuid, text, text, text)
TO flow_signal_sender;
COMMENT ON FUNCTION flow_signal_v1.deliver_to_step(uuid, text, text, text) IS
'Sends a signal to exactly one step, whatever signal it waits for. Returns one row with the '
'verdict: delivered, already_delivered, expired or not_found. p_payload_json: JSON text, at '
'most 1 MiB. p_delivery_id: a retry under the same id gets the first answer; an id that this '
'step, or another step of the same signal, has received or that is buffered for its signal, '
'counts as used: give the answer of each step an id of its own.';
