-- since: 1.0 | role: sender | raises: 22004 22023 22P02 WS002 WS003 0A000
-- locks: the line, then the waiter; nothing to say that a line of one is settled
CREATE OR REPLACE FUNCTION flow_signal_v1.deliver_signal(
    p_run_id uuid,
    p_signal_name text,
    p_payload_json text DEFAULT NULL,
    p_delivery_id text DEFAULT NULL,
    p_buffer_until timestamptz DEFAULT NULL
)
RETURNS flow_signal_v1.delivery
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $function$
DECLARE
    v_payload json;
    v_waiter record;
    v_delivered boolean;
    v_verdict flow_signal_v1.delivery;
    v_now timestamptz;
BEGIN
    IF p_run_id IS NULL THEN
        PERFORM flow_signal.refuse_null('run id');
    ELSIF flow_signal.is_name(p_signal_name) IS NOT TRUE THEN
        PERFORM flow_signal.refuse_name('signal name', p_signal_name);
    ELSIF NOT flow_signal.is_name(p_delivery_id) THEN
        PERFORM flow_signal.refuse_name('delivery id', p_delivery_id);
    ELSIF NOT flow_signal.is_instant(p_buffer_until) THEN
        PERFORM flow_signal.refuse_instant('buffer time', p_buffer_until);
    -- A waiter that was committed after the snapshot would be not_found.
    ELSIF current_setting('transaction_isolation') NOT LIKE 'read %' THEN
        PERFORM flow_signal.refuse_isolation('deliver_signal');
    END IF;
    IF p_payload_json IS NOT NULL THEN
        IF octet_length(p_payload_json) > 1048576 THEN
            PERFORM flow_signal.parse_payload('payload', p_payload_json);
        END IF;
        BEGIN
            v_payload := p_payload_json::json;
        EXCEPTION
            WHEN invalid_text_representation THEN
                PERFORM flow_signal.parse_payload('payload', p_payload_json);
        END;
    END IF;

    IF p_delivery_id IS NULL THEN
        -- The head gets the signal if it is open.
        v_now := clock_timestamp();
        UPDATE flow_signal.flow_signal_waiters AS w
        SET
            delivered_at = v_now,
            payload_json = v_payload,
            due_at = CASE WHEN w.queue IS NOT NULL THEN v_now END
        WHERE w.run_id = p_run_id
            AND w.signal_name = p_signal_name COLLATE "C"
            AND w.place = 'head'
            AND w.delivered_at IS NULL
            AND w.expired_at IS NULL
            AND (w.expires_at IS NULL OR w.expires_at > v_now)
        RETURNING w.step_key, w.created_at, w.wake_channel INTO v_waiter;
        v_delivered := FOUND;
        IF v_delivered AND (
            v_waiter.created_at > v_now
            OR clock_timestamp() > v_now + interval '1 millisecond'
            OR EXISTS (
                SELECT FROM flow_signal.flow_signal_waiters AS o
                WHERE o.run_id = p_run_id
                    AND o.signal_name = p_signal_name COLLATE "C"
                    AND o.place = 'waiting'
                    AND (o.created_at, o.step_key) < (v_waiter.created_at, v_waiter.step_key)
            )
        ) THEN
            -- We may have waited for it, beyond its deadline, or somebody older stands behind it:
            -- now that it is ours, decide anew.
            UPDATE flow_signal.flow_signal_waiters AS w
            SET
                delivered_at = NULL,
                payload_json = NULL,
                due_at = CASE WHEN w.queue IS NOT NULL THEN w.expires_at END
            WHERE w.run_id = p_run_id AND w.step_key = v_waiter.step_key;
            v_delivered := false;
        ELSIF NOT v_delivered THEN
            -- Hold the line by its head if that is settled and somebody waits behind it.
            PERFORM
            FROM flow_signal.flow_signal_waiters AS w
            WHERE w.run_id = p_run_id
                AND w.signal_name = p_signal_name COLLATE "C"
                AND w.place = 'head'
                AND (w.delivered_at IS NOT NULL OR w.expired_at IS NOT NULL)
                AND EXISTS (
                    SELECT FROM flow_signal.flow_signal_waiters AS o
                    WHERE o.run_id = p_run_id
                        AND o.signal_name = p_signal_name COLLATE "C"
                        AND o.place = 'waiting'
                )
            FOR NO KEY UPDATE OF w;
            v_now := clock_timestamp();
            IF FOUND THEN
                -- IS NOT DISTINCT FROM leaves the planner only the primary key.
                UPDATE flow_signal.flow_signal_waiters AS w
                SET
                    delivered_at = v_now,
                    payload_json = v_payload,
                    due_at = CASE WHEN w.queue IS NOT NULL THEN v_now END,
                    place = 'delivered'
                WHERE w.run_id = p_run_id
                    AND w.step_key = (
                        SELECT o.step_key
                        FROM flow_signal.flow_signal_waiters AS o
                        WHERE o.run_id = p_run_id
                            AND o.signal_name = p_signal_name COLLATE "C"
                            AND o.place = 'waiting'
                        ORDER BY o.created_at, o.step_key
                        LIMIT 1
                    )
                    AND w.signal_name IS NOT DISTINCT FROM p_signal_name COLLATE "C"
                    AND w.place IS NOT DISTINCT FROM 'waiting'
                    AND (w.expires_at IS NULL OR w.expires_at > v_now)
                RETURNING w.step_key, w.wake_channel INTO v_waiter;
                v_delivered := FOUND;
            ELSIF (p_buffer_until <= v_now) IS NOT FALSE THEN
                v_verdict := flow_signal.read_lone_head(p_run_id, p_signal_name);
                IF v_verdict.status IS NOT NULL THEN
                    RETURN v_verdict;
                END IF;
            END IF;
        END IF;

        IF v_delivered THEN
            IF v_waiter.wake_channel IS NOT NULL THEN
                PERFORM pg_notify(v_waiter.wake_channel, p_run_id || '/' || v_waiter.step_key);
            END IF;
            RETURN ('delivered', p_run_id, v_waiter.step_key, v_now, false)
            ::flow_signal_v1.delivery;
        END IF;
    END IF;
    RETURN flow_signal.settle_signal(p_run_id, p_signal_name, v_payload, p_delivery_id, p_buffer_until);
END
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.deliver_signal(
    uuid, text, text, text, timestamptz
) FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.deliver_signal(uuid, text, text, text, timestamptz)
TO flow_signal_sender;
COMMENT ON FUNCTION flow_signal_v1.deliver_signal(uuid, text, text, text, timestamptz) IS
'Sends a signal to a run: its oldest live waiter of that name gets the payload. Says what '
'became of it: delivered, already_delivered, expired, buffered or not_found. '
'p_payload_json: JSON text, at most 1 MiB. p_delivery_id: a repeat under the same id '
'reaches no second waiter and gets the first answer. p_buffer_until: while nobody waits, '
'keep the signal for the next waiter until then.';
