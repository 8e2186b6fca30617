-- since: 1.1 | role: reader
-- locks: nothing | jit: the planner's penalty for a sort looks like a costly query until 17
CREATE OR REPLACE FUNCTION flow_signal_v1.read_health()
RETURNS SETOF flow_signal_v1.health_report
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
ROWS 1
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_sort = off
SET jit = off
AS $function$
DECLARE
    v_now CONSTANT timestamptz := clock_timestamp();
    v_settings flow_signal.flow_signal_settings;
    v_health flow_signal_v1.health_report;
    v_table record;
    v_bloated text;
    v_queue text := '';
    v_due_at timestamptz;
    v_late_queue text;
    v_settled text;
    v_buffered_until timestamptz;
BEGIN
    SELECT s.* INTO v_settings FROM flow_signal.flow_signal_settings AS s WHERE s.only_row;
    v_health.checked_at := v_now;
    v_health.version := flow_signal_v1.version();
    v_health.notify_queue_usage := pg_notification_queue_usage();
    v_health.total_bytes := 0;
    v_health.toast_bytes := 0;
    v_health.dead_rows_estimate := 0;
    v_health.dead_bytes_estimate := 0;

    -- Tables and their TOAST tables, by the statistics.
    FOR v_table IN
        SELECT
            c.relname AS name, r.is_toast, s.bytes, s.dead_rows, d.dead_bytes,
            -- a standby does not know how many are live
            CASE WHEN s.live_rows + s.dead_rows > 0 THEN s.live_rows
                ELSE greatest(c.reltuples, 0)::bigint
            END AS live_rows,
            d.dead_bytes > s.used_bytes - d.dead_bytes + v_settings.max_dead_bytes
            * CASE WHEN s.vacuumed_at > v_now - interval '10 minutes' THEN 4 ELSE 1 END
                AS is_bloated
        FROM unnest('{
            flow_signal.flow_signal_waiters, flow_signal.flow_signal_buffered_signals,
            flow_signal.flow_signal_receipts, flow_signal.flow_signal_tokens,
            flow_signal.flow_signal_locks
        }'::regclass []) AS t (oid)
        INNER JOIN pg_class AS c ON t.oid = c.oid
        CROSS JOIN LATERAL (
            VALUES (c.oid, false), (nullif(c.reltoastrelid, 0), true)
        ) AS r (oid, is_toast)
        CROSS JOIN LATERAL (
            SELECT
                pg_stat_get_live_tuples(r.oid) AS live_rows,
                pg_stat_get_dead_tuples(r.oid) AS dead_rows,
                pg_relation_size(r.oid) AS bytes,
                -- A row takes at most 2 kB here, a piece of a TOAST table too; the rest is free.
                least(
                    pg_relation_size(r.oid),
                    2048 * (pg_stat_get_live_tuples(r.oid) + pg_stat_get_dead_tuples(r.oid))
                ) AS used_bytes,
                greatest(
                    pg_stat_get_last_vacuum_time(r.oid), pg_stat_get_last_autovacuum_time(r.oid)
                ) AS vacuumed_at
        ) AS s
        CROSS JOIN LATERAL (
            SELECT (
                s.used_bytes::numeric * s.dead_rows / greatest(s.live_rows + s.dead_rows, 1)
            )::bigint
        ) AS d (dead_bytes)
        WHERE r.oid IS NOT NULL
    LOOP
        v_health.dead_bytes_estimate := v_health.dead_bytes_estimate + v_table.dead_bytes;
        IF v_table.is_bloated THEN
            v_bloated := format(
                '%s%s in %s%s', v_bloated || ', ', pg_size_pretty(v_table.dead_bytes),
                CASE WHEN v_table.is_toast THEN 'the TOAST table of ' END, v_table.name
            );
        END IF;
        IF v_table.is_toast THEN
            v_health.toast_bytes := v_health.toast_bytes + v_table.bytes;
            CONTINUE;
        END IF;
        v_health.dead_rows_estimate := v_health.dead_rows_estimate + v_table.dead_rows;
        v_health.total_bytes := v_health.total_bytes
            + pg_total_relation_size(format('flow_signal.%I', v_table.name)::regclass);
        CASE v_table.name
            WHEN 'flow_signal_waiters' THEN
                v_health.waiters_estimate := v_table.live_rows;
            WHEN 'flow_signal_buffered_signals' THEN
                v_health.buffered_signals_estimate := v_table.live_rows;
            WHEN 'flow_signal_receipts' THEN
                v_health.receipts_estimate := v_table.live_rows;
            WHEN 'flow_signal_tokens' THEN
                v_health.tokens_estimate := v_table.live_rows;
            ELSE
                v_health.lock_rows_estimate := v_table.live_rows;
        END CASE;
    END LOOP;

    -- The first entry of each queue, each found from the one before.
    LOOP
        SELECT w.queue, w.due_at INTO v_queue, v_due_at
        FROM flow_signal.flow_signal_waiters AS w
        WHERE w.due_at IS NOT NULL AND w.queue > v_queue COLLATE "C"
        ORDER BY w.queue, w.due_at
        LIMIT 1;
        EXIT WHEN NOT FOUND;
        IF v_due_at <= v_now AND (v_due_at < v_health.oldest_due_at) IS NOT FALSE THEN
            v_health.oldest_due_at := v_due_at;
            v_late_queue := v_queue;
        END IF;
    END LOOP;
    SELECT b.buffered_until INTO v_health.oldest_dead_at
    FROM flow_signal.flow_signal_buffered_signals AS b
    WHERE b.position > 0 AND b.buffered_until <= v_now
    ORDER BY b.buffered_until
    LIMIT 1;
    SELECT b.buffered_until INTO v_buffered_until
    FROM flow_signal.flow_signal_buffered_signals AS b
    WHERE b.position > 0 AND b.buffered_until > v_now
    ORDER BY b.buffered_until DESC
    LIMIT 1;

    -- No index answers the rest; these read a few blocks, the same ones each time.
    SELECT
        round(
            count(*) FILTER (WHERE w.status <> 'delivered')
            * 100 / flow_signal.sample_percent('flow_signal.flow_signal_waiters')
        )::bigint,
        min(w.expires_at) FILTER (WHERE w.status <> 'delivered'),
        min(w.delivered_at)
    INTO v_health.overdue_estimate, v_health.oldest_overdue_at, v_health.oldest_settled_at
    FROM flow_signal.flow_signal_waiters AS w
    TABLESAMPLE system (flow_signal.sample_percent('flow_signal.flow_signal_waiters'))
        REPEATABLE (0)
    WHERE w.queue IS NULL AND (w.status = 'delivered' OR w.expires_at <= v_now);
    SELECT min(b.buffered_at) INTO v_health.oldest_buffered_at
    FROM flow_signal.flow_signal_buffered_signals AS b
    TABLESAMPLE system (flow_signal.sample_percent('flow_signal.flow_signal_buffered_signals'))
        REPEATABLE (0)
    WHERE NOT b.dead AND b.buffered_until > v_now;
    SELECT o.kind, o.settled_at INTO v_settled, v_health.oldest_settled_at
    FROM (
        VALUES ('waiter', v_health.oldest_settled_at)
        UNION ALL
        SELECT 'receipt', min(r.delivered_at)
        FROM flow_signal.flow_signal_receipts AS r
        TABLESAMPLE system (flow_signal.sample_percent('flow_signal.flow_signal_receipts'))
            REPEATABLE (0)
        UNION ALL
        SELECT 'token', min(coalesce(t.delivered_at, t.expires_at))
        FROM flow_signal.flow_signal_tokens AS t
        TABLESAMPLE system (flow_signal.sample_percent('flow_signal.flow_signal_tokens'))
            REPEATABLE (0)
        WHERE t.delivered_at IS NOT NULL OR t.expires_at <= v_now
        UNION ALL
        -- A token is void without its registration; a hundred look-ups are enough.
        SELECT 'token', min(k.registered_at)
        FROM (
            SELECT t.run_id, t.step_key, t.registered_at
            FROM flow_signal.flow_signal_tokens AS t
            TABLESAMPLE system (flow_signal.sample_percent('flow_signal.flow_signal_tokens'))
                REPEATABLE (0)
            WHERE t.delivered_at IS NULL
                AND v_now - t.registered_at > v_settings.max_settled_age
            LIMIT 100
        ) AS k
        WHERE (
            SELECT true
            FROM flow_signal.flow_signal_waiters AS w
            WHERE w.run_id = k.run_id
                AND w.step_key = k.step_key
                AND coalesce(w.moved_at, w.created_at) = k.registered_at
        ) IS NULL
    ) AS o (kind, settled_at)
    ORDER BY o.settled_at, o.kind DESC
    LIMIT 1;

    -- What keeps vacuum from removing dead rows of this database. No vacuum waits for another one.
    SELECT o.xids::bigint, o.holder
    INTO v_health.oldest_snapshot_xids, v_health.oldest_snapshot_holder
    FROM (
        SELECT
            greatest(age(a.backend_xid), age(a.backend_xmin)),
            format(
                '%s %s',
                CASE WHEN r.pid IS NULL THEN 'session' ELSE 'the standby of WAL sender' END, a.pid
            ),
            r.pid IS NOT NULL
        FROM pg_stat_activity AS a
        LEFT JOIN pg_stat_replication AS r ON a.pid = r.pid
        WHERE (a.datname = current_database() OR a.datname IS NULL)
            AND NOT EXISTS (SELECT FROM pg_stat_progress_vacuum AS v WHERE v.pid = a.pid)
        UNION ALL
        SELECT
            age(p.transaction), format('prepared transaction "%s"', flow_signal.excerpt(p.gid)), false
        FROM pg_prepared_xacts AS p
        WHERE p.database = current_database()
        UNION ALL
        SELECT age(s.xmin), format('replication slot "%s"', s.slot_name), true
        FROM pg_replication_slots AS s
    ) AS o (xids, holder, is_standby)
    WHERE o.xids IS NOT NULL
    -- A standby repeats what it knows of the transactions here.
    ORDER BY o.xids DESC, o.is_standby, o.holder
    LIMIT 1;

    v_health.problems := ARRAY(
        SELECT p.problem
        FROM (
            VALUES
            (
                v_settings.only_row IS NULL,
                'the limits of this view are missing: run, as the owner, '
                'INSERT INTO flow_signal.flow_signal_settings DEFAULT VALUES'
            ),
            (
                v_now - v_health.oldest_due_at > v_settings.max_due_age,
                format(
                    'a wait of queue "%s" is due since %s and nobody claims it: '
                    'see whether its engine runs',
                    flow_signal.excerpt(v_late_queue), v_health.oldest_due_at
                )
            ),
            (
                v_now - v_health.oldest_overdue_at > v_settings.max_overdue_age,
                format(
                    'about %s waiters without a queue are past their deadline, one since %s: see '
                    'whether their engine runs, and call purge',
                    v_health.overdue_estimate, v_health.oldest_overdue_at
                )
            ),
            (
                v_now - v_health.oldest_dead_at > v_settings.max_dead_age,
                format('a buffered signal is dead since %s: call purge', v_health.oldest_dead_at)
            ),
            (
                v_now - v_health.oldest_buffered_at > v_settings.max_buffered_age,
                format(
                    'a buffered signal waits for its waiter since %s: see whether its run is over, '
                    'and call remove_run, withdraw_signal or purge_buffered',
                    v_health.oldest_buffered_at
                )
            ),
            (
                v_health.buffered_signals_estimate > v_settings.max_buffered_rows,
                format(
                    'about %s signals are buffered, one of them until %s: '
                    'find their sender with list_buffered_signals, and call purge_buffered',
                    v_health.buffered_signals_estimate,
                    coalesce(v_buffered_until, v_health.oldest_dead_at)
                )
            ),
            (
                v_now - v_health.oldest_settled_at > v_settings.max_settled_age,
                format(
                    'a %s is kept since %s and no longer needed: call purge, regularly', v_settled,
                    v_health.oldest_settled_at
                )
            ),
            (
                v_health.lock_rows_estimate - v_health.waiters_estimate
                - v_health.buffered_signals_estimate > v_settings.max_needless_locks,
                format(
                    'about %s lock rows are kept, most of them for no waiter: call remove_run at '
                    'the end of a run, or purge',
                    v_health.lock_rows_estimate
                )
            ),
            (
                v_bloated IS NOT NULL,
                format(
                    'dead rows take more than the live ones (%s): see whether autovacuum keeps up; '
                    'the oldest snapshot, of %s transactions, is that of %s',
                    v_bloated, v_health.oldest_snapshot_xids, v_health.oldest_snapshot_holder
                )
            ),
            (
                v_health.oldest_snapshot_xids > v_settings.max_snapshot_xids,
                format(
                    'a snapshot that is %s transactions old keeps dead rows from being removed: '
                    'end %s',
                    v_health.oldest_snapshot_xids, v_health.oldest_snapshot_holder
                )
            ),
            (
                v_health.notify_queue_usage * 100 > v_settings.max_notify_percent,
                format(
                    'the notification queue is %s %% full: end the session that listens and '
                    'stays in a transaction',
                    round(100 * v_health.notify_queue_usage)
                )
            )
        ) AS p (is_one, problem)
        WHERE p.is_one
    );
    RETURN NEXT v_health;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.read_health() FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.read_health() TO flow_signal_reader;
COMMENT ON FUNCTION flow_signal_v1.read_health() IS
'What the view health shows; read the view.';
