-- list_waiters returns the waiters by (run_id, step_key), a page at a time, and only reads.
BEGIN;
SELECT plan(51);
\ir ../helpers.psql
SET LOCAL ROLE flow_signal_engine;

SELECT is(
    pg_get_function_arguments('flow_signal_v1.list_waiters'::regproc),
    'p_run_id uuid DEFAULT NULL::uuid, p_signal_name text DEFAULT NULL::text, '
    'p_state text DEFAULT NULL::text, p_after_run_id uuid DEFAULT NULL::uuid, '
    'p_after_step_key text DEFAULT NULL::text, p_limit integer DEFAULT 100',
    'the parameters, their order and defaults'
);
SELECT is(
    pg_get_function_result('flow_signal_v1.list_waiters'::regproc),
    'SETOF flow_signal_v1.waiter', 'the result'
);

-- Runs are numbered; the keys of a page, in its order.
CREATE FUNCTION pg_temp.run(p_number integer)
RETURNS uuid
LANGUAGE sql
AS $function$
SELECT format('00000000-0000-0000-0000-%s', lpad(p_number::text, 12, '0'))::uuid
$function$;
CREATE FUNCTION pg_temp.page(p_arguments text)
RETURNS text
LANGUAGE plpgsql
AS $function$
DECLARE
    v_keys text;
BEGIN
    EXECUTE format(
        'SELECT coalesce(string_agg(concat(ltrim(right(w.run_id::text, 2), ''0''), w.step_key), '' '' ORDER BY w.n), '''')
        FROM flow_signal_v1.list_waiters(%s) WITH ORDINALITY AS w (
            run_id, step_key, signal_name, state, created_at, expires_at, delivered_at, payload_json, n
        )', p_arguments
    ) INTO v_keys;
    RETURN v_keys;
END
$function$;

SELECT is(pg_temp.page(''), '', 'there are no waiters');
SELECT is(
    (
        SELECT string_agg(w.state, ' ' ORDER BY r.n)
        FROM (
            VALUES
            (1, 2, 'b', 'go', NULL), (2, 2, 'a', 'go', timestamptz '2990-01-01'),
            (3, 2, 'B', 'stop', '2001-01-01'), (4, 2, 'ä', 'GO', NULL), (5, 1, 'z', 'go', NULL),
            (6, 10, 'a', 'stop', '2001-01-01'), (7, 10, 'b', 'go', NULL)
        ) AS r (n, run, step_key, signal_name, expires_at)
        CROSS JOIN LATERAL flow_signal_v1.register_waiter(
            p_run_id => pg_temp.run(r.run), p_step_key => r.step_key,
            p_signal_name => r.signal_name, p_expires_at => r.expires_at
        ) AS w
    ),
    'waiting waiting expired waiting waiting expired waiting', 'some waiters'
);
SELECT is(
    d.status, 'delivered', 'and a signal'
)
FROM flow_signal_v1.deliver_signal(pg_temp.run(10), 'go', ' {"a" : 1}') AS d;

SET LOCAL ROLE flow_signal_reader;
SELECT is(pg_temp.page(p.arguments), p.keys, format('list_waiters(%s)', p.arguments))
FROM (
    VALUES
    ('', '1z 2B 2a 2b 2ä 10a 10b'),
    ('p_limit => 2', '1z 2B'),
    ('p_limit => 10000', '1z 2B 2a 2b 2ä 10a 10b'),
    ('p_run_id => pg_temp.run(2)', '2B 2a 2b 2ä'),
    ('p_run_id => pg_temp.run(2), p_limit => 1', '2B'),
    ('p_run_id => pg_temp.run(3)', ''),
    ('p_signal_name => ''go''', '1z 2a 2b 10b'),
    ('p_signal_name => ''GO''', '2ä'),
    ('p_signal_name => ''nobody''', ''),
    ('p_run_id => pg_temp.run(2), p_signal_name => ''go''', '2a 2b'),
    ('p_state => ''waiting''', '1z 2a 2b 2ä'),
    ('p_state => ''expired''', '2B 10a'),
    ('p_state => ''delivered''', '10b'),
    ('p_run_id => pg_temp.run(10), p_state => ''expired''', '10a'),
    ('p_signal_name => ''go'', p_state => ''waiting'', p_limit => 2', '1z 2a'),
    ('p_after_run_id => pg_temp.run(2), p_after_step_key => ''a''', '2b 2ä 10a 10b'),
    ('p_after_run_id => pg_temp.run(2), p_after_step_key => ''a'', p_limit => 3', '2b 2ä 10a'),
    ('p_after_run_id => pg_temp.run(2), p_after_step_key => ''aa''', '2b 2ä 10a 10b'),
    ('p_after_run_id => pg_temp.run(5), p_after_step_key => ''a''', '10a 10b'),
    ('p_after_run_id => pg_temp.run(10), p_after_step_key => ''b''', ''),
    (
        'p_after_run_id => pg_temp.run(2), p_after_step_key => ''B'', p_signal_name => ''go''',
        '2a 2b 10b'
    ),
    (
        'pg_temp.run(2), p_after_run_id => pg_temp.run(2), p_after_step_key => ''a''', '2b 2ä'
    ),
    (
        'pg_temp.run(2), p_after_run_id => pg_temp.run(1), p_after_step_key => ''z''',
        '2B 2a 2b 2ä'
    ),
    ('pg_temp.run(2), p_after_run_id => pg_temp.run(10), p_after_step_key => ''a''', '')
) AS p (arguments, keys);
SELECT is(w::text, g::text, format('step "%s": as get_waiter returns it', w.step_key))
FROM flow_signal_v1.list_waiters(p_run_id => pg_temp.run(10)) AS w
CROSS JOIN LATERAL flow_signal_v1.get_waiter(
    p_run_id => w.run_id, p_step_key => w.step_key
) AS g;
SELECT is(pg_temp.rows_written('list_waiters()'), 0::bigint, 'reading them writes nothing');

