-- broadcast_signal reaches all live waiters of that name, in every run, and no others.
BEGIN;
SELECT plan(65);
\ir ../helpers.psql
\ir ../lines.psql
SET LOCAL ROLE flow_signal_engine;

SELECT is(
    pg_get_function_arguments('flow_signal_v1.broadcast_signal'::regproc),
    'p_signal_name text, p_payload_json text DEFAULT NULL::text',
    'the parameters, their order and their defaults'
);
SELECT is(
    pg_get_function_result('flow_signal_v1.broadcast_signal'::regproc),
    'SETOF flow_signal_v1.delivery', 'the result'
);

CREATE FUNCTION pg_temp.broadcast(
    p_payload_json text DEFAULT NULL, p_signal_name text DEFAULT 'go'
)
RETURNS text []
LANGUAGE sql
AS $function$
SELECT array_agg(
    concat_ws(' ', d.status, d.step_key, CASE WHEN d.replayed THEN '(replayed)' END)
    ORDER BY d.n
)
FROM flow_signal_v1.broadcast_signal(
    p_signal_name => p_signal_name, p_payload_json => p_payload_json
) WITH ORDINALITY AS d (status, run_id, step_key, delivered_at, replayed, n)
$function$;

-- No waiter.

SELECT is(pg_temp.broadcast(), NULL, 'there is no waiter at all: no row');
SELECT is(
    pg_temp.rows_written($$broadcast_signal(p_signal_name => 'go')$$), 0::bigint,
    'nothing is written'
);

-- FIFOs of every kind, and others: overdue by the clock; for names that are alike; buffered.

DO $$ BEGIN PERFORM pg_temp.make_lines(c.copy) FROM (VALUES ('a'), ('b')) AS c (copy); END $$;
SELECT is(
    pg_temp.register_all(
        ARRAY['a one', 'a one', 'a one', 'other', 'other', 'clock', 'clock', 'clock', 'clock'],
        ARRAY['GO', 'GO 2', 'go ', 'x', 'y', 'B', 'ä', 'late', 'a'],
        ARRAY[NULL, NULL, NULL, NULL, NULL, NULL, 'tomorrow', clock_timestamp(), NULL],
        ARRAY['GO', 'GO', 'go ', 'stop', 'gö', 'go', 'go', 'go', 'go']
    ),
    '{waiting, waiting, waiting, waiting, waiting, waiting, waiting, expired, waiting}',
    'other waiters, and one that is late by the clock'
);
SELECT is(
    pg_temp.buffer('early', '1', 'id') || pg_temp.buffer('other', '1', 'id'), 'bufferedbuffered',
    'two signals are kept'
);
CREATE TEMP TABLE live ON COMMIT DROP AS
SELECT md5(concat_ws(' ', c.copy, k.kind))::uuid AS run_id, l.step_key
FROM kinds AS k
CROSS JOIN (VALUES ('a'), ('b')) AS c (copy)
CROSS JOIN LATERAL unnest(k.live) AS l (step_key)
UNION ALL
SELECT md5('clock')::uuid, s.step_key FROM (VALUES ('B'), ('ä'), ('a')) AS s (step_key);
RESET ROLE;
CREATE TEMP VIEW others AS
SELECT w.ctid::text AS place, w::text AS contents
FROM flow_signal.flow_signal_waiters AS w
WHERE NOT EXISTS (SELECT FROM live AS l WHERE l.run_id = w.run_id AND l.step_key = w.step_key)
UNION ALL
SELECT b.ctid::text, b::text FROM flow_signal.flow_signal_buffered_signals AS b;
CREATE TEMP TABLE before ON COMMIT DROP AS SELECT * FROM others;
SET LOCAL ROLE flow_signal_broadcaster;
CREATE TEMP TABLE sent ON COMMIT DROP AS
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now)
SELECT d.*, c.now AS before
FROM clock AS c
CROSS JOIN LATERAL flow_signal_v1.broadcast_signal(
    p_signal_name => CASE WHEN c.now IS NOT NULL THEN 'go' END, p_payload_json => '{"a" : 1}'
) WITH ORDINALITY AS d (status, run_id, step_key, delivered_at, replayed, n);
RESET ROLE;
SELECT results_eq(
    $$SELECT s.status, s.run_id, s.step_key COLLATE "C", s.replayed
    FROM sent AS s ORDER BY s.run_id, s.step_key COLLATE "C"$$,
    $$SELECT 'delivered'::text, l.run_id, l.step_key COLLATE "C", false
    FROM live AS l ORDER BY l.run_id, l.step_key COLLATE "C"$$,
    'every live waiter gets it, whatever is older'
);
SELECT cmp_ok(count(*), '>=', 40::bigint, 'they are many') FROM live AS l;
SELECT results_eq(
    $$SELECT o.* FROM others AS o ORDER BY 1, 2$$, $$SELECT b.* FROM before AS b ORDER BY 1, 2$$,
    'waiters of another name, late or delivered ones are left alone; so are buffered signals'
);
SET LOCAL ROLE flow_signal_engine;
SELECT is_empty(
    $$SELECT w.*, s.delivered_at
    FROM sent AS s
    CROSS JOIN flow_signal_v1.get_waiter(p_run_id => s.run_id, p_step_key => s.step_key) AS w
    WHERE (w.state, w.payload_json::text, w.delivered_at)
            IS DISTINCT FROM ('delivered', '{"a" : 1}', s.delivered_at)
        OR w.delivered_at <= w.created_at OR w.delivered_at >= w.expires_at$$,
    'they have the payload, after they were created and before their deadline'
);
SELECT ok(
    min(s.delivered_at) > max(s.before) AND max(s.delivered_at) < clock_timestamp(),
    'by the clock at the call, not at the start of the transaction'
)
FROM sent AS s;
CREATE TEMP TABLE contents ON COMMIT DROP AS SELECT pg_temp.contents() AS contents;
SELECT is(pg_temp.broadcast('2'), NULL, 'a second broadcast finds none');
SELECT is(pg_temp.contents(), c.contents, 'and changes nothing') FROM contents AS c;

