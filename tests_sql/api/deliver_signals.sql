-- deliver_signals says of each signal what deliver_signal would, one after another; or nothing.
BEGIN;
SELECT plan(174);
\ir ../helpers.psql
\ir ../lines.psql
SET LOCAL ROLE flow_signal_sender;

SELECT is(
    pg_get_function_arguments('flow_signal_v1.deliver_signals'::regproc),
    'p_run_ids uuid[], p_signal_names text[], p_payloads_json text[], '
    'p_delivery_ids text[] DEFAULT NULL::text[], '
    'p_buffer_until timestamp with time zone DEFAULT NULL::timestamp with time zone',
    'the parameters, their order and their defaults'
);
SELECT is(
    pg_get_function_result('flow_signal_v1.deliver_signals'::regproc),
    'SETOF flow_signal_v1.delivery', 'the result'
);

-- Nothing to send.

SELECT is_empty(
    $$SELECT * FROM flow_signal_v1.deliver_signals(
        p_run_ids => '{}', p_signal_names => '{}', p_payloads_json => $$ || a.rest,
    format('no signal, no row: %s', a.rest)
)
FROM (
    VALUES
    ($$'{}')$$), ('NULL)'),
    ($$NULL, p_delivery_ids => '{}', p_buffer_until => 'tomorrow')$$)
) AS a (rest);
SELECT is(
    pg_temp.rows_written(
        $$deliver_signals(p_run_ids => '{}', p_signal_names => '{}', p_payloads_json => '{}')$$
    ),
    0::bigint, 'nothing is written'
);

-- Each verdict in full, in the order of the input.

SET LOCAL ROLE flow_signal_engine;
SELECT is(
    ROW(
        pg_temp.register('waits', 's', 'tomorrow'), pg_temp.register('has it', 's'),
        pg_temp.deliver('has it', '1', 'id'), pg_temp.register('late', 's', '2001-01-01'),
        pg_temp.buffer('early', '2', 'id')
    )::text,
    ROW('waiting', 'waiting', 'delivered s', 'expired', 'buffered')::text,
    'a waiter or signal for each verdict'
);
CREATE TEMP TABLE sent ON COMMIT DROP AS
SELECT d.*, transaction_timestamp() AS began, clock_timestamp() AS now
FROM flow_signal_v1.deliver_signals(
    p_run_ids => pg_temp.run_ids('{none, has it, late, waits, early, has it, early}'),
    p_signal_names => '{go, go, go, go, go, go, go}',
    p_payloads_json => ARRAY['0', '1', '0', '{"a" : 1}', '2', '0', '0'],
    p_delivery_ids => ARRAY[NULL, 'id', 'new', 'new', 'id', NULL, NULL]
) WITH ORDINALITY AS d (status, run_id, step_key, delivered_at, replayed, n);
SELECT is(
    (
        SELECT array_agg(
            ROW(s.status, s.run_id, s.step_key, s.delivered_at IS NOT NULL, s.replayed)::text
            ORDER BY s.n
        )
        FROM sent AS s
    ),
    ARRAY[
        ROW('not_found', md5('none')::uuid, NULL, false, false)::text,
        ROW('delivered', md5('has it')::uuid, 's', true, true)::text,
        ROW('expired', md5('late')::uuid, 's', false, false)::text,
        ROW('delivered', md5('waits')::uuid, 's', true, false)::text,
        ROW('buffered', md5('early')::uuid, NULL, false, true)::text,
        ROW('already_delivered', md5('has it')::uuid, 's', true, false)::text,
        ROW('not_found', md5('early')::uuid, NULL, false, false)::text
    ],
    'one row for each signal, in their order'
);
SELECT is(
    s.delivered_at, w.delivered_at,
    format('signal %s, %s: with the delivered_at of the waiter', s.n, s.status)
)
FROM sent AS s
CROSS JOIN LATERAL flow_signal_v1.get_waiter(p_run_id => s.run_id, p_step_key => s.step_key) AS w
WHERE s.delivered_at IS NOT NULL;
SELECT is(
    ROW(w.state, w.expires_at, w.payload_json)::text,
    ROW('delivered', timestamptz 'tomorrow', '{"a" : 1}')::text,
    'the waiter has its payload, and keeps its deadline'
)
FROM flow_signal_v1.get_waiter(p_run_id => md5('waits')::uuid, p_step_key => 's') AS w;
SELECT is(
    d::text,
    ROW('buffered', md5('none')::uuid, NULL, NULL, false)::text, 'buffered'
)
FROM flow_signal_v1.deliver_signals(
    p_run_ids => ARRAY[md5('none')::uuid], p_signal_names => '{go}', p_payloads_json => '{3}',
    p_buffer_until => 'tomorrow'
) AS d;

-- FIFOs of every kind, four signals for each: in one batch; a batch for each FIFO; a batch for
-- each signal; and single calls.

CREATE TEMP TABLE copies ON COMMIT DROP AS
SELECT c.copy, c.until
FROM (
    VALUES
    ('one batch', NULL), ('a batch for each FIFO', NULL),
    ('a batch for each signal', NULL), ('single calls', NULL),
    ('one batch, kept until now', clock_timestamp()), ('one batch, kept', 'tomorrow'),
    ('single calls, kept', 'tomorrow')
) AS c (copy, until);
DO $$ BEGIN PERFORM pg_temp.make_lines(c.copy) FROM copies AS c; END $$;
CREATE TEMP TABLE signals ON COMMIT DROP AS
SELECT
    c.copy, c.until, concat_ws(' ', c.copy, k.kind) AS run, s.n,
    CASE
        WHEN k.live[s.n] IS NOT NULL THEN 'delivered ' || k.live[s.n]
        WHEN c.until = timestamptz 'tomorrow' THEN 'buffered'
        ELSE k.rest
    END AS verdict,
    CASE
        WHEN c.copy = 'a batch for each FIFO' THEN k.kind
        WHEN c.copy = 'a batch for each signal' THEN k.kind || s.n
    END AS batch
