-- since: 1.0 | role: engine | raises: 22004 22023 0A000 WS001
-- locks: run after run, the steps and their lines; then as register_waiter
CREATE OR REPLACE FUNCTION flow_signal_v1.register_waiters(
    p_run_ids uuid[],
    p_step_keys text[],
    p_signal_names text[],
    p_expires_at timestamptz[] DEFAULT NULL,
    p_wake_channel text DEFAULT NULL,
    p_queue text DEFAULT NULL
)
RETURNS SETOF flow_signal_v1.waiter
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $function$
DECLARE
    v_lengths integer[] := array_remove(ARRAY[
        cardinality(p_run_ids), cardinality(p_step_keys), cardinality(p_signal_names),
        cardinality(p_expires_at)
    ], NULL);
    v_dimensions integer := greatest(
        array_ndims(p_run_ids), array_ndims(p_step_keys), array_ndims(p_signal_names),
        array_ndims(p_expires_at)
    );
    v_expires_at timestamptz[];
    v_created_at timestamptz[];
    v_step record;
    v_registered boolean;
    v_taken boolean := false;
    v_now timestamptz;
BEGIN
    IF p_run_ids IS NULL THEN
        PERFORM flow_signal.refuse_null('array of run ids');
    ELSIF p_step_keys IS NULL THEN
        PERFORM flow_signal.refuse_null('array of step keys');
    ELSIF p_signal_names IS NULL THEN
        PERFORM flow_signal.refuse_null('array of signal names');
    ELSIF v_dimensions > 1 OR cardinality(p_run_ids) <> ANY(v_lengths) THEN
        PERFORM flow_signal.refuse_arrays(v_lengths, v_dimensions);
    ELSIF octet_length(p_wake_channel) > 63 OR NOT flow_signal.is_name(p_wake_channel) THEN
        PERFORM flow_signal.refuse_channel(p_wake_channel);
    ELSIF NOT flow_signal.is_name(p_queue) THEN
        PERFORM flow_signal.refuse_name('queue', p_queue);
    -- A buffered signal that was committed after the snapshot would be overlooked for ever.
    ELSIF current_setting('transaction_isolation') NOT LIKE 'read %' THEN
        PERFORM flow_signal.refuse_isolation('register_waiters');
    END IF;
    v_expires_at := ARRAY(SELECT nullif(e.at, 'infinity') FROM unnest(p_expires_at) AS e (at));
    SELECT s.run_id, s.step_key, s.signal_name, s.expires_at, s.n
    INTO v_step
    FROM unnest(p_run_ids, p_step_keys, p_signal_names, v_expires_at)
        WITH ORDINALITY AS s (run_id, step_key, signal_name, expires_at, n)
    WHERE s.run_id IS NULL
        OR flow_signal.is_name(s.step_key) IS NOT TRUE
        OR flow_signal.is_name(s.signal_name) IS NOT TRUE
        OR NOT flow_signal.is_instant(s.expires_at)
    LIMIT 1;
    IF FOUND AND v_step.run_id IS NULL THEN
        PERFORM flow_signal.refuse_null('run id ' || v_step.n);
    ELSIF FOUND AND flow_signal.is_name(v_step.step_key) IS NOT TRUE THEN
        PERFORM flow_signal.refuse_name('step key ' || v_step.n, v_step.step_key);
    ELSIF FOUND AND flow_signal.is_name(v_step.signal_name) IS NOT TRUE THEN
        PERFORM flow_signal.refuse_name('signal name ' || v_step.n, v_step.signal_name);
    ELSIF FOUND THEN
        PERFORM flow_signal.refuse_instant('deadline ' || v_step.n, v_step.expires_at);
    END IF;

    v_created_at := flow_signal.next_instants(cardinality(p_run_ids));
    v_registered := flow_signal.register_first_steps(
        p_run_ids, p_step_keys, p_signal_names, v_expires_at, v_created_at, p_wake_channel,
        p_queue
    );
    IF NOT v_registered THEN
        PERFORM flow_signal.hold_steps(p_run_ids, p_step_keys, p_signal_names);
        v_created_at := flow_signal.next_instants(cardinality(p_run_ids));
        v_registered := flow_signal.register_new_steps(
            p_run_ids, p_step_keys, p_signal_names, v_expires_at, v_created_at, p_wake_channel,
            p_queue
        );
    END IF;
    IF NOT v_registered THEN
        RETURN QUERY
        SELECT
            w.run_id, w.step_key, w.signal_name, w.state, w.created_at, w.expires_at,
            w.delivered_at, w.payload_json
        FROM unnest(p_run_ids, p_step_keys, p_signal_names, v_expires_at)
            AS s (run_id, step_key, signal_name, expires_at)
        CROSS JOIN LATERAL flow_signal_v1.register_waiter(
            s.run_id, s.step_key, s.signal_name, s.expires_at, p_wake_channel, p_queue
        ) AS w;
        RETURN;
    END IF;

    PERFORM flow_signal.mark_followed(p_run_ids, p_signal_names);
    FOR v_step IN
        SELECT s.run_id, s.step_key, s.signal_name, s.expires_at
        FROM unnest(p_run_ids, p_step_keys, p_signal_names, v_expires_at)
            AS s (run_id, step_key, signal_name, expires_at)
        WHERE (
            SELECT true
            FROM flow_signal.flow_signal_buffered_signals AS b
            WHERE b.run_id = s.run_id
                AND b.signal_name = s.signal_name COLLATE "C"
                AND NOT b.dead
            LIMIT 1
        )
    LOOP
        v_taken := flow_signal.take_buffered_signal(
            v_step.run_id, v_step.step_key, v_step.signal_name, v_step.expires_at
        ) OR v_taken;
    END LOOP;
    IF v_taken THEN
        RETURN QUERY
        SELECT
            w.run_id, w.step_key, w.signal_name, w.state, w.created_at, w.expires_at,
            w.delivered_at, w.payload_json
        FROM unnest(p_run_ids, p_step_keys) AS s (run_id, step_key)
        CROSS JOIN LATERAL flow_signal_v1.get_waiter(s.run_id, s.step_key) AS w;
    ELSE
        v_now := clock_timestamp();
        RETURN QUERY
        SELECT
            s.run_id, s.step_key, s.signal_name,
            flow_signal.waiter_state(NULL, NULL, s.expires_at, v_now),
            s.created_at, s.expires_at, NULL::timestamptz, NULL::json
        FROM unnest(p_run_ids, p_step_keys, p_signal_names, v_expires_at, v_created_at)
            AS s (run_id, step_key, signal_name, expires_at, created_at);
    END IF;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.register_waiters(
    uuid[], text[], text[], timestamptz[], text, text
) FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.register_waiters(
    uuid[], text[], text[], timestamptz[], text, text
)
TO flow_signal_engine;
COMMENT ON FUNCTION flow_signal_v1.register_waiters(
    uuid[], text[], text[], timestamptz[], text, text
) IS
'Parks many steps; element n of each array belongs to step n, p_wake_channel and p_queue to '
'all. Returns one row per step, in their order, as register_waiter would one after another. '
'All or nothing. p_expires_at: NULL is an array of NULLs.';
