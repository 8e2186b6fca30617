-- since: 1.0 | role: engine | raises: 22004 22023 0A000 WS001
-- locks: the line; for another signal name both lines, in name order; then the waiter
CREATE OR REPLACE FUNCTION flow_signal_v1.register_waiter(
    p_run_id uuid,
    p_step_key text,
    p_signal_name text,
    p_expires_at timestamptz DEFAULT NULL,
    p_wake_channel text DEFAULT NULL,
    p_queue text DEFAULT NULL
)
RETURNS flow_signal_v1.waiter
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $function$
DECLARE
    v_expires_at timestamptz;
    v_waiter flow_signal_v1.waiter;
    v_head_created_at timestamptz;
    v_head_followed boolean;
    v_behind boolean;
    v_buffered boolean;
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
        -- The first of its line; waits for whoever is about to be that or holds the empty line.
        v_now := clock_timestamp();
        INSERT INTO flow_signal.flow_signal_waiters (
            run_id, step_key, signal_name, place, created_at, expires_at, due_at, wake_channel,
            queue
        )
        VALUES (
            p_run_id, p_step_key, p_signal_name, 'head', v_now, v_expires_at,
            CASE WHEN p_queue IS NOT NULL THEN v_expires_at END, p_wake_channel, p_queue
        )
        ON CONFLICT DO NOTHING;
        EXIT WHEN FOUND;

        -- The step waits already.
        PERFORM
        FROM flow_signal.flow_signal_waiters AS w
        WHERE w.run_id = p_run_id AND w.step_key = p_step_key COLLATE "C";
        IF FOUND THEN
            v_waiter := flow_signal.change_waiter(
                p_run_id, p_step_key, p_signal_name, v_expires_at, p_wake_channel, p_queue
            );
            CONTINUE WHEN v_waiter.run_id IS NULL;
            RETURN v_waiter;
        END IF;

        -- The line has a head: behind it.
        v_now := clock_timestamp();
        INSERT INTO flow_signal.flow_signal_waiters (
            run_id, step_key, signal_name, place, created_at, expires_at, due_at, wake_channel,
            queue
        )
        VALUES (
            p_run_id, p_step_key, p_signal_name, 'waiting', v_now, v_expires_at,
            CASE WHEN p_queue IS NOT NULL THEN v_expires_at END, p_wake_channel, p_queue
        )
        ON CONFLICT DO NOTHING;
        CONTINUE WHEN NOT FOUND;
        SELECT w.created_at, w.followed
        INTO v_head_created_at, v_head_followed
        FROM flow_signal.flow_signal_waiters AS w
        WHERE w.run_id = p_run_id
            AND w.signal_name = p_signal_name COLLATE "C"
            AND w.place = 'head'
        FOR NO KEY UPDATE;
        IF NOT FOUND AND NOT flow_signal.hold_line(p_run_id, p_signal_name) THEN
            v_now := clock_timestamp();
            UPDATE flow_signal.flow_signal_waiters AS w
            SET place = 'head', created_at = v_now
            WHERE w.run_id = p_run_id AND w.step_key = p_step_key COLLATE "C";
        -- Who came into the line while we waited for it is older.
        ELSIF v_head_created_at IS NULL OR v_now < greatest(v_head_created_at, (
            SELECT w.created_at
            FROM flow_signal.flow_signal_waiters AS w
            WHERE w.run_id = p_run_id
                AND w.signal_name = p_signal_name COLLATE "C"
                AND w.place = 'waiting'
            ORDER BY w.created_at DESC
            LIMIT 1
        ), (
            SELECT w.created_at
            FROM flow_signal.flow_signal_waiters AS w
            WHERE w.run_id = p_run_id
                AND w.signal_name = p_signal_name COLLATE "C"
                AND w.place = 'delivered'
            ORDER BY w.created_at DESC
            LIMIT 1
        )) THEN
            v_now := clock_timestamp();
            UPDATE flow_signal.flow_signal_waiters AS w
            SET created_at = v_now
            WHERE w.run_id = p_run_id AND w.step_key = p_step_key COLLATE "C";
        END IF;
        EXIT;
    END LOOP;

    SELECT EXISTS (
        SELECT FROM flow_signal.flow_signal_waiters AS w
        WHERE w.run_id = p_run_id
            AND w.signal_name = p_signal_name COLLATE "C"
            AND w.place <> 'head'
    ), EXISTS (
        SELECT FROM flow_signal.flow_signal_buffered_signals AS b
        WHERE b.run_id = p_run_id AND b.signal_name = p_signal_name COLLATE "C" AND NOT b.dead
    )
    INTO v_behind, v_buffered;
    IF v_behind OR v_buffered THEN
        IF v_behind AND v_head_followed IS NOT TRUE THEN
            PERFORM flow_signal.mark_followed(ARRAY[p_run_id], ARRAY[p_signal_name]);
        END IF;
        IF v_buffered AND flow_signal.take_buffered_signal(
            p_run_id, p_step_key, p_signal_name, v_expires_at
        ) THEN
            SELECT
                w.run_id, w.step_key, w.signal_name, 'delivered', w.created_at, w.expires_at,
                w.delivered_at, w.payload_json
            INTO STRICT v_waiter
            FROM flow_signal.flow_signal_waiters AS w
            WHERE w.run_id = p_run_id AND w.step_key = p_step_key COLLATE "C";
            RETURN v_waiter;
        END IF;
    END IF;
    RETURN (
        p_run_id, p_step_key, p_signal_name,
        flow_signal.waiter_state(NULL, NULL, v_expires_at, clock_timestamp()),
        v_now, v_expires_at, NULL, NULL
    )::flow_signal_v1.waiter;
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
'Parks a step until the signal p_signal_name comes to its run, at the latest until '
'p_expires_at (NULL: for ever). Takes the oldest buffered signal at once if there is one. '
'The same key again: a delivered waiter comes back with its payload, any other takes the '
'new signal, deadline, wake channel and queue. p_wake_channel: NOTIFY run_id/step_key there '
'on delivery. p_queue: hand the wait out by claim_waiters when it is over.';
