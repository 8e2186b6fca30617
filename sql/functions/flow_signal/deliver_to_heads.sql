-- locks: the lines, in the order of (run_id, signal_name); none if it decides nothing
CREATE OR REPLACE FUNCTION flow_signal.deliver_to_heads(
    p_run_ids uuid[], p_signal_names text[], p_payloads_json json[], p_delivery_ids text[]
)
RETURNS flow_signal_v1.delivery[]
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $function$
DECLARE
    v_verdicts flow_signal_v1.delivery[] := array_fill(
        NULL::flow_signal_v1.delivery, ARRAY[cardinality(p_run_ids)]
    );
    -- of heads that somebody stands behind
    v_created_at timestamptz[] := array_fill(
        NULL::timestamptz, ARRAY[cardinality(p_run_ids)]
    );
    v_place_holders tid[] := '{}'::tid[];
    v_now CONSTANT timestamptz := clock_timestamp();
    v_waiter record;
BEGIN
    -- The first signal of each line comes as the place-holder of hold_line. If there is a head,
    -- that is locked instead and, when it is open, gets the signal. Each input has an instant
    -- of its own, which tells whose signal a head has got.
    FOR v_waiter IN
        INSERT INTO flow_signal.flow_signal_waiters AS w (
            run_id, step_key, signal_name, place, created_at, delivered_at, delivery_id,
            payload_json
        )
        SELECT DISTINCT ON (s.run_id, s.signal_name COLLATE "C")
            s.run_id, flow_signal.place_holder(s.signal_name), s.signal_name, 'head', '-infinity',
            v_now + s.n * interval '1 microsecond', s.delivery_id, s.payload_json
        FROM unnest(p_run_ids, p_signal_names, p_payloads_json, p_delivery_ids)
            WITH ORDINALITY AS s (run_id, signal_name, payload_json, delivery_id, n)
        ORDER BY s.run_id, s.signal_name COLLATE "C", s.n
        ON CONFLICT (run_id, signal_name) WHERE place = 'head' DO UPDATE
        SET
            delivered_at = excluded.delivered_at,
            delivery_id = excluded.delivery_id,
            payload_json = excluded.payload_json,
            due_at = CASE WHEN w.queue IS NOT NULL THEN excluded.delivered_at END
        WHERE w.delivered_at IS NULL
            AND w.expired_at IS NULL
            AND (w.expires_at IS NULL OR w.expires_at > excluded.delivered_at)
        RETURNING
            w.ctid, w.run_id, w.step_key, w.created_at, w.expires_at, w.delivered_at,
            w.followed, w.wake_channel,
            extract(microseconds FROM w.delivered_at - v_now)::integer AS n
    LOOP
        IF v_waiter.created_at = '-infinity' THEN
            v_place_holders := v_place_holders || v_waiter.ctid;
            CONTINUE;
        -- v_now is too old: we waited for the line.
        ELSIF v_waiter.created_at > v_now OR v_waiter.expires_at <= clock_timestamp() THEN
            PERFORM flow_signal.start_over('the instant of the delivery was before its line');
        END IF;
        v_verdicts[v_waiter.n] := (
            'delivered', v_waiter.run_id, v_waiter.step_key, v_waiter.delivered_at, false
        )::flow_signal_v1.delivery;
        IF v_waiter.followed THEN
            v_created_at[v_waiter.n] := v_waiter.created_at;
        END IF;
        IF v_waiter.wake_channel IS NOT NULL THEN
            PERFORM pg_notify(v_waiter.wake_channel, v_waiter.run_id || '/' || v_waiter.step_key);
        END IF;
    END LOOP;
    DELETE FROM flow_signal.flow_signal_waiters AS w WHERE w.ctid = ANY(v_place_holders);

    -- Seen only now that the lines are held.
    IF EXISTS (
        SELECT
        FROM unnest(v_verdicts, p_signal_names, v_created_at) AS d (
            status, run_id, step_key, delivered_at, replayed, signal_name, created_at
        )
        WHERE d.created_at IS NOT NULL AND (d.created_at, d.step_key) > (
            SELECT o.created_at, o.step_key
            FROM flow_signal.flow_signal_waiters AS o
            WHERE o.run_id = d.run_id
                AND o.signal_name = d.signal_name COLLATE "C"
                AND o.place = 'waiting'
            ORDER BY o.created_at, o.step_key
            LIMIT 1
        )
    ) THEN
        PERFORM flow_signal.start_over('an older waiter stands behind the head');
    END IF;
    RETURN v_verdicts;
EXCEPTION
    -- The second is a delivery id that somebody else in the line has got.
    WHEN serialization_failure OR unique_violation THEN
        RETURN array_fill(NULL::flow_signal_v1.delivery, ARRAY[cardinality(p_run_ids)]);
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.deliver_to_heads(
    uuid[], text[], json[], text[]
) FROM public;
COMMENT ON FUNCTION flow_signal.deliver_to_heads(uuid[], text[], json[], text[]) IS
'Delivers the first signal of each line to its head and returns the verdicts at the places of '
'their inputs, NULL for those that settle_signal has to decide. Decides nothing if a single '
'verdict would not be true.';