-- Each FIFO goes on as after single signals.

SELECT is(
    string_agg(concat_ws(', ', r.kind, r.have), E'\n')
    FILTER (WHERE r.have IS DISTINCT FROM r.want),
    NULL, 'then a sender is told what is true'
)
FROM (
    SELECT k.kind, k.rest AS want, pg_temp.deliver('a ' || k.kind, '3', 'new') AS have
    FROM kinds AS k
) AS r;
SELECT is(
    count(*) FILTER (WHERE pg_temp.register('a ' || k.kind, 'new') = 'waiting'), count(*),
    'new steps wait'
)
FROM kinds AS k;
SELECT is(
    pg_temp.register('a overdue', 'a', 'tomorrow'), 'waiting', 'one that was late is live again'
);
SELECT is(
    pg_temp.deliver('a three', '4') || pg_temp.deliver('a oldest removed', '4'),
    'delivered newdelivered new', 'two of them get a signal'
);
SELECT set_eq(
    $$SELECT d.run_id, d.step_key FROM flow_signal_v1.broadcast_signal(p_signal_name => 'go') AS d$$,
    $$SELECT md5('a ' || k.kind)::uuid, 'new' FROM kinds AS k WHERE k.kind NOT IN ('three', 'oldest removed')
    UNION ALL
    SELECT md5('a overdue')::uuid, 'a'$$,
    'the others and that one get the next broadcast'
);
SELECT is(
    ARRAY[
        pg_temp.get('a three', 'new'), pg_temp.get('a overdue', 'new'),
        pg_temp.get('a overdue', 'a'), pg_temp.get('a one', 'a'), pg_temp.get('a one', 'GO')
    ],
    ARRAY['delivered 4', 'delivered', 'delivered', 'delivered {"a" : 1}', 'waiting'],
    'which has no payload and takes none away'
);

