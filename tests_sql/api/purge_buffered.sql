-- purge_buffered deletes the signals that were buffered before an instant, live ones included.
BEGIN;
SELECT plan(34);
\ir ../helpers.psql

SELECT is(
    pg_get_function_arguments('flow_signal_v1.purge_buffered'::regproc),
    'p_buffered_before timestamp with time zone, p_limit integer DEFAULT 10000',
    'the parameters, their order and defaults'
);
SELECT is(
    pg_get_function_result('flow_signal_v1.purge_buffered'::regproc), 'bigint', 'the result'
);

CREATE FUNCTION pg_temp.rest()
RETURNS text
LANGUAGE sql
SECURITY DEFINER
AS $function$
SELECT coalesce(string_agg(b.payload_json::text, ', ' ORDER BY b.payload_json::text), '')
FROM flow_signal.flow_signal_buffered_signals AS b
$function$;
-- Three live signals in each of two runs, a dead one, and one with a short time; buffered in 2018 to 2021.
CREATE FUNCTION pg_temp.fill()
RETURNS void
LANGUAGE sql
SECURITY DEFINER
AS $function$
INSERT INTO flow_signal.flow_signal_buffered_signals (
    run_id, signal_name, position, buffered_at, buffered_until, dead, payload_json
)
SELECT
    md5(r.run)::uuid, 'go', b.position, b.buffered_at, b.buffered_until, b.dead,
    to_json(concat(r.run, ' ', b.name))
FROM (VALUES ('a'), ('b')) AS r (run)
CROSS JOIN (
    VALUES
    (1, timestamptz '2018-01-01', timestamptz '2019-01-01', true, 'dead'),
    (2, '2019-01-01', '2990-01-01', false, 'old'), (3, '2020-01-01', '2990-01-01', false, '2020'),
    (4, '2021-01-01', '2990-01-01', false, '2021'), (5, '2021-01-01', '2021-01-02', false, 'short')
) AS b (position, buffered_at, buffered_until, dead, name);
$function$;

SET LOCAL ROLE flow_signal_admin;
SELECT is(flow_signal_v1.purge_buffered('2020-01-01'), 0::bigint, 'there is nothing to delete');
SELECT pg_temp.fill() AS ignored
\gset
SELECT is(flow_signal_v1.purge_buffered('2018-01-01'), 0::bigint, 'nothing was buffered so early');
SELECT is(
    pg_temp.rows_written('purge_buffered(''2018-01-01'')'), 0::bigint, 'looking writes nothing'
);
SELECT is(flow_signal_v1.purge_buffered('2020-01-01'), 4::bigint, 'what was buffered before 2020');
SELECT is(
    pg_temp.rest(), '"a 2020", "a 2021", "a short", "b 2020", "b 2021", "b short"',
    'is gone, live or dead; what was buffered at that very instant, or later, stays'
);
SELECT is(flow_signal_v1.purge_buffered('2020-01-01 00:00:00.000001', 1), 1::bigint, 'at most one');
SELECT is(flow_signal_v1.purge_buffered('2022-01-01', 3), 3::bigint, 'at most three');
SELECT is(flow_signal_v1.purge_buffered('2022-01-01', 100000), 2::bigint, 'the rest');
SELECT is(flow_signal_v1.purge_buffered('2022-01-01'), 0::bigint, 'none is left');
SELECT is(pg_temp.rest(), '', 'of all of them');

-- Through the API.

SELECT is(
    pg_temp.buffer('run', n::text, 'id ' || n), 'buffered', format('signal %s is buffered', n)
)
FROM generate_series(1, 3) AS n;
SELECT is(
    pg_temp.register('other run', 's') || pg_temp.deliver('other run', '1', 'id'), 'waitingdelivered s',
    'another was delivered'
);
SELECT is(
    flow_signal_v1.purge_buffered(transaction_timestamp()), 0::bigint,
    'judged by the clock when they were buffered, not by the start of the transaction'
);
SELECT is(
    flow_signal_v1.purge_buffered('9999-12-31'), 3::bigint, 'an instant ahead: all that are there'
);
SELECT is(pg_temp.register('run', 'a'), 'waiting', 'the next waiter finds nothing to take');
SELECT is(
    pg_temp.deliver('run', '"anew"', 'id 1'), 'delivered a', 'the ids are forgotten'
);
SELECT is(pg_temp.buffer('run', '2', 'id 2'), 'buffered', 'a signal that is sent again is a new one');
SELECT is(pg_temp.register('run', 'b'), 'delivered 2', 'which a waiter takes');
SELECT is(
    pg_temp.deliver('other run', '1', 'id'), 'delivered s (replayed)', 'what was delivered is still known'
);
SELECT is(pg_temp.get('other run', 's'), 'delivered 1', 'and no waiter is touched');

-- What is refused.

SELECT is(pg_temp.refusal(format('purge_buffered(%s)', r.arguments)), r.refusal, r.arguments)
FROM (
    VALUES
    ('NULL', pg_temp.is_null('purge time')), ('now(), NULL', pg_temp.is_null('limit')),
    ('now(), 0', pg_temp.out_of_range('limit 0', '1 to 100000')),
    ('now(), -1', pg_temp.out_of_range('limit -1', '1 to 100000')),
    ('now(), 100001', pg_temp.out_of_range('limit 100001', '1 to 100000'))
) AS r (arguments, refusal);
SELECT is(
    pg_temp.refusal(format('purge_buffered(%L)', i.instant)),
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

-- Who may.

SET LOCAL ROLE flow_signal_engine;
SELECT throws_ok(
    $$SELECT flow_signal_v1.purge_buffered('2020-01-01')$$, '42501',
    'permission denied for function purge_buffered', 'an engine may not purge what is buffered'
);

SELECT * FROM finish();
ROLLBACK;
