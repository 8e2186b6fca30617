-- purge deletes what no call needs any more, up to a limit, and nothing that is live.
BEGIN;
SELECT plan(98);
\ir ../helpers.psql

SELECT is(
    pg_get_function_arguments('flow_signal_v1.purge'::regproc),
    'p_settled_before timestamp with time zone, p_limit integer DEFAULT 10000',
    'the parameters, their order and defaults'
);
SELECT is(pg_get_function_result('flow_signal_v1.purge'::regproc), 'bigint', 'the result');

-- What the tables hold, in short.
CREATE FUNCTION pg_temp.rest()
RETURNS text
LANGUAGE sql
SECURITY DEFINER
AS $function$
SELECT coalesce(string_agg(r.name, ', ' ORDER BY r.name), '')
FROM (
    SELECT w.step_key FROM flow_signal.flow_signal_waiters AS w
    UNION ALL
    SELECT b.signal_name || ' ' || b.position FROM flow_signal.flow_signal_buffered_signals AS b
    UNION ALL
    SELECT 'receipt ' || t.delivery_id FROM flow_signal.flow_signal_receipts AS t
    UNION ALL
    SELECT 'token of ' || t.step_key FROM flow_signal.flow_signal_tokens AS t
    UNION ALL
    SELECT 'lock ' || l.signal_name FROM flow_signal.flow_signal_locks AS l
) AS r (name)
$function$;
-- Calls purge until it finds nothing; returns the sum.
CREATE FUNCTION pg_temp.purge_all(p_settled_before timestamptz, p_limit integer)
RETURNS bigint
LANGUAGE plpgsql
AS $function$
DECLARE
    v_sum bigint := 0;
    v_deleted bigint;
BEGIN
    LOOP
        v_deleted := flow_signal_v1.purge(p_settled_before => p_settled_before, p_limit => p_limit);
        IF v_deleted NOT BETWEEN 0 AND p_limit THEN
            RETURN NULL;
        END IF;
        EXIT WHEN v_deleted = 0;
        v_sum := v_sum + v_deleted;
    END LOOP;
    RETURN v_sum;
END
$function$;
-- Waiters that were settled in 2019 to 2021, live ones, and buffered signals.
CREATE FUNCTION pg_temp.fill()
RETURNS bigint
LANGUAGE sql
SECURITY DEFINER
AS $function$
INSERT INTO flow_signal.flow_signal_waiters (
    run_id, step_key, signal_name, status, created_at, expires_at, delivered_at
)
SELECT
    md5(w.step_key)::uuid, w.step_key, 'go', w.status, '2018-01-01', w.expires_at::timestamptz,
    w.delivered_at::timestamptz
FROM (
    VALUES
    ('delivered 2019', 'delivered', NULL, '2019-01-01'),
    ('delivered 2019 in time', 'delivered', '2990-01-01', '2019-01-01'),
    ('delivered 2020', 'delivered', NULL, '2020-01-01'),
    ('delivered 2021', 'delivered', NULL, '2021-01-01'),
    ('delivered 2021 early', 'delivered', '2022-01-01', '2021-01-01'),
    ('overdue 2019', 'waiting', '2019-01-01', NULL),
    ('overdue 2020', 'waiting', '2020-01-01', NULL),
    ('overdue 2021', 'waiting', '2021-01-01', NULL),
    ('expired 2019', 'expired', '2019-01-01', NULL),
    ('expired 2021', 'expired', '2021-01-01', NULL),
    ('waits', 'waiting', NULL, NULL),
    ('waits long', 'waiting', '2990-01-01', NULL)
) AS w (step_key, status, expires_at, delivered_at);
INSERT INTO flow_signal.flow_signal_buffered_signals (
    run_id, signal_name, position, buffered_at, buffered_until, dead
)
SELECT md5('run')::uuid, b.name, 1, '2018-01-01', b.buffered_until::timestamptz, b.dead
FROM (
    VALUES
    ('dead 2019', '2019-01-01', false), ('found dead 2019', '2019-01-01', true),
    ('dead 2020', '2020-01-01', false), ('dead 2021', '2021-01-01', false),
    ('buffered', '2990-01-01', false)
) AS b (name, buffered_until, dead);
SELECT count(*)
FROM (
    SELECT FROM flow_signal.flow_signal_waiters
    UNION ALL
    SELECT FROM flow_signal.flow_signal_buffered_signals
) AS r
$function$;

SET LOCAL ROLE flow_signal_admin;
SELECT is(flow_signal_v1.purge('2020-01-01'), 0::bigint, 'there is nothing to delete');

