-- revoke_tokens makes the tokens of one step void, but not the answer of one that was redeemed.
BEGIN;
SELECT plan(21);
\ir ../helpers.psql
SET LOCAL ROLE flow_signal_engine;

SELECT is(
    pg_get_function_arguments('flow_signal_v1.revoke_tokens'::regproc),
    'p_run_id uuid, p_step_key text', 'the parameters and their order'
);
SELECT is(pg_get_function_result('flow_signal_v1.revoke_tokens'::regproc), 'bigint', 'the result');

CREATE FUNCTION pg_temp.revoke(p_run text, p_step_key text)
RETURNS bigint
LANGUAGE sql
AS $function$
SELECT flow_signal_v1.revoke_tokens(p_run_id => md5(p_run)::uuid, p_step_key => p_step_key)
$function$;

SELECT is(
    pg_temp.register(s.run, s.step_key), 'waiting', format('%s of %s waits', s.step_key, s.run)
)
FROM (VALUES ('run', 'a'), ('run', 'b'), ('other', 'a')) AS s (run, step_key);
SELECT
    pg_temp.issue('run', 'a') AS first, pg_temp.issue('run', 'a', 'tomorrow') AS second,
    pg_temp.issue('run', 'b') AS of_b, pg_temp.issue('other', 'a') AS of_other
\gset
SELECT is(pg_temp.revoke('run', 'a'), 2::bigint, 'both tokens of a step are revoked');
SELECT is(
    ARRAY[pg_temp.redeem(:'first', '1'), pg_temp.redeem(:'second', '1')],
    ARRAY['not_found', 'not_found'], 'neither can be redeemed'
);
SELECT is(
    ARRAY[pg_temp.describe(:'first'), pg_temp.describe(:'second')], ARRAY[NULL, NULL], 'nor described'
);
SELECT is(pg_temp.get('run', 'a'), 'waiting', 'the step waits on');
SELECT is(
    ARRAY[pg_temp.redeem(:'of_b', '1'), pg_temp.redeem(:'of_other', '1')],
    ARRAY['delivered b', 'delivered a'], 'the tokens of other steps and runs are as they were'
);
SELECT is(
    ARRAY[pg_temp.revoke('run', 'a'), pg_temp.revoke('run', 'A'), pg_temp.revoke('nowhere', 'a')],
    ARRAY[0, 0, 0]::bigint [], 'revoking nothing is no error'
);
SELECT is(
    pg_temp.redeem(pg_temp.issue('run', 'a'), '2'), 'delivered a', 'a token that is issued afterwards is good'
);

-- A redeemed one keeps its answer.

SELECT is(pg_temp.revoke('run', 'b'), 0::bigint, 'a redeemed token is not revoked');
SELECT is(pg_temp.redeem(:'of_b', '1'), 'delivered b (replayed)', 'and answers as before');

-- Tokens of a registration that is gone are void already; they are deleted all the same.

SELECT is(pg_temp.remove('run', 'a'), 'delivered 2', 'a step is removed');
SELECT is(pg_temp.register('run', 'a'), 'waiting', 'and waits anew');
SELECT pg_temp.issue('run', 'a') IS NOT NULL AND pg_temp.remove('run', 'a') IS NOT NULL AS issued
\gset ignored_
SELECT is(pg_temp.revoke('run', 'a'), 1::bigint, 'left over by a removed step');

-- What is refused, and who may.

SELECT is(pg_temp.refusal(format('revoke_tokens(%s)', r.arguments)), r.refusal, r.arguments)
FROM (
    VALUES
    ('NULL, ''s''', pg_temp.is_null('run id')),
    ('gen_random_uuid(), NULL', pg_temp.is_null('step key')),
    ('gen_random_uuid(), '' ''', pg_temp.is_blank('step key', ' '))
) AS r (arguments, refusal);
SELECT is(
    pg_temp.outcome(
        'flow_signal_redeemer', 'SELECT flow_signal_v1.revoke_tokens(gen_random_uuid(), ''s'')'
    ), 'permission denied for function revoke_tokens', 'a redeemer may not revoke'
);

SELECT * FROM finish();
ROLLBACK;
