-- locks: nothing
CREATE OR REPLACE FUNCTION flow_signal.read_verdict(p_run_id uuid, p_signal_name text)
RETURNS flow_signal_v1.delivery
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $function$
DECLARE
    v_waiter record;
BEGIN
    SELECT c.step_key, c.delivered_at, c.state
    INTO v_waiter
    FROM (
        SELECT
            w.step_key, w.created_at, w.delivered_at,
            CASE
                WHEN w.delivered_at IS NOT NULL THEN 'delivered'
                WHEN w.expired_at IS NOT NULL THEN 'expired'
                ELSE 'waiting'
            END AS state
        FROM flow_signal.flow_signal_waiters AS w
        WHERE w.run_id = p_run_id
            AND w.signal_name = p_signal_name COLLATE "C"
            AND w.place = 'head'
        UNION ALL
        SELECT l.step_key, l.created_at, l.delivered_at, s.state
        FROM (VALUES ('waiting'), ('delivered'), ('expired')) AS s (state)
        CROSS JOIN LATERAL (
            SELECT w.step_key, w.created_at, w.delivered_at
            FROM flow_signal.flow_signal_waiters AS w
            WHERE w.run_id = p_run_id
                AND w.signal_name = p_signal_name COLLATE "C"
                AND w.place <> 'head'
                AND w.place = s.state COLLATE "C"
            ORDER BY w.created_at, w.step_key
            LIMIT 1
        ) AS l
    ) AS c
    ORDER BY
        CASE c.state WHEN 'waiting' THEN 1 WHEN 'delivered' THEN 2 ELSE 3 END,
        c.created_at, c.step_key
    LIMIT 1;

    IF v_waiter.state = 'waiting' THEN
        RETURN NULL;
    ELSIF v_waiter.state = 'delivered' THEN
        RETURN ('already_delivered', p_run_id, v_waiter.step_key, v_waiter.delivered_at, false)
        ::flow_signal_v1.delivery;
    ELSIF v_waiter.state = 'expired' THEN
        RETURN ('expired', p_run_id, v_waiter.step_key, NULL, false)::flow_signal_v1.delivery;
    END IF;
    RETURN ('not_found', p_run_id, NULL, NULL, false)::flow_signal_v1.delivery;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.read_verdict(uuid, text) FROM public;
COMMENT ON FUNCTION flow_signal.read_verdict(uuid, text) IS
'What a sender is told when nobody in the line waits: already_delivered, expired or '
'not_found. NULL when some waiter still has to be looked at.';
