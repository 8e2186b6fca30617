-- remove_run forgets all waiters, buffered signals and ids of a run, and nothing of other runs.
BEGIN;
SELECT plan(82);
\ir ../helpers.psql
\ir ../lines.psql
-- What is there of a run, or of all the others.
CREATE FUNCTION pg_temp.rows_of(p_run text, p_of_others boolean DEFAULT false)
RETURNS text
LANGUAGE sql
SECURITY DEFINER
AS $function$
SELECT string_agg(r.contents, E'\n' ORDER BY r.contents)
FROM (
    SELECT w.run_id, w::text
    FROM flow_signal.flow_signal_waiters AS w
    UNION ALL
    SELECT b.run_id, b::text
    FROM flow_signal.flow_signal_buffered_signals AS b
    UNION ALL
    SELECT r.run_id, r::text
    FROM flow_signal.flow_signal_receipts AS r
    UNION ALL
    SELECT l.run_id, l::text
    FROM flow_signal.flow_signal_locks AS l
    UNION ALL
    SELECT t.run_id, t::text
    FROM flow_signal.flow_signal_tokens AS t
) AS r (run_id, contents)
WHERE (r.run_id = md5(p_run)::uuid) <> p_of_others
$function$;

SET LOCAL ROLE flow_signal_engine;

SELECT is(
    pg_get_function_arguments('flow_signal_v1.remove_run'::regproc), 'p_run_id uuid',
    'the parameter'
);
SELECT is(pg_get_function_result('flow_signal_v1.remove_run'::regproc), 'bigint', 'the result');

CREATE FUNCTION pg_temp.remove_run(p_run text)
RETURNS bigint
LANGUAGE sql
AS $function$
SELECT flow_signal_v1.remove_run(p_run_id => md5(p_run)::uuid)
$function$;

SELECT is(pg_temp.remove_run('run'), 0::bigint, 'there is no run at all');

-- A FIFO of every kind.

DO $$ BEGIN PERFORM pg_temp.make_lines('a'); END $$;
SELECT is(pg_temp.buffer('a one', '1', p_signal_name => 'stop'), 'buffered', 'a signal is kept');
CREATE TEMP TABLE runs ON COMMIT DROP AS
SELECT
    'a ' || k.kind AS run, k.kind, (
        SELECT count(*)
        FROM flow_signal_v1.list_waiters(p_run_id => md5('a ' || k.kind)::uuid)
    ) AS waiters
FROM kinds AS k;
SELECT is(
    ROW(
        pg_temp.remove_run(r.run), pg_temp.rows_of(r.run), pg_temp.rows_of(r.run, true) = o.others
    )::text,
    ROW(r.waiters, NULL, true)::text,
    format('%s: %s waiters go, the other runs are as they were', r.kind, r.waiters)
)
FROM runs AS r
CROSS JOIN LATERAL pg_temp.rows_of(r.run, true) AS o (others)
WHERE r.kind <> 'three';
SELECT is(
    pg_temp.remove_run(r.run), 0::bigint, format('%s: nothing is left to remove', r.kind)
)
FROM runs AS r
WHERE r.kind <> 'three';
SELECT is(
    pg_temp.rows_written(format('remove_run(p_run_id => %L)', md5('a one')::uuid)), 0::bigint,
    'which writes nothing'
);
SELECT is(
    pg_temp.deliver('a ' || k.kind), 'not_found', format('%s: a sender finds no waiter', k.kind)
)
FROM (VALUES ('one'), ('delivered in front'), ('oldest removed'), ('expired')) AS k (kind);
SELECT is(
    pg_temp.register('a one', 'x', p_signal_name => 'stop'), 'waiting', 'what was kept is gone'
);
SELECT is(
    ARRAY[pg_temp.deliver('a three'), pg_temp.deliver('a three'), pg_temp.deliver('a three')],
    '{delivered b, delivered a, delivered c}', 'another run goes on'
);

-- A run of many signals.

