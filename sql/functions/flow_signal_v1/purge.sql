-- since: 1.0 | role: admin | raises: 22004 22023 0A000
-- locks: what it deletes, and waits for none (SKIP LOCKED)
CREATE OR REPLACE FUNCTION flow_signal_v1.purge(
    p_settled_before timestamptz, p_limit integer DEFAULT 10000
)
RETURNS bigint
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_sort = off
AS $function$
DECLARE
    v_block_size CONSTANT integer := current_setting('block_size')::integer;
    v_began CONSTANT timestamptz := clock_timestamp();
    v_before CONSTANT timestamptz := least(p_settled_before, v_began);
    -- The blocks of the five tables are numbered through; v_ends has where each table ends.
    v_ends bigint[] := ARRAY[0::bigint];
    v_blocks bigint;
    v_table integer;
    v_unseen bigint;
    v_from bigint;
    v_to bigint;
    v_step bigint := 1::bigint;
    v_step_began timestamptz := v_began;
    v_after tid;
    v_end tid;
    v_found tid [];
    v_last tid;
    v_deleted bigint := 0::bigint;
    v_now timestamptz;
BEGIN
    IF p_settled_before IS NULL THEN
        PERFORM flow_signal.refuse_null('purge time');
    ELSIF NOT flow_signal.is_instant(p_settled_before) THEN
        PERFORM flow_signal.refuse_instant('purge time', p_settled_before);
    ELSIF p_limit IS NULL THEN
        PERFORM flow_signal.refuse_null('limit');
    ELSIF p_limit NOT BETWEEN 1 AND 100000 THEN
        PERFORM flow_signal.refuse_range('limit', p_limit::text, '1 to 100000');
    -- Every waiter that somebody changed after the snapshot would end the call with 40001.
    ELSIF current_setting('transaction_isolation') NOT LIKE 'read %' THEN
        PERFORM flow_signal.refuse_isolation('purge');
    END IF;

    FOREACH v_blocks IN ARRAY ARRAY[
        pg_relation_size('flow_signal.flow_signal_waiters'),
        pg_relation_size('flow_signal.flow_signal_buffered_signals'),
        pg_relation_size('flow_signal.flow_signal_receipts'),
        pg_relation_size('flow_signal.flow_signal_tokens'),
        pg_relation_size('flow_signal.flow_signal_locks')
    ] LOOP
        v_ends := v_ends || v_ends[cardinality(v_ends)] + v_blocks / v_block_size;
    END LOOP;
    v_blocks := v_ends[6];
    v_unseen := v_blocks;
    -- Where the session's last call found the first; else anywhere. What that call has emptied is
    -- read once more, while it is in memory, which leaves notes for all who read it later.
    v_to := coalesce(
        substring(current_setting('flow_signal.purge_block', true) from '^[0-9]{1,10}$')::bigint,
        floor(random() * v_blocks)::bigint
    );

    WHILE v_unseen > 0 LOOP
        v_from := v_to % v_blocks;
        v_table := width_bucket(v_from, v_ends);
        v_to := least(v_from + v_step, v_ends[v_table + 1]);
        v_after := format('(%s,0)', v_from - v_ends[v_table])::tid;
        v_end := format('(%s,0)', v_to - v_ends[v_table])::tid;
        -- A hundred rows at a time, because each may have a megabyte of payload. A row that is
        -- locked stays: no verdict depends on that, and another call finds it.
        LOOP
            CASE v_table
                WHEN 1 THEN
                    v_found := ARRAY(
                        SELECT w.ctid
                        FROM flow_signal.flow_signal_waiters AS w
                        WHERE w.ctid > v_after
                            AND w.ctid < v_end
                            AND coalesce(w.delivered_at, w.expires_at) < v_before
                        LIMIT least(p_limit - v_deleted, 100)
                        FOR UPDATE SKIP LOCKED
                    );
                    v_last := v_found[100];
                    DELETE FROM flow_signal.flow_signal_waiters AS w
                    WHERE w.ctid = ANY(v_found);
                WHEN 2 THEN
                    v_found := ARRAY(
                        SELECT b.ctid
                        FROM flow_signal.flow_signal_buffered_signals AS b
                        WHERE b.ctid > v_after AND b.ctid < v_end
                            AND b.buffered_until < v_before
                        LIMIT least(p_limit - v_deleted, 100)
                        FOR UPDATE SKIP LOCKED
                    );
                    v_last := v_found[100];
                    DELETE FROM flow_signal.flow_signal_buffered_signals AS b
                    WHERE b.ctid = ANY(v_found);
                WHEN 3 THEN
                    v_found := ARRAY(
                        SELECT r.ctid
                        FROM flow_signal.flow_signal_receipts AS r
                        WHERE r.ctid > v_after AND r.ctid < v_end AND r.delivered_at < v_before
                            -- not NOT EXISTS, which is a join that can read the table
                            AND (
                                SELECT true
                                FROM flow_signal.flow_signal_waiters AS w
                                WHERE w.run_id = r.run_id
                                    AND w.step_key = r.step_key
                                    AND w.delivered_at = r.delivered_at
                            ) IS NULL
                        LIMIT least(p_limit - v_deleted, 100)
                        FOR UPDATE SKIP LOCKED
                    );
                    v_last := v_found[100];
                    DELETE FROM flow_signal.flow_signal_receipts AS r
                    WHERE r.ctid = ANY(v_found);
                WHEN 4 THEN
                    -- One that was not redeemed is void without its registration, at any time.
                    v_found := ARRAY(
                        SELECT t.ctid
                        FROM flow_signal.flow_signal_tokens AS t
                        WHERE t.ctid > v_after AND t.ctid < v_end
                            AND (
                                t.delivered_at IS NULL AND t.expires_at < v_before
                                OR (t.delivered_at < v_before) IS NOT FALSE AND (
                                    SELECT true
                                    FROM flow_signal.flow_signal_waiters AS w
                                    WHERE w.run_id = t.run_id
                                        AND w.step_key = t.step_key
                                        AND coalesce(w.moved_at, w.created_at) = t.registered_at
                                ) IS NULL
                            )
                        LIMIT least(p_limit - v_deleted, 100)
                        FOR UPDATE SKIP LOCKED
                    );
                    v_last := v_found[100];
                    DELETE FROM flow_signal.flow_signal_tokens AS t
                    WHERE t.ctid = ANY(v_found);
                ELSE
                    v_found := ARRAY(
                        SELECT l.ctid
                        FROM flow_signal.flow_signal_locks AS l
                        WHERE l.ctid > v_after AND l.ctid < v_end
                            AND (
                                SELECT true
                                FROM flow_signal.flow_signal_waiters AS w
                                WHERE w.run_id = l.run_id
                                    AND w.signal_name = l.signal_name
                                    AND w.status <> ''
                                ORDER BY w.status
                                LIMIT 1
                            ) IS NULL
                        LIMIT least(p_limit - v_deleted, 100)
                        FOR UPDATE SKIP LOCKED
                    );
                    v_last := v_found[100];
                    -- A statement of its own, once the rows are locked: its snapshot has every
                    -- signal that was buffered under them.
                    WITH gone AS (
                        DELETE FROM flow_signal.flow_signal_locks AS l
                        WHERE l.ctid = ANY(v_found)
                            AND (
                                SELECT true
                                FROM flow_signal.flow_signal_buffered_signals AS b
                                WHERE b.run_id = l.run_id
                                    AND b.signal_name = l.signal_name
                                    AND NOT b.dead
                                ORDER BY b.position NULLS FIRST
                                LIMIT 1
                            ) IS NULL
                        RETURNING l.ctid
                    )

                    SELECT coalesce(array_agg(g.ctid), '{}') INTO v_found FROM gone AS g;
            END CASE;
            IF v_deleted = 0 AND cardinality(v_found) > 0 THEN
                PERFORM set_config('flow_signal.purge_block', v_from::text, false);
            END IF;
            v_deleted := v_deleted + cardinality(v_found);
            v_now := clock_timestamp();
            IF v_deleted = p_limit
                OR v_deleted > 0 AND v_now > v_began + interval '250 milliseconds' THEN
                RETURN v_deleted;
            END IF;
            EXIT WHEN v_last IS NULL;
            v_after := v_last;
        END LOOP;
        v_unseen := v_unseen - (v_to - v_from);
        v_step := CASE
            WHEN v_now < v_step_began + interval '5 milliseconds' THEN v_step * 2
            ELSE greatest(v_step / 2, 1)
        END;
        v_step_began := v_now;
    END LOOP;
    RETURN v_deleted;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.purge(timestamptz, integer) FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.purge(timestamptz, integer) TO flow_signal_admin;
COMMENT ON FUNCTION flow_signal_v1.purge(timestamptz, integer) IS
'Deletes up to p_limit (1 to 100000) rows: waiters that were delivered or expired before '
'p_settled_before, fetched by their engine or not; buffered signals whose time ended before '
'then; receipts of deliveries, and tokens redeemed, before then whose waiter is gone; tokens '
'that ended before then or whose waiter is gone, unless they were redeemed; lock rows that no '
'waiter and no buffered signal needs. Never a live waiter. Returns how many rows of all kinds. '
'Stops early after a quarter of a second if it has found some; 0: none is left, except rows '
'that others have locked. Call it until then, each call in a transaction of its own.';