-- what goes and what stays
SELECT is(pg_temp.fill(), 17::bigint, 'waiters and signals');
SELECT is(flow_signal_v1.purge('2018-12-31'), 0::bigint, 'nothing was settled so early');
SELECT is(flow_signal_v1.purge('0001-01-01 00:00:00+00'), 0::bigint, 'nor in the first year');
SELECT is(pg_temp.rows_written('purge(''2018-12-31'')'), 0::bigint, 'looking writes nothing');
SELECT is(flow_signal_v1.purge('2020-01-01'), 6::bigint, 'what was settled or dead before 2020');
SELECT is(
    pg_temp.rest(),
    'buffered 1, dead 2020 1, dead 2021 1, delivered 2020, delivered 2021, delivered 2021 early, '
    'expired 2021, overdue 2020, overdue 2021, waits, waits long',
    'is gone; what was settled at that very instant, or later, stays'
);
SELECT is(flow_signal_v1.purge('2020-01-01'), 0::bigint, 'nothing is left of it');
SELECT is(
    flow_signal_v1.purge('2020-01-01 00:00:00.000001'), 3::bigint, 'a microsecond makes it old'
);
SELECT is(
    flow_signal_v1.purge('9999-12-31'), 5::bigint, 'an instant ahead is taken for this one'
);
SELECT is(
    pg_temp.rest(), 'buffered 1, waits, waits long',
    'live waiters and buffered signals stay whatever the instant'
);
SELECT is(
    pg_temp.get('waits long', 'waits long'), 'waiting', 'a deadline ahead: it waits'
);
RESET ROLE;
UPDATE flow_signal.flow_signal_waiters SET expires_at = clock_timestamp()
WHERE step_key = 'waits';
SET LOCAL ROLE flow_signal_admin;
SELECT is(
    flow_signal_v1.purge('9999-12-31'), 1::bigint,
    'the deadline is judged by the clock, not by the start of the transaction'
);
RESET ROLE;
TRUNCATE flow_signal.flow_signal_waiters;
SET LOCAL ROLE flow_signal_admin;
SELECT is(flow_signal_v1.purge('9999-12-31'), 0::bigint, 'only a buffered signal is left');
SELECT is(pg_temp.rest(), 'buffered 1', 'and stays');
RESET ROLE;
TRUNCATE flow_signal.flow_signal_buffered_signals;
SET LOCAL ROLE flow_signal_admin;

-- through the API: a receipt is deleted once its waiter is gone, a lock row once nothing needs it
SELECT is(pg_temp.register('run', 'gets'), 'waiting', 'a waiter');
SELECT is(pg_temp.register('run', 'next'), 'waiting', 'and a younger one');
SELECT is(pg_temp.deliver('run', '1', 'id'), 'delivered gets', 'the first gets a signal');
SELECT is(pg_temp.remove('run', 'gets'), 'delivered 1', 'and is removed');
SELECT is(pg_temp.deliver('run', '1', 'id'), 'delivered gets (replayed)', 'its id is remembered');
SELECT is(
    flow_signal_v1.purge(transaction_timestamp()), 0::bigint,
    'and stays: it was delivered after the start of the transaction'
);
SELECT is(pg_temp.rest(), 'lock go, next, receipt id', 'nothing is deleted');
SELECT is(flow_signal_v1.purge(clock_timestamp()), 1::bigint, 'it is purged');
SELECT is(pg_temp.rest(), 'lock go, next', 'the lock row is needed by a waiter');
SELECT is(pg_temp.deliver('run', '1', 'id'), 'delivered next', 'and its signal forgotten');
SELECT is(pg_temp.deliver('run', '1', 'id'), 'delivered next (replayed)', 'once more');
RESET ROLE;
UPDATE flow_signal.flow_signal_receipts SET delivered_at = '2020-01-01';
UPDATE flow_signal.flow_signal_waiters SET delivered_at = '2020-01-01';
SET LOCAL ROLE flow_signal_admin;
SELECT is(
    pg_temp.register('run', 'next') || flow_signal_v1.purge('2020-01-01'), 'delivered 10',
    'a receipt whose waiter is there stays with it'
);
SELECT is(pg_temp.rest(), 'lock go, next, receipt id', 'as does the lock row');
SELECT is(
    pg_temp.purge_all('2020-01-01 00:00:00.000001', 1), 3::bigint, 'waiter, receipt and lock row are counted'
);
SELECT is(pg_temp.rest(), '', 'and gone');
SELECT is(pg_temp.deliver('run', '1', 'id'), 'not_found', 'no waiter is found');
SELECT is(pg_temp.register('run', 'gets'), 'waiting', 'a step of that name waits anew');
SELECT is(pg_temp.deliver('run', '2', 'id'), 'delivered gets', 'and gets a signal under that id');
SELECT is(pg_temp.register('late', 'late', 'yesterday'), 'expired', 'an overdue waiter');
SELECT is(pg_temp.buffer('early', '1', 'id'), 'buffered', 'an early signal, whose time is over');
SELECT pg_temp.let_buffered_die('early') AS died
\gset ignored_
SELECT is(
    pg_temp.purge_all(clock_timestamp(), 100), 7::bigint,
    'two waiters, a receipt, a dead letter and three lock rows are purged'
);
SELECT is(pg_temp.rest(), '', 'nothing is left');
SELECT is(pg_temp.register('early', 'early'), 'waiting', 'and nothing to take');
SELECT is(flow_signal_v1.purge(clock_timestamp()), 0::bigint, 'that waiter and its lock row stay');
SELECT is(pg_temp.remove('early', 'early'), 'waiting', 'it is removed');
SELECT is(flow_signal_v1.purge('2001-01-01'), 1::bigint, 'its lock row is purged whatever the instant');
SELECT is(pg_temp.rest(), '', 'and gone');
SELECT is(pg_temp.buffer('early', '2', 'id'), 'buffered', 'a signal is kept');
SELECT is(flow_signal_v1.purge(clock_timestamp()), 0::bigint, 'its lock row is needed');
SELECT is(pg_temp.register('early', 'early'), 'delivered 2', 'by the waiter that takes the signal');
SELECT is(pg_temp.purge_all(clock_timestamp(), 100), 3::bigint, 'waiter, receipt and lock row');

