-- signal_stats counts the waiters and early signals of each name by their state.
BEGIN;
SELECT plan(17);
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
        WHERE a.attrelid = 'flow_signal_v1.signal_stats'::regclass
    ),
    'signal_name text, waiting bigint, overdue bigint, delivered bigint, buffered bigint, '
    'dead bigint, oldest_waiting_since timestamp with time zone, wait_p50 interval, '
    'wait_p95 interval',
    'the columns'
);
SELECT is_empty('SELECT * FROM flow_signal_v1.signal_stats', 'no signals, no rows');

RESET ROLE;
INSERT INTO flow_signal.flow_signal_waiters (
    run_id, step_key, signal_name, status, created_at, expires_at, delivered_at
)
SELECT
    gen_random_uuid(), 'step', w.signal_name, w.status, w.created_at::timestamptz,
    w.expires_at::timestamptz, w.delivered_at::timestamptz
FROM (
    VALUES
    ('all', 'waiting', '2020-01-04', NULL, NULL),
    ('all', 'waiting', '2020-01-03', '2990-01-01', NULL),
    ('all', 'waiting', '2020-01-02', '2020-01-03', NULL),
    ('all', 'expired', '2020-01-01', '2990-01-01', NULL),
    ('all', 'expired', '2020-01-01', '2020-01-02', NULL),
    ('all', 'delivered', '2020-01-01', '2020-01-02', '2020-01-01 10:00'),
    ('waits', 'waiting', '2020-01-01', NULL, NULL),
    ('Waits', 'waiting', '2020-01-02', NULL, NULL),
    ('overdue', 'waiting', '2020-01-01', '2020-01-02', NULL)
) AS w (signal_name, status, created_at, expires_at, delivered_at);
INSERT INTO flow_signal.flow_signal_waiters (
    run_id, step_key, signal_name, status, created_at, delivered_at
)
SELECT
    gen_random_uuid(), 'step', 'delivered', 'delivered', '2020-01-01',
    '2020-01-01'::timestamptz + n * interval '1 second'
FROM generate_series(0, 100) AS n;
INSERT INTO flow_signal.flow_signal_buffered_signals (
    run_id, signal_name, position, buffered_at, buffered_until, dead
)
SELECT
    md5('run')::uuid, b.signal_name, row_number() OVER (), '2019-01-01',
    b.buffered_until::timestamptz, b.dead
FROM (
    VALUES
    ('all', '2990-01-01', false), ('all', '2990-01-01', false), ('all', '2990-01-01', false),
    ('all', '2020-01-01', false), ('all', '2990-01-01', true), ('early', '2990-01-01', false)
) AS b (signal_name, buffered_until, dead);

SET LOCAL ROLE flow_signal_reader;
SELECT is(
    (SELECT s::text FROM flow_signal_v1.signal_stats AS s WHERE s.signal_name = r.signal_name),
    r.stats, format('signal %s', r.signal_name)
)
FROM (
    VALUES
    ('all', '(all,2,3,1,3,2,"2020-01-03 00:00:00+00",10:00:00,10:00:00)'),
    ('waits', '(waits,1,0,0,0,0,"2020-01-01 00:00:00+00",,)'),
    ('Waits', '(Waits,1,0,0,0,0,"2020-01-02 00:00:00+00",,)'),
    ('overdue', '(overdue,0,1,0,0,0,,,)'),
    ('delivered', '(delivered,0,0,101,0,0,,00:00:50,00:01:35)'),
    ('early', '(early,0,0,0,1,0,,,)'),
    ('nobody', NULL)
) AS r (signal_name, stats);
SELECT is(
    (SELECT count(*) FROM flow_signal_v1.signal_stats), 6::bigint, 'there are no other rows'
);

SET LOCAL ROLE flow_signal_engine;
SELECT is(
    pg_temp.register('run', 'late', clock_timestamp(), 'late'), 'expired',
    'a deadline that is reached just now'
);
SELECT is(pg_temp.buffer('run', '1', p_signal_name => 'late'), 'buffered', 'and a signal');
SELECT pg_temp.let_buffered_die('run', '1') AS died
\gset ignored_
SELECT is(
    (SELECT s::text FROM flow_signal_v1.signal_stats AS s WHERE s.signal_name = 'late'),
    '(late,0,1,0,0,1,,,)', 'are judged by the clock, not by the start of the transaction'
);
SELECT is(
    (
        SELECT to_jsonb(s) ->> 'state'
        FROM flow_signal_v1.list_waiters(p_signal_name => 'late') AS s
    ),
    'expired', 'as list_waiters judges them'
);

-- What a reader's own function is called with: rows of the view, and never those below it.
CREATE FUNCTION pg_temp.spy(p_signal_name text)
RETURNS boolean
LANGUAGE plpgsql
IMMUTABLE
COST 0.0001
AS $function$
BEGIN
    PERFORM set_config('test.seen', concat(current_setting('test.seen', true), '.'), true);
    PERFORM set_config('test.role', current_user, true);
    RETURN true;
END
$function$;
SET LOCAL ROLE flow_signal_reader;
SELECT is(
    (SELECT count(*) FROM flow_signal_v1.signal_stats AS s WHERE pg_temp.spy(s.signal_name)),
    7::bigint, 'a reader filters by a function of its own'
);
SELECT is(length(current_setting('test.seen')), 7, 'it sees a row of the view each');
SELECT is(
    current_setting('test.role'), 'flow_signal_reader', 'and runs with the rights of the reader'
);

SELECT * FROM finish();
ROLLBACK;