SELECT is(
    pg_temp.register_all(
        array_agg(r.run), array_agg(n.name), NULL, array_agg(n.name), 'c', 'q'
    ),
    array_agg('waiting'::text), format('run %s: %s steps and signals', r.run, count(*))
)
FROM (VALUES ('run'), ('next run')) AS r (run)
CROSS JOIN unnest(
    ARRAY[
        'a', 'A', 'a ', 'ä', E'a\n', '%', '\', '''', '-', repeat('-', 256), repeat('🙂', 256),
        (SELECT string_agg(chr(131072 + n * 7919 % 42000), '') FROM generate_series(1, 256) AS n)
    ] || ARRAY(SELECT 'signal ' || n FROM generate_series(1, 500) AS n)
) AS n (name)
GROUP BY r.run;
SELECT is(
    pg_temp.register_all('{run, run, run}', '{x, y, z}', p_signal_names => '{a, a, ä}'),
    '{waiting, waiting, waiting}', 'three more steps'
);
SELECT is(
    pg_temp.deliver_all(
        '{run, run, run, run, run, run, run, next run}', '{1, 2, 3, 4, 5, 6, 7, 8}',
        '{id, id, NULL, id, id, id 2, NULL, id}', 'tomorrow',
        '{a, ä, %, early, dead, dead, early, early}'
    ),
    '{delivered a, delivered ä, delivered %, buffered, buffered, buffered, buffered, buffered}',
    'signals, some of them kept'
);
DO $$
BEGIN
    PERFORM pg_temp.let_buffered_die('run', '5', '6');
    PERFORM pg_temp.register('run', 'finds one dead', p_signal_name => 'dead');
    PERFORM pg_temp.let_buffered_die('next run', '8');
END
$$;
CREATE TEMP TABLE before ON COMMIT DROP AS SELECT pg_temp.rows_of('run', true) AS others;
SELECT is(
    pg_temp.remove_run('run'), 516::bigint,
    'delivered or not: the waiters are counted, the signals are not'
);
SELECT is(
    pg_temp.rows_of('run'), NULL, 'nothing of the run is left, neither dead letters nor receipts'
);
SELECT is(pg_temp.rows_of('run', true), b.others, 'of all others everything')
FROM before AS b;
SELECT is(
    pg_temp.deliver_all('{run, run, run}', '{2, 2, 2}', '{id, id, id}', NULL, '{a, ä, early}'),
    '{not_found, not_found, not_found}', 'no id is remembered'
);
SELECT is(
    pg_temp.register_all(
        '{run, run, run, run}', '{a, %, x, finds one dead}', NULL, '{early, %, a, dead}'
    ),
    '{waiting, waiting, waiting, waiting}', 'the steps may wait anew, for anything'
);
SELECT is(
    pg_temp.deliver_all('{run, run}', '{3, 3}', '{id, id}', NULL, '{early, %}'),
    '{delivered a, delivered %}', 'and get signals'
);
SELECT is_empty(
    $$SELECT c.* FROM flow_signal_v1.claim_waiters(p_queue => 'q') AS c$$,
    'removed waiters are not handed out any more'
);
SELECT is(pg_temp.remove_run('run'), 4::bigint, 'the run is removed again');
SELECT is(pg_temp.buffer('run', '4'), 'buffered', 'a run of which only a signal is kept');
SELECT is(pg_temp.remove_run('run'), 0::bigint, 'has no waiters');
SELECT is(pg_temp.rows_of('run'), NULL, 'and is gone all the same');
SELECT is(pg_temp.remove_run('next run'), 512::bigint, 'another run is over');

-- The receipts of waiters that were removed before.

SELECT is(
    ARRAY[
        pg_temp.register('receipts', 's'), pg_temp.deliver('receipts', '1', 'id'),
        pg_temp.remove('receipts', 's'), pg_temp.deliver('receipts', '1', 'id')
    ],
    ARRAY['waiting', 'delivered s', 'delivered 1', 'delivered s (replayed)'],
    'the id of a removed waiter is known'
);
SELECT is(pg_temp.remove_run('receipts'), 0::bigint, 'its run is over');
SELECT is(pg_temp.rows_of('receipts'), NULL, 'no row of it is left');
SELECT is(
    pg_temp.deliver('receipts', '2', 'id') || pg_temp.register('receipts', 's')
    || pg_temp.deliver('receipts', '2', 'id'),
    'not_foundwaitingdelivered s', 'and its id may be used anew'
);

-- Tokens: redeemed, void and good.

SELECT is(
    ARRAY[
        pg_temp.register('tokens', 'a'), pg_temp.redeem(pg_temp.issue('tokens', 'a')),
        pg_temp.register('tokens', 'b'), left(pg_temp.issue('tokens', 'b'), 4), pg_temp.remove('tokens', 'b'),
        pg_temp.register('tokens', 'c'), left(pg_temp.issue('tokens', 'c'), 4)
    ],
    ARRAY['waiting', 'delivered a', 'waiting', 'fst_', 'waiting', 'waiting', 'fst_'],
    'a run has tokens of every kind'
);
SELECT is(
    pg_temp.register('other run', 'a') || ' ' || left(pg_temp.issue('other run', 'a'), 4), 'waiting fst_',
    'another run has one'
);
SELECT is(
    pg_temp.remove_run('tokens') || coalesce(pg_temp.rows_of('tokens'), ''), '2', 'they are gone with their run'
);
SELECT matches(pg_temp.rows_of('other run'), 'x[0-9a-f]{64}', 'that of the other run is there');

-- What is refused.

SELECT is(
    pg_temp.refusal('remove_run(p_run_id => NULL)'), pg_temp.is_null('run id'), 'no run id'
);

SELECT * FROM finish();
ROLLBACK;
