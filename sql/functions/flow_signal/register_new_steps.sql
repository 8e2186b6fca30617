-- locks: nothing that its caller does not hold
CREATE OR REPLACE FUNCTION flow_signal.register_new_steps(
    p_run_ids uuid[], p_step_keys text[], p_signal_names text[], p_expires_at timestamptz[],
    p_created_at timestamptz[], p_wake_channel text, p_queue text
)
RETURNS boolean
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $function$
DECLARE
    v_heads integer;
    v_others integer;
BEGIN
    -- The first step of each line becomes its head, unless there is one.
    INSERT INTO flow_signal.flow_signal_waiters (
        run_id, step_key, signal_name, place, created_at, expires_at, due_at, wake_channel,
        queue
    )
    SELECT DISTINCT ON (s.run_id, s.signal_name COLLATE "C")
        s.run_id, s.step_key, s.signal_name, 'head', s.created_at, s.expires_at,
        CASE WHEN p_queue IS NOT NULL THEN s.expires_at END, p_wake_channel, p_queue
    FROM unnest(p_run_ids, p_step_keys, p_signal_names, p_expires_at, p_created_at)
        AS s (run_id, step_key, signal_name, expires_at, created_at)
    ORDER BY s.run_id, s.signal_name COLLATE "C", s.created_at
    ON CONFLICT (run_id, signal_name) WHERE place = 'head' DO UPDATE
    SET place = excluded.place
    WHERE false;
    GET DIAGNOSTICS v_heads = ROW_COUNT;

    IF v_heads < cardinality(p_run_ids) THEN
        IF EXISTS (
            SELECT
            FROM unnest(p_run_ids, p_signal_names, p_created_at)
                AS s (run_id, signal_name, created_at)
            WHERE s.created_at < greatest((
                SELECT w.created_at
                FROM flow_signal.flow_signal_waiters AS w
                WHERE w.run_id = s.run_id
                    AND w.signal_name = s.signal_name COLLATE "C"
                    AND w.place = 'head'
            ), (
                SELECT w.created_at
                FROM flow_signal.flow_signal_waiters AS w
                WHERE w.run_id = s.run_id
                    AND w.signal_name = s.signal_name COLLATE "C"
                    AND w.place = 'waiting'
                ORDER BY w.created_at DESC
                LIMIT 1
            ), (
                SELECT w.created_at
                FROM flow_signal.flow_signal_waiters AS w
                WHERE w.run_id = s.run_id
                    AND w.signal_name = s.signal_name COLLATE "C"
                    AND w.place = 'delivered'
                ORDER BY w.created_at DESC
                LIMIT 1
            ))
        ) THEN
            PERFORM flow_signal.start_over('somebody came into a line later than these');
        END IF;
        INSERT INTO flow_signal.flow_signal_waiters (
            run_id, step_key, signal_name, place, created_at, expires_at, due_at, wake_channel,
            queue
        )
        SELECT
            s.run_id, s.step_key, s.signal_name, 'waiting', s.created_at, s.expires_at,
            CASE WHEN p_queue IS NOT NULL THEN s.expires_at END, p_wake_channel, p_queue
        FROM unnest(p_run_ids, p_step_keys, p_signal_names, p_expires_at, p_created_at)
            AS s (run_id, step_key, signal_name, expires_at, created_at)
        ON CONFLICT (run_id, step_key) DO NOTHING;
        GET DIAGNOSTICS v_others = ROW_COUNT;
        IF v_heads + v_others < cardinality(p_run_ids) THEN
            PERFORM flow_signal.start_over('a step waits already');
        END IF;
    END IF;

    RETURN true;
EXCEPTION
    -- The second is a step that waits already, where its line has no head.
    WHEN serialization_failure OR unique_violation THEN
        RETURN false;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.register_new_steps(
    uuid[], text[], text[], timestamptz[], timestamptz[], text, text
) FROM public;
COMMENT ON FUNCTION flow_signal.register_new_steps(
    uuid[], text[], text[], timestamptz[], timestamptz[], text, text
) IS
'Registers steps that are all new; else does nothing and returns false. The caller holds them '
'by hold_steps.';
