-- since: 1.0 | role: reader
CREATE OR REPLACE VIEW flow_signal_v1.health
WITH (security_barrier)
AS
WITH RECURSIVE clock AS MATERIALIZED (
    SELECT clock_timestamp() AS now
),

tables AS (
    SELECT
        t.relname,
        -- a standby does not know the first
        coalesce(
            nullif(pg_stat_get_live_tuples(t.oid), 0), greatest(t.reltuples, 0)::bigint
        ) AS live_rows,
        pg_stat_get_dead_tuples(t.oid) AS dead_rows,
        pg_total_relation_size(t.oid) AS bytes
    FROM pg_class AS t
    WHERE t.oid IN (
        'flow_signal.flow_signal_waiters'::regclass,
        'flow_signal.flow_signal_buffered_signals'::regclass
    )
),

-- the first entry of each queue, each found from the one before
queues AS (
    (
        SELECT
            w.queue,
            w.due_at
        FROM flow_signal.flow_signal_waiters AS w
        WHERE w.due_at IS NOT NULL
        ORDER BY w.queue, w.due_at
        LIMIT 1
    )
    UNION ALL
    SELECT
        n.queue,
        n.due_at
    FROM queues AS q
    CROSS JOIN LATERAL (
        SELECT
            w.queue,
            w.due_at
        FROM flow_signal.flow_signal_waiters AS w
        WHERE w.due_at IS NOT NULL AND w.queue > q.queue
        ORDER BY w.queue, w.due_at
        LIMIT 1
    ) AS n
),

longest_due AS (
    SELECT
        q.queue,
        q.due_at
    FROM queues AS q
    WHERE q.due_at <= (SELECT c.now FROM clock AS c)
    ORDER BY q.due_at
    LIMIT 1
),

longest_dead AS (
    SELECT b.buffered_until
    FROM flow_signal.flow_signal_buffered_signals AS b
    WHERE b.position > 0 AND b.buffered_until <= (SELECT c.now FROM clock AS c)
    ORDER BY b.buffered_until
    LIMIT 1
),

-- what keeps vacuum from removing dead rows of this database
snapshots AS (
    SELECT max(o.xids)::bigint AS oldest_xids
    FROM (
        SELECT greatest(age(a.backend_xid), age(a.backend_xmin))
        FROM pg_stat_activity AS a
        WHERE a.datname = current_database() OR a.datname IS NULL
        UNION ALL
        SELECT age(p.transaction)
        FROM pg_prepared_xacts AS p
        WHERE p.database = current_database()
        UNION ALL
        SELECT age(r.xmin)
        FROM pg_replication_slots AS r
    ) AS o (xids)
),

figures AS (
    SELECT
        c.now AS checked_at,
        w.live_rows AS waiters_estimate,
        b.live_rows AS buffered_signals_estimate,
        u.queue AS longest_due_queue,
        u.due_at AS oldest_due_at,
        d.buffered_until AS oldest_dead_at,
        s.oldest_xids AS oldest_snapshot_xids,
        flow_signal_v1.version() AS version,
        w.bytes + b.bytes AS total_bytes,
        w.dead_rows + b.dead_rows AS dead_rows_estimate,
        pg_notification_queue_usage() AS notify_queue_usage
    FROM clock AS c
    INNER JOIN tables AS w ON w.relname = 'flow_signal_waiters'
    INNER JOIN tables AS b ON b.relname = 'flow_signal_buffered_signals'
    CROSS JOIN snapshots AS s
    LEFT JOIN longest_due AS u ON true
    LEFT JOIN longest_dead AS d ON true
)

SELECT
    f.checked_at,
    f.version,
    f.waiters_estimate,
    f.buffered_signals_estimate,
    f.total_bytes,
    f.dead_rows_estimate,
    f.oldest_due_at,
    f.oldest_dead_at,
    f.oldest_snapshot_xids,
    f.notify_queue_usage,
    ARRAY(
        SELECT p.problem
        FROM (
            VALUES
            (
                f.oldest_due_at < f.checked_at - interval '5 minutes',
                format(
                    'a wait of queue "%s" is due since %s and nobody claims it: '
                    'see whether its engine runs',
                    f.longest_due_queue, f.oldest_due_at
                )
            ),
            (
                f.oldest_dead_at < f.checked_at - interval '7 days',
                format('a buffered signal is dead since %s: call purge', f.oldest_dead_at)
            ),
            (
                f.dead_rows_estimate
                > 100000 + f.waiters_estimate + f.buffered_signals_estimate,
                format(
                    '%s dead rows are more than the live ones: see whether autovacuum keeps up',
                    f.dead_rows_estimate
                )
            ),
            (
                f.oldest_snapshot_xids > 1000000,
                format(
                    'a snapshot that is %s transactions old keeps dead rows from being '
                    'removed: end its session, prepared transaction or replication slot',
                    f.oldest_snapshot_xids
                )
            ),
            (
                f.notify_queue_usage > 0.5,
                format(
                    'the notification queue is %s %% full: end the session that listens and '
                    'stays in a transaction',
                    round(100 * f.notify_queue_usage)
                )
            )
        ) AS p (is_one, problem)
        WHERE p.is_one
    ) AS problems
FROM figures AS f;
REVOKE ALL ON flow_signal_v1.health FROM public;
GRANT SELECT ON flow_signal_v1.health TO flow_signal_reader;
COMMENT ON VIEW flow_signal_v1.health IS
'One row for monitoring, in milliseconds at any size: reads statistics, whose estimates it '
'gives, and the first entries of indexes. oldest_due_at: the wait that is due the longest and '
'not claimed. oldest_dead_at: since when the longest-dead buffered signal is dead. '
'oldest_snapshot_xids: the age, in transactions, of the oldest snapshot that keeps vacuum from '
'removing dead rows. problems: what is wrong and what to do; empty unless a wait is due for '
'5 minutes, a signal dead for 7 days, there are 100000 more dead rows than live ones, a '
'snapshot is a million transactions old, or the notification queue is half full.';
