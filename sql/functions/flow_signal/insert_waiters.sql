-- locks: the lines, in the order of (run_id, signal_name); none if it returns false
CREATE OR REPLACE FUNCTION flow_signal.insert_waiters(
    p_waiters flow_signal.flow_signal_waiters[]
)
RETURNS boolean
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $function$
DECLARE
    v_heads integer;
    v_others integer;
    v_waiter record;
BEGIN
    -- Each line is held by its head: who is there, or the first of ours.
    INSERT INTO flow_signal.flow_signal_waiters (
        run_id, step_key, signal_name, place, created_at, expires_at, delivered_at, payload_json
    )
    SELECT DISTINCT ON (s.run_id, s.signal_name)
        s.run_id, s.step_key, s.signal_name, 'head', s.created_at, s.expires_at, s.delivered_at,
        s.payload_json
    FROM unnest(p_waiters) AS s
    WHERE s.run_id IS NOT NULL
    ORDER BY s.run_id, s.signal_name, s.delivered_at IS NOT NULL, s.created_at, s.step_key
    ON CONFLICT (run_id, signal_name) WHERE place = 'head' DO UPDATE
    SET place = excluded.place
    WHERE false;
    GET DIAGNOSTICS v_heads = ROW_COUNT;
    INSERT INTO flow_signal.flow_signal_waiters (
        run_id, step_key, signal_name, place, created_at, expires_at, delivered_at, payload_json
    )
    SELECT
        s.run_id, s.step_key, s.signal_name,
        CASE WHEN s.delivered_at IS NULL THEN 'waiting' ELSE 'delivered' END,
        s.created_at, s.expires_at, s.delivered_at, s.payload_json
    FROM unnest(p_waiters) AS s
    WHERE s.run_id IS NOT NULL AND NOT EXISTS (
        SELECT FROM flow_signal.flow_signal_waiters AS w
        WHERE w.run_id = s.run_id AND w.step_key = s.step_key
    );
    GET DIAGNOSTICS v_others = ROW_COUNT;
    IF v_heads + v_others < (
        SELECT count(*) FROM unnest(p_waiters) AS s WHERE s.run_id IS NOT NULL
    ) THEN
        PERFORM flow_signal.start_over('a step waits already');
    END IF;

    PERFORM flow_signal.mark_followed(array_agg(s.run_id), array_agg(s.signal_name))
    FROM unnest(p_waiters) AS s
    WHERE s.run_id IS NOT NULL;
    FOR v_waiter IN
        SELECT s.run_id, s.step_key, s.signal_name, s.expires_at
        FROM unnest(p_waiters) AS s
        WHERE s.delivered_at IS NULL AND EXISTS (
            SELECT FROM flow_signal.flow_signal_buffered_signals AS b
            WHERE b.run_id = s.run_id AND b.signal_name = s.signal_name AND NOT b.dead
        )
        ORDER BY s.created_at, s.step_key
    LOOP
        PERFORM flow_signal.take_buffered_signal(
            v_waiter.run_id, v_waiter.step_key, v_waiter.signal_name, v_waiter.expires_at
        );
    END LOOP;
    RETURN true;
EXCEPTION
    WHEN serialization_failure OR unique_violation THEN
        RETURN false;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.insert_waiters(
    flow_signal.flow_signal_waiters[]
) FROM public;
COMMENT ON FUNCTION flow_signal.insert_waiters(flow_signal.flow_signal_waiters[]) IS
'Puts waiters in their lines, those that wait before buffered signals, if all steps are new; '
'else does nothing and returns false. The caller holds the steps. A NULL is nobody.';