FROM copies AS c
CROSS JOIN kinds AS k
CROSS JOIN generate_series(1, 4) AS s (n);

CREATE TEMP TABLE verdicts ON COMMIT DROP AS
SELECT b.copy, v.run, v.n, v.want, v.have
FROM (
    SELECT
        s.copy, s.until, array_agg(s.run ORDER BY s.n, s.run) AS runs,
        array_agg(s.n ORDER BY s.n, s.run) AS numbers,
        array_agg(s.verdict ORDER BY s.n, s.run) AS verdicts
    FROM signals AS s
    WHERE s.copy NOT LIKE 'single%'
    GROUP BY s.copy, s.until, s.batch
    ORDER BY min(s.n)
) AS b
CROSS JOIN LATERAL unnest(
    b.runs, b.numbers, b.verdicts,
    pg_temp.deliver_all(b.runs, b.numbers::text [], NULL, b.until)
) AS v (run, n, want, have)
UNION ALL
SELECT s.copy, s.run, s.n, s.verdict, pg_temp.deliver(s.run, s.n::text, NULL, s.until)
FROM (SELECT s.* FROM signals AS s WHERE s.copy LIKE 'single%' ORDER BY s.n OFFSET 0) AS s;

SELECT is(
    string_agg(format('%s, signal %s: %s', v.run, v.n, v.have), E'\n')
    FILTER (WHERE v.have IS DISTINCT FROM v.want),
    NULL, format('%s: %s verdicts', v.copy, count(*))
)
FROM verdicts AS v
GROUP BY v.copy
ORDER BY v.copy;
SELECT is_empty(
    $$SELECT c.copy, k.kind, l.step_key, l.n, w.have
    FROM copies AS c
    CROSS JOIN kinds AS k
    CROSS JOIN unnest(k.live) WITH ORDINALITY AS l (step_key, n)
    CROSS JOIN pg_temp.get(concat_ws(' ', c.copy, k.kind), l.step_key) AS w (have)
    WHERE w.have IS DISTINCT FROM 'delivered ' || l.n$$,
    'each waiter has the payload that was meant for it'
);
CREATE TEMP TABLE taken ON COMMIT DROP AS
SELECT
    s.run, s.n, concat('delivered ', s.n) AS want, pg_temp.register(s.run, 'taker ' || s.n) AS have
FROM (SELECT s.* FROM signals AS s WHERE s.verdict = 'buffered' ORDER BY s.n OFFSET 0) AS s;
SELECT cmp_ok(count(*), '>=', 100::bigint, 'many signals are buffered') FROM taken AS t;
SELECT is_empty(
    $$SELECT t.* FROM taken AS t WHERE t.have <> t.want$$,
    'the next waiters take them, first in, first out'
);

-- Several FIFOs in one batch.

SELECT is(
    pg_temp.register_all('{x, y, x, z, y, x}', '{a, a, b, a, b, c}'),
    '{waiting, waiting, waiting, waiting, waiting, waiting}', 'six waiters in three FIFOs'
);
SELECT is(
    pg_temp.deliver_all('{z, y, x, x, x, y, z, y, x}', '{1, 2, 3, 4, 5, 6, 7, 8, 9}'),
    '{delivered a, delivered a, delivered a, delivered b, delivered c, delivered b, '
    'already_delivered a, already_delivered a, already_delivered a}',
    'nine signals for them'
);
SELECT is(
    pg_temp.get(w.run, w.step_key), 'delivered ' || w.payload_json,
    format('%s of run %s has payload %s', w.step_key, w.run, w.payload_json)
)
FROM (
    VALUES
    ('z', 'a', 1), ('y', 'a', 2), ('x', 'a', 3), ('x', 'b', 4), ('x', 'c', 5), ('y', 'b', 6)
) AS w (run, step_key, payload_json);

SELECT is(
    pg_temp.register_all(
        '{names, names, names, names, names}', '{a, b, c, d, e}', NULL,
        ARRAY['go', 'GO', ' go', 'go ', 'gö']
    ),
    '{waiting, waiting, waiting, waiting, waiting}', 'signal names that are alike'
);
SELECT is(
    pg_temp.deliver_all(
        '{names, names, names, names, names, names, other names}', NULL, NULL, NULL,
        ARRAY['gö', 'go ', 'GO', ' go', 'Go', 'go', 'go']
    ),
    '{delivered e, delivered d, delivered b, delivered c, not_found, delivered a, not_found}',
    'are told apart, and so are runs'
);

-- Instants.

CREATE TEMP TABLE instants ON COMMIT DROP AS
SELECT 'instant ' || n AS run, n FROM generate_series(1, 50) AS n;
SELECT is(
    pg_temp.register_all(array_agg(i.run), array_agg('s'::text)), array_agg('waiting'::text),
    'fifty waiters'
)
FROM instants AS i;
CREATE TEMP TABLE at_once ON COMMIT DROP AS
WITH batch AS MATERIALIZED (
    SELECT
        clock_timestamp() AS now, pg_temp.run_ids(array_agg(i.run ORDER BY i.n)) AS run_ids,
        array_agg('go'::text) AS signal_names
    FROM instants AS i
)

