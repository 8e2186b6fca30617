-- locks: the line, then those of its waiters that are open, oldest first
-- raises: WS002
CREATE OR REPLACE FUNCTION flow_signal.settle_signal(
    p_run_id uuid, p_signal_name text, p_payload_json json, p_delivery_id text,
    p_buffer_until timestamptz
)
RETURNS flow_signal_v1.delivery
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $function$
DECLARE
    v_known record;
    v_waiter record;
    v_verdict flow_signal_v1.delivery;
    v_now timestamptz;
BEGIN
    LOOP
        PERFORM flow_signal.hold_line(p_run_id, p_signal_name);

        -- 1. the same signal again
        IF p_delivery_id IS NOT NULL THEN
            SELECT 'delivered' AS status, w.step_key, w.delivered_at, w.payload_json
            INTO v_known
            FROM flow_signal.flow_signal_waiters AS w
            WHERE w.run_id = p_run_id
                AND w.signal_name = p_signal_name COLLATE "C"
                AND w.delivery_id = p_delivery_id COLLATE "C"
            FOR NO KEY UPDATE;
            IF NOT FOUND THEN
                v_now := clock_timestamp();
                SELECT
                    'buffered' AS status, NULL AS step_key, NULL::timestamptz AS delivered_at,
                    b.payload_json
                INTO v_known
                FROM flow_signal.flow_signal_buffered_signals AS b
                WHERE b.run_id = p_run_id
                    AND b.signal_name = p_signal_name COLLATE "C"
                    AND b.delivery_id = p_delivery_id COLLATE "C"
                    AND NOT b.dead
                    AND b.buffered_until > v_now
                FOR NO KEY UPDATE;
            END IF;
            IF FOUND AND v_known.payload_json::text IS DISTINCT FROM p_payload_json::text THEN
                RAISE EXCEPTION USING
                    ERRCODE = 'WS002',
                    MESSAGE = format('delivery id "%s" was used with another payload',
                        p_delivery_id),
                    DETAIL = format('signal "%s" of run %s is recorded under it as %s',
                        p_signal_name, p_run_id, v_known.status),
                    HINT = 'repeat the payload to the byte, or send a new signal under a new id';
            ELSIF FOUND THEN
                RETURN (v_known.status, p_run_id, v_known.step_key, v_known.delivered_at, true)
                ::flow_signal_v1.delivery;
            END IF;
        END IF;

        -- 2. the oldest live waiter; who is found past the deadline is settled as expired
        LOOP
            SELECT c.step_key
            INTO v_waiter
            FROM (
                SELECT w.step_key, w.created_at
                FROM flow_signal.flow_signal_waiters AS w
                WHERE w.run_id = p_run_id
                    AND w.signal_name = p_signal_name COLLATE "C"
                    AND w.place = 'head'
                    AND w.delivered_at IS NULL
                    AND w.expired_at IS NULL
                UNION ALL
                (
                    SELECT w.step_key, w.created_at
                    FROM flow_signal.flow_signal_waiters AS w
                    WHERE w.run_id = p_run_id
                        AND w.signal_name = p_signal_name COLLATE "C"
                        AND w.place = 'waiting'
                    ORDER BY w.created_at, w.step_key
                    LIMIT 1
                )
            ) AS c
            ORDER BY c.created_at, c.step_key
            LIMIT 1;
            EXIT WHEN NOT FOUND;

            SELECT w.step_key, w.expires_at
            INTO v_waiter
            FROM flow_signal.flow_signal_waiters AS w
            WHERE w.run_id = p_run_id
                AND w.step_key = v_waiter.step_key
                AND w.signal_name = p_signal_name COLLATE "C"
                AND w.delivered_at IS NULL
                AND w.expired_at IS NULL
            FOR NO KEY UPDATE;
            CONTINUE WHEN NOT FOUND;

            v_now := clock_timestamp();
            IF v_waiter.expires_at <= v_now THEN
                UPDATE flow_signal.flow_signal_waiters AS w
                SET
                    expired_at = v_now,
                    place = CASE w.place WHEN 'head' THEN w.place ELSE 'expired' END
                WHERE w.run_id = p_run_id AND w.step_key = v_waiter.step_key;
                CONTINUE;
            END IF;
            PERFORM flow_signal.record_delivery(
                p_run_id, v_waiter.step_key, p_payload_json, p_delivery_id, v_now
            );
            RETURN ('delivered', p_run_id, v_waiter.step_key, v_now, false)
            ::flow_signal_v1.delivery;
        END LOOP;

        -- 3. keep it for the next waiter
        v_now := clock_timestamp();
        IF p_buffer_until > v_now THEN
            INSERT INTO flow_signal.flow_signal_buffered_signals (
                run_id, signal_name, position, buffered_at, buffered_until, delivery_id,
                payload_json
            )
            SELECT
                p_run_id, p_signal_name, coalesce(max(b.position), 0) + 1, v_now, p_buffer_until,
                p_delivery_id, p_payload_json
            FROM flow_signal.flow_signal_buffered_signals AS b
            WHERE b.run_id = p_run_id AND b.signal_name = p_signal_name COLLATE "C";
            RETURN ('buffered', p_run_id, NULL, NULL, false)::flow_signal_v1.delivery;
        END IF;

        -- 4 to 6. nobody waits; a waiter that is being removed is waited for
        v_verdict := flow_signal.read_verdict(p_run_id, p_signal_name);
        IF v_verdict.step_key IS NOT NULL THEN
            PERFORM
            FROM flow_signal.flow_signal_waiters AS w
            WHERE w.run_id = p_run_id
                AND w.step_key = v_verdict.step_key COLLATE "C"
                AND w.signal_name = p_signal_name COLLATE "C"
            FOR NO KEY UPDATE;
            CONTINUE WHEN NOT FOUND;
        END IF;
        EXIT WHEN v_verdict.status IS NOT NULL;
    END LOOP;
    RETURN v_verdict;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.settle_signal(
    uuid, text, json, text, timestamptz
) FROM public;
COMMENT ON FUNCTION flow_signal.settle_signal(uuid, text, json, text, timestamptz) IS
'deliver_signal in full: holds the line and decides what becomes of the signal.';