SET LOCAL ROLE flow_signal_engine;
SELECT is(
    w.state, 'expired', 'a deadline that is reached just now'
)
FROM flow_signal_v1.register_waiter(pg_temp.run(1), 'z', 'go', clock_timestamp()) AS w;
SELECT is(
    pg_temp.page('p_state => ''expired'''), '1z 2B 10a',
    'is judged by the clock, not by the start of the transaction'
);
SELECT is(
    (
        SELECT count(*)
        FROM generate_series(1, 101) AS n
        CROSS JOIN LATERAL flow_signal_v1.register_waiter(pg_temp.run(20), n::text, n::text)
    ),
    101::bigint, 'more than a page'
);
SELECT is(
    (SELECT count(*) FROM flow_signal_v1.list_waiters(p_run_id => pg_temp.run(20))),
    100::bigint, 'a page has 100 waiters'
);

SET LOCAL transaction_read_only = on;
SELECT is(
    pg_temp.page('p_state => ''expired'''), '1z 2B 10a', 'also in a read-only transaction'
);
SELECT is(
    pg_temp.refusal(format('list_waiters(%s)', r.arguments)), r.refusal, r.arguments
)
FROM (
    VALUES
    (
        'p_signal_name => '' ''',
        pg_temp.is_blank('signal name', ' ')
    ),
    (
        'p_signal_name => repeat(''x'', 257)',
        pg_temp.is_too_long('signal name', repeat('x', 40))
    ),
    (
        'p_state => ''buffered''',
        pg_temp.out_of_range('state "buffered"', 'waiting, delivered or expired')
    ),
    (
        'p_state => ''Waiting''',
        pg_temp.out_of_range('state "Waiting"', 'waiting, delivered or expired')
    ),
    (
        'p_state => E''waiting\n\u001b''',
        pg_temp.out_of_range('state "waiting??"', 'waiting, delivered or expired')
    ),
    (
        'p_state => repeat(''x'', 1000)',
        pg_temp.out_of_range(
            format('state "%s"', repeat('x', 40)), 'waiting, delivered or expired'
        )
    ),
    (
        'p_after_run_id => gen_random_uuid()',
        pg_temp.is_null('step key to start after')
    ),
    (
        'p_after_step_key => ''a''',
        pg_temp.is_null('run id to start after')
    ),
    (
        'p_after_run_id => gen_random_uuid(), p_after_step_key => '' ''',
        pg_temp.is_blank('step key to start after', ' ')
    ),
    (
        'p_limit => NULL', pg_temp.is_null('limit')
    ),
    ('p_limit => 0', pg_temp.out_of_range('limit 0', '1 to 10000')),
    ('p_limit => -1', pg_temp.out_of_range('limit -1', '1 to 10000')),
    ('p_limit => 10001', pg_temp.out_of_range('limit 10001', '1 to 10000'))
) AS r (arguments, refusal);

SET LOCAL ROLE flow_signal_sender;
SELECT throws_ok(
    'SELECT flow_signal_v1.list_waiters()', '42501',
    'permission denied for function list_waiters', 'a sender may not list'
);

SELECT * FROM finish();
ROLLBACK;