SELECT d.*, b.now AS before
FROM batch AS b
CROSS JOIN LATERAL flow_signal_v1.deliver_signals(
    p_run_ids => b.run_ids, p_signal_names => b.signal_names, p_payloads_json => NULL
) WITH ORDINALITY AS d (status, run_id, step_key, delivered_at, replayed, n);
SELECT is(
    ROW(count(*), count(DISTINCT a.run_id))::text, ROW(50, 50)::text, 'get fifty signals'
)
FROM at_once AS a WHERE a.status = 'delivered';
SELECT ok(
    min(a.delivered_at) > max(a.before) AND min(a.delivered_at) > transaction_timestamp()
    AND max(a.delivered_at) < clock_timestamp(),
    'by the clock at the call, not at the start of the transaction'
)
FROM at_once AS a;
SELECT is_empty(
    $$SELECT a.run_id, a.delivered_at, w.delivered_at, w.created_at
    FROM at_once AS a
    CROSS JOIN flow_signal_v1.get_waiter(p_run_id => a.run_id, p_step_key => a.step_key) AS w
    WHERE w.delivered_at IS DISTINCT FROM a.delivered_at OR w.delivered_at <= w.created_at$$,
    'after the waiter was created; get_waiter tells the same'
);
SELECT is(
    pg_temp.register_all('{seq, seq, seq, seq}', '{a, b, c, d}'),
    '{waiting, waiting, waiting, waiting}', 'a FIFO of four'
);
SELECT is(
    ROW(
        array_agg(d.step_key ORDER BY d.n), min(d.delivered_at) > now(), max(d.delivered_at) < clock_timestamp()
    )::text,
    ROW('{a,b,c,d}', true, true)::text, 'gets four signals'
)
FROM flow_signal_v1.deliver_signals(
    p_run_ids => pg_temp.run_ids('{seq, seq, seq, seq}'), p_signal_names => '{go, go, go, go}',
    p_payloads_json => NULL
) WITH ORDINALITY AS d (status, run_id, step_key, delivered_at, replayed, n);

SELECT is(
    pg_temp.register_all('{alone 1, alone 2, alone 3}', '{s, s, s}', p_queue => 'alone'),
    '{waiting, waiting, waiting}', 'three FIFOs of one'
);
SELECT is(
    pg_temp.rows_written(format(
        'deliver_signals(p_run_ids => %L, p_signal_names => %L, p_payloads_json => %L)',
        pg_temp.run_ids('{alone 3, alone 1, alone 2}'), '{go, go, go}', '{1, 2, 3}'
    )),
    3::bigint, 'get three signals: a row is written for each, and nothing else'
);

-- Optional arrays, and the numbers that array elements have.

SELECT is(
    pg_temp.register_all('{optional, optional, optional}', '{a, b, c}'),
    '{waiting, waiting, waiting}', 'three waiters'
);
SELECT is(
    pg_temp.deliver_all('{optional}', NULL, '{id}')
    || pg_temp.deliver_all('{optional}', '{NULL}', '{NULL}')
    || pg_temp.deliver_all('{optional}', '{"null"}', NULL),
    '{delivered a, delivered b, delivered c}', 'no array of payloads, of ids'
);
SELECT is(
    ARRAY[
        pg_temp.get('optional', 'a'), pg_temp.get('optional', 'b'), pg_temp.get('optional', 'c')
    ],
    '{delivered, delivered, delivered null}', 'no payload is not the payload null'
);

SELECT is(
    pg_temp.register_all('{bounds, other bounds}', '{a, b}'), '{waiting, waiting}',
    'two waiters'
);
SELECT is(
    array_agg(d.status || d.step_key),
    '{delivereda,deliveredb}', 'the first element of an array may have any number'
)
FROM flow_signal_v1.deliver_signals(
    p_run_ids => format('[5:6]=%s', pg_temp.run_ids('{bounds, other bounds}'))::uuid [],
    p_signal_names => '[0:1]={go, go}', p_payloads_json => '[-3:-2]={1, 2}',
    p_delivery_ids => '[7:8]={id, id}'
) AS d;
SELECT is(
    pg_temp.get(w.run, w.step_key), w.outcome, format('%s has its payload', w.step_key)
)
FROM (
    VALUES ('bounds', 'a', 'delivered 1'), ('other bounds', 'b', 'delivered 2')
) AS w (run, step_key, outcome);

CREATE TEMP TABLE renumbered ON COMMIT DROP AS
SELECT
    format('[5:6]=%s', pg_temp.run_ids('{bounds, other bounds}'))::uuid [] AS run_ids,
    '[0:1]={go, go}'::text [] AS signal_names, '[7:8]={id, id}'::text [] AS ids;
SELECT is(
    array_agg(d::text),
    (
        SELECT array_agg(ROW('delivered', w.run_id, w.step_key, w.delivered_at, true)::text ORDER BY w.step_key)
        FROM (VALUES ('bounds', 'a'), ('other bounds', 'b')) AS s (run, step_key)
        CROSS JOIN flow_signal_v1.get_waiter(md5(s.run)::uuid, s.step_key) AS w
    ), 'also where ids are known'
)
FROM renumbered AS r
CROSS JOIN flow_signal_v1.deliver_signals(
    p_run_ids => r.run_ids, p_signal_names => r.signal_names, p_payloads_json => '[-3:-2]={1, 2}',
    p_delivery_ids => r.ids
) AS d;
SELECT throws_ok(
    $$SELECT d.* FROM renumbered AS r
    CROSS JOIN flow_signal_v1.deliver_signals(r.run_ids, r.signal_names, '[-3:-2]={1, 3}', r.ids) AS d$$,
    'WS002', 'delivery id "id" was used with another payload', 'or used with another payload'
);