-- Names are compared as they are, and a broadcast is remembered under no id.

SELECT is(
    pg_temp.broadcast('5', n.name), n.outcome, format('to the waiters of "%s"', n.name)
)
FROM (
    VALUES
    ('%', NULL), ('g%', NULL), ('Go', NULL), (' go', NULL), ('GO', '{delivered GO, delivered GO 2}'::text []),
    ('go ', '{"delivered go "}'), ('stop', '{delivered x}'), ('gö', '{delivered y}')
) AS n (name, outcome);
SELECT is(
    ARRAY[
        pg_temp.deliver('a one', '5', 'id', p_signal_name => 'GO'),
        pg_temp.register('a one', 'id', p_signal_name => 'GO'),
        pg_temp.deliver('a one', '6', 'id', p_signal_name => 'GO')
    ],
    '{already_delivered GO, waiting, delivered id}', 'a broadcast has no id'
);
SELECT is(
    pg_temp.register('early', 's') || pg_temp.deliver('other', '1', 'id'),
    'delivered 1buffered (replayed)', 'what was kept is still there'
);

-- The payload, byte for byte, to each of two.

CREATE TEMP TABLE payloads ON COMMIT DROP AS
SELECT row_number() OVER () AS n, p.payload_json
FROM (
    VALUES
    (NULL), ('null'), ('{ "b" : 1,  "a":2, "b": 1 }'), (E' \n\t["ä🙂\u00e4", 1.10, 1e400]\r\n'),
    ('"\u0000\ud800"'), ('"' || repeat('🙂', 262143) || '.."')
) AS p (payload_json);
SELECT is(
    ROW(
        pg_temp.register_all(
            '{bytes, bytes}', '{a, b}', NULL, ARRAY['payload ' || p.n, 'payload ' || p.n]
        ),
        pg_temp.broadcast(p.payload_json, 'payload ' || p.n),
        pg_temp.remove('bytes', 'a'), pg_temp.remove('bytes', 'b')
    )::text,
    ROW(
        ARRAY['waiting', 'waiting'], ARRAY['delivered a', 'delivered b'],
        concat_ws(' ', 'delivered', p.payload_json), concat_ws(' ', 'delivered', p.payload_json)
    )::text,
    format('payload %s', to_json(left(p.payload_json, 20)))
)
FROM payloads AS p;

-- The queue and the wake channel.

SELECT is(
    pg_temp.register_all('{queue 1, queue 1, queue 2}', '{a, b, a}', p_queue => 'q')
    || pg_temp.register_all('{queue 1, queue 2}', '{c, b}', p_queue => 'other')
    || pg_temp.register_all('{queue 3}', '{a}', '{2001-01-01}', p_queue => 'other'),
    '{waiting, waiting, waiting, waiting, waiting, expired}', 'waiters with a queue'
);
SELECT is_empty(
    $$SELECT * FROM flow_signal_v1.claim_waiters(p_queue => 'q')$$, 'whose wait is not over'
);
SELECT is(cardinality(pg_temp.broadcast('7')), 5, 'are sent to');
SELECT set_eq(
    $$SELECT c.run_id, c.step_key, c.payload_json::text
    FROM flow_signal_v1.claim_waiters(p_queue => 'q') AS c$$,
    $$VALUES
    (md5('queue 1')::uuid, 'a', '7'), (md5('queue 1')::uuid, 'b', '7'),
    (md5('queue 2')::uuid, 'a', '7')$$,
    'and claim_waiters hands them out'
);

