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
SET enable_bitmapscan = off
AS $function$
DECLARE
    v_payload json;
    v_step_key text COLLATE "C";
    v_created_at timestamptz;
    v_wake_channel text;
    v_verdict flow_signal_v1.delivery;
    v_now timestamptz;
BEGIN
    IF octet_length(p_payload_json) > 1048576
        OR current_setting('transaction_isolation') NOT LIKE 'read %' THEN
        PERFORM flow_signal.check_signal(
            p_run_id, p_signal_name, p_payload_json, p_delivery_id, p_buffer_until
        );
    ELSIF p_delivery_id IS NOT NULL OR p_buffer_until IS NOT NULL THEN
        IF NOT flow_signal.is_name(p_delivery_id)
            OR NOT flow_signal.is_instant(p_buffer_until) THEN
            PERFORM flow_signal.check_signal(
                p_run_id, p_signal_name, NULL, p_delivery_id, p_buffer_until
            );
        END IF;
    END IF;
    BEGIN
        v_payload := p_payload_json::json;
    EXCEPTION
        WHEN invalid_text_representation THEN
            PERFORM flow_signal.check_signal(
                p_run_id, p_signal_name, p_payload_json, p_delivery_id, p_buffer_until
            );
    END;

    -- The head gets the signal if it is open and alone. Nobody there can have its delivery id
    -- then, and a name for which there is one needs no check.
    v_now := clock_timestamp();
    UPDATE flow_signal.flow_signal_waiters AS w
    SET
        delivered_at = v_now,
        payload_json = v_payload,
        delivery_id = p_delivery_id,
        due_at = CASE WHEN w.queue IS NOT NULL THEN v_now END
    WHERE w.run_id = p_run_id
        AND w.signal_name = p_signal_name COLLATE "C"
        AND w.place = 'head'
        AND w.delivered_at IS NULL
        AND w.expired_at IS NULL
        AND (w.expires_at IS NULL OR w.expires_at > v_now)
        AND NOT w.followed
    RETURNING w.step_key, w.created_at, w.wake_channel
    INTO v_step_key, v_created_at, v_wake_channel;
    IF NOT FOUND THEN
        IF p_delivery_id IS NULL THEN
            v_verdict := flow_signal.deliver_to_next(p_run_id, p_signal_name, v_payload);
            IF v_verdict.status IS NULL
                AND (p_buffer_until <= clock_timestamp()) IS NOT FALSE THEN
                v_verdict := flow_signal.read_lone_head(p_run_id, p_signal_name);
            END IF;
            IF v_verdict.status IS NOT NULL THEN
                RETURN v_verdict;
            END IF;
        END IF;
        PERFORM flow_signal.check_signal(
            p_run_id, p_signal_name, NULL, p_delivery_id, p_buffer_until
        );
        RETURN flow_signal.settle_signal(
            p_run_id, p_signal_name, v_payload, p_delivery_id, p_buffer_until
        );
    END IF;

    IF v_created_at > v_now OR clock_timestamp() > v_now + interval '1 millisecond' THEN
        -- We may have waited for it: it is ours from now on, unless its deadline has passed.
        v_now := clock_timestamp();
        UPDATE flow_signal.flow_signal_waiters AS w
        SET delivered_at = v_now, due_at = CASE WHEN w.queue IS NOT NULL THEN v_now END
        WHERE w.run_id = p_run_id
            AND w.step_key = v_step_key
            AND (w.expires_at IS NULL OR w.expires_at > v_now);
        IF NOT FOUND THEN
            UPDATE flow_signal.flow_signal_waiters AS w
            SET
                delivered_at = NULL,
                payload_json = NULL,
                delivery_id = NULL,
                due_at = CASE WHEN w.queue IS NOT NULL THEN w.expires_at END
            WHERE w.run_id = p_run_id AND w.step_key = v_step_key;
            RETURN flow_signal.settle_signal(
                p_run_id, p_signal_name, v_payload, p_delivery_id, p_buffer_until
            );
        END IF;
    END IF;
    IF v_wake_channel IS NOT NULL THEN
        PERFORM pg_notify(v_wake_channel, p_run_id || '/' || v_step_key);
    END IF;
    RETURN ('delivered', p_run_id, v_step_key, v_now, false)::flow_signal_v1.delivery;
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