-- The delivery id.

SELECT is(
    pg_temp.register_all('{ids, ids, other ids}', '{a, b, c}'), '{waiting, waiting, waiting}',
    'three waiters'
);
SELECT is(
    pg_temp.deliver_all(
        '{ids, no ids, ids, ids, no ids, other ids, other ids}', '{1, 1, 1, 2, 2, 2, 2}',
        '{id, id, id, other, id, id, id}'
    ),
    '{delivered a, not_found, delivered a (replayed), delivered b, not_found, delivered c, '
    'delivered c (replayed)}',
    'the same id twice in one batch: within its (run, signal) a retry, elsewhere another signal'
);
SELECT is(
    pg_temp.deliver_all(
        '{ids, no ids, no ids, ids, ids, no ids}', '{3, 3, 3, 3, 4, 4}',
        '{new, id, id, new, new 2, id 2}', 'tomorrow'
    ),
    '{buffered, buffered, buffered (replayed), buffered (replayed), buffered, buffered}',
    'nor is a retry kept twice'
);
SELECT is(
    ARRAY[
        pg_temp.register('removed', 'a'), pg_temp.deliver('removed', '1', 'id 1'), pg_temp.remove('removed', 'a'),
        pg_temp.buffer('removed', '2', 'id 2'), pg_temp.register('removed', 'b'), pg_temp.remove('removed', 'b'),
        pg_temp.register('removed', 'c')
    ],
    '{waiting, delivered a, delivered 1, buffered, delivered 2, delivered 2, waiting}',
    'two waiters that got their signal are removed, a third waits'
);
SELECT is(
    pg_temp.deliver_all(
        '{removed, removed, removed, removed}', '{1, 2, 3, 1}', '{id 1, id 2, id 3, id 1}', b.until
    ),
    b.verdicts, format('their ids are still known, kept until %s', b.until)
)
FROM (
    VALUES
    (timestamptz '2001-01-01', ARRAY[
        'delivered a (replayed)', 'delivered b (replayed)', 'delivered c', 'delivered a (replayed)'
    ]),
    ('tomorrow', ARRAY[
        'delivered a (replayed)', 'delivered b (replayed)', 'delivered c (replayed)', 'delivered a (replayed)'
    ])
) AS b (until, verdicts);
SELECT is(
    left(pg_temp.refusal(format(
        'deliver_signals(p_run_ids => %L, p_signal_names => %L, p_payloads_json => %L, '
        'p_delivery_ids => %L)', pg_temp.run_ids('{all, removed}'), '{go, go}', '{1, 2}', '{id, id 1}'
    )), 5), 'WS002', 'with another payload they are refused'
);
CREATE TEMP TABLE before ON COMMIT DROP AS SELECT pg_temp.contents() AS contents;
SELECT is(
    pg_temp.deliver_all(
        '{ids, ids, ids, no ids, ids, other ids}', '{1, 2, 3, 3, 4, 2}',
        '{id, other, new, id, new 2, id}', b.until
    ),
    '{delivered a (replayed), delivered b (replayed), buffered (replayed), '
    'buffered (replayed), buffered (replayed), delivered c (replayed)}',
    format('all of them again, kept until %s', b.until)
)
FROM (VALUES (NULL), (timestamptz '2001-01-01'), ('2990-01-01')) AS b (until);
SELECT is(pg_temp.contents(), b.contents, 'which writes nothing') FROM before AS b;
SELECT is(
    d::text, ROW('delivered', w.run_id, w.step_key, w.delivered_at, true)::text,
    'a replay tells the step and the instant of the delivery'
)
FROM flow_signal_v1.get_waiter(p_run_id => md5('ids')::uuid, p_step_key => 'a') AS w
CROSS JOIN flow_signal_v1.deliver_signals(
    p_run_ids => ARRAY[w.run_id], p_signal_names => '{go}', p_payloads_json => '{1}',
    p_delivery_ids => '{id}'
) AS d;

SELECT is(
    pg_temp.register_all('{ids, more ids, ids, ids}', '{d, e, f, g}'),
    '{delivered 3, waiting, delivered 4, waiting}', 'what was kept is taken, two more wait'
);
SELECT is(
    pg_temp.deliver_all(
        '{ids, ids, more ids, ids, ids}', '{3, 1, 1, 5, 3}', '{new, id, id, newest, new}'
    ),
    '{delivered d (replayed), delivered a (replayed), delivered e, delivered g, '
    'delivered d (replayed)}',
    'retries among new signals reach nobody else'
);
SELECT is(
    ARRAY[
        pg_temp.register('older', 'old', p_signal_name => 'elsewhere'),
        pg_temp.register('older', 'young'), pg_temp.register('older', 'old'),
        pg_temp.deliver('older', '1', 'id')
    ],
    '{waiting, waiting, waiting, delivered old}', 'an id that is known, and a younger live waiter'
);
SELECT is(
    pg_temp.deliver_all('{older, older ids}', '{1, 1}', '{id, id}'),
    '{delivered old (replayed), not_found}', 'is a retry all the same'
);
SELECT is(pg_temp.get('older', 'young'), 'waiting', 'the younger one waits');
SELECT is(
    pg_temp.deliver_all('{older, older}', '{2, 1}', '{NULL, id}'),
    '{delivered young, delivered old (replayed)}', 'until a signal comes for it'
);
SELECT is(
    ARRAY[
        pg_temp.register('oldest removed', 'a'), pg_temp.register('oldest removed', 'b'),
        pg_temp.register('oldest removed', 'c'), pg_temp.deliver('oldest removed', '1'),
        pg_temp.deliver('oldest removed', '2', 'id'), pg_temp.remove('oldest removed', 'a')
    ],
    '{waiting, waiting, waiting, delivered a, delivered b, delivered 1}',
    'an id that is known, its waiter not the oldest'
);
SELECT is(
    pg_temp.deliver_all('{oldest removed, oldest removed, oldest removed}', '{2, 3, 2}', '{id, NULL, id}'),
    '{delivered b (replayed), delivered c, delivered b (replayed)}', 'is a retry, too'
);
SELECT is(pg_temp.buffer('dead ids', '1', 'id'), 'buffered', 'a signal is kept');
DO $$ BEGIN PERFORM pg_temp.let_buffered_die('dead ids'); END $$;
SELECT is(
    pg_temp.deliver_all('{dead ids, dead ids}', '{2, 2}', '{id, id}', 'tomorrow'),
    '{buffered, buffered (replayed)}', 'past its time, its id is forgotten'
);

