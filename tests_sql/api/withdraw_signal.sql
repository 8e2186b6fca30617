-- withdraw_signal takes one buffered signal back and forgets its id.
BEGIN;
SELECT plan(47);
\ir ../helpers.psql
SET LOCAL ROLE flow_signal_engine;

SELECT is(
    pg_get_function_arguments('flow_signal_v1.withdraw_signal'::regproc),
    'p_run_id uuid, p_signal_name text, p_position bigint', 'the parameters and their order'
);
SELECT is(
    pg_get_function_result('flow_signal_v1.withdraw_signal'::regproc),
    'SETOF flow_signal_v1.buffered_signal', 'the result'
);

-- The position of the one buffered signal with this payload.
CREATE FUNCTION pg_temp.at(p_payload_json text)
RETURNS bigint
LANGUAGE sql
AS $function$
SELECT b.position
FROM flow_signal_v1.list_buffered_signals(p_run_id => md5('run')::uuid) AS b
WHERE b.payload_json::text = p_payload_json
$function$;
CREATE FUNCTION pg_temp.withdraw(p_position bigint, p_signal_name text DEFAULT 'go')
RETURNS text
LANGUAGE sql
AS $function$
SELECT concat_ws(' ', b.state, b.delivery_id, b.payload_json)
FROM flow_signal_v1.withdraw_signal(
    p_run_id => md5('run')::uuid, p_signal_name => p_signal_name, p_position => p_position
) AS b
$function$;

SELECT is(
    pg_temp.buffer('run', n::text, 'id ' || n), 'buffered', format('signal %s is buffered', n)
)
FROM generate_series(1, 6) AS n;
SELECT is(
    pg_temp.buffer('run', '"other"', 'id 2', 'stop'), 'buffered', 'and one under another name'
);
CREATE TEMP TABLE listed ON COMMIT DROP AS
SELECT b.* FROM flow_signal_v1.list_buffered_signals(p_run_id => md5('run')::uuid) AS b;
SELECT is(
    w::text, l::text, 'a signal comes back as list_buffered_signals shows it'
)
FROM listed AS l
CROSS JOIN LATERAL flow_signal_v1.withdraw_signal(
    p_run_id => l.run_id, p_signal_name => l.signal_name, p_position => l.position
) AS w
WHERE l.payload_json::text = '2';
SELECT is(pg_temp.at('2'), NULL, 'and is gone');
SELECT is(
    pg_temp.withdraw(l.position), NULL, 'a second time there is nothing to take back'
)
FROM listed AS l
WHERE l.payload_json::text = '2';
SELECT is(pg_temp.withdraw(p.position, p.signal_name), NULL, format('nothing is there: %s', p.what))
FROM listed AS l
CROSS JOIN LATERAL (
    VALUES
    (l.position, 'GO', 'another name'), (l.position, 'stop', 'the position under another name'),
    (0, 'go', 'position 0'), (-1, 'go', 'position -1'), (9223372036854775807, 'go', 'the last position')
) AS p (position, signal_name, what)
WHERE l.payload_json::text = '1';
SELECT is(
    ARRAY(
        SELECT b.delivery_id FROM flow_signal_v1.withdraw_signal(
            p_run_id => md5('other run')::uuid, p_signal_name => 'go', p_position => l.position
        ) AS b
    ), '{}', 'nothing is there: another run'
)
FROM listed AS l
WHERE l.payload_json::text = '1';

-- Its id is forgotten: the next retry is a new signal, behind the others.

