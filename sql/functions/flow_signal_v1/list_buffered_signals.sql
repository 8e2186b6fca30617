-- since: 1.0 | role: reader | raises: 22004 22023
-- locks: nothing
CREATE OR REPLACE FUNCTION flow_signal_v1.list_buffered_signals(
    p_run_id uuid DEFAULT NULL,
    p_signal_name text DEFAULT NULL,
    p_state text DEFAULT NULL,
    p_after_run_id uuid DEFAULT NULL,
    p_after_signal_name text DEFAULT NULL,
    p_after_position bigint DEFAULT NULL,
    p_limit integer DEFAULT 100
)
RETURNS SETOF flow_signal_v1.buffered_signal
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
    v_after_signal_name text COLLATE "C" := '';
    v_after_position bigint := 0::bigint;
BEGIN
    IF NOT flow_signal.is_name(p_signal_name) THEN
        PERFORM flow_signal.refuse_name('signal name', p_signal_name);
    ELSIF p_state COLLATE "C" NOT IN ('buffered', 'dead') THEN
        PERFORM flow_signal.refuse_range(
            'state', format('"%s"', flow_signal.excerpt(left(p_state, 40))), 'buffered or dead'
        );
    ELSIF p_limit IS NULL THEN
        PERFORM flow_signal.refuse_null('limit');
    ELSIF p_limit NOT BETWEEN 1 AND 10000 THEN
        PERFORM flow_signal.refuse_range('limit', p_limit::text, '1 to 10000');
    END IF;
    IF num_nonnulls(p_after_run_id, p_after_signal_name, p_after_position) > 0 THEN
        IF p_after_run_id IS NULL THEN
            PERFORM flow_signal.refuse_null('run id to start after');
        ELSIF flow_signal.is_name(p_after_signal_name) IS NOT TRUE THEN
            PERFORM flow_signal.refuse_name('signal name to start after', p_after_signal_name);
        ELSIF p_after_position IS NULL THEN
            PERFORM flow_signal.refuse_null('position to start after');
        END IF;
        v_after_run_id := p_after_run_id;
        IF p_run_id IS NULL OR p_run_id <= p_after_run_id THEN
            v_after_signal_name := p_after_signal_name;
            v_after_position := p_after_position;
        END IF;
    END IF;

    IF p_run_id IS NULL THEN
        RETURN QUERY
        SELECT
            b.run_id, b.signal_name::text, b.position, b.state,
            b.buffered_at, b.buffered_until, b.delivery_id::text, b.payload_json
        FROM (
            SELECT
                r.*, flow_signal.buffered_state(r.dead, r.buffered_until, v_now) AS state
            FROM flow_signal.flow_signal_buffered_signals AS r
        ) AS b
        WHERE (b.run_id, b.signal_name, b.position)
            > (v_after_run_id, v_after_signal_name, v_after_position)
            AND (p_signal_name IS NULL OR b.signal_name = p_signal_name COLLATE "C")
            AND (p_state IS NULL OR b.state = p_state COLLATE "C")
        ORDER BY b.run_id, b.signal_name, b.position
        LIMIT p_limit;
    ELSE
        RETURN QUERY
        SELECT
            b.run_id, b.signal_name::text, b.position, b.state,
            b.buffered_at, b.buffered_until, b.delivery_id::text, b.payload_json
        FROM (
            SELECT
                r.*, flow_signal.buffered_state(r.dead, r.buffered_until, v_now) AS state
            FROM flow_signal.flow_signal_buffered_signals AS r
        ) AS b
        WHERE b.run_id = p_run_id
            AND p_run_id >= v_after_run_id
            AND (b.signal_name, b.position) > (v_after_signal_name, v_after_position)
            AND (p_signal_name IS NULL OR b.signal_name = p_signal_name COLLATE "C")
            AND (p_state IS NULL OR b.state = p_state COLLATE "C")
        ORDER BY b.signal_name, b.position
        LIMIT p_limit;
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.list_buffered_signals(
    uuid, text, text, uuid, text, bigint, integer
) FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.list_buffered_signals(
    uuid, text, text, uuid, text, bigint, integer
)
TO flow_signal_reader;
COMMENT ON FUNCTION flow_signal_v1.list_buffered_signals(
    uuid, text, text, uuid, text, bigint, integer
) IS
'A page of the signals that came before their waiter, at most p_limit (1 to 10000), by '
'(run_id, signal_name, position); of one run, one signal, one state (buffered, or dead: its '
'time is over), or all. The next page: p_after_run_id, p_after_signal_name and '
'p_after_position of the last row. A filter without p_run_id reads on until the page is full.';