-- One id with two payloads undoes all.

SELECT is(
    pg_temp.register_all('{all, nothing, nothing}', '{s, s, t}'), '{waiting, waiting, waiting}',
    'three waiters'
);
SELECT is(
    ARRAY[
        pg_temp.register('known', 's'), pg_temp.deliver('known', '1', 'id'),
        pg_temp.buffer('known and kept', '1', 'id')
    ],
    '{waiting, delivered s, buffered}', 'two ids are known'
);
SELECT is(
    pg_temp.refusal(format(
        'deliver_signals(p_run_ids => %L, p_signal_names => %L, p_payloads_json => %L, '
        'p_delivery_ids => %L, p_buffer_until => %L)',
        pg_temp.run_ids(r.runs), array_fill('go'::text, ARRAY[cardinality(r.runs)]), r.payloads,
        r.ids, r.until
    )),
    format(
        E'WS002 delivery id "id" was used with another payload\n'
        'signal "go" of run %s is recorded under it as %s\n'
        'repeat the payload byte for byte, or send a new signal under a new id',
        md5(r.run)::uuid, r.status
    ),
    format('%s %s %s', r.runs, r.payloads, r.ids)
)
FROM (
    VALUES
    ('{all, nothing, nothing}'::text [], '{1, 1, 2}'::text [], '{id, id, id}'::text [], NULL,
        'nothing', 'delivered'),
    ('{all, nothing, nothing}', ARRAY['1', '1', '1 '], '{id, id, id}', NULL, 'nothing', 'delivered'),
    ('{all, nothing, nothing}', '{1, NULL, "null"}', '{id, id, id}', NULL, 'nothing', 'delivered'),
    ('{all, known, nothing}', '{1, 2, 1}', '{id, id, id}', NULL, 'known', 'delivered'),
    ('{all, nothing, known}', '{1, 1, NULL}', '{id, id, id}', NULL, 'known', 'delivered'),
    ('{all, known and kept}', '{1, 2}', '{id, id}', NULL, 'known and kept', 'buffered'),
    ('{all, new, all, new}', '{1, 1, 2, 2}', '{id, id, id 2, id}', timestamptz 'tomorrow', 'new',
        'buffered')
) AS r (runs, payloads, ids, until, run, status);
SELECT is(
    pg_temp.deliver_all('{all, nothing, nothing, new}', '{2, 2, 3, 1}', '{id, id, id 2, id}'),
    '{delivered s, delivered s, delivered t, not_found}', 'no id of these was recorded'
);

-- The queue and the wake channel.

SELECT is(
    pg_temp.register_all(
        '{queue 3, queue 1, queue 1, queue 2, queue 4}', '{a, a, b, a, a}', p_queue => 'q'
    ) || pg_temp.register_all('{queue 5, queue 1}', '{a, c}', p_queue => 'other'),
    '{waiting, waiting, waiting, waiting, waiting, waiting, waiting}', 'waiters with a queue'
);
SELECT is_empty(
    $$SELECT * FROM flow_signal_v1.claim_waiters(p_queue => 'q')$$, 'that are not due'
);
SELECT is(
    pg_temp.deliver_all('{queue 5, queue 3, queue 1, queue 2, queue 1}'),
    '{delivered a, delivered a, delivered a, delivered a, delivered b}', 'four of them are sent to'
);
SELECT is(
    array_agg(ROW(c.run_id, c.step_key)::text ORDER BY c.run_id, c.step_key),
    (
        SELECT array_agg(ROW(md5(w.run)::uuid, w.step_key)::text ORDER BY md5(w.run), w.step_key)
        FROM (
            VALUES ('queue 3', 'a'), ('queue 1', 'a'), ('queue 2', 'a'), ('queue 1', 'b')
        ) AS w (run, step_key)
    ),
    'claim_waiters hands them out'
)
FROM flow_signal_v1.claim_waiters(p_queue => 'q') AS c;

