-- since: 1.0 | role: engine | raises: 22004 22023 0A000 WS001
-- locks: the step's row, then the lock row of (run, signal), then a buffered signal
CREATE OR REPLACE FUNCTION flow_signal_v1.register_waiter(
    p_run_id uuid,
    p_step_key text,
    p_signal_name text,
    p_expires_at timestamptz DEFAULT NULL,
    p_wake_channel text DEFAULT NULL,
    p_queue text DEFAULT NULL
)
RETURNS SETOF flow_signal_v1.waiter
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
ROWS 1
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $function$
DECLARE
    v_expires_at timestamptz;
    v_waiter flow_signal.flow_signal_waiters;
    v_status text COLLATE "C";
    v_has_buffered boolean;
    v_now timestamptz;
BEGIN
    IF p_run_id IS NULL THEN
        PERFORM flow_signal.refuse_null('run id');
    ELSIF flow_signal.is_name(p_step_key) IS NOT TRUE THEN
        PERFORM flow_signal.refuse_name('step key', p_step_key);
    ELSIF flow_signal.is_name(p_signal_name) IS NOT TRUE THEN
        PERFORM flow_signal.refuse_name('signal name', p_signal_name);
    END IF;
    IF p_expires_at IS NOT NULL OR p_wake_channel IS NOT NULL OR p_queue IS NOT NULL THEN
        v_expires_at := nullif(p_expires_at, 'infinity');
        IF NOT flow_signal.is_instant(v_expires_at) THEN
            PERFORM flow_signal.refuse_instant('deadline', v_expires_at);
        ELSIF octet_length(p_wake_channel) > 63 OR NOT flow_signal.is_name(p_wake_channel) THEN
            PERFORM flow_signal.refuse_channel(p_wake_channel);
        ELSIF NOT flow_signal.is_name(p_queue) THEN
            PERFORM flow_signal.refuse_name('queue', p_queue);
        END IF;
    END IF;
    -- A buffered signal that was committed after the snapshot would be overlooked for ever.
    IF current_setting('transaction_isolation') NOT LIKE 'read %' THEN
        PERFORM flow_signal.refuse_isolation('register_waiter');
    END IF;

    LOOP
        -- A new step. The row comes before the lock row: a call that has the lock row waits for
        -- no step, so no two calls can wait for one another.
        v_now := clock_timestamp();
        v_status := CASE WHEN v_expires_at <= v_now THEN 'expired' ELSE 'waiting' END;
        INSERT INTO flow_signal.flow_signal_waiters (
            run_id, step_key, signal_name, status, created_at, expires_at, due_at, wake_channel,
            queue
        )
        VALUES (
            p_run_id, p_step_key, p_signal_name, v_status, v_now, v_expires_at,
            CASE WHEN p_queue IS NOT NULL THEN v_expires_at END, p_wake_channel, p_queue
        )
        ON CONFLICT DO NOTHING;
        IF FOUND THEN
            v_has_buffered := flow_signal.lock_signal(p_run_id, p_signal_name);
            EXIT WHEN v_has_buffered AND v_status = 'waiting';
            RETURN NEXT (
                p_run_id, p_step_key, p_signal_name, v_status, v_now, v_expires_at, NULL, NULL
            )::flow_signal_v1.waiter;
            RETURN;
        END IF;

        -- The step is registered already: the INSERT has waited for a transaction that was changing
        -- it. A repeat that changes nothing locks and writes nothing.
        SELECT w.*
        INTO v_waiter
        FROM flow_signal.flow_signal_waiters AS w
        WHERE w.run_id = p_run_id AND w.step_key = p_step_key COLLATE "C";
        CONTINUE WHEN NOT FOUND;
        IF v_waiter.status <> 'delivered' AND (
            v_waiter.signal_name, v_waiter.expires_at, v_waiter.wake_channel, v_waiter.queue
        ) IS DISTINCT FROM (
            p_signal_name COLLATE "C", v_expires_at, p_wake_channel COLLATE "C",
            p_queue COLLATE "C"
        ) THEN
            -- Waits for a sender that is delivering to it; after a removal the step is new.
            SELECT w.*
            INTO v_waiter
            FROM flow_signal.flow_signal_waiters AS w
            WHERE w.run_id = p_run_id AND w.step_key = p_step_key COLLATE "C"
            FOR NO KEY UPDATE;
            CONTINUE WHEN NOT FOUND;
        END IF;
        IF v_waiter.status = 'delivered' THEN
            IF v_waiter.signal_name <> p_signal_name COLLATE "C" THEN
                PERFORM flow_signal.refuse_mismatch(v_waiter, p_signal_name);
            END IF;
            RETURN NEXT (
                p_run_id, p_step_key, p_signal_name, 'delivered', v_waiter.created_at,
                v_waiter.expires_at, v_waiter.delivered_at, v_waiter.payload_json
            )::flow_signal_v1.waiter;
            RETURN;
        END IF;

        v_now := clock_timestamp();
        v_status := CASE
            WHEN v_expires_at <= v_now THEN 'expired'
            WHEN v_waiter.expires_at IS NOT DISTINCT FROM v_expires_at THEN v_waiter.status
            ELSE 'waiting'
        END;
        IF v_waiter.signal_name <> p_signal_name COLLATE "C" THEN
            -- A new row, not an UPDATE: a sender that waits for the old row would lock the new one
            -- as well, out of its order, since that is in another FIFO now.
            DELETE FROM flow_signal.flow_signal_waiters AS w
            WHERE w.run_id = p_run_id AND w.step_key = p_step_key COLLATE "C";
            INSERT INTO flow_signal.flow_signal_waiters (
                run_id, step_key, signal_name, status, created_at, moved_at, expires_at,
                due_at, wake_channel, queue
            )
            VALUES (
                p_run_id, p_step_key, p_signal_name, v_status, v_waiter.created_at, v_now,
                v_expires_at, CASE WHEN p_queue IS NOT NULL THEN v_expires_at END,
                p_wake_channel, p_queue
            );
        ELSIF v_waiter.expires_at IS DISTINCT FROM v_expires_at
            OR v_waiter.queue IS DISTINCT FROM p_queue COLLATE "C" THEN
            UPDATE flow_signal.flow_signal_waiters AS w
            SET
                status = v_status,
                expires_at = v_expires_at,
                due_at = CASE WHEN p_queue IS NOT NULL THEN v_expires_at END,
                claim_id = NULL,
                attempt = NULL,
                wake_channel = p_wake_channel,
                queue = p_queue
            WHERE w.run_id = p_run_id AND w.step_key = p_step_key COLLATE "C";
        ELSIF v_waiter.wake_channel IS DISTINCT FROM p_wake_channel COLLATE "C" THEN
            UPDATE flow_signal.flow_signal_waiters AS w
            SET wake_channel = p_wake_channel
            WHERE w.run_id = p_run_id AND w.step_key = p_step_key COLLATE "C";
        END IF;
        -- A sender does not see a waiter that was expired, or in another FIFO, until we commit:
        -- only the lock row makes it wait. A waiter that was live already has taken what was
        -- buffered.
        IF v_status = 'waiting' AND (
            v_waiter.status <> 'waiting' OR v_waiter.signal_name <> p_signal_name COLLATE "C"
        ) THEN
            v_has_buffered := flow_signal.lock_signal(p_run_id, p_signal_name);
            EXIT WHEN v_has_buffered;
        END IF;
        RETURN NEXT (
            p_run_id, p_step_key, p_signal_name, v_status, v_waiter.created_at, v_expires_at,
            NULL, NULL
        )::flow_signal_v1.waiter;
        RETURN;
    END LOOP;

    RETURN QUERY
    SELECT
        w.run_id, w.step_key, w.signal_name, w.state, w.created_at, w.expires_at,
        w.delivered_at, w.payload_json
    FROM flow_signal.take_buffered_signal(
        p_run_id, p_step_key, p_signal_name, v_expires_at
    ) AS w;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.register_waiter(
    uuid, text, text, timestamptz, text, text
) FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.register_waiter(
    uuid, text, text, timestamptz, text, text
)
TO flow_signal_engine;
COMMENT ON FUNCTION flow_signal_v1.register_waiter(uuid, text, text, timestamptz, text, text) IS
'Parks a step until the signal p_signal_name reaches its run, at the latest until p_expires_at '
'(NULL: for ever). Takes the oldest buffered signal at once, if there is one. The same key '
'again: a delivered waiter comes back with its payload; any other one takes the new signal, '
'deadline, wake channel and queue. p_wake_channel: NOTIFY run_id/step_key there on delivery. '
'p_queue: claim_waiters hands the waiter out once it is delivered or expired.';
