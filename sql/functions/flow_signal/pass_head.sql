-- locks: nothing, or the line and then its oldest waiting waiter
CREATE OR REPLACE FUNCTION flow_signal.pass_head(
    p_run_id uuid, p_signal_name text, p_payload_json json, p_buffer_until timestamptz
)
RETURNS flow_signal_v1.delivery
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $function$
DECLARE
    v_head record;
    v_next text;
    v_wake_channel text;
    v_now timestamptz;
BEGIN
    SELECT
        w.step_key, w.delivered_at, w.expired_at, w.xmax = '0'::xid AS untouched,
        EXISTS (
            SELECT FROM flow_signal.flow_signal_waiters AS o
            WHERE o.run_id = p_run_id
                AND o.signal_name = p_signal_name COLLATE "C"
                AND o.place <> 'head'
        ) AS has_others
    INTO v_head
    FROM flow_signal.flow_signal_waiters AS w
    WHERE w.run_id = p_run_id
        AND w.signal_name = p_signal_name COLLATE "C"
        AND w.place = 'head';
    v_now := clock_timestamp();

    -- The head is alone, settled, and nobody holds it (xmax 0): there is nothing to wait for.
    IF v_head.untouched AND NOT v_head.has_others AND (p_buffer_until <= v_now) IS NOT FALSE THEN
        IF v_head.delivered_at IS NOT NULL THEN
            RETURN ('already_delivered', p_run_id, v_head.step_key, v_head.delivered_at, false)
            ::flow_signal_v1.delivery;
        ELSIF v_head.expired_at IS NOT NULL THEN
            RETURN ('expired', p_run_id, v_head.step_key, NULL, false)::flow_signal_v1.delivery;
        END IF;
    END IF;

    IF v_head.has_others THEN
        PERFORM
        FROM flow_signal.flow_signal_waiters AS w
        WHERE w.run_id = p_run_id
            AND w.signal_name = p_signal_name COLLATE "C"
            AND w.place = 'head'
            AND (w.delivered_at IS NOT NULL OR w.expired_at IS NOT NULL)
        FOR NO KEY UPDATE;
        IF FOUND THEN
            v_now := clock_timestamp();
            -- IS NOT DISTINCT FROM leaves the planner no index but the primary key.
            UPDATE flow_signal.flow_signal_waiters AS w
            SET
                delivered_at = v_now,
                payload_json = p_payload_json,
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
            RETURNING w.step_key, w.wake_channel INTO v_next, v_wake_channel;
            IF FOUND THEN
                IF v_wake_channel IS NOT NULL THEN
                    PERFORM pg_notify(v_wake_channel, p_run_id || '/' || v_next);
                END IF;
                RETURN ('delivered', p_run_id, v_next, v_now, false)::flow_signal_v1.delivery;
            END IF;
        END IF;
    END IF;
    RETURN flow_signal.settle_signal(
        p_run_id, p_signal_name, p_payload_json, NULL, p_buffer_until
    );
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.pass_head(uuid, text, json, timestamptz) FROM public;
COMMENT ON FUNCTION flow_signal.pass_head(uuid, text, json, timestamptz) IS
'deliver_signal without a delivery id to a line whose head is settled or missing: the common '
'cases in few statements, the others by settle_signal.';