RESET ROLE;
\ir ../notified.psql
SET LOCAL ROLE flow_signal_engine;
SELECT is(
    pg_temp.register_all('{wake, wake, wake 2}', '{a, b, a}', p_wake_channel => 'c')
    || pg_temp.register_all('{wake 2, wake 3}', '{b, a}')
    || pg_temp.register_all('{wake, wake 3}', '{c, b}', p_wake_channel => 'd'),
    '{waiting, waiting, waiting, waiting, waiting, waiting, waiting}', 'waiters with a wake channel, and others'
);
SELECT is(
    pg_temp.deliver_all(
        '{wake 2, wake, wake 3, wake, wake 2, wake}', NULL, '{NULL, id, NULL, id, NULL, NULL}'
    ),
    '{delivered a, delivered a, delivered a, delivered a (replayed), delivered b, delivered b}',
    'some of them get a signal'
);
SELECT is(
    array_agg(concat(n.channel, ' ', n.payload) ORDER BY n.payload),
    (
        SELECT array_agg(format('c %s/%s', md5(w.run)::uuid, w.step_key) ORDER BY md5(w.run), w.step_key)
        FROM (VALUES ('wake', 'a'), ('wake', 'b'), ('wake 2', 'a')) AS w (run, step_key)
    ),
    'and are notified, once each'
)
FROM notified AS n;

-- What is refused: an element, by its number.

