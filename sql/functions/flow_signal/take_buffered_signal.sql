-- locks: buffered signals of (run, signal), oldest first; the caller has the lock row
CREATE OR REPLACE FUNCTION flow_signal.take_buffered_signal(
    p_run_id uuid, p_step_key text, p_signal_name text, p_expires_at timestamptz
)
RETURNS SETOF flow_signal_v1.waiter
LANGUAGE plpgsql
VOLATILE
ROWS 1
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_sort = off
AS $function$
DECLARE
    v_signal record;
    v_delivered boolean;
    v_now timestamptz;
BEGIN
    LOOP
        -- FOR UPDATE waits for purge_buffered, which waits for nothing: so no cycle.
        SELECT b.position, b.buffered_until, b.delivery_id, b.payload_json, b.buffered_by
        INTO v_signal
        FROM flow_signal.flow_signal_buffered_signals AS b
        WHERE b.run_id = p_run_id
            AND b.signal_name = p_signal_name COLLATE "C"
            AND NOT b.dead
        ORDER BY b.position NULLS FIRST
        LIMIT 1
        FOR UPDATE;
        IF NOT FOUND THEN
            UPDATE flow_signal.flow_signal_locks AS l
            SET has_buffered = false
            WHERE l.run_id = p_run_id AND l.signal_name = p_signal_name COLLATE "C";
            EXIT;
        END IF;
        v_now := clock_timestamp();
        IF p_expires_at <= v_now THEN
            -- For good: while a signal is buffered, no waiter may become live again.
            UPDATE flow_signal.flow_signal_waiters AS w
            SET status = 'expired'
            WHERE w.run_id = p_run_id AND w.step_key = p_step_key COLLATE "C";
            EXIT;
        END IF;

        IF v_signal.buffered_until > v_now THEN
            DELETE FROM flow_signal.flow_signal_buffered_signals AS b
            WHERE b.run_id = p_run_id
                AND b.signal_name = p_signal_name COLLATE "C"
                AND b.position = v_signal.position;
            -- No other transaction can be about to insert its receipt: while a signal is buffered
            -- no waiter is live, and the lock row keeps new ones away. False: a receipt is there
            -- already, so this signal was delivered, and the next one has its turn.
            v_delivered := flow_signal.record_delivery(
                p_run_id, p_step_key, p_signal_name, v_signal.payload_json,
                v_signal.delivery_id, v_signal.buffered_by, v_now
            );
            EXIT WHEN v_delivered;
            CONTINUE;
        END IF;
        UPDATE flow_signal.flow_signal_buffered_signals AS b
        SET dead = true
        WHERE b.run_id = p_run_id
            AND b.signal_name = p_signal_name COLLATE "C"
            AND b.position = v_signal.position;
    END LOOP;
    RETURN QUERY
    SELECT
        w.run_id, w.step_key::text, w.signal_name::text,
        flow_signal.waiter_state(w.status, w.expires_at, clock_timestamp()),
        w.created_at, w.expires_at, w.delivered_at, w.payload_json
    FROM flow_signal.flow_signal_waiters AS w
    WHERE w.run_id = p_run_id AND w.step_key = p_step_key COLLATE "C";
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.take_buffered_signal(
    uuid, text, text, timestamptz
) FROM public;
COMMENT ON FUNCTION flow_signal.take_buffered_signal(uuid, text, text, timestamptz) IS
'Delivers the oldest live buffered signal, if there is one, to a waiter that was registered in '
'this call; returns the waiter.';
