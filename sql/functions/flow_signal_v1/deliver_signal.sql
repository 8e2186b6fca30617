-- since: 1.0 | role: sender | raises: 22004 22023 22P02 54001 WS002 WS003 WS004 0A000
-- locks: the oldest waiters of (run, signal) up to a live one; if none is live, its lock row
CREATE OR REPLACE FUNCTION flow_signal_v1.deliver_signal(
    p_run_id uuid,
    p_signal_name text,
    p_payload_json text DEFAULT NULL,
    p_delivery_id text DEFAULT NULL,
    p_buffer_until timestamptz DEFAULT NULL
)
RETURNS SETOF flow_signal_v1.delivery
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
ROWS 1
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_sort = off
AS $function$
DECLARE
    v_payload json;
    v_receipt record;
    v_step_key text COLLATE "C";
    v_created_at timestamptz;
    v_expires_at timestamptz;
    -- The youngest overdue waiter that this call has settled.
    v_last_created_at timestamptz;
    v_last_step_key text COLLATE "C";
    -- Whether another transaction had the waiter, and whether this call is about to take it.
    v_is_held boolean := false;
    v_takes boolean := false;
    v_delivered boolean;
    v_verdict flow_signal_v1.delivery;
    v_now timestamptz;
BEGIN
    -- The run and the name need no check when a waiter has them.
    IF octet_length(p_payload_json) > 1048576
        OR current_setting('transaction_isolation') NOT LIKE 'read %'
        OR NOT flow_signal.is_name(p_delivery_id)
        OR NOT flow_signal.is_instant(p_buffer_until) THEN
        PERFORM flow_signal.check_signal(
            p_run_id, p_signal_name, p_payload_json, p_delivery_id, p_buffer_until
        );
    END IF;
    -- A block, so that a call that must begin again first lets all locks go.
    LOOP
        BEGIN
            v_payload := p_payload_json::json;
            -- 1. The same signal again: its receipt answers, whatever became of the waiter.
            IF p_delivery_id IS NOT NULL THEN
                SELECT r.step_key, r.delivered_at, r.payload_hash
                INTO v_receipt
                FROM flow_signal.flow_signal_receipts AS r
                WHERE r.run_id = p_run_id
                    AND r.delivery_id = p_delivery_id COLLATE "C"
                    AND r.signal_name = p_signal_name COLLATE "C";
                IF FOUND THEN
                    IF v_receipt.payload_hash
                        IS DISTINCT FROM flow_signal.hash_payload(p_payload_json) THEN
                        PERFORM flow_signal.refuse_reuse(
                            p_run_id, p_signal_name, p_delivery_id, 'delivered'
                        );
                    END IF;
                    RETURN NEXT (
                        'delivered', p_run_id, v_receipt.step_key, v_receipt.delivered_at, true
                    )::flow_signal_v1.delivery;
                    RETURN;
                END IF;
            END IF;

            -- 2. The oldest waiter that no call has settled. It is taken with NOWAIT, so that it is
            -- the oldest of this instant: during a wait, an older one could come to life.
            v_last_created_at := '-infinity';
            v_last_step_key := '';
            LOOP
                IF v_is_held THEN
                    -- Wait for the transaction that has it; which waiter is the oldest by then is
                    -- asked below. After overdue ones, wait only for younger ones: so rows are
                    -- waited for oldest first, the order of all calls.
                    PERFORM FROM flow_signal.flow_signal_waiters AS w
                    WHERE w.run_id = p_run_id
                        AND w.signal_name = p_signal_name COLLATE "C"
                        AND w.status = 'waiting'
                        AND (w.created_at, w.step_key) > (v_last_created_at, v_last_step_key)
                    ORDER BY w.created_at, w.step_key
                    LIMIT 1
                    FOR NO KEY UPDATE;
                END IF;
                v_takes := true;
                SELECT w.step_key, w.created_at, w.expires_at
                INTO v_step_key, v_created_at, v_expires_at
                FROM flow_signal.flow_signal_waiters AS w
                WHERE w.run_id = p_run_id
                    AND w.signal_name = p_signal_name COLLATE "C"
                    AND w.status = 'waiting'
                ORDER BY w.created_at, w.step_key
                LIMIT 1
                FOR NO KEY UPDATE NOWAIT;
                v_takes := false;
                EXIT WHEN NOT FOUND;
                -- The clock is read when the row is ours: no wait can make this instant old.
                v_now := clock_timestamp();
                IF v_expires_at <= v_now THEN
                    UPDATE flow_signal.flow_signal_waiters AS w
                    SET status = 'expired'
                    WHERE w.run_id = p_run_id AND w.step_key = v_step_key;
                    IF (v_created_at, v_step_key) > (v_last_created_at, v_last_step_key) THEN
                        v_last_created_at := v_created_at;
                        v_last_step_key := v_step_key;
                    END IF;
                    CONTINUE;
                END IF;
                v_delivered := flow_signal.record_delivery(
                    p_run_id, v_step_key, p_signal_name, v_payload, p_delivery_id, NULL,
                    v_now
                );
                -- Another call has just delivered this id: its receipt is found next time.
                IF NOT v_delivered THEN
                    RAISE SQLSTATE 'WS099';
                END IF;
                RETURN NEXT ('delivered', p_run_id, v_step_key, v_now, false)
                ::flow_signal_v1.delivery;
                RETURN;
            END LOOP;

            -- 3 to 6. No waiter is live in that snapshot. The lock row waits for a registration
            -- that is not committed yet, and keeps new ones away while the verdict is made. A
            -- block of its own, because only a newly buffered signal keeps the lock row: a
            -- refusal lets it go, and keeps what it has settled.
            IF p_run_id IS NULL OR flow_signal.is_name(p_signal_name) IS NOT TRUE THEN
                PERFORM flow_signal.check_signal(p_run_id, p_signal_name, NULL, NULL, NULL);
            END IF;
            BEGIN
                PERFORM flow_signal.lock_signal(p_run_id, p_signal_name);
                v_verdict := flow_signal.refuse_or_buffer(
                    p_run_id, p_signal_name, v_payload, p_delivery_id, p_buffer_until
                );
                IF v_verdict.status IS DISTINCT FROM 'buffered' OR v_verdict.replayed THEN
                    RAISE SQLSTATE 'WS099';
                END IF;
            EXCEPTION
                WHEN SQLSTATE 'WS099' THEN
                    NULL;
            END;
            IF v_verdict.status IS NULL THEN
                RAISE SQLSTATE 'WS099';
            END IF;
            RETURN NEXT v_verdict;
            RETURN;
        EXCEPTION
            WHEN SQLSTATE 'WS099' THEN
                NULL;
            WHEN lock_not_available THEN
                -- The caller's lock_timeout ends the call with the same code.
                IF NOT v_takes THEN
                    RAISE;
                END IF;
                v_takes := false;
                v_is_held := true;
            WHEN invalid_text_representation OR statement_too_complex THEN
                PERFORM flow_signal.check_signal(
                    p_run_id, p_signal_name, p_payload_json, p_delivery_id, p_buffer_until
                );
        END;
    END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.deliver_signal(
    uuid, text, text, text, timestamptz
) FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.deliver_signal(uuid, text, text, text, timestamptz)
TO flow_signal_sender;
COMMENT ON FUNCTION flow_signal_v1.deliver_signal(uuid, text, text, text, timestamptz) IS
'Sends a signal to a run: the oldest live waiter of that signal gets the payload. Returns one '
'row with the verdict: delivered, already_delivered, expired, buffered or not_found. '
'p_payload_json: JSON text, at most 1 MiB. p_delivery_id: a retry under the same id reaches no '
'second waiter and gets the first answer, also after the waiter was removed. p_buffer_until: '
'if no waiter is live, keep the signal for the next one until then.';
