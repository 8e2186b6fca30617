-- get_waiter returns the waiter of a step as it is now, or no row, and only reads.
BEGIN;
SELECT plan(33);
\ir ../helpers.psql
SET LOCAL ROLE flow_signal_engine;

SELECT is(
    pg_get_function_arguments('flow_signal_v1.get_waiter'::regproc),
    'p_run_id uuid, p_step_key text',
    'the parameters and their order'
);
SELECT is(
    pg_get_function_result('flow_signal_v1.get_waiter'::regproc), 'SETOF flow_signal_v1.waiter',
    'the result'
);

CREATE TEMP TABLE registered ON COMMIT DROP AS
SELECT w.*
FROM (
    VALUES
    ('waits', NULL), ('waits until', timestamptz '2990-01-02 03:04:05.678901+00'),
    ('late', '2001-02-03 04:05:06.789012+00')
) AS s (step_key, deadline)
CROSS JOIN LATERAL flow_signal_v1.register_waiter(
    p_run_id => md5('run')::uuid, p_step_key => s.step_key, p_signal_name => 'go',
    p_expires_at => s.deadline
) AS w;
SELECT is(pg_temp.register('run', 'gets', 'tomorrow', 'gets'), 'waiting', 'a waiter');
SELECT is(
    pg_temp.deliver('run', ' {"a" : 1}', p_signal_name => 'gets'), 'delivered gets',
    'and its signal'
);

GRANT SELECT ON registered TO public;
SET LOCAL ROLE flow_signal_reader;

SELECT is(w::text, r::text, format('%s: as register_waiter returned it', r.step_key))
FROM registered AS r
CROSS JOIN LATERAL flow_signal_v1.get_waiter(
    p_run_id => r.run_id, p_step_key => r.step_key
) AS w;
SELECT is(
    ROW(w.step_key, w.signal_name, w.state, w.expires_at, w.payload_json)::text,
    ROW('gets', 'gets', 'delivered', timestamptz 'tomorrow', ' {"a" : 1}')::text,
    'a delivered waiter comes with its payload'
)
FROM flow_signal_v1.get_waiter(p_run_id => md5('run')::uuid, p_step_key => 'gets') AS w;
SELECT is_empty(
    format(
        'SELECT * FROM flow_signal_v1.get_waiter(p_run_id => %L, p_step_key => %L)', n.run_id,
        n.step_key
    ),
    format('no row: step "%s"', n.step_key)
)
FROM (
    VALUES
    (md5('run')::uuid, 'nobody'), (md5('run')::uuid, 'GETS'), (md5('run')::uuid, 'gets '),
    (md5('run')::uuid, 'waits_until'), (md5('run')::uuid, '%'),
    (md5('another run')::uuid, 'gets')
) AS n (run_id, step_key);
SELECT is(
    pg_temp.rows_written(
        format('get_waiter(p_run_id => %L, p_step_key => %L)', md5('run')::uuid, s.step_key)
    ),
    0::bigint, format('step "%s": reading it writes nothing', s.step_key)
)
FROM (VALUES ('waits'), ('late'), ('gets'), ('nobody')) AS s (step_key);

SET LOCAL ROLE flow_signal_engine;
SELECT is(
    pg_temp.register('run', 'waits', clock_timestamp()), 'expired',
    'a deadline that is reached just now'
);
SELECT is(
    pg_temp.get('run', 'waits'), 'expired',
    'is judged by the clock, not by the start of the transaction'
);
SELECT is(pg_temp.deliver('run'), 'delivered waits until', 'the next waiter gets the signal');
SELECT is(pg_temp.get('run', 'waits'), 'expired', 'the waiter that the sender passed over is expired');
SELECT is(pg_temp.get('run', 'late'), 'expired', 'as is the other one');

SET LOCAL transaction_read_only = on;
SELECT is(
    pg_temp.get('run', s.step_key), s.outcome,
    format('%s: in a read-only transaction', s.step_key)
)
FROM (
    VALUES ('waits', 'expired'), ('gets', 'delivered  {"a" : 1}'), ('nobody', NULL)
) AS s (step_key, outcome);

SELECT is(
    pg_temp.refusal(
        format('get_waiter(p_run_id => %L, p_step_key => %L)', c.run_id, c.step_key)
    ),
    pg_temp.is_null(c.what),
    format('no %s', c.what)
)
FROM (
    VALUES ('run id', NULL, 's'), ('step key', md5('run')::uuid, NULL)
) AS c (what, run_id, step_key);
SELECT is(
    pg_temp.refusal(
        format('get_waiter(p_run_id => %L, p_step_key => %L)', md5('run')::uuid, b.name)
    ),
    pg_temp.is_blank('step key', pg_temp.cleaned(b.name)),
    format('a blank step key: %s', to_json(b.name))
)
FROM (VALUES (''), (' '), (E'\u3000\n')) AS b (name);
SELECT is(
    pg_temp.refusal(
        format('get_waiter(p_run_id => %L, p_step_key => %L)', md5('run')::uuid, n.name)
    ),
    pg_temp.is_too_long('step key', left(n.name, 40)),
    format('a step key of 257 characters: %s', left(n.name, 1))
)
FROM (VALUES (repeat('x', 257)), (repeat('🙂', 257))) AS n (name);

SELECT * FROM finish();
ROLLBACK;