-- A waiter of that key which was delivered at another time is another one.
SELECT is(
    ARRAY[
        pg_temp.register('anew', 's'), pg_temp.deliver('anew', '1', 'id 1'), pg_temp.remove('anew', 's'),
        pg_temp.register('anew', 's'), pg_temp.deliver('anew', '2', 'id 2')
    ],
    ARRAY['waiting', 'delivered s', 'delivered 1', 'waiting', 'delivered s'], 'a step that is parked twice'
);
RESET ROLE;
UPDATE flow_signal.flow_signal_receipts SET delivered_at = '2019-01-01' WHERE delivery_id = 'id 1';
SET LOCAL ROLE flow_signal_admin;
SELECT is(flow_signal_v1.purge('2020-01-01'), 1::bigint, 'the receipt of its first waiter is purged');
SELECT is(pg_temp.rest(), 'lock go, receipt id 2, s', 'that of its second waiter stays');
SELECT is(pg_temp.purge_all(clock_timestamp(), 100), 3::bigint, 'until that is purged');

-- A token: void, it goes at any time; redeemed, as a receipt does.
SELECT is(
    ARRAY[
        pg_temp.register('tokens', 'good'), left(pg_temp.issue('tokens', 'good'), 4),
        pg_temp.register('tokens', 'gone'), left(pg_temp.issue('tokens', 'gone'), 4),
        pg_temp.remove('tokens', 'gone'),
        pg_temp.register('tokens', 'anew'), left(pg_temp.issue('tokens', 'anew'), 4),
        pg_temp.remove('tokens', 'anew'), pg_temp.register('tokens', 'anew'),
        pg_temp.register('tokens', 'moved'), left(pg_temp.issue('tokens', 'moved'), 4),
        pg_temp.register('tokens', 'moved', NULL, 'stop'),
        pg_temp.register('tokens', 'used'), pg_temp.redeem(pg_temp.issue('tokens', 'used'), '1')
    ],
    ARRAY[
        'waiting', 'fst_', 'waiting', 'fst_', 'waiting', 'waiting', 'fst_', 'waiting', 'waiting', 'waiting',
        'fst_', 'waiting', 'waiting', 'delivered used'
    ], 'tokens of five steps'
);
SELECT is(flow_signal_v1.purge('2001-01-01'), 3::bigint, 'those are purged that are void');
SELECT is(
    pg_temp.rest(), 'anew, good, lock go, lock stop, moved, token of good, token of used, used',
    'one that can be redeemed stays, and one that was redeemed'
);
SELECT is(pg_temp.remove('tokens', 'used'), 'delivered 1', 'the waiter of that is removed');
SELECT is(flow_signal_v1.purge(transaction_timestamp()), 0::bigint, 'it was redeemed after that');
RESET ROLE;
UPDATE flow_signal.flow_signal_tokens SET delivered_at = '2020-01-01' WHERE step_key = 'used';
SET LOCAL ROLE flow_signal_admin;
SELECT is(flow_signal_v1.purge('2020-01-01'), 0::bigint, 'not before, but at that instant');
SELECT is(flow_signal_v1.purge('2020-01-01 00:00:00.000001'), 1::bigint, 'it was redeemed before that');
SELECT is(
    pg_temp.rest(), 'anew, good, lock go, lock stop, moved, token of good', 'and is gone'
);
SELECT is(
    pg_temp.redeem(pg_temp.issue('tokens', 'good'), '2') || left(pg_temp.issue('tokens', 'moved', '2019-01-01'), 4),
    'delivered goodfst_', 'one is redeemed while its waiter is there, one has a deadline that has passed'
);
RESET ROLE;
UPDATE flow_signal.flow_signal_tokens SET delivered_at = '2020-01-01' WHERE delivered_at IS NOT NULL;
SET LOCAL ROLE flow_signal_admin;
SELECT is(flow_signal_v1.purge('2019-01-01'), 0::bigint, 'not before its deadline');
SELECT is(flow_signal_v1.purge('2021-01-01'), 1::bigint, 'then it goes');
SELECT is(
    pg_temp.rest(), 'anew, good, lock go, lock stop, moved, token of good, token of good',
    'those of the delivered waiter stay with it'
);
SELECT is(flow_signal_v1.remove_run(md5('tokens')::uuid), 3::bigint, 'the run is over');
SELECT is(pg_temp.rest(), '', 'nothing is left');

