-- since: 1.0 | role: engine | raises: 22004 22023 0A000 WS001
-- locks: new steps, other steps, then lock rows, each in the order that sql/README.md says
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
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
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
    -- The inputs that are new steps, and the others: the step is registered already, or the
    -- batch has it twice.
    v_new bigint[];
    v_others bigint[];
    v_locked bigint;
    v_waiters flow_signal_v1.waiter[];
    v_waiter flow_signal_v1.waiter;
    v_step record;
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

    -- A slice has its elements numbered from 1, whatever numbers the caller gave them.
    p_run_ids := p_run_ids[:];
    p_step_keys := p_step_keys[:];
    p_signal_names := p_signal_names[:];

    LOOP
        BEGIN
            -- Each new step is a microsecond younger than the one before it: so they keep their
            -- order, and RETURNING can tell which input a row is.
            v_now := clock_timestamp();
            WITH inserted AS (
                INSERT INTO flow_signal.flow_signal_waiters AS w (
                    run_id, step_key, signal_name, status, created_at, expires_at, due_at,
                    wake_channel, queue
                )
                SELECT
                    s.run_id, s.step_key, s.signal_name,
                    CASE WHEN s.expires_at <= v_now THEN 'expired' ELSE 'waiting' END,
                    v_now + s.n * interval '1 microsecond', s.expires_at,
                    CASE WHEN p_queue IS NOT NULL THEN s.expires_at END, p_wake_channel, p_queue
                FROM unnest(p_run_ids, p_step_keys, p_signal_names, v_expires_at)
                    WITH ORDINALITY AS s (run_id, step_key, signal_name, expires_at, n)
                ORDER BY s.run_id, s.step_key COLLATE "C", s.n
                ON CONFLICT DO NOTHING
                RETURNING w.created_at
            )

            SELECT coalesce(
                array_agg((extract(EPOCH FROM i.created_at - v_now) * 1000000)::bigint), '{}'
            )
            INTO v_new
            FROM inserted AS i;
            v_waiters := ARRAY(
                SELECT (
                    s.run_id, s.step_key, s.signal_name,
                    CASE WHEN s.expires_at <= v_now THEN 'expired' ELSE 'waiting' END,
                    v_now + s.n * interval '1 microsecond', s.expires_at, NULL, NULL
                )::flow_signal_v1.waiter
                FROM unnest(p_run_ids, p_step_keys, p_signal_names, v_expires_at)
                    WITH ORDINALITY AS s (run_id, step_key, signal_name, expires_at, n)
                ORDER BY s.n
            );
            v_others := '{}';
            IF cardinality(v_new) < cardinality(p_run_ids) THEN
                v_others := ARRAY(
                    SELECT n FROM generate_series(1, cardinality(p_run_ids)) AS n
                    EXCEPT
                    SELECT n FROM unnest(v_new) AS n
                );
                -- LIMIT 1, so that each is looked up by its key: to a join, the statistics could
                -- suggest to read the table.
                SELECT count(*)
                INTO v_locked
                FROM (
                    SELECT f.run_id, f.step_key
                    FROM (
                        SELECT DISTINCT
                            p_run_ids[o.n] AS run_id, p_step_keys[o.n] COLLATE "C" AS step_key
                        FROM unnest(v_others) AS o (n)
                    ) AS s
                    CROSS JOIN LATERAL (
                        SELECT w.run_id, w.step_key, w.signal_name, w.created_at
                        FROM flow_signal.flow_signal_waiters AS w
                        WHERE w.run_id = s.run_id AND w.step_key = s.step_key
                        LIMIT 1
                    ) AS f
                    ORDER BY f.run_id, f.signal_name, f.created_at, f.step_key
                ) AS k
                CROSS JOIN LATERAL (
                    SELECT
                    FROM flow_signal.flow_signal_waiters AS w
                    WHERE w.run_id = k.run_id AND w.step_key = k.step_key
                    LIMIT 1
                    FOR NO KEY UPDATE
                ) AS l;
                IF v_locked < (
                    SELECT count(DISTINCT (p_run_ids[o.n], p_step_keys[o.n] COLLATE "C"))
                    FROM unnest(v_others) AS o (n)
                ) THEN
                    RAISE SQLSTATE 'WS099';
                END IF;
            END IF;

            -- The lock rows, after all rows of steps, since no call waits for a step while it has
            -- a lock row. Those that come back have buffered signals.
            FOR v_step IN
                WITH locked AS (
                    INSERT INTO flow_signal.flow_signal_locks AS l (run_id, signal_name)
                    SELECT DISTINCT s.run_id, s.signal_name COLLATE "C"
                    FROM unnest(p_run_ids, p_signal_names) AS s (run_id, signal_name)
                    ORDER BY s.run_id, s.signal_name COLLATE "C"
                    ON CONFLICT (run_id, signal_name) DO UPDATE
                    SET has_buffered = true WHERE l.has_buffered
                    RETURNING l.run_id, l.signal_name, l.has_buffered
                ),

                buffered AS MATERIALIZED (
                    SELECT l.run_id, l.signal_name FROM locked AS l WHERE l.has_buffered
                )

                SELECT o.n, false AS is_new
                FROM unnest(v_others) AS o (n)
                UNION ALL
                SELECT s.n, true
                FROM unnest(p_run_ids, p_signal_names)
                    WITH ORDINALITY AS s (run_id, signal_name, n)
                -- IS TRUE: a hashed lookup, where a join would be a nested loop
                WHERE ((s.run_id, s.signal_name COLLATE "C") IN (
                    SELECT b.run_id, b.signal_name FROM buffered AS b
                )) IS TRUE AND NOT s.n IN (SELECT o.n FROM unnest(v_others) AS o (n))
                ORDER BY n
            LOOP
                IF v_step.is_new THEN
                    SELECT w.*
                    INTO v_waiter
                    FROM flow_signal.take_buffered_signal(
                        p_run_ids[v_step.n], p_step_keys[v_step.n], p_signal_names[v_step.n],
                        v_expires_at[v_step.n]
                    ) AS w;
                ELSE
                    -- Its row and its lock row are ours: so the single call waits for nothing.
                    SELECT w.*
                    INTO v_waiter
                    FROM flow_signal_v1.register_waiter(
                        p_run_ids[v_step.n], p_step_keys[v_step.n], p_signal_names[v_step.n],
                        v_expires_at[v_step.n], p_wake_channel, p_queue
                    ) AS w;
                END IF;
                v_waiters[v_step.n] := v_waiter;
            END LOOP;
            EXIT;
        EXCEPTION
            -- A step was removed, or moved to another signal, before its row was ours: let all
            -- locks go and begin again.
            WHEN SQLSTATE 'WS099' THEN
                NULL;
        END;
    END LOOP;

    RETURN QUERY
    SELECT
        w.run_id, w.step_key, w.signal_name, w.state, w.created_at, w.expires_at,
        w.delivered_at, w.payload_json
    FROM unnest(v_waiters) AS w;
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
