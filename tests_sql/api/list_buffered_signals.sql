-- list_buffered_signals returns the early signals by (run_id, signal_name, position), a page at a
-- time, dead ones among them, and only reads.
BEGIN;
SELECT plan(46);
\ir ../helpers.psql
SET LOCAL ROLE flow_signal_engine;

SELECT is(
    pg_get_function_arguments('flow_signal_v1.list_buffered_signals'::regproc),
    'p_run_id uuid DEFAULT NULL::uuid, p_signal_name text DEFAULT NULL::text, '
    'p_state text DEFAULT NULL::text, p_after_run_id uuid DEFAULT NULL::uuid, '
    'p_after_signal_name text DEFAULT NULL::text, p_after_position bigint DEFAULT NULL::bigint, '
    'p_limit integer DEFAULT 100',
    'the parameters, their order and defaults'
);
SELECT is(
    pg_get_function_result('flow_signal_v1.list_buffered_signals'::regproc),
    'SETOF flow_signal_v1.buffered_signal', 'the result'
);

-- Runs are numbered; the keys of a page, in its order, with the payload in place of the position.
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
        'SELECT coalesce(string_agg(concat(ltrim(right(b.run_id::text, 2), ''0''), b.signal_name, b.payload_json), '' '' ORDER BY b.n), '''')
        FROM flow_signal_v1.list_buffered_signals(%s) WITH ORDINALITY AS b (
            run_id, signal_name, "position", state, buffered_at, buffered_until, delivery_id, payload_json, n
        )', p_arguments
    ) INTO v_keys;
    RETURN v_keys;
END
$function$;

CREATE FUNCTION pg_temp.at(p_payload_json text)
RETURNS bigint
LANGUAGE sql
AS $function$
SELECT b.position
FROM flow_signal_v1.list_buffered_signals(p_limit => 10000) AS b
WHERE b.payload_json::text = p_payload_json
$function$;

SELECT is(pg_temp.page(''), '', 'there are none');
SELECT is(
    (
        SELECT string_agg(d.status, ' ' ORDER BY r.n)
        FROM (
            VALUES
            (1, 2, 'b', '1'), (2, 2, 'b', '2'), (3, 2, 'B', '3'), (4, 2, 'b', '4'), (5, 1, 'z', '5'),
            (6, 10, 'b', '6e0')
        ) AS r (n, run, signal_name, payload_json)
        CROSS JOIN LATERAL flow_signal_v1.deliver_signal(
            p_run_id => pg_temp.run(r.run), p_signal_name => r.signal_name,
            p_payload_json => r.payload_json, p_buffer_until => '2990-01-01',
            p_delivery_id => 'id ' || r.n
        ) AS d
    ),
    'buffered buffered buffered buffered buffered buffered', 'some early signals'
);
RESET ROLE;
-- one that was found dead before the clock stepped back, and one whose time is over
UPDATE flow_signal.flow_signal_buffered_signals SET dead = true WHERE payload_json::text = '2';
UPDATE flow_signal.flow_signal_buffered_signals SET buffered_until = '2001-01-01'
WHERE payload_json::text = '5';

SET LOCAL ROLE flow_signal_reader;
SELECT is(pg_temp.page(p.arguments), p.keys, format('list_buffered_signals(%s)', p.arguments))
FROM (
    VALUES
    ('', '1z5 2B3 2b1 2b2 2b4 10b6e0'),
    ('p_limit => 2', '1z5 2B3'),
    ('p_limit => 10000', '1z5 2B3 2b1 2b2 2b4 10b6e0'),
    ('p_run_id => pg_temp.run(2)', '2B3 2b1 2b2 2b4'),
    ('p_run_id => pg_temp.run(2), p_limit => 1', '2B3'),
    ('p_run_id => pg_temp.run(3)', ''),
    ('p_signal_name => ''b''', '2b1 2b2 2b4 10b6e0'),
    ('p_signal_name => ''nobody''', ''),
    ('p_run_id => pg_temp.run(2), p_signal_name => ''b''', '2b1 2b2 2b4'),
    ('p_state => ''buffered''', '2B3 2b1 2b4 10b6e0'),
    ('p_state => ''dead''', '1z5 2b2'),
    ('p_run_id => pg_temp.run(2), p_state => ''dead''', '2b2'),
    (
        'p_after_run_id => pg_temp.run(2), p_after_signal_name => ''b'', p_after_position => pg_temp.at(''1'')',
        '2b2 2b4 10b6e0'
    ),
    (
        'NULL, ''b'', ''buffered'', pg_temp.run(2), ''B'', pg_temp.at(''3''), 2',
        '2b1 2b4'
    ),
    (
        'p_after_run_id => pg_temp.run(5), p_after_signal_name => ''b'', p_after_position => 1',
        '10b6e0'
    ),
    (
        'p_after_run_id => pg_temp.run(10), p_after_signal_name => ''b'', p_after_position => pg_temp.at(''6e0'')',
        ''
    ),
    ('pg_temp.run(2), NULL, NULL, pg_temp.run(2), ''b'', pg_temp.at(''1'')', '2b2 2b4'),
    ('pg_temp.run(2), NULL, NULL, pg_temp.run(2), ''B'', pg_temp.at(''3'')', '2b1 2b2 2b4'),
    ('pg_temp.run(2), NULL, NULL, pg_temp.run(1), ''z'', 1', '2B3 2b1 2b2 2b4'),
    ('pg_temp.run(2), NULL, NULL, pg_temp.run(10), ''b'', 1', '')
) AS p (arguments, keys);
SELECT is(
    ROW(
        b.run_id, b.signal_name, b.state, b.buffered_until, b.delivery_id,
        b.payload_json, b.buffered_at BETWEEN now() AND clock_timestamp()
    )::text,
    ROW(
        pg_temp.run(10), 'b', 'buffered', timestamptz '2990-01-01', 'id 6', '6e0', true
    )::text,
    'the payload is as it was sent'
)
FROM flow_signal_v1.list_buffered_signals(p_run_id => pg_temp.run(10)) AS b;
SELECT is(b.state, s.state, format('the signal %s is %s', s.payload_json, s.state))
FROM flow_signal_v1.list_buffered_signals() AS b
INNER JOIN (
    VALUES ('1', 'buffered'), ('2', 'dead'), ('5', 'dead')
) AS s (payload_json, state) ON s.payload_json = b.payload_json::text;
SELECT is(
    pg_temp.rows_written('list_buffered_signals()'), 0::bigint, 'reading them writes nothing'
);
SET LOCAL ROLE flow_signal_engine;
SELECT is(
    (
        SELECT count(*)
        FROM generate_series(1, 101) AS n
        CROSS JOIN LATERAL flow_signal_v1.deliver_signal(
            p_run_id => pg_temp.run(20), p_signal_name => 's', p_payload_json => n::text,
            p_buffer_until => '2990-01-01'
        ) AS d
        WHERE d.status = 'buffered'
    ),
    101::bigint, 'more than a page'
);
SELECT is(
    (SELECT count(*) FROM flow_signal_v1.list_buffered_signals(p_run_id => pg_temp.run(20))),
    100::bigint, 'a page has 100 signals'
);