-- the limit
SELECT is(pg_temp.fill(), 17::bigint, 'waiters and signals');
SELECT is(flow_signal_v1.purge('2020-01-01', 1), 1::bigint, 'at most one');
SELECT is(flow_signal_v1.purge('2020-01-01', 3), 3::bigint, 'at most three');
SELECT is(flow_signal_v1.purge('2020-01-01', 100000), 2::bigint, 'the rest');
SELECT is(pg_temp.purge_all('2022-01-01', 3), 8::bigint, 'three by three until none is left');

-- Where the session's last call found the first is only a hint.
SELECT is(
    concat_ws(
        ' ', set_config('flow_signal.purge_block', h.hint, true),
        pg_temp.register('hinted', 'late', 'yesterday'), pg_temp.purge_all('9999-12-31', 10)
    ),
    h.hint || ' expired 2', format('with "%s" for a hint', h.hint)
)
FROM (VALUES (''), ('0'), ('9999999999'), ('-1'), ('1e3'), (' '), (repeat('9', 20))) AS h (hint);

-- what is refused
SELECT is(pg_temp.refusal(r.call), r.refusal, r.call)
FROM (
    VALUES
    (
        'purge(NULL)',
        pg_temp.is_null('purge time')
    ),
    (
        'purge(now(), NULL)',
        pg_temp.is_null('limit')
    ),
    ('purge(now(), 0)', pg_temp.out_of_range('limit 0', '1 to 100000')),
    ('purge(now(), -1)', pg_temp.out_of_range('limit -1', '1 to 100000')),
    ('purge(now(), 100001)', pg_temp.out_of_range('limit 100001', '1 to 100000'))
) AS r (call, refusal);
SELECT is(
    pg_temp.refusal(format('purge(%L)', i.instant)),
    format(
        E'22023 purge time %s is out of range\n'
        'drivers carry finite instants of the years 1 to 9999\n'
        'pass an instant; older rows are deleted', i.instant
    ),
    format('purge time %s', i.instant)
)
FROM (
    VALUES (timestamptz 'infinity'), ('-infinity'), ('10000-01-01 00:00:00+00'),
    ('0001-12-31 23:59:59+00 BC')
) AS i (instant);

-- Any number of them, wherever they lie; statistics that say that the tables are empty.
RESET ROLE;
TRUNCATE
flow_signal.flow_signal_waiters, flow_signal.flow_signal_buffered_signals,
flow_signal.flow_signal_receipts, flow_signal.flow_signal_tokens, flow_signal.flow_signal_locks;
ANALYZE
flow_signal.flow_signal_waiters, flow_signal.flow_signal_buffered_signals,
flow_signal.flow_signal_receipts, flow_signal.flow_signal_tokens, flow_signal.flow_signal_locks;
INSERT INTO flow_signal.flow_signal_waiters (
    run_id, step_key, signal_name, status, created_at, delivered_at
)
SELECT
    md5(s.n::text)::uuid, 'step', 'go', CASE WHEN s.is_over THEN 'delivered' ELSE 'waiting' END,
    '2018-01-01', CASE WHEN s.is_over THEN timestamptz '2019-01-01' END
