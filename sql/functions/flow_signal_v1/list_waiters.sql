-- since: 1.0 | role: reader | raises: 22004 22023
-- locks: nothing
CREATE OR REPLACE FUNCTION flow_signal_v1.list_waiters(
    p_run_id uuid DEFAULT NULL,
    p_signal_name text DEFAULT NULL,
    p_state text DEFAULT NULL,
    p_after_run_id uuid DEFAULT NULL,
    p_after_step_key text DEFAULT NULL,
    p_limit integer DEFAULT 100
)
RETURNS SETOF flow_signal_v1.waiter
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $function$
DECLARE
    v_now CONSTANT timestamptz := clock_timestamp();
    -- smaller than every key
    v_after_run_id uuid := uuid '00000000-0000-0000-0000-000000000000';
    v_after_step_key text COLLATE "C" := '';
BEGIN
    IF NOT flow_signal.is_name(p_signal_name) THEN
        PERFORM flow_signal.refuse_name('signal name', p_signal_name);
    ELSIF p_state COLLATE "C" NOT IN ('waiting', 'delivered', 'expired') THEN
        PERFORM flow_signal.refuse_range(
            'state', format('"%s"', flow_signal.excerpt(left(p_state, 40))), 'waiting, delivered or expired'
        );
    ELSIF p_limit IS NULL THEN
        PERFORM flow_signal.refuse_null('limit');
    ELSIF p_limit NOT BETWEEN 1 AND 10000 THEN
        PERFORM flow_signal.refuse_range('limit', p_limit::text, '1 to 10000');
    END IF;
    IF num_nonnulls(p_after_run_id, p_after_step_key) > 0 THEN
        IF p_after_run_id IS NULL THEN
            PERFORM flow_signal.refuse_null('run id to start after');
        ELSIF flow_signal.is_name(p_after_step_key) IS NOT TRUE THEN
            PERFORM flow_signal.refuse_name('step key to start after', p_after_step_key);
        END IF;
        v_after_run_id := p_after_run_id;
        IF p_run_id IS NULL OR p_run_id <= p_after_run_id THEN
            v_after_step_key := p_after_step_key;
        END IF;
    END IF;

    IF p_run_id IS NULL THEN
        RETURN QUERY
        SELECT
            w.run_id, w.step_key::text, w.signal_name::text, w.state,
            w.created_at, w.expires_at, w.delivered_at, w.payload_json
        FROM (
            SELECT
                r.*, flow_signal.waiter_state(r.status, r.expires_at, v_now) AS state
            FROM flow_signal.flow_signal_waiters AS r
        ) AS w
        WHERE (w.run_id, w.step_key) > (v_after_run_id, v_after_step_key)
            AND (p_signal_name IS NULL OR w.signal_name = p_signal_name COLLATE "C")
            AND (p_state IS NULL OR w.state = p_state COLLATE "C")
        ORDER BY w.run_id, w.step_key
        LIMIT p_limit;
    ELSE
        RETURN QUERY
        SELECT
            w.run_id, w.step_key::text, w.signal_name::text, w.state,
            w.created_at, w.expires_at, w.delivered_at, w.payload_json
        FROM (
            SELECT
                r.*, flow_signal.waiter_state(r.status, r.expires_at, v_now) AS state
            FROM flow_signal.flow_signal_waiters AS r
        ) AS w
        WHERE w.run_id = p_run_id
            AND p_run_id >= v_after_run_id
            AND w.step_key > v_after_step_key
            AND (p_signal_name IS NULL OR w.signal_name = p_signal_name COLLATE "C")
            AND (p_state IS NULL OR w.state = p_state COLLATE "C")
        ORDER BY w.step_key
        LIMIT p_limit;
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.list_waiters(
    uuid, text, text, uuid, text, integer
) FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.list_waiters(uuid, text, text, uuid, text, integer)
TO flow_signal_reader;
COMMENT ON FUNCTION flow_signal_v1.list_waiters(uuid, text, text, uuid, text, integer) IS
'A page of the waiters, at most p_limit (1 to 10000), by (run_id, step_key); of one run, one '
'signal, one state (waiting, delivered, expired), or all. The next page: p_after_run_id and '
'p_after_step_key of the last row. Who waits all the while is in one page exactly, whatever '
'comes and goes meanwhile. A filter without p_run_id reads on until the page is full.';
