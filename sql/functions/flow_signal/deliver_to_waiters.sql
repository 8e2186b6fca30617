-- locks: waiters, in the order of (run_id, signal_name, created_at, step_key); then receipts
-- raises: WS002, WS099 when the caller must begin again
CREATE OR REPLACE FUNCTION flow_signal.deliver_to_waiters(
    p_run_ids uuid[], p_signal_names text[], p_payloads json[], p_delivery_ids text[],
    p_more integer
)
RETURNS flow_signal_v1.delivery[]
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_sort = off
SET jit = off
AS $function$
DECLARE
    v_verdicts flow_signal_v1.delivery[];
    -- Of signal n: the first signal of the batch with the same run, name and id.
    v_firsts bigint[];
    v_signal record;
    -- The pairs of a signal and its waiter.
    v_ns bigint[];
    v_run_ids uuid[];
    v_signal_names text[];
    v_step_keys text[];
    v_created_at timestamptz[];
    -- The first deadline among these waiters.
    v_expires_at timestamptz;
    v_overdue_run_ids uuid[];
    v_overdue_step_keys text[];
    v_has_too_few boolean;
    v_channels text[];
    v_payloads json[];
    v_delivery_ids text[];
    v_receipts integer;
    v_sender CONSTANT text := session_user::text;
    v_now timestamptz;