SELECT is(
    pg_temp.register_all('{refused 1, refused 2, refused 3, refused 4}', '{s, s, s, s}'),
    '{waiting, waiting, waiting, waiting}', 'live waiters, which no refused signal reaches'
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
        'no signal name', 'signal name', NULL, pg_temp.is_null('signal name %1$s')
    ),
    (
        'blank signal name', 'signal name', E' \u3000\n',
        pg_temp.is_blank('signal name %1$s', E' \u3000?')
    ),
    (
        'long signal name', 'signal name', repeat('🙂', 257),
        pg_temp.is_too_long('signal name %1$s', repeat('🙂', 40))
    ),
    (
        'blank delivery id', 'delivery id', '',
        pg_temp.is_blank('delivery id %1$s', '')
    ),
    (
        'long delivery id', 'delivery id', repeat('x', 257),
        pg_temp.is_too_long('delivery id %1$s', repeat('x', 40))
    ),
    (
        'large payload', 'payload', '"' || repeat('x', 1048575) || '"',
        E'WS003 payload %1$s of 1048577 bytes is too large\n'
        'a payload has at most 1048576 bytes of text\n'
        'store the data elsewhere and send a reference to it'
    ),
    (
        'no JSON', 'payload', '[1, 2',
        pg_temp.not_json('payload %1$s', '[1, 2', 'line 1, before character 6')
    ),
    (
        'deep payload', 'payload', repeat('[', 500000),
        E'54001 payload %1$s is nested too deeply\n'
        '500000 characters; this server cannot parse so many nested arrays or objects\n'
        'send the inner part as a JSON string'
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
    v_signal_names text [] := '{go, go, go, go}';
    v_payloads_json text [] := '{1, 2, 3, 4}';
    v_delivery_ids text [] := '{a, b, c, d}';
BEGIN
    FOR v_bad IN
        SELECT left(p.bad, 1)::integer AS n, b.argument, b.value
        FROM unnest(p_bads) AS p (bad)
        INNER JOIN bads AS b ON b.bad = substr(p.bad, 3)
    LOOP
        CASE v_bad.argument
            WHEN 'run id' THEN v_run_ids[v_bad.n] := v_bad.value;
            WHEN 'signal name' THEN v_signal_names[v_bad.n] := v_bad.value;
            WHEN 'payload' THEN v_payloads_json[v_bad.n] := v_bad.value;
            WHEN 'delivery id' THEN v_delivery_ids[v_bad.n] := v_bad.value;
        END CASE;
    END LOOP;
    RETURN pg_temp.refusal(format(
        'deliver_signals(p_run_ids => %L, p_signal_names => %L, p_payloads_json => %L, '
        'p_delivery_ids => %L, p_buffer_until => %L)',
        v_run_ids, v_signal_names, v_payloads_json, v_delivery_ids, 'tomorrow'
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
    'and its values are looked at in the order of the parameters, the payload last'
);
SELECT is(
    pg_temp.refusal(format(
        'deliver_signals(p_run_ids => %L, p_signal_names => %L, p_payloads_json => %L)',
        format('[5:6]=%s', pg_temp.run_ids('{refused 1, refused 2}')), '[0:1]={go, go}',
        '[-3:-2]={1, x}'
    )),
    pg_temp.not_json('payload 2', 'x', 'line 1, before character 2'),
    'elements are counted from 1, whatever the numbers that they have'
);
SELECT is(
    pg_temp.refusal(format(
        'deliver_signals(p_run_ids => %L, p_signal_names => %L, p_payloads_json => %L)',
        pg_temp.run_ids('{refused 1}'), '{go}', ARRAY[j.payload_json]
    )),
    pg_temp.not_json('payload 1', j.payload_json, j.at),
    format('no JSON: %s', to_json(left(j.payload_json, 40)))
)
FROM (
    VALUES
    ('', 'line 1, before character 1'), (' ', 'line 1, before character 2'),
    ('approved', 'line 1, before character 9'), ('{a: 1}', 'line 1, before character 3'),
    ('1 2', 'line 1, before character 4'), ('"a', 'line 1, before character 3'),
    ('NULL', 'line 1, before character 5'), (E'"a\nb"', 'line 1, before character 3'),
    (E'[1,\n 2 3]', 'line 2, before character 5'), (repeat('x', 1048576), 'line 1')
) AS j (payload_json, at);

-- The quota of buffered signals, which refuses the batch as a whole.

RESET ROLE;
UPDATE flow_signal.flow_signal_settings SET max_buffered = 3;
SET LOCAL ROLE flow_signal_engine;
SELECT is(
    pg_temp.register('quota 1', 's') || pg_temp.buffer('quota 2', '1', 'id'), 'waitingbuffered',
    'a waiter, and one signal of three that may be kept'
);
SELECT is(
    pg_temp.refusal(format(
        'deliver_signals(p_run_ids => %L, p_signal_names => %L, p_payloads_json => %L, '
        'p_delivery_ids => %L, p_buffer_until => %L)',
        pg_temp.run_ids('{quota 1, quota 3, quota 2, quota 2, quota 2, quota 2}'),
        '{go, go, go, go, go, go}', '{1, 2, 1, 4, 5, 6}', '{a, b, id, d, e, f}', 'tomorrow'
    )),
    format(
        E'WS004 run %s has too many buffered signals "go"\n'
        '3 signals wait for a waiter, as many as are kept\n'
        'list_buffered_signals shows them; an engine takes one back with withdraw_signal',
        md5('quota 2')::uuid
    ),
    'one signal too many, and nothing is changed'
);
SELECT is(
    pg_temp.deliver_all(
        '{quota 1, quota 3, quota 2, quota 2, quota 2}', '{2, 3, 1, 4, 5}', '{a, b, id, d, e}', 'tomorrow'
    ),
    '{delivered s, buffered, buffered (replayed), buffered, buffered}',
    'as many as are kept; the refused batch recorded no id, and a retry does not count'
);
SELECT is(
    pg_temp.deliver_all('{quota 2}'), '{not_found}', 'a signal that is not to be kept is refused truthfully'
);

-- And the call as a whole.

SELECT is(
    pg_temp.refusal(format('deliver_signals(%s)', c.arguments)), c.refusal,
    format('refused: %s', c.arguments)
)
FROM (
    SELECT
        'p_run_ids => NULL, p_signal_names => NULL, p_payloads_json => NULL',
        pg_temp.is_null('array of run ids')
    UNION ALL
    SELECT
        'p_run_ids => ''{}'', p_signal_names => NULL, p_payloads_json => NULL',
        pg_temp.is_null('array of signal names')
    UNION ALL
    SELECT
        format(
            'p_run_ids => %L, p_signal_names => %L, p_payloads_json => %L, p_delivery_ids => %L',
            r.run_ids, a.signal_names, a.payloads_json, a.delivery_ids
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
        ('{go}', NULL, NULL, '2, 1', 1), ('{go, go, go}', NULL, NULL, '2, 3', 1),
        ('{}', '{1, 2}', NULL, '2, 0, 2', 1), ('{go, go}', '{1}', NULL, '2, 2, 1', 1),
        ('{go, go}', '{}', NULL, '2, 2, 0', 1), ('{go, go}', '{1, 2, 3}', '{a}', '2, 2, 3, 1', 1),
        ('{go, go}', '{1, 2}', '{a, b, c}', '2, 2, 2, 3', 1),
        ('{go, go}', NULL, '{}', '2, 2, 0', 1), ('{{go, go}}', NULL, NULL, '2, 2', 2),
        ('{{go}, {go}}', NULL, NULL, '2, 2', 2),
        ('{go, go}', '{{1, 2}}', NULL, '2, 2, 2', 2), ('{go, go}', NULL, '{{{a}, {b}}}', '2, 2, 2', 3)
    ) AS a (signal_names, payloads_json, delivery_ids, lengths, dimensions)
    UNION ALL
    SELECT
        format(
            'p_run_ids => %L, p_signal_names => ''{{go}, {go}}'', p_payloads_json => NULL',
            ARRAY[pg_temp.run_ids('{refused 1}'), pg_temp.run_ids('{refused 2}')]
        ),
        E'22023 arrays of 2, 2 elements are not a batch\n'
        'element n of each array belongs to input n; the most dimensions are 2\n'
        'pass arrays of one dimension and equal length; leave an optional one out'
    UNION ALL
    SELECT
        'p_run_ids => ''{}'', p_signal_names => ''{go}'', p_payloads_json => NULL',
        E'22023 arrays of 0, 1 elements are not a batch\n'
        'element n of each array belongs to input n; the most dimensions are 1\n'
        'pass arrays of one dimension and equal length; leave an optional one out'
    UNION ALL
    SELECT
        format(
            'p_run_ids => %L, p_signal_names => ''{go}'', p_payloads_json => NULL, '
            'p_buffer_until => %L',
            pg_temp.run_ids('{refused 1}'), u.until
        ),
        format(
            E'22023 buffer time %s is out of range\n'
            'drivers carry finite instants of the years 1 to 9999\n'
            'pass an instant at which the buffered signal may be forgotten',
            u.until
        )
    FROM (
        VALUES
        (timestamptz 'infinity'), ('-infinity'), ('10000-01-01 00:00:00+00'),
        ('0001-12-31 23:59:59.999999+00 BC')
    ) AS u (until)
) AS c (arguments, refusal);

SELECT is(
    ARRAY(SELECT pg_temp.get('refused ' || n, 's') FROM generate_series(1, 4) AS n),
    '{waiting, waiting, waiting, waiting}', 'the waiters still wait'
);
SELECT is(
    pg_temp.deliver_all(
        '{refused 1, refused 2, refused 3, refused 4}', '{4, 3, 2, 1}', '{a, b, c, d}'
    ),
    '{delivered s, delivered s, delivered s, delivered s}', 'and no id was recorded'
);

-- The payload, byte for byte: to each of two, and kept.

CREATE TEMP TABLE payloads ON COMMIT DROP AS
SELECT row_number() OVER () AS n, p.payload_json
FROM (
    VALUES
    (NULL), ('null'), ('"NULL"'), ('""'), ('"{}"'), ('{}'), ('[]'), ('{"a": "b, c"}'), ('[1,2]'),
    ('"a\"b\\"'), ('"\\"'), ('""  '), ('1.10'), ('1e400'), ('-0'), ('{ "b" : 1,  "a":2 }'),
    ('{"a": 1, "a": 2}'), (E' \n\t{"a":\r\n1}\n '), ('"\u0000\ud800"'), ('"ä🙂\u00e4"'),
    (E'"\u2028\u00a0\ufeff"'), ('"''%s$1"'), (repeat('[', 1000) || repeat(']', 1000)),
    ('"' || repeat('x', 1048574) || '"'), ('"' || repeat('🙂', 262143) || '.."')
) AS p (payload_json);
SELECT is(
    max(octet_length(p.payload_json)), 1048576, 'the largest payload has 1 MiB'
)
FROM payloads AS p;
SELECT is(
    pg_temp.register_all(
        array_agg('payload ' || p.n ORDER BY s.step_key, p.n),
        array_agg(s.step_key ORDER BY s.step_key, p.n)
    ),
    array_agg('waiting'::text), 'two waiters for each'
)
FROM payloads AS p
CROSS JOIN (VALUES ('a'), ('b')) AS s (step_key);
SELECT is(
    pg_temp.deliver_all(
        array_agg('payload ' || p.n ORDER BY s.step_key, p.n),
        array_agg(p.payload_json ORDER BY s.step_key, p.n), NULL, 'tomorrow'
    ),
    array_agg(s.verdict ORDER BY s.step_key, p.n), 'three signals'
)
FROM payloads AS p
CROSS JOIN (
    VALUES ('a', 'delivered a'), ('b', 'delivered b'), ('c', 'buffered')
) AS s (step_key, verdict);
SELECT is_empty(
    $$SELECT p.n, s.step_key, w.state, w.payload_json
    FROM payloads AS p
    CROSS JOIN (VALUES ('a'), ('b'), ('c')) AS s (step_key)
    CROSS JOIN flow_signal_v1.register_waiter(
        p_run_id => md5('payload ' || p.n)::uuid, p_step_key => s.step_key,
        p_signal_name => 'go'
    ) AS w
    WHERE (w.state, w.payload_json::text) IS DISTINCT FROM ('delivered', p.payload_json)$$,
    'come as they were sent'
);

RESET ROLE;
-- The work grows with the batch, not with its square, when all of it is for one (run, signal).

CREATE FUNCTION pg_temp.rows_read()
RETURNS bigint
LANGUAGE sql
SECURITY DEFINER
AS $function$
SELECT sum(pg_stat_get_xact_tuples_returned(c.oid) + pg_stat_get_xact_tuples_fetched(c.oid))::bigint
FROM pg_class AS c
WHERE c.relnamespace = 'flow_signal'::regnamespace
$function$;
-- What three batches of this size read: waiters join, they get their signals, signals are refused.
CREATE FUNCTION pg_temp.work(p_size integer)
RETURNS bigint []
LANGUAGE plpgsql
AS $function$
DECLARE
    v_runs text [] := array_fill('work ' || p_size, ARRAY[p_size]);
    v_rows_read bigint [] := ARRAY[pg_temp.rows_read()];
BEGIN
    PERFORM pg_temp.register_all(v_runs, ARRAY(SELECT 's' || n FROM generate_series(1, p_size) AS n));
    v_rows_read := v_rows_read || pg_temp.rows_read();
    PERFORM pg_temp.deliver_all(v_runs, NULL, ARRAY(SELECT 'id ' || n FROM generate_series(1, p_size) AS n));
    v_rows_read := v_rows_read || pg_temp.rows_read();
    -- other waiters, since the old index entries of the first ones are dead only after the commit
    v_runs := array_fill('settled ' || p_size, ARRAY[p_size]);
    INSERT INTO flow_signal.flow_signal_waiters (
        run_id, step_key, signal_name, status, created_at, expires_at
    )
    SELECT md5(v_runs[1])::uuid, 's' || n, 'go', 'expired', now(), now()
    FROM generate_series(1, p_size) AS n;
    v_rows_read := v_rows_read || pg_temp.rows_read();
    PERFORM pg_temp.deliver_all(v_runs);
    v_rows_read := v_rows_read || pg_temp.rows_read();
    RETURN ARRAY[
        v_rows_read[2] - v_rows_read[1], v_rows_read[3] - v_rows_read[2], v_rows_read[5] - v_rows_read[4]
    ];
END
$function$;
SELECT pg_temp.work(100) AS small, pg_temp.work(800) AS large
\gset
SELECT cmp_ok(w.large, '<', 16 * (w.small + 10), format('batch %s of eight times the size', w.n))
FROM unnest(:'small'::bigint [], :'large'::bigint []) WITH ORDINALITY AS w (small, large, n);

-- And of all that was done in this file:

SELECT is_empty(
    $$SELECT w.step_key, w.due_at
    FROM flow_signal.flow_signal_waiters AS w WHERE w.queue IS NULL AND w.due_at IS NOT NULL$$,
    'a waiter without a queue is never due'
);
SELECT is_empty(
    $$SELECT w.step_key, w.created_at, w.delivered_at, w.expires_at
    FROM flow_signal.flow_signal_waiters AS w
    WHERE w.delivered_at <= now() OR w.delivered_at <= w.created_at
        OR w.delivered_at >= w.expires_at OR w.delivered_at > clock_timestamp()$$,
    'delivered after it was created and before its deadline'
);

SELECT * FROM finish();
ROLLBACK;
