-- locks: buffered signals of (run, signal), no waiter; the caller has the lock row
-- raises: WS002 WS004
CREATE OR REPLACE FUNCTION flow_signal.refuse_or_buffer(
    p_run_id uuid, p_signal_name text, p_payload json, p_delivery_id text,
    p_buffer_until timestamptz
)
RETURNS flow_signal_v1.delivery
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_sort = off
AS $function$
DECLARE
    v_waiter record;
    v_signal record;
    v_now timestamptz;
BEGIN
    -- Under the lock row this snapshot has every registration. The index holds the delivered
    -- waiters before the expired ones.
    SELECT live.is_there, settled.status, settled.step_key, settled.delivered_at
    INTO v_waiter
    FROM (
        SELECT (
            SELECT true
            FROM flow_signal.flow_signal_waiters AS w
            WHERE w.run_id = p_run_id
                AND w.signal_name = p_signal_name COLLATE "C"
                AND w.status = 'waiting'
            ORDER BY w.created_at, w.step_key
            LIMIT 1
        ) AS is_there
    ) AS live
    LEFT JOIN LATERAL (
        SELECT w.status, w.step_key, w.delivered_at
        FROM flow_signal.flow_signal_waiters AS w
        WHERE w.run_id = p_run_id
            AND w.signal_name = p_signal_name COLLATE "C"
            AND w.status <> ''
        ORDER BY w.status, w.created_at, w.step_key
        LIMIT 1
    ) AS settled ON true;
    IF v_waiter.is_there THEN
        RETURN NULL;
    END IF;

    -- 1. The id may have become known while this call waited for the lock row.
    IF p_delivery_id IS NOT NULL THEN
        IF EXISTS (
            SELECT FROM flow_signal.flow_signal_receipts AS r
            WHERE r.run_id = p_run_id
                AND r.delivery_id = p_delivery_id COLLATE "C"
                AND r.signal_name = p_signal_name COLLATE "C"
        ) THEN
            RETURN NULL;
        END IF;
        SELECT b.position, b.buffered_until, b.payload_json
        INTO v_signal
        FROM flow_signal.flow_signal_buffered_signals AS b
        WHERE b.run_id = p_run_id
            AND b.signal_name = p_signal_name COLLATE "C"
            -- A range, so that its order is not a matter of course: one index has it.
            AND b.delivery_id >= p_delivery_id COLLATE "C"
            AND b.delivery_id <= p_delivery_id COLLATE "C"
            AND NOT b.dead
        ORDER BY b.delivery_id
        LIMIT 1;
        IF FOUND AND v_signal.buffered_until > clock_timestamp() THEN
            IF v_signal.payload_json::text IS DISTINCT FROM p_payload::text THEN
                PERFORM flow_signal.refuse_reuse(
                    p_run_id, p_signal_name, p_delivery_id, 'buffered'
                );
            END IF;
            RETURN ('buffered', p_run_id, NULL, NULL, true)::flow_signal_v1.delivery;
        ELSIF FOUND THEN
            -- The id is free again, also if the clock is set back later.
            UPDATE flow_signal.flow_signal_buffered_signals AS b
            SET dead = true
            WHERE b.run_id = p_run_id
                AND b.signal_name = p_signal_name COLLATE "C"
                AND b.position = v_signal.position;
        END IF;
    END IF;

    -- 3. keep it for the next waiter
    v_now := clock_timestamp();
    IF p_buffer_until > v_now THEN
        PERFORM flow_signal.buffer_signal(
            p_run_id, p_signal_name, p_payload, p_delivery_id, p_buffer_until, v_now
        );
        RETURN ('buffered', p_run_id, NULL, NULL, false)::flow_signal_v1.delivery;
    END IF;

    -- 4 to 6
    IF v_waiter.status = 'delivered' THEN
        RETURN (
            'already_delivered', p_run_id, v_waiter.step_key, v_waiter.delivered_at, false
        )::flow_signal_v1.delivery;
    ELSIF v_waiter.status = 'expired' THEN
        RETURN ('expired', p_run_id, v_waiter.step_key, NULL, false)::flow_signal_v1.delivery;
    END IF;
    RETURN ('not_found', p_run_id, NULL, NULL, false)::flow_signal_v1.delivery;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.refuse_or_buffer(
    uuid, text, json, text, timestamptz
) FROM public;
COMMENT ON FUNCTION flow_signal.refuse_or_buffer(uuid, text, json, text, timestamptz) IS
'The verdict for a signal that found no live waiter: buffered, or why not. Returns NULL when a '
'waiter is live, or the delivery id known, by now.';