FROM generate_series(1, 40000) AS n
CROSS JOIN LATERAL (VALUES (n, n % 3 = 0 OR n NOT BETWEEN 10 AND 39991)) AS s (n, is_over);
INSERT INTO flow_signal.flow_signal_receipts (
    run_id, delivery_id, signal_name, step_key, delivered_at
)
SELECT
    md5(n::text)::uuid, 'id', 'go', 'step', CASE WHEN n % 3 = 0 THEN timestamptz '2019-01-01' ELSE '2021-01-01' END
FROM generate_series(1, 3000) AS n;
INSERT INTO flow_signal.flow_signal_tokens (
    run_id, token_hash, step_key, signal_name, registered_at
)
SELECT
    md5(n::text)::uuid, sha256('token'), 'step', 'go',
    CASE WHEN n % 3 = 0 THEN timestamptz '2017-01-01' ELSE '2018-01-01' END
FROM generate_series(1001, 4000) AS n;
INSERT INTO flow_signal.flow_signal_locks (run_id, signal_name)
SELECT md5(n::text)::uuid, CASE WHEN n % 3 = 0 THEN 'stop' ELSE 'go' END
FROM generate_series(1001, 4000) AS n;
INSERT INTO flow_signal.flow_signal_buffered_signals (
    run_id, signal_name, position, buffered_at, buffered_until
)
SELECT
    md5('run')::uuid, 'go', n, '2018-01-01',
    CASE WHEN n % 3 = 0 OR n NOT BETWEEN 10 AND 9991 THEN timestamptz '2019-01-01' ELSE '2990-01-01' END
FROM generate_series(1, 10000) AS n;
-- Rows read, and a million for each sequential scan.
CREATE FUNCTION pg_temp.rows_read()
RETURNS bigint
LANGUAGE sql
SECURITY DEFINER
AS $function$
SELECT sum(
    pg_stat_get_xact_tuples_returned(c.oid) + 1000000 * pg_stat_get_xact_numscans(c.oid)
)::bigint
FROM pg_class AS c
WHERE c.relnamespace = 'flow_signal'::regnamespace AND c.relkind = 'r'
$function$;
SET LOCAL ROLE flow_signal_admin;
SELECT pg_temp.rows_read() AS rows_read
\gset
SELECT is(count(flow_signal_v1.purge('2020-01-01', 1)), 10::bigint, 'ten calls for one each')
FROM generate_series(1, 10);
SELECT cmp_ok(
    pg_temp.rows_read() - :rows_read, '<', 10 * 300::bigint, 'read a block or two each'
);
SELECT is(pg_temp.purge_all('2020-01-01', 700), 19680::bigint, 'thousands, 700 at a time');
RESET ROLE;
SELECT is(
    (SELECT count(*) FROM flow_signal.flow_signal_waiters WHERE delivered_at IS NULL),
    (SELECT count(*) FROM flow_signal.flow_signal_waiters), 'no dead waiter is forgotten'
);
SELECT is(
    (SELECT count(*) FROM flow_signal.flow_signal_buffered_signals WHERE buffered_until > now()),
    (SELECT count(*) FROM flow_signal.flow_signal_buffered_signals), 'no dead signal is forgotten'
);
SELECT is(
    (SELECT count(*) FROM flow_signal.flow_signal_waiters)
    + (SELECT count(*) FROM flow_signal.flow_signal_buffered_signals),
    50000::bigint - 16690, 'and no live one is hit'
);
SELECT is(
    ROW(count(*), min(r.delivered_at))::text, ROW(2000, timestamptz '2021-01-01')::text,
    'younger receipts stay, though their waiters are gone'
)
FROM flow_signal.flow_signal_receipts AS r;
SELECT is(
    ROW(count(*), min(t.registered_at))::text, ROW(2000, timestamptz '2018-01-01')::text,
    'tokens of waiters that are there stay'
)
FROM flow_signal.flow_signal_tokens AS t;
SELECT is(
    ROW(count(*), min(l.signal_name), max(l.signal_name))::text, ROW(2000, 'go', 'go')::text,
    'lock rows of waiters stay'
)
FROM flow_signal.flow_signal_locks AS l;
SELECT is_empty(
    $$SELECT i.indexname FROM pg_indexes AS i
    WHERE i.schemaname = 'flow_signal' AND i.indexdef ~ '(delivered|expired|settled)_at'$$,
    'no index on when a waiter was settled, which each delivery would have to write'
);

-- who may
SET LOCAL ROLE flow_signal_engine;
SELECT throws_ok(
    $$SELECT flow_signal_v1.purge('2020-01-01')$$, '42501',
    'permission denied for function purge', 'an engine may not purge'
);

SELECT * FROM finish();
ROLLBACK;
