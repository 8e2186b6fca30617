-- since: 1.0 | role: reader | raises: 22004 22023 0A000
-- locks: nothing that it keeps; holds its connection and a snapshot while it waits
CREATE OR REPLACE FUNCTION flow_signal_v1.await_waiter(
    p_run_id uuid,
    p_step_key text,
    p_max_wait interval DEFAULT '30 seconds'
)
RETURNS SETOF flow_signal_v1.waiter
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
ROWS 1
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $function$
DECLARE
    v_waiter flow_signal_v1.waiter;
    v_status text COLLATE "C";
    v_is_free boolean;
    v_pause interval := interval '5 milliseconds';
    v_now timestamptz := clock_timestamp();
    v_until timestamptz;
BEGIN
    IF p_run_id IS NULL THEN
        PERFORM flow_signal.refuse_null('run id');
    ELSIF flow_signal.is_name(p_step_key) IS NOT TRUE THEN
        PERFORM flow_signal.refuse_name('step key', p_step_key);
    ELSIF p_max_wait IS NULL THEN
        PERFORM flow_signal.refuse_null('wait');
    ELSIF NOT flow_signal.is_soon(p_max_wait, v_now, '5 minutes') THEN
        PERFORM flow_signal.refuse_range('wait', p_max_wait::text, '0 to 5 minutes');
    -- The snapshot would never show the delivery.
    ELSIF current_setting('transaction_isolation') NOT LIKE 'read %' THEN
        PERFORM flow_signal.refuse_isolation('await_waiter');
    END IF;
    v_until := v_now + p_max_wait;

    LOOP
        v_now := clock_timestamp();
        SELECT
            w.run_id, w.step_key, w.signal_name,
            flow_signal.waiter_state(w.status, w.expires_at, v_now),
            w.created_at, w.expires_at, w.delivered_at, w.payload_json, w.status
        INTO
            v_waiter.run_id, v_waiter.step_key, v_waiter.signal_name, v_waiter.state,
            v_waiter.created_at, v_waiter.expires_at, v_waiter.delivered_at,
            v_waiter.payload_json, v_status
        FROM flow_signal.flow_signal_waiters AS w
        WHERE w.run_id = p_run_id AND w.step_key = p_step_key COLLATE "C";
        IF NOT FOUND THEN
            RETURN;
        END IF;
        IF v_waiter.state = 'expired' AND v_status = 'waiting'
            AND current_setting('transaction_read_only') = 'off' THEN
            -- A sender may have delivered in time and not committed yet: then its lock is on the
            -- row. The block gives our lock back at once.
            BEGIN
                SELECT w.status = 'waiting' AND w.expires_at <= v_now
                INTO v_is_free
                FROM flow_signal.flow_signal_waiters AS w
                WHERE w.run_id = p_run_id AND w.step_key = p_step_key COLLATE "C"
                FOR NO KEY UPDATE SKIP LOCKED;
                RAISE SQLSTATE 'WS099';
            EXCEPTION
                WHEN SQLSTATE 'WS099' THEN
                    NULL;
            END;
            IF v_is_free IS NOT TRUE THEN
                v_waiter.state := 'waiting';
            END IF;
        END IF;
        IF v_waiter.state <> 'waiting' OR v_now >= v_until THEN
            RETURN NEXT v_waiter;
            RETURN;
        END IF;
        PERFORM pg_sleep(
            extract(EPOCH FROM least(
                v_pause, v_until - v_now,
                CASE WHEN v_waiter.expires_at > v_now THEN v_waiter.expires_at - v_now END
            ))
        );
        v_pause := least(2 * v_pause, interval '100 milliseconds');
    END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.await_waiter(uuid, text, interval) FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.await_waiter(
    uuid, text, interval
) TO flow_signal_reader;
COMMENT ON FUNCTION flow_signal_v1.await_waiter(uuid, text, interval) IS
'Waits until the waiter is delivered or expired, at most p_max_wait (0 to 5 minutes), and '
'returns it as it is then; no row when there is no such waiter. Looks every 5 to 100 ms. On a '
'primary it does not say expired while another transaction is changing the waiter. For drivers '
'that cannot LISTEN: each call holds a connection and a snapshot, which keeps vacuum from '
'removing rows that are deleted meanwhile.';