RESET ROLE;
\ir ../notified.psql
SET LOCAL ROLE flow_signal_engine;
SELECT is(
    pg_temp.register_all('{wake, wake, wake 2}', '{a, b, a}', p_wake_channel => 'c')
    || pg_temp.register_all('{wake 2, wake 3}', '{b, a}')
    || pg_temp.register_all('{wake, wake 3}', '{c, b}', p_wake_channel => 'd')
    || pg_temp.register_all('{wake, wake 4}', '{late, late}', '{2001-01-01, 2001-01-01}', p_wake_channel => 'c'),
    '{waiting, waiting, waiting, waiting, waiting, waiting, waiting, expired, expired}',
    'waiters with a wake channel, and others'
);
SELECT is(cardinality(pg_temp.broadcast()), 7, 'they get a signal');
SELECT set_eq(
    'SELECT n.channel, n.payload FROM notified AS n',
    $$SELECT w.channel, concat(md5(w.run)::uuid, '/', w.step_key)
    FROM (
        VALUES
        ('c', 'wake', 'a'), ('c', 'wake', 'b'), ('d', 'wake', 'c'), ('c', 'wake 2', 'a'),
        ('d', 'wake 3', 'b')
    ) AS w (channel, run, step_key)$$,
    'those with a wake channel are notified'
);
SELECT is((SELECT count(*) FROM notified), 5::bigint, 'once each');

-- What is refused.

SELECT is(pg_temp.register('refused', 's'), 'waiting', 'a waiter');
SELECT is(
    pg_temp.refusal(format(
        'broadcast_signal(p_signal_name => %L, p_payload_json => %L)', c.signal_name, c.payload_json
    )),
    c.refusal, format('refused: %s, %s', to_json(left(c.signal_name, 3)), to_json(left(c.payload_json, 10)))
)
FROM (
    SELECT
        NULL, '1',
        pg_temp.is_null('signal name')
    UNION ALL
    SELECT
        b.name, 'x',
        pg_temp.is_blank('signal name', pg_temp.cleaned(b.name))
    FROM (VALUES (''), (' '), (E' \t\r\n\f\u000b '), (E'\u00a0\u3000')) AS b (name)
    UNION ALL
    SELECT
        n.name, '1',
        pg_temp.is_too_long('signal name', left(n.name, 40))
    FROM (VALUES (repeat('x', 257)), (repeat('🙂', 257)), (repeat(' ', 257))) AS n (name)
    UNION ALL
    SELECT
        'go', j.payload_json,
        pg_temp.not_json('payload', j.payload_json, j.at)
    FROM (
        VALUES ('', 'line 1, before character 1'), (' ', 'line 1, before character 2'),
        ('approved', 'line 1, before character 9'), ('{a: 1}', 'line 1, before character 3'),
        ('1 2', 'line 1, before character 4'), ('NULL', 'line 1, before character 5'),
        (repeat('x', 1048576), 'line 1')
    ) AS j (payload_json, at)
    UNION ALL
    SELECT
        'go', repeat('[', 500000),
        E'54001 payload is nested too deeply\n'
        '500000 characters; this server cannot parse so many nested arrays or objects\n'
        'send the inner part as a JSON string'
    UNION ALL
    SELECT
        'go', p.payload_json,
        format(
            E'WS003 payload of %s bytes is too large\na payload has at most 1048576 bytes of text\n'
            'store the data elsewhere and send a reference to it',
            octet_length(p.payload_json)
        )
    FROM (
        VALUES ('"' || repeat('🙂', 262144) || '"'), (repeat(' ', 1048576) || '1')
    ) AS p (payload_json)
) AS c (signal_name, payload_json, refusal);
SELECT is(pg_temp.broadcast('1'), '{delivered s}', 'it still waits');

-- Who may.

SET LOCAL ROLE flow_signal_sender;
SELECT throws_ok(
    $$SELECT flow_signal_v1.broadcast_signal('go')$$, '42501',
    'permission denied for function broadcast_signal', 'a sender may not broadcast'
);

-- And of all that was done in this file:

RESET ROLE;
SELECT is_empty(
    $$SELECT w.step_key, w.due_at
    FROM flow_signal.flow_signal_waiters AS w WHERE w.queue IS NULL AND w.due_at IS NOT NULL$$,
    'a waiter without a queue is never due'
);

SELECT * FROM finish();
ROLLBACK;
