-- locks: the lines, in the order of (run_id, signal_name); none if it registers nobody
CREATE OR REPLACE FUNCTION flow_signal.register_heads(
    p_run_ids uuid[], p_step_keys text[], p_signal_names text[], p_expires_at timestamptz[],
    p_wake_channel text, p_queue text
)
RETURNS flow_signal_v1.waiter[]
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $function$
DECLARE
    v_waiters flow_signal_v1.waiter[] := array_fill(
        NULL::flow_signal_v1.waiter, ARRAY[cardinality(p_run_ids)]
    );
    v_now CONSTANT timestamptz := clock_timestamp();
    v_waiter record;
BEGIN
    -- The first step of each line becomes its head; where there is one, that is locked instead.
    -- Each input has an instant of its own, which tells whose row comes back.
    FOR v_waiter IN
        INSERT INTO flow_signal.flow_signal_waiters AS w (
            run_id, step_key, signal_name, place, created_at, expires_at, due_at, wake_channel,
            queue
        )
        SELECT DISTINCT ON (s.run_id, s.signal_name COLLATE "C")
            s.run_id, s.step_key, s.signal_name, 'head',
            v_now + s.n * interval '1 microsecond', s.expires_at,
            CASE WHEN p_queue IS NOT NULL THEN s.expires_at END, p_wake_channel, p_queue
        FROM unnest(p_run_ids, p_step_keys, p_signal_names, p_expires_at)
            WITH ORDINALITY AS s (run_id, step_key, signal_name, expires_at, n)
        ORDER BY s.run_id, s.signal_name COLLATE "C", s.n
        ON CONFLICT (run_id, signal_name) WHERE place = 'head' DO UPDATE
        SET place = excluded.place
        WHERE false
        RETURNING
            w.run_id, w.step_key, w.signal_name, w.created_at, w.expires_at,
            extract(microseconds FROM w.created_at - v_now)::integer AS n
    LOOP
        v_waiters[v_waiter.n] := (
            v_waiter.run_id, v_waiter.step_key, v_waiter.signal_name,
            flow_signal.waiter_state(NULL, NULL, v_waiter.expires_at, v_now),
            v_waiter.created_at, v_waiter.expires_at, NULL, NULL
        );
    END LOOP;

    -- A step that changes its signal needs another line, which may come before these.
    IF EXISTS (
        SELECT
        FROM unnest(p_run_ids, p_step_keys, p_signal_names) AS s (
            run_id, step_key, signal_name
        )
        WHERE s.signal_name COLLATE "C" <> (
            SELECT w.signal_name
            FROM flow_signal.flow_signal_waiters AS w
            WHERE w.run_id = s.run_id AND w.step_key = s.step_key COLLATE "C"
        )
    ) THEN
        PERFORM flow_signal.start_over('a step is in another line');
    END IF;

    FOR v_waiter IN
        SELECT w.run_id, w.step_key, w.signal_name, w.expires_at, w.n
        FROM unnest(v_waiters) WITH ORDINALITY AS w (
            run_id, step_key, signal_name, state, created_at, expires_at, delivered_at,
            payload_json, n
        )
        WHERE (
            SELECT true
            FROM flow_signal.flow_signal_buffered_signals AS b
            WHERE b.run_id = w.run_id
                AND b.signal_name = w.signal_name COLLATE "C"
                AND NOT b.dead
            LIMIT 1
        )
    LOOP
        IF flow_signal.take_buffered_signal(
            v_waiter.run_id, v_waiter.step_key, v_waiter.signal_name, v_waiter.expires_at
        ) THEN
            v_waiters[v_waiter.n] := NULL;
        END IF;
    END LOOP;
    RETURN v_waiters;
EXCEPTION
    -- The second is a step that waits already, behind the head of a line.
    WHEN serialization_failure OR unique_violation THEN
        RETURN array_fill(NULL::flow_signal_v1.waiter, ARRAY[cardinality(p_run_ids)]);
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.register_heads(
    uuid[], text[], text[], timestamptz[], text, text
) FROM public;
COMMENT ON FUNCTION flow_signal.register_heads(
    uuid[], text[], text[], timestamptz[], text, text
) IS
'Registers the first step of each line that has no head and returns the waiters at the places '
'of their inputs, NULL for those that register_waiter has to register, or to read since they '
'took a buffered signal.';
