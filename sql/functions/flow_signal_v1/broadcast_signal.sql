-- since: 1.0 | role: broadcaster | raises: 22004 22023 22P02 54001 WS003 0A000
-- locks: the waiters of that signal, in the order of (run_id, created_at, step_key)
CREATE OR REPLACE FUNCTION flow_signal_v1.broadcast_signal(
    p_signal_name text,
    p_payload_json text DEFAULT NULL
)
RETURNS SETOF flow_signal_v1.delivery
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_sort = off
AS $function$
DECLARE
    v_payload json;
    v_run_ids uuid[];
    v_step_keys text[];
    v_channels text[];
    v_reached_run_ids uuid[];
    v_reached_step_keys text[];
    -- Whether this call is about to take rows without waiting.
    v_takes boolean;
    v_sender CONSTANT text := session_user::text;
    v_clock timestamptz;
    v_now timestamptz;
BEGIN
    IF flow_signal.is_name(p_signal_name) IS NOT TRUE THEN
        PERFORM flow_signal.refuse_name('signal name', p_signal_name);
    -- A waiter that was committed after the snapshot would be passed over.
    ELSIF current_setting('transaction_isolation') NOT LIKE 'read %' THEN
        PERFORM flow_signal.refuse_isolation('broadcast_signal');
    END IF;
    v_payload := flow_signal.parse_payload('payload', p_payload_json);

    -- A block, so that a call that must begin again first lets all locks go.
    LOOP
        BEGIN
            v_takes := false;
            v_reached_run_ids := '{}';
            v_reached_step_keys := '{}';
            -- Locked in the order of all calls; a row that another transaction was changing is
            -- judged anew. The clock is read when all rows are ours.
            SELECT array_agg(l.run_id), array_agg(l.step_key)
            INTO v_run_ids, v_step_keys
            FROM (
                SELECT w.run_id, w.step_key
                FROM flow_signal.flow_signal_waiters AS w
                WHERE w.signal_name = p_signal_name COLLATE "C" AND w.status = 'waiting'
                ORDER BY w.run_id, w.created_at, w.step_key
                FOR NO KEY UPDATE
            ) AS l;
            v_now := clock_timestamp();
            LOOP
                -- As in deliver_to_waiters, the INSERT finds each row by its key, and inserts none.
                WITH reached AS (
                    INSERT INTO flow_signal.flow_signal_waiters AS w (
                        run_id, step_key, signal_name, status, created_at, delivered_at,
                        payload_json, delivered_by
                    )
                    SELECT
                        l.run_id, l.step_key, p_signal_name, 'delivered', v_now, v_now, v_payload,
                        v_sender
                    FROM unnest(v_run_ids, v_step_keys) AS l (run_id, step_key)
                    ON CONFLICT (run_id, step_key) DO UPDATE
                    SET
                        status = excluded.status,
                        delivered_at = excluded.delivered_at,
                        payload_json = excluded.payload_json,
                        delivered_by = excluded.delivered_by,
                        due_at = CASE WHEN w.queue IS NOT NULL THEN excluded.delivered_at END
                    WHERE w.expires_at IS NULL OR w.expires_at > v_now
                    RETURNING w.run_id, w.step_key, w.wake_channel
                )

                SELECT array_agg(r.run_id), array_agg(r.step_key), array_agg(r.wake_channel)
                INTO v_run_ids, v_step_keys, v_channels
                FROM reached AS r;
                IF cardinality(array_remove(v_channels, NULL)) > 0 THEN
                    PERFORM pg_notify(l.channel, l.run_id || '/' || l.step_key)
                    FROM unnest(v_channels, v_run_ids, v_step_keys)
                        AS l (channel, run_id, step_key)
                    WHERE l.channel IS NOT NULL;
                END IF;
                v_reached_run_ids := v_reached_run_ids || v_run_ids;
                v_reached_step_keys := v_reached_step_keys || v_step_keys;

                -- While rows were waited for, the next step of a run may have come in place of one
                -- that was removed. NOWAIT, because its row may come before those that are ours.
                v_clock := clock_timestamp();
                v_takes := true;
                SELECT array_agg(l.run_id), array_agg(l.step_key)
                INTO v_run_ids, v_step_keys
                FROM (
                    SELECT w.run_id, w.step_key
                    FROM flow_signal.flow_signal_waiters AS w
                    WHERE w.signal_name = p_signal_name COLLATE "C"
                        AND w.status = 'waiting'
                        AND w.created_at <= v_now
                        AND (w.expires_at IS NULL OR w.expires_at > v_clock)
                    ORDER BY w.run_id, w.created_at, w.step_key
                    FOR NO KEY UPDATE NOWAIT
                ) AS l;
                v_takes := false;
                EXIT WHEN v_run_ids IS NULL;
            END LOOP;
            EXIT;
        EXCEPTION
            WHEN lock_not_available THEN
                -- The caller's lock_timeout ends the call with the same code.
                IF NOT v_takes THEN
                    RAISE;
                END IF;
        END;
    END LOOP;

    RETURN QUERY
    SELECT 'delivered', r.run_id, r.step_key, v_now, false
    FROM unnest(v_reached_run_ids, v_reached_step_keys) AS r (run_id, step_key);
END
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.broadcast_signal(text, text) FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.broadcast_signal(text, text)
TO flow_signal_broadcaster;
COMMENT ON FUNCTION flow_signal_v1.broadcast_signal(text, text) IS
'Sends a signal to every live waiter of that name in every run and returns who got it. Reads '
'an index over all waiters; until it commits, other calls about these waiters wait.';
