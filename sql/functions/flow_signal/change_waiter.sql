-- locks: the lines that the waiter leaves and joins, in their order; then the waiter
-- raises: WS001
CREATE OR REPLACE FUNCTION flow_signal.change_waiter(
    p_run_id uuid, p_step_key text, p_signal_name text, p_expires_at timestamptz,
    p_wake_channel text, p_queue text
)
RETURNS flow_signal_v1.waiter
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $function$
DECLARE
    v_waiter flow_signal.flow_signal_waiters;
    v_line text COLLATE "C";
    v_line_has_head boolean;
    v_locked boolean := false;
    v_settled boolean;
    v_now timestamptz;
BEGIN
    LOOP
        -- A row version that nobody but its writer has locked needs no lock to be believed.
        IF NOT v_locked THEN
            SELECT w.* INTO v_waiter
            FROM flow_signal.flow_signal_waiters AS w
            WHERE w.run_id = p_run_id
                AND w.step_key = p_step_key COLLATE "C"
                AND w.xmax IN ('0'::xid, w.xmin);
        END IF;
        IF v_waiter.delivered_at IS NOT NULL
            AND v_waiter.signal_name <> p_signal_name COLLATE "C" THEN
            RAISE EXCEPTION USING
                ERRCODE = 'WS001',
                MESSAGE = format('step "%s" of run %s already holds the payload of signal "%s"',
                    p_step_key, p_run_id, v_waiter.signal_name),
                DETAIL = format('it was delivered at %s; the call asks for signal "%s"',
                    v_waiter.delivered_at, p_signal_name),
                HINT = 'read the payload with get_waiter, then remove_waiter and register again';
        END IF;
        EXIT WHEN v_waiter.delivered_at IS NOT NULL OR (
            v_waiter.signal_name = p_signal_name COLLATE "C"
            AND v_waiter.expires_at IS NOT DISTINCT FROM p_expires_at
            AND v_waiter.wake_channel IS NOT DISTINCT FROM p_wake_channel COLLATE "C"
            AND v_waiter.queue IS NOT DISTINCT FROM p_queue COLLATE "C"
        );

        IF v_locked THEN
            v_now := clock_timestamp();
            v_settled := v_waiter.expired_at IS NOT NULL AND (
                v_waiter.expires_at IS NOT DISTINCT FROM p_expires_at
                OR (p_expires_at <= v_now) IS TRUE
            );
            IF v_waiter.signal_name = p_signal_name COLLATE "C" THEN
                UPDATE flow_signal.flow_signal_waiters AS w
                SET
                    expires_at = p_expires_at,
                    expired_at = CASE WHEN v_settled THEN w.expired_at END,
                    wake_channel = p_wake_channel,
                    queue = p_queue,
                    due_at = CASE WHEN p_queue IS NOT NULL THEN p_expires_at END,
                    place = CASE
                        WHEN w.place = 'head' OR NOT v_line_has_head THEN 'head'
                        WHEN v_settled THEN 'expired'
                        ELSE 'waiting'
                    END
                WHERE w.run_id = p_run_id AND w.step_key = p_step_key COLLATE "C";
            ELSE
                -- A new row: who waits for the old one, as the lock of its line, must not follow.
                DELETE FROM flow_signal.flow_signal_waiters AS w
                WHERE w.run_id = p_run_id AND w.step_key = p_step_key COLLATE "C";
                INSERT INTO flow_signal.flow_signal_waiters (
                    run_id, step_key, signal_name, place, created_at, expires_at, expired_at,
                    due_at, wake_channel, queue
                )
                VALUES (
                    p_run_id, p_step_key, p_signal_name,
                    CASE
                        WHEN NOT v_line_has_head THEN 'head'
                        WHEN v_settled THEN 'expired'
                        ELSE 'waiting'
                    END,
                    v_waiter.created_at, p_expires_at,
                    CASE WHEN v_settled THEN v_waiter.expired_at END,
                    CASE WHEN p_queue IS NOT NULL THEN p_expires_at END, p_wake_channel, p_queue
                );
            END IF;
            PERFORM flow_signal.mark_followed(ARRAY[p_run_id], ARRAY[p_signal_name]);
            IF NOT v_settled THEN
                PERFORM flow_signal.take_buffered_signal(
                    p_run_id, p_step_key, p_signal_name, p_expires_at
                );
            END IF;
            SELECT w.* INTO STRICT v_waiter
            FROM flow_signal.flow_signal_waiters AS w
            WHERE w.run_id = p_run_id AND w.step_key = p_step_key COLLATE "C";
            EXIT;
        END IF;

        SELECT w.signal_name INTO v_line
        FROM flow_signal.flow_signal_waiters AS w
        WHERE w.run_id = p_run_id AND w.step_key = p_step_key COLLATE "C";
        IF NOT FOUND THEN
            RETURN NULL;
        END IF;
        -- A block of its own, to let go of the lines if the waiter has left them.
        BEGIN
            IF v_line < p_signal_name COLLATE "C" THEN
                PERFORM flow_signal.hold_line(p_run_id, v_line);
            END IF;
            v_line_has_head := flow_signal.hold_line(p_run_id, p_signal_name);
            IF v_line > p_signal_name COLLATE "C" THEN
                PERFORM flow_signal.hold_line(p_run_id, v_line);
            END IF;
            -- Not in another line: its row may be the lock of that.
            SELECT w.* INTO v_waiter
            FROM flow_signal.flow_signal_waiters AS w
            WHERE w.run_id = p_run_id
                AND w.step_key = p_step_key COLLATE "C"
                AND w.signal_name IN (v_line, p_signal_name COLLATE "C")
            FOR NO KEY UPDATE;
            IF NOT FOUND THEN
                PERFORM flow_signal.start_over('the step has left its line');
            END IF;
            v_locked := true;
        EXCEPTION
            WHEN serialization_failure THEN
                NULL;
        END;
    END LOOP;

    RETURN (
        v_waiter.run_id, v_waiter.step_key, v_waiter.signal_name,
        flow_signal.waiter_state(
            v_waiter.delivered_at, v_waiter.expired_at, v_waiter.expires_at, clock_timestamp()
        ),
        v_waiter.created_at, v_waiter.expires_at, v_waiter.delivered_at, v_waiter.payload_json
    )::flow_signal_v1.waiter;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.change_waiter(
    uuid, text, text, timestamptz, text, text
) FROM public;
COMMENT ON FUNCTION flow_signal.change_waiter(uuid, text, text, timestamptz, text, text) IS
'register_waiter for a key that exists: a repeat that changes nothing writes nothing. '
'Returns NULL when the waiter was removed meanwhile.';
