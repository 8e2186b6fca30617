-- register_waiters parks many steps as register_waiter would, one after another; or none.
BEGIN;
SELECT plan(218);
\ir ../helpers.psql
\ir ../lines.psql
SET LOCAL ROLE flow_signal_engine;

SELECT is(
    pg_get_function_arguments('flow_signal_v1.register_waiters'::regproc),
    'p_run_ids uuid[], p_step_keys text[], p_signal_names text[], '
    'p_expires_at timestamp with time zone[] DEFAULT NULL::timestamp with time zone[], '
    'p_wake_channel text DEFAULT NULL::text, p_queue text DEFAULT NULL::text',
    'the parameters, their order and their defaults'
);
SELECT is(
    pg_get_function_result('flow_signal_v1.register_waiters'::regproc),
    'SETOF flow_signal_v1.waiter', 'the result'
);

-- Nothing to park.

SELECT is_empty(
    $$SELECT * FROM flow_signal_v1.register_waiters(
        p_run_ids => '{}', p_step_keys => '{}', p_signal_names => '{}'$$ || a.rest,
    format('no step, no row%s', a.rest)
)
FROM (
    VALUES (')'), (', p_expires_at => NULL)'),
    (', p_expires_at => ''{}'', p_wake_channel => ''c'', p_queue => ''q'')')
) AS a (rest);
SELECT is(
    pg_temp.rows_written(
        $$register_waiters(p_run_ids => '{}', p_step_keys => '{}', p_signal_names => '{}')$$
    ),
    0::bigint, 'nothing is written'
);

-- New keys, in the order of the input.

CREATE TEMP TABLE steps ON COMMIT DROP AS
SELECT
    s.n, 'new ' || s.n % 7 AS run, 'step ' || 50 - s.n AS step_key,
    'signal ' || s.n % 3 AS signal_name, d.deadline,
    nullif(d.deadline, 'infinity') AS expires_at, d.state
FROM generate_series(1, 45) AS s (n)
INNER JOIN (
    VALUES
    (0, NULL, 'waiting'), (1, timestamptz '2001-02-03 04:05:06+00', 'expired'),
    (2, 'infinity', 'waiting'), (3, clock_timestamp(), 'expired'),
    (4, '2999-01-02 03:04:05.678901+00', 'waiting'), (5, transaction_timestamp(), 'expired'),
    (6, '9999-12-31 23:59:59.999999+00', 'waiting'), (7, '0001-01-01 00:00:00+00', 'expired')
) AS d (number, deadline, state) ON d.number = s.n % 8;
CREATE TEMP TABLE parked ON COMMIT DROP AS
WITH batch AS MATERIALIZED (
    SELECT
        clock_timestamp() AS now,
        pg_temp.run_ids(array_agg(s.run ORDER BY s.n)) AS run_ids,
        array_agg(s.step_key ORDER BY s.n) AS step_keys,
        array_agg(s.signal_name ORDER BY s.n) AS signal_names,
        array_agg(s.deadline ORDER BY s.n) AS deadlines
    FROM steps AS s
)

SELECT w.*, b.now AS before
FROM batch AS b
CROSS JOIN LATERAL flow_signal_v1.register_waiters(
    p_run_ids => b.run_ids, p_step_keys => b.step_keys, p_signal_names => b.signal_names,
    p_expires_at => b.deadlines
) WITH ORDINALITY AS w (
    run_id, step_key, signal_name, state, created_at, expires_at, delivered_at, payload_json, n
);
SELECT is(
    array_agg(
        ROW(
            p.run_id, p.step_key, p.signal_name, p.state, p.expires_at, p.delivered_at,
            p.payload_json
        )::text ORDER BY p.n
    ),
    (
        SELECT array_agg(
            ROW(
                md5(s.run)::uuid, s.step_key, s.signal_name, s.state, s.expires_at, NULL, NULL
            )::text ORDER BY s.n
        )
        FROM steps AS s
    ),
    'one row for each step, in their order'
)
FROM parked AS p;
SELECT is_empty(
    $$SELECT p.n, p.created_at
    FROM (SELECT *, lag(p.created_at) OVER (ORDER BY p.n) AS last FROM parked AS p) AS p
    WHERE p.created_at <= p.last$$,
    'created one after another, in the order of the input'
);
SELECT ok(
    min(p.created_at) > max(p.before) AND min(p.created_at) > transaction_timestamp()
    AND max(p.created_at) < clock_timestamp(),
    'by the clock at the call, not at the start of the transaction'
)
FROM parked AS p;
SELECT results_eq(
    $$SELECT w::text
    FROM parked AS p
    CROSS JOIN flow_signal_v1.get_waiter(p_run_id => p.run_id, p_step_key => p.step_key) AS w
    ORDER BY p.n$$,
    $$SELECT ROW(
        p.run_id, p.step_key, p.signal_name, p.state, p.created_at, p.expires_at,
        p.delivered_at, p.payload_json
    )::text
    FROM parked AS p ORDER BY p.n$$,
    'get_waiter tells the same'
);

SELECT is(
    pg_temp.rows_written(format(
        'register_waiters(p_run_ids => %L, p_step_keys => %L, p_signal_names => %L)',
        pg_temp.run_ids('{line 3, line 1, line 2}'), '{a, b, c}', '{go, go, stop}'
    )),
    6::bigint, 'the first steps of runs: a row and a lock row are written for each, and nothing else'
);

-- New steps in FIFOs of every kind, two for each: in one batch, a batch for each FIFO, a batch
-- for each step, and by single calls. They are younger than those that wait there.

CREATE TEMP TABLE copies ON COMMIT DROP AS
SELECT c.copy
FROM (
    VALUES
    ('one batch'), ('a batch for each FIFO'), ('a batch for each step'), ('single calls')
) AS c (copy);
DO $$ BEGIN PERFORM pg_temp.make_lines(c.copy) FROM copies AS c; END $$;
CREATE TEMP TABLE newcomers ON COMMIT DROP AS
SELECT
    c.copy, concat_ws(' ', c.copy, k.kind) AS run, s.n, 'new ' || s.n AS step_key,
    CASE
        WHEN c.copy = 'a batch for each FIFO' THEN k.kind
        WHEN c.copy = 'a batch for each step' THEN k.kind || s.n
    END AS batch
FROM copies AS c
CROSS JOIN kinds AS k
CROSS JOIN generate_series(1, 2) AS s (n);
CREATE TEMP TABLE states ON COMMIT DROP AS
SELECT b.copy, unnest(pg_temp.register_all(b.runs, b.step_keys)) AS state
FROM (
    SELECT
        n.copy, array_agg(n.run ORDER BY n.n, n.run) AS runs,
        array_agg(n.step_key ORDER BY n.n, n.run) AS step_keys
    FROM newcomers AS n
    WHERE n.copy <> 'single calls'
    GROUP BY n.copy, n.batch
    ORDER BY min(n.n)
) AS b
UNION ALL
SELECT n.copy, pg_temp.register(n.run, n.step_key)
FROM (SELECT n.* FROM newcomers AS n WHERE n.copy = 'single calls' ORDER BY n.n OFFSET 0) AS n;
SELECT is(
    ROW(count(*), array_agg(DISTINCT s.state))::text, ROW(48, '{waiting}')::text,
    format('%s: the new steps wait', s.copy)
)
FROM states AS s
GROUP BY s.copy
ORDER BY s.copy;
SELECT is(
    string_agg(concat_ws(', ', l.kind, l.n, l.have), E'\n')
    FILTER (WHERE l.have IS DISTINCT FROM 'delivered ' || l.step_key),
    NULL, format('%s: %s signals for them all', l.copy, count(*))
)
FROM (
    SELECT
        c.copy, k.kind, l.n, l.step_key, pg_temp.deliver(concat_ws(' ', c.copy, k.kind)) AS have
    FROM copies AS c
    CROSS JOIN kinds AS k
    CROSS JOIN LATERAL unnest(k.live || '{new 1, new 2}') WITH ORDINALITY AS l (step_key, n)
    ORDER BY l.n OFFSET 0
) AS l
GROUP BY l.copy
ORDER BY l.copy;

-- The same keys again: every state before, with every change, and new steps among them; in one
-- batch, and a batch for each.

CREATE TEMP TABLE repeats ON COMMIT DROP AS
SELECT
    b.batch, row_number() OVER (PARTITION BY b.batch ORDER BY md5(concat(s.state, c.change))) AS n,
    concat_ws(', ', s.state, c.change, b.batch) AS run, s.state, s.deadline, c.change, c.signal_name,
    CASE c.new_deadline WHEN 'same' THEN s.deadline ELSE c.new_deadline::timestamptz END
    AS new_deadline
FROM (
    VALUES
    ('new', NULL), ('live', NULL), ('live with a deadline', timestamptz '2990-01-01'),
    ('overdue', '2001-01-01'), ('settled as expired', '2001-01-01'),
    ('delivered', NULL), ('delivered with a deadline', '2990-01-01')
) AS s (state, deadline)
CROSS JOIN (
    VALUES
    ('nothing', 'go', 'same'), ('no deadline', 'go', NULL), ('a deadline', 'go', '2991-01-01'),
    ('a past deadline', 'go', '2001-01-02'), ('the signal', 'stop', 'same'),
    ('the signal and the deadline', 'stop', '2991-01-01')
) AS c (change, signal_name, new_deadline)
CROSS JOIN LATERAL (
    VALUES ('one batch'), (concat('a batch: ', s.state, ', ', c.change))
) AS b (batch)
WHERE s.state NOT LIKE 'delivered%' OR c.signal_name = 'go';
DO $$
BEGIN
    PERFORM pg_temp.register(r.run, 's', r.deadline) FROM repeats AS r WHERE r.state <> 'new';
    PERFORM pg_temp.deliver(r.run, '{"was": "sent"}')
    FROM repeats AS r WHERE r.state ~ '^(delivered|settled)';
END
$$;
CREATE TEMP TABLE before ON COMMIT DROP AS
SELECT r.run, w.created_at, w.delivered_at
FROM repeats AS r
CROSS JOIN LATERAL flow_signal_v1.get_waiter(
    p_run_id => md5(r.run)::uuid, p_step_key => 's'
) AS w;
CREATE TEMP TABLE again ON COMMIT DROP AS
SELECT
    r.*, w.step_key, w.signal_name AS now_signal_name, w.state AS now_state, w.created_at,
    w.expires_at, w.delivered_at, w.payload_json
FROM (
    SELECT
        pg_temp.run_ids(array_agg(r.run ORDER BY r.n)) AS run_ids,
        array_agg('s'::text) AS step_keys,
        array_agg(r.signal_name ORDER BY r.n) AS signal_names,
        array_agg(r.new_deadline ORDER BY r.n) AS deadlines, r.batch
    FROM repeats AS r
    GROUP BY r.batch
) AS b
CROSS JOIN LATERAL flow_signal_v1.register_waiters(
    p_run_ids => b.run_ids, p_step_keys => b.step_keys, p_signal_names => b.signal_names,
    p_expires_at => b.deadlines, p_wake_channel => 'awake', p_queue => 'fast'
) WITH ORDINALITY AS w (
    run_id, step_key, signal_name, state, created_at, expires_at, delivered_at, payload_json, n
)
INNER JOIN repeats AS r ON w.n = r.n AND b.batch = r.batch AND w.run_id = md5(r.run)::uuid;
SELECT is(
    ROW(
        a.step_key, a.now_signal_name, a.now_state, a.expires_at, a.delivered_at,
        a.payload_json, a.created_at
    )::text,
    CASE
        WHEN a.state LIKE 'delivered%' THEN ROW(
            's', 'go', 'delivered', a.deadline, b.delivered_at, '{"was": "sent"}', b.created_at
        )::text
        ELSE ROW(
            's', a.signal_name,
            CASE WHEN a.new_deadline < now() THEN 'expired' ELSE 'waiting' END,
            a.new_deadline, NULL, NULL, coalesce(b.created_at, a.created_at)
        )::text
    END,
    format('%s, changes %s: %s', a.state, a.change, left(a.batch, 9))
)
FROM again AS a
LEFT JOIN before AS b ON a.run = b.run
ORDER BY a.batch, a.n;
SELECT is(
    count(*) FILTER (WHERE w::text = ROW(
        w.run_id, a.step_key, a.now_signal_name, a.now_state, a.created_at, a.expires_at,
        a.delivered_at, a.payload_json
    )::text),
    (SELECT count(*) FROM repeats), 'get_waiter tells the same of all'
)
FROM again AS a
CROSS JOIN flow_signal_v1.get_waiter(p_run_id => md5(a.run)::uuid, p_step_key => 's') AS w;
SELECT is_empty(
    $$SELECT a.n, a.created_at
    FROM (
        SELECT *, lag(a.created_at) OVER (ORDER BY a.n) AS last
        FROM again AS a WHERE a.state = 'new' AND a.batch = 'one batch'
    ) AS a
    WHERE a.created_at <= a.last$$,
    'the new ones among them are created in the order of the input'
);
RESET ROLE;
SELECT is_empty(
    $$SELECT r.state, r.change, w.wake_channel, w.queue, w.due_at
    FROM repeats AS r
    INNER JOIN flow_signal.flow_signal_waiters AS w ON w.run_id = md5(r.run)::uuid
    WHERE ROW(w.wake_channel::text, w.queue::text, w.due_at)::text IS DISTINCT FROM
        CASE WHEN r.state LIKE 'delivered%' THEN ROW(NULL, NULL, NULL)::text
            ELSE ROW('awake', 'fast', r.new_deadline)::text END$$,
    'those that have no payload have the wake channel and the queue'
);
SET LOCAL ROLE flow_signal_engine;
CREATE TEMP TABLE contents ON COMMIT DROP AS SELECT pg_temp.contents() AS contents;
SELECT is(
    pg_temp.rows_written(format(
        'register_waiters(p_run_ids => %L, p_step_keys => %L, p_signal_names => %L, '
        'p_expires_at => %L, p_wake_channel => %L, p_queue => %L)',
        pg_temp.run_ids(array_agg(r.run ORDER BY r.n)), array_agg('s'::text),
        array_agg(r.signal_name ORDER BY r.n), array_agg(r.new_deadline ORDER BY r.n), 'awake',
        'fast'
    )),
    0::bigint, 'all of it said again writes nothing'
)
FROM repeats AS r;
SELECT is(pg_temp.contents(), c.contents, 'and changes nothing') FROM contents AS c;

-- The same step more than once in a batch.

SELECT is(
    pg_temp.register_all('{twice, twice, twice, twice}', '{a, b, a, b}'),
    '{waiting, waiting, waiting, waiting}', 'two steps twice'
);
SELECT is(
    pg_temp.rows_written(format(
        'register_waiters(p_run_ids => %L, p_step_keys => %L, p_signal_names => %L)',
        pg_temp.run_ids('{twice, twice, twice}'), '{b, a, b}', '{go, go, go}'
    )),
    0::bigint, 'another time, which writes nothing'
);
SELECT is(
    pg_temp.deliver_all('{twice, twice, twice}'),
    '{delivered a, delivered b, already_delivered a}', 'are two waiters'
);
SELECT is(
    pg_temp.register_all('{twice, twice, twice, twice}', '{c, a, c, b}'),
    '{waiting, delivered, waiting, delivered}', 'one of them is new, twice'
);
SELECT is(
    ROW(count(DISTINCT w.created_at), array_agg(w.state), array_agg(w.expires_at))::text,
    ROW(
        1, ARRAY['waiting', 'expired', 'waiting'],
        ARRAY[NULL, '2001-01-01', timestamptz 'tomorrow']
    )::text,
    'with another deadline each time: the last one holds'
)
FROM flow_signal_v1.register_waiters(
    p_run_ids => pg_temp.run_ids('{thrice, thrice, thrice}'), p_step_keys => '{s, s, s}',
    p_signal_names => '{go, go, go}', p_expires_at => '{NULL, 2001-01-01, tomorrow}'
) AS w;
SELECT is(
    pg_temp.register_all(
        '{moved, moved, moved, moved}', '{a, b, a, b}', NULL, '{go, go, stop, stop}'
    ),
    '{waiting, waiting, waiting, waiting}', 'for another signal each time'
);
SELECT is(
    pg_temp.deliver_all(
        '{moved, moved, moved, moved}', p_signal_names => '{go, stop, stop, stop}'
    ),
    '{not_found, delivered a, delivered b, already_delivered a}', 'the last one holds'
);
SELECT is(
    pg_temp.register_all('{same key, another run, same key}', '{s, s, S}'),
    '{waiting, waiting, waiting}', 'the same key of another run is another step'
);
SELECT is(
    pg_temp.deliver_all('{same key, same key, another run}'),
    '{delivered s, delivered S, delivered s}', 'and so is one that is like it'
);

-- Buffered signals.

-- In one run a step of the batch waits already.
CREATE TEMP TABLE early ON COMMIT DROP AS
SELECT
    e.name, replace('{early 1, early 2, early 1, early 1, early 3}', 'early', e.name)::text []
    AS sent,
    replace(
        '{early 1, early 2, early 1, early 2, early 1, early 4, early 1}', 'early', e.name
    )::text [] AS taken
FROM (VALUES ('early'), ('known')) AS e (name);
SELECT is(
    pg_temp.deliver_all(e.sent, '{1, 2, 3, 4, 5}', '{a, b, c, d, e}', 'tomorrow'),
    '{buffered, buffered, buffered, buffered, buffered}', format('%s: five signals', e.name)
)
FROM early AS e;
SELECT is(pg_temp.register('known 4', 's'), 'waiting', 'a step that waits already');
CREATE TEMP TABLE takers ON COMMIT DROP AS
SELECT e.name, w.*
FROM early AS e
CROSS JOIN LATERAL flow_signal_v1.register_waiters(
    p_run_ids => pg_temp.run_ids(e.taken), p_step_keys => '{z, a, late, b, y, s, x}',
    p_signal_names => '{go, go, go, go, go, go, go}',
    p_expires_at => '{NULL, NULL, 2001-01-01, NULL, tomorrow, NULL, NULL}'
) WITH ORDINALITY AS w (
    run_id, step_key, signal_name, state, created_at, expires_at, delivered_at, payload_json, n
);
SELECT is(
    array_agg(concat_ws(' ', t.step_key, t.state, t.payload_json) ORDER BY t.n),
    '{z delivered 1, a delivered 2, late expired, b waiting, y delivered 3, s waiting, '
    'x delivered 4}',
    format('%s: a waiter that is not late takes the next one of its signal', t.name)
)
FROM takers AS t
GROUP BY t.name;
SELECT is_empty(
    $$SELECT t.name, t.step_key, t.created_at, t.delivered_at
    FROM takers AS t
    WHERE t.state = 'delivered' AND (
        t.delivered_at <= t.created_at OR t.delivered_at > clock_timestamp()
    )$$,
    'after it was created'
);
SELECT results_eq(
    $$SELECT w::text
    FROM takers AS t
    CROSS JOIN flow_signal_v1.get_waiter(p_run_id => t.run_id, p_step_key => t.step_key) AS w
    ORDER BY t.name, t.n$$,
    $$SELECT ROW(
        t.run_id, t.step_key, t.signal_name, t.state, t.created_at, t.expires_at,
        t.delivered_at, t.payload_json
    )::text
    FROM takers AS t ORDER BY t.name, t.n$$,
    'get_waiter tells the same'
);
SELECT is(
    pg_temp.deliver_all(e.sent, '{1, 2, 3, 4, 5}', '{a, b, c, d, e}'),
    '{delivered z (replayed), delivered a (replayed), delivered y (replayed), '
    'delivered x (replayed), buffered (replayed)}',
    format('%s: the ids are known', e.name)
)
FROM early AS e;
SELECT is(
    pg_temp.deliver_all('{dead, dead, dead}', '{1, 2, 3}', NULL, 'tomorrow'),
    '{buffered, buffered, buffered}', 'three signals'
);
DO $$ BEGIN PERFORM pg_temp.let_buffered_die('dead', '1', '3'); END $$;
SELECT is(
    pg_temp.register_all('{dead, dead}', '{a, b}'), '{delivered 2, waiting}',
    'those past their time are passed over'
);
SELECT is(
    pg_temp.deliver_all('{once, once, once}', '{1, 2, 3}', NULL, 'tomorrow'),
    '{buffered, buffered, buffered}', 'three signals'
);
SELECT is(
    pg_temp.register_all('{once, once, once, once}', '{a, a, b, a}'),
    '{delivered 1, delivered 1, delivered 2, delivered 1}', 'no step takes a second one'
);
SELECT is(
    pg_temp.register_all('{once, once}', '{a, c}'), '{delivered 1, delivered 3}',
    'nor in another batch'
);

-- A step that has a payload and is to wait for another signal undoes all.

SELECT is(
    ARRAY[
        pg_temp.register('undone', 's'), pg_temp.deliver('undone', '1'),
        pg_temp.buffer('undone and early', '1')
    ],
    '{waiting, delivered s, buffered}', 'a step with a payload, and a signal for another'
);
SELECT is(
    pg_temp.refusal(format(
        'register_waiters(p_run_ids => %L, p_step_keys => %L, p_signal_names => %L)',
        pg_temp.run_ids('{undone 1, undone, undone 2}'), '{s, s, s}', '{go, stop, go}'
    )),
    format(
        E'WS001 step "s" of run %s already has the payload of signal "go"\n'
        'it was delivered at %s; the call asks for signal "stop"\n'
        'read the payload with get_waiter, then remove_waiter and register again',
        w.run_id, w.delivered_at
    ),
    'it is refused among new steps'
)
FROM flow_signal_v1.get_waiter(p_run_id => md5('undone')::uuid, p_step_key => 's') AS w;
SELECT matches(
    pg_temp.refusal(format(
        'register_waiters(p_run_ids => %L, p_step_keys => %L, p_signal_names => %L)',
        pg_temp.run_ids('{undone 1, undone and early, undone and early}'), '{s, s, s}',
        '{go, go, stop}'
    )),
    format(
        E'^WS001 step "s" of run %s already has the payload of signal "go"\n'
        'it was delivered at [^\n]+; the call asks for signal "stop"\n'
        'read the payload with get_waiter, then remove_waiter and register again$',
        md5('undone and early')::uuid
    ),
    'so is one that took its payload in the same batch'
);
SELECT is(
    ARRAY[
        pg_temp.get('undone 1', 's'), pg_temp.get('undone 2', 's'),
        pg_temp.get('undone and early', 's'), pg_temp.register('undone and early', 't')
    ],
    '{NULL, NULL, NULL, delivered 1}', 'no waiter is left, and what was kept is still there'
);

-- Names are stored as given.

CREATE TEMP TABLE names ON COMMIT DROP AS
SELECT n.name
FROM unnest(ARRAY[
    'a', 'A', 'ä', E'a\u0308', ' a', 'a ', E'a\n', '%s', '\', E'\\n', '''', '"', '{}', '{a,b}',
    'NULL', 'null', ',', '-', '🙂', repeat('-', 256), repeat('🙂', 256),
    -- 1024 bytes that cannot be compressed, in every key of every index
    (SELECT string_agg(chr(131072 + n * 7919 % 42000), '') FROM generate_series(1, 256) AS n)
]) AS n (name);
SELECT is(
    pg_temp.register_all(
        array_agg('names'::text), array_agg(n.name), NULL, array_agg(n.name), p_queue => q.queue
    ),
    array_agg('waiting'::text), format('%s names, queue %s', count(*), left(q.queue, 1))
)
FROM names AS n
CROSS JOIN (VALUES (repeat('🙂', 256)), ('another')) AS q (queue)
GROUP BY q.queue;
SELECT is(
    pg_temp.deliver_all(
        array_agg('names'::text), NULL, array_agg(n.name), NULL, array_agg(n.name)
    ),
    array_agg('delivered ' || n.name), 'each of them is a step, a signal and an id of its own'
)
FROM names AS n;

-- The numbers of array elements.

SELECT is(
    array_agg(concat_ws(' ', w.run_id, w.step_key, w.signal_name, w.state)),
    ARRAY[
        md5('bounds')::uuid || ' a go waiting', md5('bounds')::uuid || ' b go waiting',
        md5('other bounds')::uuid || ' a stop expired'
    ],
    'the first element of an array may have any number'
)
FROM flow_signal_v1.register_waiters(
    p_run_ids => format('[5:7]=%s', pg_temp.run_ids('{bounds, bounds, other bounds}'))::uuid [],
    p_step_keys => '[0:2]={a, b, a}', p_signal_names => '[-3:-1]={go, go, stop}',
    p_expires_at => '[7:9]={infinity, NULL, 2001-01-01}'
) AS w;
SELECT is(
    array_agg(concat_ws(' ', w.run_id, w.step_key, w.signal_name, w.state)),
    ARRAY[md5('bounds')::uuid || ' a go waiting', md5('bounds')::uuid || ' c go expired'],
    'also where a step waits already'
)
FROM flow_signal_v1.register_waiters(
    p_run_ids => format('[5:6]=%s', pg_temp.run_ids('{bounds, bounds}'))::uuid [],
    p_step_keys => '[0:1]={a, c}', p_signal_names => '[-3:-2]={go, go}',
    p_expires_at => '[7:8]={NULL, 2001-01-01}'
) AS w;

-- The queue and the wake channel are those of all.

SELECT is(
    pg_temp.register_all(
        '{queue, queue, queue 2, queue 2, queue, queue 3}', '{a, b, a, b, c, a}',
        '{2001-01-03, NULL, 2001-01-01, tomorrow, 2001-01-02, NULL}', p_queue => 'q'
    ) || pg_temp.register_all('{queue 4}', '{a}', '{2001-01-01}', p_queue => 'other')
    || pg_temp.register_all('{queue 5}', '{a}', '{2001-01-01}'),
    '{expired, waiting, expired, waiting, expired, waiting, expired, expired}',
    'some are late'
);
SELECT is(
    array_agg(ROW(c.run_id, c.step_key, c.state, c.attempt)::text ORDER BY c.n),
    ARRAY[
        ROW(md5('queue 2')::uuid, 'a', 'expired', 1)::text,
        ROW(md5('queue')::uuid, 'c', 'expired', 1)::text,
        ROW(md5('queue')::uuid, 'a', 'expired', 1)::text
    ],
    'claim_waiters hands out those of its queue, oldest due first'
)
FROM flow_signal_v1.claim_waiters(p_queue => 'q') WITH ORDINALITY AS c (
    run_id, step_key, signal_name, state, created_at, expires_at, delivered_at, payload_json, claim_id,
    attempt, n
);
CREATE TEMP TABLE claims ON COMMIT DROP AS
SELECT c.* FROM flow_signal_v1.claim_waiters(p_queue => 'other', p_lease => '1 hour') AS c;
SELECT is(
    pg_temp.register_all('{queue 4}', '{a}', '{2001-01-01}', NULL, 'awake', 'other'), '{expired}',
    'a claimed waiter gets a wake channel'
);
SELECT is(
    flow_signal_v1.extend_claim(c.run_id, c.step_key, c.claim_id, '1 hour'), true, 'its claim stays'
)
FROM claims AS c;
SELECT is(
    pg_temp.register_all('{queue 4}', '{a}', '{2001-01-02}', NULL, 'awake', 'other'), '{expired}',
    'and another deadline'
);
SELECT is(
    flow_signal_v1.extend_claim(c.run_id, c.step_key, c.claim_id, '1 hour'), false, 'its claim has ended'
)
FROM claims AS c;
RESET ROLE;
SELECT is(
    array_agg(concat_ws(' ', w.step_key, w.status, w.queue, w.due_at) ORDER BY w.step_key),
    ARRAY['a waiting q', 'b waiting q ' || timestamptz 'tomorrow'],
    'a waiter without a deadline is not due, nor is one whose deadline is ahead'
)
FROM flow_signal.flow_signal_waiters AS w
WHERE w.run_id IN (md5('queue 2')::uuid, md5('queue 3')::uuid) AND w.status = 'waiting';
\ir ../notified.psql
SET LOCAL ROLE flow_signal_engine;
SELECT is(
    pg_temp.deliver_all('{wake, wake, wake 2}', '{1, 2, 3}', NULL, 'tomorrow'),
    '{buffered, buffered, buffered}', 'three signals'
);
SELECT is(
    pg_temp.register_all('{wake, wake 3, wake, wake}', '{a, a, b, c}', p_wake_channel => 'c')
    || pg_temp.register_all('{wake 2}', '{a}'),
    '{delivered 1, waiting, delivered 2, waiting, delivered 3}', 'some take one at once'
);
SELECT is(
    array_agg(concat(n.channel, ' ', n.payload) ORDER BY n.payload),
    ARRAY[format('c %s/a', md5('wake')::uuid), format('c %s/b', md5('wake')::uuid)],
    'those with a wake channel are notified, once'
)
FROM notified AS n;
SELECT is(
    pg_temp.deliver_all('{wake, wake 3}') || pg_temp.register_all('{wake, wake}', '{a, c}'),
    '{delivered c, delivered a, delivered 1, delivered}', 'others get one later'
);
SELECT is(
    (SELECT count(*) FROM notified), 4::bigint, 'and are notified then; one that comes back is not'
);

-- What is refused: an element, by its number.

SELECT is(
    pg_temp.register_all('{refused 1, refused 2}', '{s, s}'), '{waiting, waiting}',
    'two steps that wait already'
);
-- In the order in which those of one element are named.
CREATE TEMP TABLE bads ON COMMIT DROP AS
SELECT row_number() OVER () AS number, b.*
FROM (
    VALUES
    (
        'no run id', 'run id', NULL, pg_temp.is_null('run id %1$s')
    ),
    (
        'no step key', 'step key', NULL, pg_temp.is_null('step key %1$s')
    ),
    (
        'blank step key', 'step key', E' \u3000\n',
        pg_temp.is_blank('step key %1$s', E' \u3000?')
    ),
    (
        'long step key', 'step key', repeat('🙂', 257),
        pg_temp.is_too_long('step key %1$s', repeat('🙂', 40))
    ),
    (
        'no signal name', 'signal name', NULL, pg_temp.is_null('signal name %1$s')
    ),
    (
        'blank signal name', 'signal name', '',
        pg_temp.is_blank('signal name %1$s', '')
    ),
    (
        'long signal name', 'signal name', repeat('x', 257),
        pg_temp.is_too_long('signal name %1$s', repeat('x', 40))
    ),
    (
        'endless past', 'deadline', '-infinity',
        E'22023 deadline %1$s -infinity is out of range\n'
        'drivers carry finite instants of the years 1 to 9999\npass NULL to wait for ever'
    ),
    (
        'year 10000', 'deadline', '10000-01-01 00:00:00+00',
        E'22023 deadline %1$s 10000-01-01 00:00:00+00 is out of range\n'
        'drivers carry finite instants of the years 1 to 9999\npass NULL to wait for ever'
    ),
    (
        'year 1 BC', 'deadline', '0001-12-31 23:59:59.999999+00 BC',
        E'22023 deadline %1$s 0001-12-31 23:59:59.999999+00 BC is out of range\n'
        'drivers carry finite instants of the years 1 to 9999\npass NULL to wait for ever'
    )
) AS b (bad, argument, value, refusal);

-- How a batch of four is refused, in which some are bad: '2 no run id'.
CREATE FUNCTION pg_temp.refused(VARIADIC p_bads text [])
RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
    v_bad record;
    v_run_ids uuid [] := pg_temp.run_ids('{refused 1, refused 2, refused 3, refused 4}');
    v_step_keys text [] := '{s, t, s, t}';
    v_signal_names text [] := '{stop, go, go, go}';
    v_deadlines timestamptz [] := '{tomorrow, NULL, infinity, 2001-01-01}';
BEGIN
    FOR v_bad IN
        SELECT left(p.bad, 1)::integer AS n, b.argument, b.value
        FROM unnest(p_bads) AS p (bad)
        INNER JOIN bads AS b ON b.bad = substr(p.bad, 3)
    LOOP
        CASE v_bad.argument
            WHEN 'run id' THEN v_run_ids[v_bad.n] := v_bad.value;
            WHEN 'step key' THEN v_step_keys[v_bad.n] := v_bad.value;
            WHEN 'signal name' THEN v_signal_names[v_bad.n] := v_bad.value;
            WHEN 'deadline' THEN v_deadlines[v_bad.n] := v_bad.value;
        END CASE;
    END LOOP;
    RETURN pg_temp.refusal(format(
        'register_waiters(p_run_ids => %L, p_step_keys => %L, p_signal_names => %L, '
        'p_expires_at => %L)',
        v_run_ids, v_step_keys, v_signal_names, v_deadlines
    ));
END
$$;
SELECT is(
    pg_temp.refused(concat(e.number, ' ', b.bad)), format(b.refusal, e.number),
    format('element %s: %s', e.number, b.bad)
)
FROM bads AS b
CROSS JOIN generate_series(1, 4) AS e (number);
SELECT is_empty(
    $$SELECT a.bad, b.bad
    FROM bads AS a
    CROSS JOIN bads AS b
    WHERE pg_temp.refused('2 ' || a.bad, '3 ' || b.bad) IS DISTINCT FROM format(a.refusal, 2)$$,
    'the first bad element is the one that is named, whatever is wrong with it'
);
SELECT is_empty(
    $$SELECT a.bad, b.bad
    FROM bads AS a
    INNER JOIN bads AS b ON b.number > a.number AND b.argument <> a.argument
    WHERE pg_temp.refused('3 ' || a.bad, '3 ' || b.bad) IS DISTINCT FROM format(a.refusal, 3)$$,
    'and its values are looked at in the order of the parameters'
);
SELECT is(
    pg_temp.refusal(format(
        'register_waiters(p_run_ids => %L, p_step_keys => %L, p_signal_names => %L)',
        format('[5:6]=%s', pg_temp.run_ids('{refused 1, refused 2}')), '[0:1]={s, NULL}',
        '[-3:-2]={go, go}'
    )),
    pg_temp.is_null('step key 2'),
    'elements are counted from 1, whatever the numbers that they have'
);

-- And the call as a whole.

CREATE TEMP TABLE calls ON COMMIT DROP AS
SELECT format(
    'p_run_ids => %L, p_step_keys => %L, p_signal_names => %L, ',
    pg_temp.run_ids('{refused 3, refused 4}'), '{s, t}', '{stop, go}'
) AS good;
SELECT is(
    pg_temp.refusal(format('register_waiters(%s)', c.arguments)), c.refusal,
    format('refused: %s', c.arguments)
)
FROM (
    SELECT
        format('p_run_ids => %L, p_step_keys => %L, p_signal_names => NULL', n.run_ids, n.step_keys),
        pg_temp.is_null('array of ' || n.what)
    FROM (
        VALUES ('run ids', NULL, NULL), ('step keys', '{}', NULL), ('signal names', '{}', '{}')
    ) AS n (what, run_ids, step_keys)
    UNION ALL
    SELECT
        format(
            'p_run_ids => %L, p_step_keys => %L, p_signal_names => %L, p_expires_at => %L',
            r.run_ids, a.step_keys, a.signal_names, a.deadlines
        ),
        format(
            E'22023 arrays of %s elements are not a batch\n'
            'element n of each array belongs to input n; the most dimensions are %s\n'
            'pass arrays of one dimension and equal length; leave an optional one out',
            a.lengths, a.dimensions
        )
    FROM (SELECT pg_temp.run_ids('{refused 1, refused 2}') AS run_ids) AS r
    CROSS JOIN (
        VALUES
        ('{s}', '{go, go}', NULL, '2, 1, 2', 1), ('{s, t, u}', '{go, go}', NULL, '2, 3, 2', 1),
        ('{}', '{go, go}', NULL, '2, 0, 2', 1), ('{s, t}', '{go}', NULL, '2, 2, 1', 1),
        ('{s, t}', '{go, go, go}', NULL, '2, 2, 3', 1), ('{s, t}', '{}', NULL, '2, 2, 0', 1),
        ('{s, t}', '{go, go}', '{NULL}', '2, 2, 2, 1', 1),
        ('{s, t}', '{go, go}', '{NULL, NULL, NULL}', '2, 2, 2, 3', 1),
        ('{s, t}', '{go, go}', '{}', '2, 2, 2, 0', 1),
        ('{{s, t}}', '{go, go}', NULL, '2, 2, 2', 2), ('{s, t}', '{{go}, {go}}', NULL, '2, 2, 2', 2),
        ('{s, t}', '{go, go}', '{{{NULL}, {NULL}}}', '2, 2, 2, 2', 3)
    ) AS a (step_keys, signal_names, deadlines, lengths, dimensions)
    UNION ALL
    SELECT
        format(
            'p_run_ids => %L, p_step_keys => ''{s, t}'', p_signal_names => ''{go, go}''',
            ARRAY[pg_temp.run_ids('{refused 1, refused 2}')]
        ),
        E'22023 arrays of 2, 2, 2 elements are not a batch\n'
        'element n of each array belongs to input n; the most dimensions are 2\n'
        'pass arrays of one dimension and equal length; leave an optional one out'
    UNION ALL
    SELECT
        'p_run_ids => ''{}'', p_step_keys => ''{}'', p_signal_names => ''{go}''',
        E'22023 arrays of 0, 0, 1 elements are not a batch\n'
        'element n of each array belongs to input n; the most dimensions are 1\n'
        'pass arrays of one dimension and equal length; leave an optional one out'
    UNION ALL
    SELECT
        c.good || format('p_wake_channel => %L', w.channel),
        format(
            E'22023 wake channel "%s" is not a channel name\n'
            'it has %s bytes; NOTIFY takes 1 to 63, not only white space\n'
            'use a short channel name, for example one per worker process',
            w.channel, octet_length(w.channel)
        )
    FROM calls AS c
    CROSS JOIN (
        VALUES (''), (' '), (E'\u3000'), (repeat('c', 64)), (repeat('ä', 32))
    ) AS w (channel)
    UNION ALL
    SELECT
        c.good || format('p_queue => %L', q.queue),
        pg_temp.is_blank('queue', q.queue)
    FROM calls AS c
    CROSS JOIN (VALUES (''), (E'\u3000')) AS q (queue)
    UNION ALL
    SELECT
        c.good || format('p_queue => %L', repeat('q', 257)),
        pg_temp.is_too_long('queue', repeat('q', 40))
    FROM calls AS c
    UNION ALL
    SELECT
        'p_run_ids => ''{}'', p_step_keys => ''{}'', p_signal_names => ''{}'', p_queue => ''''',
        pg_temp.is_blank('queue', '')
) AS c (arguments, refusal);
SELECT is(
    ARRAY(SELECT pg_temp.get('refused ' || n, 's') FROM generate_series(1, 4) AS n),
    '{waiting, waiting, NULL, NULL}', 'there are no other waiters'
);
SELECT is(
    pg_temp.deliver_all('{refused 1, refused 2}'), '{delivered s, delivered s}',
    'and the two wait for what they did'
);

-- And of all that was done in this file:

RESET ROLE;
SELECT is_empty(
    $$SELECT w.step_key, w.due_at
    FROM flow_signal.flow_signal_waiters AS w WHERE w.queue IS NULL AND w.due_at IS NOT NULL$$,
    'a waiter without a queue is never due'
);
SELECT is_empty(
    $$SELECT w.step_key, w.created_at, w.delivered_at, w.expires_at
    FROM flow_signal.flow_signal_waiters AS w
    WHERE w.created_at <= now() OR w.created_at > clock_timestamp()
        OR w.delivered_at <= w.created_at OR w.delivered_at >= w.expires_at
        OR w.delivered_at > clock_timestamp()$$,
    'created and delivered by the clock, in this order, and before the deadline'
);

SELECT * FROM finish();
ROLLBACK;
