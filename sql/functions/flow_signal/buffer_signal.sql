-- locks: buffered signals of (run, signal) that are marked dead; the caller has the lock row
-- raises: WS004
CREATE OR REPLACE FUNCTION flow_signal.buffer_signal(
    p_run_id uuid, p_signal_name text, p_payload json, p_delivery_id text,
    p_buffer_until timestamptz, p_now timestamptz
)
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_sort = off
AS $function$
DECLARE
    v_max_buffered integer;
    v_last bigint;
    v_buffered bigint;
BEGIN
    LOOP
        SELECT
            s.max_buffered,
            (
                SELECT count(*)
                FROM (
                    SELECT b.position
                    FROM flow_signal.flow_signal_buffered_signals AS b
                    WHERE b.run_id = p_run_id
                        AND b.signal_name = p_signal_name COLLATE "C"
                        AND NOT b.dead
                    ORDER BY b.position NULLS FIRST
                    LIMIT s.max_buffered
                ) AS l
            ),
            (
                SELECT b.position
                FROM flow_signal.flow_signal_buffered_signals AS b
                WHERE b.run_id = p_run_id AND b.signal_name = p_signal_name COLLATE "C"
                ORDER BY b.position DESC
                LIMIT 1
            )
        INTO STRICT v_max_buffered, v_buffered, v_last
        FROM flow_signal.flow_signal_settings AS s
        WHERE s.only_row;
        EXIT WHEN v_buffered < v_max_buffered;
        -- Signals past their time do not count.
        UPDATE flow_signal.flow_signal_buffered_signals AS b
        SET dead = true
        WHERE b.run_id = p_run_id
            AND b.signal_name = p_signal_name COLLATE "C"
            AND b.position = ANY(ARRAY(
                SELECT l.position
                FROM flow_signal.flow_signal_buffered_signals AS l
                WHERE l.run_id = p_run_id
                    AND l.signal_name = p_signal_name COLLATE "C"
                    AND NOT l.dead
                ORDER BY l.position NULLS FIRST
                LIMIT v_max_buffered
            ))
            AND b.buffered_until <= p_now;
        IF NOT FOUND THEN
            RAISE EXCEPTION USING
                ERRCODE = 'WS004',
                MESSAGE = format('run %s has too many buffered signals "%s"',
                    p_run_id, flow_signal.excerpt(p_signal_name)),
                DETAIL = format('%s signals wait for a waiter, as many as are kept',
                    v_max_buffered),
                HINT = 'list_buffered_signals shows them; an engine takes one back with '
                'withdraw_signal';
        END IF;
    END LOOP;

    -- Never a position that another signal had, so that withdraw_signal cannot take one for the
    -- other: the microseconds of the clock, or behind the last one.
    INSERT INTO flow_signal.flow_signal_buffered_signals (
        run_id, signal_name, position, buffered_at, buffered_until, delivery_id, payload_json,
        buffered_by
    )
    VALUES (
        p_run_id, p_signal_name,
        greatest(v_last + 1, (extract(EPOCH FROM p_now) * 1000000)::bigint), p_now,
        p_buffer_until, p_delivery_id, p_payload, session_user
    );
    UPDATE flow_signal.flow_signal_locks AS l
    SET has_buffered = true
    WHERE l.run_id = p_run_id
        AND l.signal_name = p_signal_name COLLATE "C"
        AND NOT l.has_buffered;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.buffer_signal(
    uuid, text, json, text, timestamptz, timestamptz
) FROM public;
COMMENT ON FUNCTION flow_signal.buffer_signal(
    uuid, text, json, text, timestamptz, timestamptz
) IS
'Keeps a signal for the next waiter of (run, signal), behind those that are kept already.';
