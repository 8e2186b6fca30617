-- extend_claim gives the caller's claim a longer lease, or gives the waiter back, and no other claim.
BEGIN;
SELECT plan(46);
\ir ../helpers.psql
SET LOCAL ROLE flow_signal_engine;

SELECT is(
    pg_get_function_arguments('flow_signal_v1.extend_claim'::regproc),
    'p_run_id uuid, p_step_key text, p_claim_id uuid, p_lease interval',
    'the parameters and their order'
);
SELECT is(
    pg_get_function_result('flow_signal_v1.extend_claim'::regproc), 'boolean', 'the result'
);

CREATE FUNCTION pg_temp.extend(p_step_key text, p_claim_id uuid, p_lease interval)
RETURNS boolean
LANGUAGE sql
AS $function$
SELECT flow_signal_v1.extend_claim(
    p_run_id => md5('run')::uuid, p_step_key => p_step_key, p_claim_id => p_claim_id,
    p_lease => p_lease
)
$function$;
-- The waiters that a claim gets, with their attempt, and the claim's id.
CREATE FUNCTION pg_temp.claim(p_lease interval, OUT waiters text, OUT claim_id uuid)
LANGUAGE sql
AS $function$
SELECT
    string_agg(concat_ws(' ', c.step_key, c.state, c.attempt), ', ' ORDER BY c.step_key),
    (array_agg(c.claim_id))[1]
FROM flow_signal_v1.claim_waiters(p_queue => 'q', p_lease => p_lease) AS c
$function$;
RESET ROLE;
CREATE FUNCTION pg_temp.due_in(p_step_key text)
RETURNS interval
LANGUAGE sql
SECURITY DEFINER
AS $function$
SELECT w.due_at - clock_timestamp()
FROM flow_signal.flow_signal_waiters AS w
WHERE w.run_id = md5('run')::uuid AND w.step_key = p_step_key
$function$;
SET LOCAL ROLE flow_signal_engine;

SELECT is(w.state, s.state, format('%s is %s', s.step_key, w.state))
FROM (
    VALUES ('late', timestamptz '2001-01-01', 'expired'), ('gets', NULL, 'waiting'),
    ('waits', NULL, 'waiting')
) AS s (step_key, deadline, state)
CROSS JOIN LATERAL flow_signal_v1.register_waiter(
    p_run_id => md5('run')::uuid, p_step_key => s.step_key, p_signal_name => s.step_key,
    p_expires_at => s.deadline, p_queue => 'q'
) AS w;
SELECT is(
    pg_temp.deliver('run', '1', p_signal_name => 'gets'), 'delivered gets', 'one gets a signal'
);
SELECT c.waiters, c.claim_id AS first_claim FROM pg_temp.claim('1 minute') AS c
\gset
SELECT is(:'waiters'::text, 'gets delivered 1, late expired 1', 'two are claimed for a minute');

-- A longer lease, counted from now.

SELECT is(pg_temp.extend('gets', :'first_claim', '1 hour'), true, 'an hour for one of them');
SELECT ok(
    d.due_in > '59 minutes' AND d.due_in <= '1 hour',
    'counts from now, not from the end of the lease'
)
FROM pg_temp.due_in('gets') AS d (due_in);
SELECT cmp_ok(pg_temp.due_in('late'), '<=', interval '1 minute', 'the other one has its minute');
SELECT is(pg_temp.extend('gets', :'first_claim', '1 second'), true, 'a shorter lease');
SELECT cmp_ok(pg_temp.due_in('gets'), '<=', interval '1 second', 'is what it says, too');
SELECT is(pg_temp.extend('gets', :'first_claim', '1 day'), true, 'a day is the longest');
SELECT is((pg_temp.claim('1 minute')).waiters, NULL, 'while they last nobody else claims them');

-- The end of the lease alone does not end the claim; the next claim does.

SELECT is(
    pg_temp.extend('gets', :'first_claim', '1 microsecond'), true, 'a lease that ends at once'
);
SELECT is(pg_temp.extend('gets', :'first_claim', '1 microsecond'), true, 'can be prolonged after its end');
SELECT c.waiters, c.claim_id AS second_claim FROM pg_temp.claim('1 minute') AS c
\gset
SELECT is(:'waiters'::text, 'gets delivered 2', 'then another worker claims the waiter');
SELECT is(
    pg_temp.rows_written(format(
        'extend_claim(p_run_id => %L, p_step_key => %L, p_claim_id => %L, p_lease => %L)',
        md5('run')::uuid, 'gets', :'first_claim', '1 hour'
    )), 0::bigint, 'the first one writes nothing any more'
);
SELECT is(pg_temp.extend('gets', :'first_claim', '1 hour'), false, 'and is told so');
SELECT cmp_ok(pg_temp.due_in('gets'), '<=', interval '1 minute', 'the second lease is as it was');
SELECT is(pg_temp.extend('gets', :'second_claim', '1 hour'), true, 'and belongs to the second one');