BEGIN
    v_verdicts := array_fill(
        NULL::flow_signal_v1.delivery, ARRAY[cardinality(p_run_ids)]
    );
    -- 1. ids with a receipt, and ids that the batch has twice
    IF cardinality(array_remove(p_delivery_ids, NULL)) > 0 THEN
        v_firsts := ARRAY(
            SELECT CASE WHEN s.delivery_id IS NULL THEN s.n ELSE min(s.n) OVER (
                PARTITION BY s.run_id, s.signal_name COLLATE "C", s.delivery_id COLLATE "C"
            ) END
            FROM unnest(p_run_ids, p_signal_names, p_delivery_ids)
                WITH ORDINALITY AS s (run_id, signal_name, delivery_id, n)
            ORDER BY s.n
        );
        FOR v_signal IN
            SELECT
                s.n, r.step_key, r.delivered_at,
                r.payload_hash IS NOT DISTINCT FROM flow_signal.hash_payload(s.payload::text)
                    AS is_same
            FROM unnest(p_run_ids, p_signal_names, p_payloads, p_delivery_ids)
                WITH ORDINALITY AS s (run_id, signal_name, payload, delivery_id, n)
            -- LIMIT 1, so that each is looked up by its key: to a join, the statistics could
            -- suggest to read the table.
            CROSS JOIN LATERAL (
                SELECT k.step_key, k.delivered_at, k.payload_hash
                FROM flow_signal.flow_signal_receipts AS k
                WHERE k.run_id = s.run_id
                    AND k.delivery_id = s.delivery_id COLLATE "C"
                    AND k.signal_name = s.signal_name COLLATE "C"
                LIMIT 1
            ) AS r
            ORDER BY s.n
        LOOP
            IF NOT v_signal.is_same THEN
                PERFORM flow_signal.refuse_reuse(
                    p_run_ids[v_signal.n], p_signal_names[v_signal.n],
                    p_delivery_ids[v_signal.n], 'delivered'
                );
            END IF;
            v_verdicts[v_signal.n] := (
                'delivered', p_run_ids[v_signal.n], v_signal.step_key, v_signal.delivered_at, true
            )::flow_signal_v1.delivery;
        END LOOP;
    END IF;

    -- 2. The n-th new signal of a run and name to its n-th live waiter. One statement locks all rows
    -- in the order of all calls, p_more rows of each FIFO in place of overdue ones. If those are
    -- more, the caller must let all rows go before it may lock others.
    v_now := clock_timestamp();
    SELECT
        array_agg(l.n) FILTER (WHERE l.n IS NOT NULL),
        array_agg(l.run_id) FILTER (WHERE l.n IS NOT NULL),
        array_agg(l.signal_name) FILTER (WHERE l.n IS NOT NULL),
        array_agg(l.step_key) FILTER (WHERE l.n IS NOT NULL),
        array_agg(l.created_at) FILTER (WHERE l.n IS NOT NULL),
        array_agg(l.wake_channel) FILTER (WHERE l.n IS NOT NULL),
        array_agg(l.payload) FILTER (WHERE l.n IS NOT NULL),
        array_agg(l.delivery_id) FILTER (WHERE l.n IS NOT NULL),
        min(l.expires_at) FILTER (WHERE l.n IS NOT NULL),
        array_agg(l.run_id) FILTER (WHERE l.is_overdue),
        array_agg(l.step_key) FILTER (WHERE l.is_overdue),
        bool_or(l.has_too_few)
    INTO
        v_ns, v_run_ids, v_signal_names, v_step_keys, v_created_at, v_channels, v_payloads,
        v_delivery_ids, v_expires_at, v_overdue_run_ids, v_overdue_step_keys, v_has_too_few
    FROM (
        SELECT
            CASE WHEN NOT w.is_overdue THEN g.ns[w.k] END AS n, g.run_id, g.signal_name,
            w.step_key, w.created_at, w.expires_at, w.wake_channel, w.is_overdue,
            g.payloads[w.k] AS payload,
            g.delivery_ids[w.k] AS delivery_id,
            w.is_overdue AND w.locked = cardinality(g.ns) + p_more AND w.live < cardinality(g.ns)
                AS has_too_few
        FROM (
            SELECT
                s.run_id, s.signal_name COLLATE "C" AS signal_name,
                array_agg(s.n ORDER BY s.n) AS ns,
                array_agg(s.payload ORDER BY s.n) AS payloads,
                array_agg(s.delivery_id ORDER BY s.n) AS delivery_ids
            FROM unnest(p_run_ids, p_signal_names, p_payloads, p_delivery_ids, v_firsts)
                WITH ORDINALITY AS s (run_id, signal_name, payload, delivery_id, first, n)
            WHERE v_firsts IS NULL
                OR s.first = s.n AND (v_verdicts[s.n]).status IS NULL
            GROUP BY s.run_id, s.signal_name COLLATE "C"
            ORDER BY s.run_id, s.signal_name COLLATE "C"
        ) AS g
        CROSS JOIN LATERAL (
            SELECT
                f.step_key, f.created_at, f.expires_at, f.wake_channel, f.is_overdue,
                row_number() OVER (
                    PARTITION BY f.is_overdue ORDER BY f.created_at, f.step_key
                ) AS k,
                count(*) OVER () AS locked,
                count(*) FILTER (WHERE NOT f.is_overdue) OVER () AS live
            FROM (
                SELECT
                    o.step_key, o.expires_at, o.wake_channel, o.created_at,
                    (o.expires_at <= v_now) IS TRUE AS is_overdue
                FROM flow_signal.flow_signal_waiters AS o
                WHERE o.run_id = g.run_id
                    AND o.signal_name = g.signal_name
                    AND o.status = 'waiting'
                ORDER BY o.created_at, o.step_key
                LIMIT cardinality(g.ns) + p_more
                FOR NO KEY UPDATE
            ) AS f
        ) AS w
    ) AS l;
    -- The clock is read again when the rows are ours. A deadline may have passed meanwhile.
    v_now := clock_timestamp();
    IF v_has_too_few OR v_expires_at <= v_now THEN
        RAISE SQLSTATE 'WS099';
    END IF;
    FOR i IN 1 .. coalesce(cardinality(v_overdue_step_keys), 0) LOOP
        UPDATE flow_signal.flow_signal_waiters AS w
        SET status = 'expired'
        WHERE w.run_id = v_overdue_run_ids[i]
            AND w.step_key = v_overdue_step_keys[i] COLLATE "C";
    END LOOP;

    -- These rows are there and locked, so the INSERT changes them and inserts none. It finds each
    -- by its key; to the join of an UPDATE, the statistics could suggest to read the table.
    INSERT INTO flow_signal.flow_signal_waiters AS w (
        run_id, step_key, signal_name, status, created_at, delivered_at, payload_json,
        delivered_by
    )
    SELECT
        l.run_id, l.step_key, l.signal_name, 'delivered', v_now, v_now, l.payload, v_sender
    FROM unnest(v_run_ids, v_step_keys, v_signal_names, v_payloads)
        AS l (run_id, step_key, signal_name, payload)
    ON CONFLICT (run_id, step_key) DO UPDATE
    SET
        status = excluded.status,
        delivered_at = excluded.delivered_at,
        payload_json = excluded.payload_json,
        delivered_by = excluded.delivered_by,
        due_at = CASE WHEN w.queue IS NOT NULL THEN excluded.delivered_at END;
    -- While the rows were waited for, a waiter may have come to life that is older than the last
    -- one of its FIFO that got a signal.
    IF EXISTS (
        SELECT
        FROM (
            SELECT d.run_id, d.signal_name COLLATE "C" AS signal_name, max(d.i) AS last
            FROM unnest(v_run_ids, v_signal_names) WITH ORDINALITY AS d (run_id, signal_name, i)
            GROUP BY d.run_id, d.signal_name COLLATE "C"
        ) AS g
        CROSS JOIN LATERAL (
            SELECT w.created_at, w.step_key
            FROM flow_signal.flow_signal_waiters AS w
            WHERE w.run_id = g.run_id
                AND w.signal_name = g.signal_name
                AND w.status = 'waiting'
            ORDER BY w.created_at, w.step_key
            LIMIT 1
        ) AS o
        WHERE (o.created_at, o.step_key) < (
            v_created_at[g.last], v_step_keys[g.last] COLLATE "C"
        )
    ) THEN
        RAISE SQLSTATE 'WS099';
    END IF;
    IF cardinality(array_remove(v_delivery_ids, NULL)) > 0 THEN
        INSERT INTO flow_signal.flow_signal_receipts (
            run_id, delivery_id, signal_name, step_key, delivered_at, payload_hash,
            delivered_by
        )
        SELECT
            l.run_id, l.delivery_id, l.signal_name, l.step_key, v_now,
            flow_signal.hash_payload(l.payload::text), v_sender
        FROM unnest(v_run_ids, v_delivery_ids, v_signal_names, v_step_keys, v_payloads)
            AS l (run_id, delivery_id, signal_name, step_key, payload)
        WHERE l.delivery_id IS NOT NULL
        ORDER BY l.run_id, l.delivery_id COLLATE "C", l.signal_name COLLATE "C"
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS v_receipts = ROW_COUNT;
        IF v_receipts < cardinality(array_remove(v_delivery_ids, NULL)) THEN
            -- Another call has just delivered one of these ids: its receipt is found next time.
            RAISE SQLSTATE 'WS099';
        END IF;
    END IF;
    IF cardinality(array_remove(v_channels, NULL)) > 0 THEN
        PERFORM pg_notify(l.channel, l.run_id || '/' || l.step_key)
        FROM unnest(v_channels, v_run_ids, v_step_keys) AS l (channel, run_id, step_key)
        WHERE l.channel IS NOT NULL;
    END IF;

    FOR i IN 1 .. coalesce(cardinality(v_ns), 0) LOOP
        v_verdicts[v_ns[i]] := ('delivered', v_run_ids[i], v_step_keys[i], v_now, false)
        ::flow_signal_v1.delivery;
    END LOOP;
    FOR v_signal IN
        SELECT f.n, f.first
        FROM unnest(v_firsts) WITH ORDINALITY AS f (first, n)
        WHERE f.first < f.n
        ORDER BY f.n
    LOOP
        CONTINUE WHEN (v_verdicts[v_signal.first]).status IS NULL
            OR (v_verdicts[v_signal.n]).status IS NOT NULL;
        IF p_payloads[v_signal.n]::text
            IS DISTINCT FROM p_payloads[v_signal.first]::text THEN
            PERFORM flow_signal.refuse_reuse(
                p_run_ids[v_signal.n], p_signal_names[v_signal.n], p_delivery_ids[v_signal.n],
                'delivered'
            );
        END IF;
        v_verdicts[v_signal.n] := v_verdicts[v_signal.first];
        v_verdicts[v_signal.n].replayed := true;
    END LOOP;
    RETURN v_verdicts;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.deliver_to_waiters(
    uuid[], text[], json[], text[], integer
) FROM public;
COMMENT ON FUNCTION flow_signal.deliver_to_waiters(uuid[], text[], json[], text[], integer) IS
'Delivers the signals of a batch for which waiters are live, and answers ids that are known. '
'NULL stands for each signal that found no waiter.';
