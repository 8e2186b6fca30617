-- remove_waiter forgets a waiter and returns what it was; removing nothing is no error.
BEGIN;
SELECT plan(46);
\ir ../helpers.psql
SET LOCAL ROLE flow_signal_engine;

SELECT is(
    pg_get_function_arguments('flow_signal_v1.remove_waiter'::regproc),
    'p_run_id uuid, p_step_key text',
    'the parameters and their order'
);
SELECT is(
    pg_get_function_result('flow_signal_v1.remove_waiter'::regproc),
    'SETOF flow_signal_v1.waiter',
    'the result'
);

SELECT is(
    pg_temp.register('run', s.step_key, s.deadline, s.signal_name), s.state,
    format('%s: %s', s.step_key, s.state)
)
FROM (
    VALUES
    ('waits', NULL, 'go', 'waiting'), ('waits until', timestamptz 'tomorrow', 'go', 'waiting'),
    ('overdue', '2001-01-01', 'go', 'expired'), ('settled', '2001-01-01', 'stop', 'expired'),
    ('gets', 'tomorrow', 'get', 'waiting'), ('gets nothing', NULL, 'get', 'waiting'),
    ('stays', NULL, 'go', 'waiting')
) AS s (step_key, deadline, signal_name, state);
SELECT is(
    pg_temp.deliver('run', p_signal_name => 'stop'), 'expired settled',
    'one is settled as expired'
);
SELECT is(
    pg_temp.deliver('run', ' {"a" : 1}', 'id', p_signal_name => 'get'), 'delivered gets',
    'one gets a payload at the last moment'
);
SELECT is(
    pg_temp.deliver('run', p_signal_name => 'get'), 'delivered gets nothing',
    'one a signal without one'
);
SELECT is(pg_temp.register('another run', 'waits'), 'waiting', 'one is of another run');

CREATE TEMP TABLE before ON COMMIT DROP AS
SELECT w.*
FROM unnest(
    ARRAY['waits', 'waits until', 'overdue', 'settled', 'gets', 'gets nothing']
) AS s (step_key)
CROSS JOIN LATERAL flow_signal_v1.get_waiter(
    p_run_id => md5('run')::uuid, p_step_key => s.step_key
) AS w;
SELECT is(
    ARRAY(
        SELECT w::text
        FROM flow_signal_v1.remove_waiter(p_run_id => b.run_id, p_step_key => b.step_key) AS w
    ),
    ARRAY[b::text], format('%s: removed and returned as it was', b.step_key)
)
FROM before AS b;
SELECT is(
    pg_temp.get('run', b.step_key), NULL, format('%s: get_waiter finds it no more', b.step_key)
)
FROM before AS b;
SELECT is(
    pg_temp.rows_written(
        format('remove_waiter(p_run_id => %L, p_step_key => %L)', n.run_id, n.step_key)
    ),
    0::bigint, format('nothing is removed: step "%s"', n.step_key)
)
FROM (
    VALUES
    (md5('run')::uuid, 'gets'), (md5('run')::uuid, 'STAYS'), (md5('run')::uuid, 'stays '),
    (md5('run')::uuid, '%'), (md5('no run')::uuid, 'stays')
) AS n (run_id, step_key);
SELECT is(pg_temp.remove('run', 'gets'), NULL, 'removing nothing returns no row');
SELECT is(pg_temp.get('run', 'stays'), 'waiting', 'the others stay');
SELECT is(pg_temp.get('another run', 'waits'), 'waiting', 'those of other runs too');

SELECT is(
    pg_temp.deliver('run', p_signal_name => s.signal_name), 'not_found',
    format('the line of "%s", emptied, is not found', s.signal_name)
)
FROM (VALUES ('stop'), ('get')) AS s (signal_name);
SELECT is(
    pg_temp.deliver('run', '2', 'id', p_signal_name => 'get'), 'not_found',
    'nor is the delivery id of a waiter that was removed'
);
SELECT is(
    pg_temp.register('run', 'gets', p_signal_name => 'stop'), 'waiting',
    'the key can be used anew'
);
SELECT is(
    pg_temp.deliver('run', '2', 'id', p_signal_name => 'stop'), 'delivered gets', 'for anything'
);
SELECT is(
    pg_temp.deliver('run'), 'delivered stays',
    'the line goes on without the one that was its head'
);

SELECT is(
    pg_temp.refusal(
        format('remove_waiter(p_run_id => %L, p_step_key => %L)', c.run_id, c.step_key)
    ),
    format(E'22004 %s is null\nthis call needs a value there\npass a %s', c.what, c.what),
    format('no %s', c.what)
)
FROM (
    VALUES ('run id', NULL, 's'), ('step key', md5('run')::uuid, NULL)
) AS c (what, run_id, step_key);
SELECT is(
    pg_temp.refusal(
        format('remove_waiter(p_run_id => %L, p_step_key => %L)', md5('run')::uuid, b.name)
    ),
    format(
        E'22023 step key "%s" is blank\nit is empty or only white space\n'
        'give the step key a name',
        b.name
    ),
    format('a blank step key: %s', to_json(b.name))
)
FROM (VALUES (''), (' '), (E'\u3000\n')) AS b (name);
SELECT is(
    pg_temp.refusal(
        format('remove_waiter(p_run_id => %L, p_step_key => %L)', md5('run')::uuid, n.name)
    ),
    format(
        E'22023 step key "%s..." is too long\nit has 257 characters, at most 256 are kept\n'
        'shorten it, or send a hash of it',
        left(n.name, 40)
    ),
    format('a step key of 257 characters: %s', left(n.name, 1))
)
FROM (VALUES (repeat('x', 257)), (repeat('🙂', 257))) AS n (name);

SELECT * FROM finish();
ROLLBACK;