-- 0 gives the waiter back: the claim ends, and the waiter is due at once.

SELECT is(pg_temp.extend('gets', :'second_claim', '0'), true, 'given back');
SELECT is(pg_temp.extend('gets', :'second_claim', '1 hour'), false, 'the claim has ended');
SELECT is(
    ARRAY(
        SELECT w.step_key FROM flow_signal_v1.remove_waiter(
            p_run_id => md5('run')::uuid, p_step_key => 'gets', p_claim_id => :'second_claim'
        ) AS w
    ), '{}', 'and removes nothing'
);
SELECT c.waiters, c.claim_id AS third_claim FROM pg_temp.claim('1 minute') AS c
\gset
SELECT is(:'waiters'::text, 'gets delivered 3', 'the waiter is handed out at once, and the attempts are counted on');
-- What is not the caller's.

SELECT is(
    pg_temp.extend(n.step_key, n.claim_id, '1 hour'), false, format('nothing to extend: %s', n.what)
)
FROM (
    VALUES
    ('waits', :'first_claim'::uuid, 'a waiter that was never claimed'),
    ('gets', gen_random_uuid(), 'a claim that never was'),
    ('nobody', :'third_claim', 'no such waiter'), ('GETS', :'third_claim', 'another step')
) AS n (step_key, claim_id, what);
SELECT is(
    flow_signal_v1.extend_claim(
        p_run_id => md5('other run')::uuid, p_step_key => 'gets', p_claim_id => :'third_claim',
        p_lease => '1 hour'
    ), false, 'nothing to extend: another run'
);
SELECT is(pg_temp.remove('run', 'gets'), 'delivered 1', 'the waiter is removed');
SELECT is(pg_temp.extend('gets', :'third_claim', '1 hour'), false, 'the claim has nothing any more');

-- What is refused.

SELECT is(pg_temp.refusal(format('extend_claim(%s)', r.arguments)), r.refusal, r.arguments)
FROM (
    VALUES
    ('NULL, ''s'', gen_random_uuid(), ''0''', pg_temp.is_null('run id')),
    ('gen_random_uuid(), NULL, gen_random_uuid(), ''0''', pg_temp.is_null('step key')),
    ('gen_random_uuid(), ''s'', NULL, ''0''', pg_temp.is_null('claim id')),
    ('gen_random_uuid(), ''s'', gen_random_uuid(), NULL', pg_temp.is_null('lease')),
    (
        'gen_random_uuid(), E'' \n'', gen_random_uuid(), ''0''',
        pg_temp.is_blank('step key', ' ?')
    ),
    (
        'gen_random_uuid(), repeat(''x'', 257), gen_random_uuid(), ''0''',
        pg_temp.is_too_long('step key', repeat('x', 40))
    )
) AS r (arguments, refusal);
-- A lease is judged as it is applied.
SELECT is(
    pg_temp.refusal(format('extend_claim(%L, %L, %L, %L)', md5('run')::uuid, 'late', :'first_claim', l.lease)),
    pg_temp.out_of_range(format('lease %s', l.lease), '0 to 1 day'), format('a lease of %s', l.lease)
)
FROM (
    VALUES
    (interval '-1 microsecond'), ('1 day 1 microsecond'), ('12 mon -360 days'),
    ('-12 mon 360 days'), ('1 mon -25 days'), ('178000000 years')
) AS l (lease);
SELECT is(pg_temp.extend('late', :'first_claim', '2 days -24 hours'), true, 'after all that the claim is as it was');

-- Who may.

SET LOCAL ROLE flow_signal_reader;
SELECT throws_ok(
    $$SELECT flow_signal_v1.extend_claim(gen_random_uuid(), 's', gen_random_uuid(), '0')$$, '42501',
    'permission denied for function extend_claim', 'a reader may not extend a claim'
);

SELECT * FROM finish();
ROLLBACK;