RESET ROLE;
UPDATE flow_signal.flow_signal_buffered_signals SET buffered_until = clock_timestamp()
WHERE signal_name = 'B';
SET LOCAL transaction_read_only = on;
SET LOCAL ROLE flow_signal_reader;
SELECT is(
    pg_temp.page('p_state => ''dead'''), '1z5 2B3 2b2',
    'a signal that dies just now is judged by the clock, also in a read-only transaction'
);
SELECT is(
    pg_temp.refusal(format('list_buffered_signals(%s)', r.arguments)), r.refusal, r.arguments
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
        'p_state => ''waiting''', pg_temp.out_of_range('state "waiting"', 'buffered or dead')
    ),
    (
        'p_state => E''dead\n\u001b''', pg_temp.out_of_range('state "dead??"', 'buffered or dead')
    ),
    (
        'p_after_run_id => gen_random_uuid()',
        pg_temp.is_null('signal name to start after')
    ),
    (
        'p_after_run_id => gen_random_uuid(), p_after_position => 1',
        pg_temp.is_null('signal name to start after')
    ),
    (
        'p_after_run_id => gen_random_uuid(), p_after_signal_name => ''a''',
        pg_temp.is_null('position to start after')
    ),
    (
        'p_after_signal_name => ''a'', p_after_position => 1',
        pg_temp.is_null('run id to start after')
    ),
    (
        'p_after_position => 1',
        pg_temp.is_null('run id to start after')
    ),
    (
        'p_after_run_id => gen_random_uuid(), p_after_signal_name => '' '', p_after_position => 1',
        pg_temp.is_blank('signal name to start after', ' ')
    ),
    (
        'p_limit => NULL', pg_temp.is_null('limit')
    ),
    ('p_limit => 0', pg_temp.out_of_range('limit 0', '1 to 10000')),
    ('p_limit => 10001', pg_temp.out_of_range('limit 10001', '1 to 10000'))
) AS r (arguments, refusal);

SET LOCAL ROLE flow_signal_sender;
SELECT throws_ok(
    'SELECT flow_signal_v1.list_buffered_signals()', '42501',
    'permission denied for function list_buffered_signals', 'a sender may not list'
);

SELECT * FROM finish();
ROLLBACK;
