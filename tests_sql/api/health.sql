-- health is one row that says how the tables are, and what is wrong.
BEGIN;
SELECT plan(37);
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
    'oldest_snapshot_xids bigint, notify_queue_usage double precision, problems text[]',
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
ANALYZE flow_signal.flow_signal_waiters, flow_signal.flow_signal_buffered_signals;
SET LOCAL ROLE flow_signal_reader;
SELECT is(h.waiters_estimate, 10000::bigint, 'as many waiters as ANALYZE found')
FROM flow_signal_v1.health AS h;
SELECT is(h.buffered_signals_estimate, 1000::bigint, 'as many buffered signals')
FROM flow_signal_v1.health AS h;
SELECT cmp_ok(h.total_bytes, '>', :bytes_before::bigint + 1000000, 'and their size')
FROM flow_signal_v1.health AS h;

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
            (8, NULL, clock_timestamp() - interval '1 year')
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

-- dead letters
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
SELECT cmp_ok(flow_signal_v1.purge('tomorrow'), '>=', 7::bigint, 'purged with the expired waiters');
SELECT is(h.oldest_dead_at, NULL, 'and gone') FROM flow_signal_v1.health AS h;

-- The other problems, with smaller numbers in the view.
RESET ROLE;
CREATE FUNCTION pg_temp.alarmed(p_number text, p_smaller text)
RETURNS text []
LANGUAGE plpgsql
AS $function$
DECLARE
    v_view CONSTANT text := pg_get_viewdef('flow_signal_v1.health'::regclass);
    v_problems text [];
BEGIN
    EXECUTE replace(
        format('SELECT h.problems FROM (%s) AS h', rtrim(v_view, ';')), p_number, p_smaller
    ) INTO STRICT v_problems;
    RETURN v_problems;
END
$function$;
SELECT matches(a.problems[1], p.problem, format('when the limit is %s', p.smaller))
FROM (
    VALUES
    (
        '> 1000000', '> -1',
        '^a snapshot that is \d+ transactions old keeps dead rows from being removed: '
        'end its session, prepared transaction or replication slot$'
    ),
    (
        '> (0.5)::double precision', '> -1',
        '^the notification queue is \d+ % full: end the session that listens and stays in a '
        'transaction$'
    ),
    (
        '> ((100000 +', '> ((-1000000 +',
        '^0 dead rows are more than the live ones: see whether autovacuum keeps up$'
    )
) AS p (number, smaller, problem)
CROSS JOIN LATERAL pg_temp.alarmed(p.number, p.smaller) AS a (problems);

SELECT * FROM finish();
ROLLBACK;
