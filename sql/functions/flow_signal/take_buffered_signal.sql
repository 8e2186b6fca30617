-- locks: the oldest buffered signals of the line, oldest first; the caller holds the line
CREATE OR REPLACE FUNCTION flow_signal.take_buffered_signal(
    p_run_id uuid, p_step_key text, p_signal_name text, p_expires_at timestamptz
)
RETURNS boolean
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $function$
DECLARE
    v_signal record;
    v_now timestamptz;
BEGIN
    LOOP
        SELECT b.position, b.buffered_until, b.delivery_id, b.payload_json
        INTO v_signal
        FROM flow_signal.flow_signal_buffered_signals AS b
        WHERE b.run_id = p_run_id
            AND b.signal_name = p_signal_name COLLATE "C"
            AND NOT b.dead
        ORDER BY b.position
        LIMIT 1
        FOR UPDATE;
        v_now := clock_timestamp();
        IF NOT FOUND OR p_expires_at <= v_now THEN
            RETURN false;
        END IF;

        IF v_signal.buffered_until > v_now THEN
            DELETE FROM flow_signal.flow_signal_buffered_signals AS b
            WHERE b.run_id = p_run_id
                AND b.signal_name = p_signal_name COLLATE "C"
                AND b.position = v_signal.position;
            PERFORM flow_signal.record_delivery(
                p_run_id, p_step_key, v_signal.payload_json, v_signal.delivery_id, v_now
            );
            RETURN true;
        END IF;

        UPDATE flow_signal.flow_signal_buffered_signals AS b
        SET dead = true
        WHERE b.run_id = p_run_id
            AND b.signal_name = p_signal_name COLLATE "C"
            AND b.position = v_signal.position;
    END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.take_buffered_signal(
    uuid, text, text, timestamptz
) FROM public;
COMMENT ON FUNCTION flow_signal.take_buffered_signal(uuid, text, text, timestamptz) IS
'Gives the oldest buffered signal that is still alive to a live waiter; returns whether there '
'was one.';
