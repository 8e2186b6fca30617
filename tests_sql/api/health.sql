-- health is one row that says how the tables are, and what is wrong.
BEGIN;
SELECT plan(68);
\ir ../helpers.psql
SET LOCAL ROLE flow_signal_reader;

SELECT is(
    (
        SELECT
            string_agg(
                format('%s %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', '
                ORDER BY a.attnum
            )
        FROM pg_attribute AS a
        WHERE a.attrelid = 'flow_signal_v1.health'::regclass
    ),
    'checked_at timestamp with time zone, version text, waiters_estimate bigint, '
    'buffered_signals_estimate bigint, total_bytes bigint, dead_rows_estimate bigint, '
    'oldest_due_at timestamp with time zone, oldest_dead_at timestamp with time zone, '
    'oldest_snapshot_xids bigint, notify_queue_usage double precision, problems text[], '
    'receipts_estimate bigint, tokens_estimate bigint, lock_rows_estimate bigint, '
    'toast_bytes bigint, dead_bytes_estimate bigint, overdue_estimate bigint, '
    'oldest_overdue_at timestamp with time zone, oldest_buffered_at timestamp with time zone, '
    'oldest_settled_at timestamp with time zone, oldest_snapshot_holder text',
    'the columns'
);

-- an installation that nobody uses yet
SELECT is((SELECT count(*) FROM flow_signal_v1.health), 1::bigint, 'one row');
SELECT ok(h.checked_at BETWEEN now() AND clock_timestamp(), 'checked just now')
FROM flow_signal_v1.health AS h;
SELECT is(h.version, flow_signal_v1.version(), 'the version') FROM flow_signal_v1.health AS h;
SELECT is(h.waiters_estimate, 0::bigint, 'no waiters') FROM flow_signal_v1.health AS h;
SELECT is(h.buffered_signals_estimate, 0::bigint, 'no buffered signals')
FROM flow_signal_v1.health AS h;
SELECT cmp_ok(h.total_bytes, '>', 0::bigint, 'empty indexes have a size')
FROM flow_signal_v1.health AS h;
SELECT is(h.dead_rows_estimate, 0::bigint, 'no dead rows') FROM flow_signal_v1.health AS h;
SELECT is(h.oldest_due_at, NULL, 'no waiter is due') FROM flow_signal_v1.health AS h;
SELECT is(h.oldest_dead_at, NULL, 'nothing is dead') FROM flow_signal_v1.health AS h;
SELECT cmp_ok(h.oldest_snapshot_xids, '>=', 0::bigint, 'our own snapshot is one')
FROM flow_signal_v1.health AS h;
SELECT ok(h.notify_queue_usage BETWEEN 0 AND 1, 'a part of the notification queue')
FROM flow_signal_v1.health AS h;
SELECT is(h.problems, '{}', 'no problems') FROM flow_signal_v1.health AS h;
SELECT is(
    (
        h.receipts_estimate, h.tokens_estimate, h.lock_rows_estimate, h.toast_bytes,
        h.dead_bytes_estimate, h.overdue_estimate, h.oldest_overdue_at, h.oldest_buffered_at,
        h.oldest_settled_at
    )::text,
    '(0,0,0,0,0,0,,,)', 'nor anything else'
)
FROM flow_signal_v1.health AS h;

-- how many rows, and how large
RESET ROLE;
SELECT h.total_bytes AS bytes_before FROM flow_signal_v1.health AS h
\gset
INSERT INTO flow_signal.flow_signal_waiters (
    run_id, step_key, signal_name, status, created_at, payload_json
)
SELECT md5(n::text)::uuid, 'step', 'go', 'waiting', now(), '1' FROM generate_series(1, 10000) AS n;
INSERT INTO flow_signal.flow_signal_buffered_signals (
    run_id, signal_name, position, buffered_at, buffered_until
)
SELECT md5(n::text)::uuid, 'early', 1, now(), '2990-01-01' FROM generate_series(1, 1000) AS n;
INSERT INTO flow_signal.flow_signal_receipts (
    run_id, delivery_id, signal_name, step_key, delivered_at
)
SELECT md5(n::text)::uuid, 'id', 'go', 'gone', now() FROM generate_series(1, 2000) AS n;
INSERT INTO flow_signal.flow_signal_tokens (
    run_id, token_hash, step_key, signal_name, registered_at
)
SELECT md5(n::text)::uuid, sha256('x'), 'gone', 'go', now() FROM generate_series(1, 3000) AS n;
INSERT INTO flow_signal.flow_signal_locks (run_id, signal_name)
SELECT md5(n::text)::uuid, 'go' FROM generate_series(1, 12000) AS n;
ANALYZE flow_signal.flow_signal_waiters, flow_signal.flow_signal_buffered_signals,
flow_signal.flow_signal_receipts, flow_signal.flow_signal_tokens, flow_signal.flow_signal_locks;
SET LOCAL ROLE flow_signal_reader;
SELECT is(h.waiters_estimate, 10000::bigint, 'as many waiters as ANALYZE found')
FROM flow_signal_v1.health AS h;
SELECT is(h.buffered_signals_estimate, 1000::bigint, 'as many buffered signals')
FROM flow_signal_v1.health AS h;
SELECT cmp_ok(h.total_bytes, '>', :bytes_before::bigint + 1000000, 'and their size')
FROM flow_signal_v1.health AS h;

SELECT is(
    (h.receipts_estimate, h.tokens_estimate, h.lock_rows_estimate)::text, '(2000,3000,12000)',
    'and as many of the other rows'
)
FROM flow_signal_v1.health AS h;
SELECT is(h.problems, '{}', 'many rows are no problem') FROM flow_signal_v1.health AS h;

-- the limits, which only the owner can change
RESET ROLE;
CREATE FUNCTION pg_temp.problems_after(p_statement text)
RETURNS text []
LANGUAGE plpgsql
SECURITY DEFINER
AS $function$
DECLARE
    v_problems text [];
BEGIN
    EXECUTE p_statement;
    SELECT h.problems INTO STRICT v_problems FROM flow_signal_v1.health AS h;
    RAISE SQLSTATE 'ZZ999';
EXCEPTION
    WHEN SQLSTATE 'ZZ999' THEN
        RETURN v_problems;
END
$function$;
CREATE FUNCTION pg_temp.problems_if(p_limits text)
RETURNS text []
LANGUAGE sql
AS $function$
SELECT pg_temp.problems_after('UPDATE flow_signal.flow_signal_settings SET ' || p_limits)
$function$;
SET LOCAL ROLE flow_signal_reader;
SELECT is(
    pg_temp.problems_if('max_buffered_rows = 1000, max_needless_locks = 1000'), '{}',
    'no problem at the limits'
);
SELECT is(
    pg_temp.problems_if('max_buffered_rows = 999'),
    ARRAY[
        'about 1000 signals are buffered, one of them until 2990-01-01 00:00:00+00: '
        'find their sender with list_buffered_signals, and call purge_buffered'
    ],
    'too many buffered signals'
);
SELECT is(
    pg_temp.problems_if('max_needless_locks = 999'),
    ARRAY[
        'about 12000 lock rows are kept, most of them for no waiter: call remove_run at the end '
        'of a run, or purge'
    ],
    'too many lock rows'
);
SELECT matches(
    (pg_temp.problems_if('max_snapshot_xids = -1'))[1],
    '^a snapshot that is \d+ transactions old keeps dead rows from being removed: end session \d+$',
    'an old snapshot'
);
SELECT matches(
    (pg_temp.problems_if('max_notify_percent = -1'))[1],
    '^the notification queue is \d+ % full: end the session that listens and stays in a '
    'transaction$', 'a full notification queue'
);
SELECT matches(
    (pg_temp.problems_if('max_dead_bytes = -1000000000'))[1],
    '^dead rows take more than the live ones \(0 bytes in flow_signal_waiters, 0 bytes in the '
    'TOAST table of flow_signal_waiters, .*\): see whether autovacuum keeps up; the oldest '
    'snapshot, of \d+ transactions, is that of session \d+$', 'dead rows'
);
SELECT is(
    pg_temp.problems_if(
        'max_due_age = i, max_overdue_age = i, max_dead_age = i, max_buffered_age = i, '
        'max_settled_age = i FROM (VALUES (interval ''178000000 years'')) AS v (i)'
    ),
    '{}', 'a limit that no clock reaches is no error'
);
RESET ROLE;
DELETE FROM flow_signal.flow_signal_settings;
SET LOCAL ROLE flow_signal_reader;
SELECT is(
    h.problems,
    ARRAY[
        'the limits of this view are missing: run, as the owner, '
        'INSERT INTO flow_signal.flow_signal_settings DEFAULT VALUES'
    ],
    'the limits are gone'
)
FROM flow_signal_v1.health AS h;
RESET ROLE;
SET LOCAL ROLE flow_signal_owner;
INSERT INTO flow_signal.flow_signal_settings DEFAULT VALUES;
SET LOCAL ROLE flow_signal_reader;
SELECT is(h.problems, '{}', 'and back') FROM flow_signal_v1.health AS h;

-- who is due the longest, of all queues
SET LOCAL ROLE flow_signal_engine;
SELECT is(
    (
        SELECT string_agg(w.state, ' ' ORDER BY r.n)
        FROM (
            VALUES
            (1, 'a', clock_timestamp() - interval '2 minutes'), (2, 'a', 'tomorrow'), (3, 'a', NULL),
            (4, 'b', 'tomorrow'), (5, 'c', clock_timestamp() - interval '4 minutes'),
            (6, 'c', clock_timestamp() - interval '3 minutes'),
            (7, 'd', clock_timestamp() - interval '1 minute'),
            (8, NULL, clock_timestamp() - interval '23 hours')
        ) AS r (n, queue, expires_at)
        CROSS JOIN LATERAL flow_signal_v1.register_waiter(
            p_run_id => md5('due')::uuid, p_step_key => 's' || r.n, p_signal_name => 's' || r.n,
            p_expires_at => r.expires_at, p_queue => r.queue
        ) AS w
    ),
    'expired waiting waiting waiting expired expired expired expired', 'waiters of four queues'
);
SELECT is(
    h.oldest_due_at, w.expires_at, 'the wait that is due the longest is in the third queue'
)
FROM flow_signal_v1.health AS h
CROSS JOIN flow_signal_v1.get_waiter(md5('due')::uuid, 's5') AS w;
SELECT is(h.problems, '{}', 'a few minutes are no problem') FROM flow_signal_v1.health AS h;
SELECT is(
    (SELECT count(*) FROM flow_signal_v1.claim_waiters('c')), 2::bigint, 'that queue is claimed'
);
SELECT is(h.oldest_due_at, w.expires_at, 'so that another is due the longest')
FROM flow_signal_v1.health AS h
CROSS JOIN flow_signal_v1.get_waiter(md5('due')::uuid, 's1') AS w;
SELECT is(
    (SELECT count(*) FROM unnest('{a,d}'::text []) AS q CROSS JOIN LATERAL flow_signal_v1.claim_waiters(q)),
    2::bigint, 'all are claimed'
);
SELECT is(h.oldest_due_at, NULL, 'no waiter is due') FROM flow_signal_v1.health AS h;
SELECT is(
    w.state, 'expired', 'one is overdue for more than five minutes'
)
FROM flow_signal_v1.register_waiter(
    md5('due')::uuid, 'late', 'late', clock_timestamp() - interval '301 seconds', NULL, 'q'
) AS w;
SELECT is(
    h.problems,
    ARRAY[
        format(
            'a wait of queue "q" is due since %s and nobody claims it: see whether its engine runs',
            h.oldest_due_at
        )
    ],
    'and nobody claims it'
)
FROM flow_signal_v1.health AS h;
SELECT is(
    (SELECT count(*) FROM flow_signal_v1.claim_waiters('q')), 1::bigint, 'somebody does'
);
SELECT is(h.problems, '{}', 'the problem is gone') FROM flow_signal_v1.health AS h;

-- waiters without a queue
SELECT is(h.overdue_estimate, 1::bigint, 'a waiter without a queue is overdue')
FROM flow_signal_v1.health AS h;
SELECT is(h.oldest_overdue_at, w.expires_at, 'that one')
FROM flow_signal_v1.health AS h
CROSS JOIN flow_signal_v1.get_waiter(md5('due')::uuid, 's8') AS w;
SELECT is(
    string_agg(pg_temp.register('late', 'l' || n, clock_timestamp() - interval '25 hours'), ' '),
    'expired expired', 'two that are overdue for more than a day'
)
FROM generate_series(1, 2) AS n;
SELECT is(
    h.problems,
    ARRAY[
        format(
            'about 3 waiters without a queue are past their deadline, one since %s: see whether '
            'their engine runs, and call purge', w.expires_at
        )
    ],
    'and nobody removes them'
)
FROM flow_signal_v1.health AS h
CROSS JOIN flow_signal_v1.get_waiter(md5('late')::uuid, 'l1') AS w;
SELECT is(pg_temp.deliver('late'), 'expired l1', 'settled for good');
SELECT is(cardinality(h.problems), 1, 'they are still there') FROM flow_signal_v1.health AS h;
SELECT is(pg_temp.remove('late', 'l1') || pg_temp.remove('late', 'l2'), 'expiredexpired', 'removed');
SELECT is(h.problems, '{}', 'the problem is gone') FROM flow_signal_v1.health AS h;

-- rows that purge would delete
SELECT is(
    pg_temp.problems_after(
        'INSERT INTO flow_signal.flow_signal_' || k.what
        || format(k.row_values, now() - interval '89 days')
    ),
    '{}',
    format('%s: not too long', k.what)
)
FROM (
    VALUES
    (
        'waiters (delivered_at, run_id, step_key, signal_name, status, created_at)',
        $$ VALUES ('%s', md5('kept')::uuid, 's', 'go', 'delivered', now())$$
    ),
    (
        'waiters (created_at, run_id, step_key, signal_name, status)',
        $$ VALUES ('%s', md5('kept')::uuid, 's', 'go', 'waiting')$$
    )
) AS k (what, row_values);
SELECT is(
    pg_temp.problems_after(
        'INSERT INTO flow_signal.flow_signal_' || k.what
        || format(k.row_values, now() - interval '91 days')
    ),
    CASE WHEN k.kind IS NOT NULL THEN ARRAY[
        format(
            'a %s is kept since %s and no longer needed: call purge, regularly', k.kind,
            now() - interval '91 days'
        )
    ] ELSE '{}' END,
    format('%s: %s', k.what, coalesce(k.kind, 'none is kept too long'))
)
FROM (
    VALUES
    (
        'waiter', 'waiters (delivered_at, run_id, step_key, signal_name, status, created_at)',
        $$ VALUES ('%s', md5('kept')::uuid, 's', 'go', 'delivered', now())$$
    ),
    (
        NULL, 'waiters (created_at, run_id, step_key, signal_name, status)',
        $$ VALUES ('%s', md5('kept')::uuid, 's', 'go', 'waiting')$$
    ),
    (
        'receipt', 'receipts (delivered_at, run_id, delivery_id, signal_name, step_key)',
        $$ VALUES ('%s', md5('kept')::uuid, 'id', 'go', 's')$$
    ),
    (
        'token', 'tokens (delivered_at, run_id, token_hash, step_key, signal_name, registered_at)',
        $$ VALUES ('%s', md5('kept')::uuid, 'h', 's', 'go', now())$$
    ),
    (
        'token', 'tokens (expires_at, run_id, token_hash, step_key, signal_name, registered_at)',
        $$ VALUES ('%s', md5('kept')::uuid, 'h', 's', 'go', now())$$
    ),
    (
        'token', 'tokens (registered_at, run_id, token_hash, step_key, signal_name)',
        $$ VALUES ('%s', md5('kept')::uuid, 'h', 's', 'go')$$
    ),
    (
        NULL, 'waiters (created_at, run_id, step_key, signal_name, status)',
        $$ VALUES ('%1$s', md5('kept')::uuid, 's', 'go', 'waiting');
        INSERT INTO flow_signal.flow_signal_tokens (
            registered_at, run_id, token_hash, step_key, signal_name
        ) VALUES ('%1$s', md5('kept')::uuid, 'h', 's', 'go')$$
    )
) AS k (kind, what, row_values);
SET LOCAL ROLE flow_signal_admin;

-- dead letters, and signals that nobody takes
SELECT is(pg_temp.buffer('dead', '1'), 'buffered', 'an early signal');
SELECT is(h.oldest_dead_at, NULL, 'is not dead') FROM flow_signal_v1.health AS h;
SELECT pg_temp.let_buffered_die('dead') AS died
\gset ignored_
SELECT is(h.oldest_dead_at, b.buffered_until, 'now it is')
FROM flow_signal_v1.health AS h
CROSS JOIN flow_signal_v1.list_buffered_signals(p_state => 'dead') AS b;
SELECT is(h.problems, '{}', 'since just now') FROM flow_signal_v1.health AS h;
RESET ROLE;
UPDATE flow_signal.flow_signal_buffered_signals
SET buffered_until = clock_timestamp() - interval '7 days 1 second'
WHERE run_id = md5('dead')::uuid;
SET LOCAL ROLE flow_signal_admin;
SELECT is(
    h.problems,
    ARRAY[format('a buffered signal is dead since %s: call purge', h.oldest_dead_at)],
    'since a week'
)
FROM flow_signal_v1.health AS h;
-- Until nothing is left: a call that has found some stops after a quarter of a second.
WITH RECURSIVE purged AS (
    SELECT flow_signal_v1.purge('tomorrow') AS n
    UNION ALL
    SELECT flow_signal_v1.purge('tomorrow') FROM purged AS p WHERE p.n > 0
)

SELECT cmp_ok(sum(p.n), '>=', 7::numeric, 'purged with the expired waiters') FROM purged AS p;
SELECT is(h.oldest_dead_at, NULL, 'and gone') FROM flow_signal_v1.health AS h;

SELECT is(pg_temp.buffer('kept', '1'), 'buffered', 'another early signal');
SELECT is(h.oldest_buffered_at, min(b.buffered_at), 'the oldest that waits for its waiter')
FROM flow_signal_v1.health AS h
CROSS JOIN flow_signal_v1.list_buffered_signals(p_limit => 10000) AS b
GROUP BY h.oldest_buffered_at;
RESET ROLE;
UPDATE flow_signal.flow_signal_buffered_signals
SET buffered_at = clock_timestamp() - interval '30 days 1 second'
WHERE run_id = md5('kept')::uuid;
SET LOCAL ROLE flow_signal_admin;
SELECT is(
    h.problems,
    ARRAY[
        format(
            'a buffered signal waits for its waiter since %s: see whether its run is over, and '
            'call remove_run, withdraw_signal or purge_buffered', h.oldest_buffered_at
        )
    ],
    'since a month'
)
FROM flow_signal_v1.health AS h;
SELECT is(
    flow_signal_v1.purge_buffered(clock_timestamp() - interval '30 days'), 1::bigint, 'purged'
);
SELECT is(h.problems, '{}', 'the problem is gone') FROM flow_signal_v1.health AS h;

SELECT * FROM finish();
ROLLBACK;
