-- locks: the new steps, then lock rows, in the order of sql/README.md; none if it returns false
CREATE OR REPLACE FUNCTION flow_signal.insert_waiters(
    p_waiters flow_signal.flow_signal_waiters[]
)
RETURNS boolean
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $function$
DECLARE
    v_inserted integer;
    v_waiter record;
BEGIN
    INSERT INTO flow_signal.flow_signal_waiters (
        run_id, step_key, signal_name, status, created_at, expires_at, delivered_at,
        payload_json
    )
    SELECT
        s.run_id, s.step_key, s.signal_name, s.status, s.created_at, s.expires_at,
        s.delivered_at, s.payload_json
    FROM unnest(p_waiters) AS s
    WHERE s.run_id IS NOT NULL
    ORDER BY s.run_id, s.step_key
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS v_inserted = ROW_COUNT;
    IF v_inserted < (
        SELECT count(*) FROM unnest(p_waiters) AS s WHERE s.run_id IS NOT NULL
    ) THEN
        RAISE SQLSTATE 'WS099';
    END IF;

    INSERT INTO flow_signal.flow_signal_locks AS l (run_id, signal_name)
    SELECT DISTINCT s.run_id, s.signal_name
    FROM unnest(p_waiters) AS s
    WHERE s.run_id IS NOT NULL
    ORDER BY s.run_id, s.signal_name
    ON CONFLICT (run_id, signal_name) DO UPDATE SET has_buffered = true WHERE l.has_buffered;
    FOR v_waiter IN
        SELECT s.run_id, s.step_key, s.signal_name, s.expires_at
        FROM unnest(p_waiters) AS s
        -- LIMIT 1, so that each is looked up by its key
        CROSS JOIN LATERAL (
            SELECT k.has_buffered
            FROM flow_signal.flow_signal_locks AS k
            WHERE k.run_id = s.run_id AND k.signal_name = s.signal_name
            LIMIT 1
        ) AS l
        WHERE s.status = 'waiting' AND l.has_buffered
        ORDER BY s.created_at, s.step_key
    LOOP
        PERFORM flow_signal.take_buffered_signal(
            v_waiter.run_id, v_waiter.step_key, v_waiter.signal_name, v_waiter.expires_at
        );
    END LOOP;
    RETURN true;
EXCEPTION
    -- A step was registered meanwhile: let all locks go.
    WHEN SQLSTATE 'WS099' THEN
        RETURN false;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.insert_waiters(
    flow_signal.flow_signal_waiters[]
) FROM public;
COMMENT ON FUNCTION flow_signal.insert_waiters(flow_signal.flow_signal_waiters[]) IS
'Inserts waiters, and gives buffered signals to the live ones, if all steps are new; else does '
'nothing and returns false. Skips an element that is NULL.';