SELECT is(pg_temp.buffer('run', '"anew"', 'id 2'), 'buffered', 'its id may be used with another payload');
SELECT is(pg_temp.buffer('run', '"anew"', 'id 2'), 'buffered (replayed)', 'and is known then');
SELECT is(pg_temp.withdraw(pg_temp.at('6')), 'buffered id 6 6', 'the one before it is taken back');
SELECT is(pg_temp.buffer('run', '6', 'id 6'), 'buffered', 'and sent again');
SELECT cmp_ok(
    pg_temp.at('6'), '>', (SELECT max(l.position) FROM listed AS l),
    'under a position that no signal had before'
);
SELECT is(pg_temp.withdraw(l.position), NULL, 'the old position does not withdraw the new signal')
FROM listed AS l
WHERE l.payload_json::text = '6';
SELECT is(
    pg_temp.register('run', s.step_key), s.outcome,
    format('%s: the others are taken first in, first out', s.outcome)
)
FROM (
    VALUES ('a', 'delivered 1'), ('b', 'delivered 3'), ('c', 'delivered 4'), ('d', 'delivered 5'),
    ('e', 'delivered "anew"'), ('f', 'delivered 6'), ('g', 'waiting')
) AS s (step_key, outcome);
SELECT is(
    pg_temp.deliver('run', '1', 'id 1'), 'delivered a (replayed)', 'a signal that a waiter took'
);
SELECT is(pg_temp.withdraw(l.position), NULL, 'cannot be taken back')
FROM listed AS l
WHERE l.payload_json::text = '1';
SELECT is(pg_temp.deliver('run', '7'), 'delivered g', 'the next signal reaches the waiter');

-- A dead letter can be taken back as well; the last one leaves nothing to take.

DO $$ BEGIN PERFORM pg_temp.let_buffered_die('run', '"other"'); END $$;
SELECT is(pg_temp.withdraw(pg_temp.at('"other"'), 'stop'), 'dead id 2 "other"', 'a dead letter');
SELECT is(pg_temp.register('run', 'stops', p_signal_name => 'stop'), 'waiting', 'no waiter takes it');

-- Room for another one.

RESET ROLE;
UPDATE flow_signal.flow_signal_settings SET max_buffered = 1;
SET LOCAL ROLE flow_signal_engine;
SELECT is(pg_temp.buffer('run', '8'), 'buffered', 'one signal is as many as are kept');
SELECT throws_ok(
    $$SELECT pg_temp.buffer('run', '9')$$, 'WS004',
    format('run %s has too many buffered signals "go"', md5('run')::uuid), 'a second one is refused'
);
SELECT is(pg_temp.withdraw(pg_temp.at('8')), 'buffered 8', 'the first is taken back');
SELECT is(pg_temp.buffer('run', '9'), 'buffered', 'so that there is room');

-- A call in a SELECT list, its columns taken apart, is still one call.

CREATE TEMP TABLE once ON COMMIT DROP AS
SELECT (flow_signal_v1.withdraw_signal(
    p_run_id => md5('run')::uuid, p_signal_name => 'go', p_position => pg_temp.at('9')
)).*;
SELECT is(
    array_agg(concat_ws(' ', o.signal_name, o.state, o.payload_json)), '{go buffered 9}',
    'comes back in one row with all its columns'
)
FROM once AS o;

-- What is refused.

SELECT is(pg_temp.refusal(format('withdraw_signal(%s)', r.arguments)), r.refusal, r.arguments)
FROM (
    VALUES
    ('NULL, ''go'', 1', pg_temp.is_null('run id')),
    ('gen_random_uuid(), NULL, 1', pg_temp.is_null('signal name')),
    ('gen_random_uuid(), ''go'', NULL', pg_temp.is_null('position')),
    ('gen_random_uuid(), E''\t'', 1', pg_temp.is_blank('signal name', '?')),
    (
        'gen_random_uuid(), repeat(''x'', 257), 1',
        pg_temp.is_too_long('signal name', repeat('x', 40))
    )
) AS r (arguments, refusal);

-- Who may.

SET LOCAL ROLE flow_signal_sender;
SELECT throws_ok(
    $$SELECT flow_signal_v1.withdraw_signal(gen_random_uuid(), 'go', 1)$$, '42501',
    'permission denied for function withdraw_signal', 'a sender may not withdraw a signal'
);

SELECT * FROM finish();
ROLLBACK;
