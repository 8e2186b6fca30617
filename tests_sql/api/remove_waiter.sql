-- remove_waiter forgets a waiter and returns what it was; removing nothing is no error.
BEGIN;
SELECT plan(59);
\ir ../helpers.psql
SET LOCAL ROLE flow_signal_engine;

SELECT is(
    pg_get_function_arguments('flow_signal_v1.remove_waiter'::regproc),
    'p_run_id uuid, p_step_key text, p_claim_id uuid DEFAULT NULL::uuid',
    'the parameters, their order and their default'
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
    format('no waiter of "%s" is left', s.signal_name)
)
FROM (VALUES ('stop'), ('get')) AS s (signal_name);
SELECT is(
    pg_temp.deliver('run', ' {"a" : 1}', 'id', p_signal_name => 'get'), 'delivered gets (replayed)',
    'the delivery id of a waiter that was removed is known'
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
    'the next signal goes to the next waiter'
);

-- With a claim id only that claim's waiter goes.

CREATE FUNCTION pg_temp.remove_claimed(p_step_key text, p_claim_id uuid)
RETURNS text
LANGUAGE sql
AS $function$
SELECT concat_ws(' ', w.state, w.payload_json)
FROM flow_signal_v1.remove_waiter(
    p_run_id => md5('claims')::uuid, p_step_key => p_step_key, p_claim_id => p_claim_id
) AS w
$function$;
CREATE FUNCTION pg_temp.claim()
RETURNS uuid
LANGUAGE sql
AS $function$
SELECT c.claim_id FROM flow_signal_v1.claim_waiters(p_queue => 'q', p_lease => '1 microsecond') AS c
$function$;
SELECT is(w.state, 'waiting', format('%s waits in a queue', s.step_key))
FROM (VALUES ('claimed'), ('never claimed')) AS s (step_key)
CROSS JOIN LATERAL flow_signal_v1.register_waiter(
    p_run_id => md5('claims')::uuid, p_step_key => s.step_key, p_signal_name => s.step_key,
    p_queue => 'q'
) AS w;
SELECT is(
    pg_temp.deliver('claims', '1', p_signal_name => 'claimed'), 'delivered claimed',
    'one of them gets a signal'
);
SELECT pg_temp.claim() AS first_claim
\gset
SELECT is(
    pg_temp.remove_claimed('claimed', gen_random_uuid()), NULL, 'a claim that never was removes nothing'
);
SELECT is(
    pg_temp.remove_claimed('never claimed', :'first_claim'), NULL, 'nor does the claim of another waiter'
);
SELECT pg_temp.claim() AS second_claim
\gset
SELECT isnt(:'second_claim'::uuid, :'first_claim'::uuid, 'the lease has ended, another worker claims it');
SELECT is(
    pg_temp.rows_written(format(
        'remove_waiter(p_run_id => %L, p_step_key => %L, p_claim_id => %L)',
        md5('claims')::uuid, 'claimed', :'first_claim'
    )), 0::bigint, 'the first one cannot remove it any more, which writes nothing'
);
SELECT is(pg_temp.get('claims', 'claimed'), 'delivered 1', 'it is still there');
SELECT is(
    pg_temp.remove_claimed('claimed', :'second_claim'), 'delivered 1',
    'the second one can: the end of the lease alone does not end the claim'
);
SELECT is(pg_temp.remove_claimed('claimed', :'second_claim'), NULL, 'once');
SELECT is(pg_temp.remove('claims', 'never claimed'), 'waiting', 'without a claim id any waiter goes');

-- A call in a SELECT list, its columns taken apart, is still one call.

SELECT is(pg_temp.register('once', 's'), 'waiting', 'a waiter');
CREATE TEMP TABLE once ON COMMIT DROP AS
SELECT (flow_signal_v1.remove_waiter(p_run_id => md5('once')::uuid, p_step_key => 's')).*;
SELECT is(
    array_agg(concat_ws(' ', o.step_key, o.signal_name, o.state)), '{s go waiting}',
    'comes back in one row with all its columns'
)
FROM once AS o;

-- What is refused.

SELECT is(
    pg_temp.refusal(
        format('remove_waiter(p_run_id => %L, p_step_key => %L)', c.run_id, c.step_key)
    ),
    pg_temp.is_null(c.what),
    format('no %s', c.what)
)
FROM (
    VALUES ('run id', NULL, 's'), ('step key', md5('run')::uuid, NULL)
) AS c (what, run_id, step_key);
SELECT is(
    pg_temp.refusal(
        format('remove_waiter(p_run_id => %L, p_step_key => %L)', md5('run')::uuid, b.name)
    ),
    pg_temp.is_blank('step key', pg_temp.cleaned(b.name)),
    format('a blank step key: %s', to_json(b.name))
)
FROM (VALUES (''), (' '), (E'\u3000\n')) AS b (name);
SELECT is(
    pg_temp.refusal(
        format('remove_waiter(p_run_id => %L, p_step_key => %L)', md5('run')::uuid, n.name)
    ),
    pg_temp.is_too_long('step key', left(n.name, 40)),
    format('a step key of 257 characters: %s', left(n.name, 1))
)
FROM (VALUES (repeat('x', 257)), (repeat('🙂', 257))) AS n (name);

SELECT * FROM finish();
ROLLBACK;
