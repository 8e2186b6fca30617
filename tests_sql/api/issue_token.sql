-- issue_token makes a token that nobody can guess, for one registration of one step, and stores its hash.
BEGIN;
SELECT plan(36);
\ir ../helpers.psql
SET LOCAL ROLE flow_signal_engine;

SELECT is(
    pg_get_function_arguments('flow_signal_v1.issue_token'::regproc),
    'p_run_id uuid, p_step_key text, p_expires_at timestamp with time zone DEFAULT NULL::timestamp with time zone',
    'the parameters, their order and their defaults'
);
SELECT is(pg_get_function_result('flow_signal_v1.issue_token'::regproc), 'text', 'the result');

SELECT is(pg_temp.register('run', 's', 'tomorrow'), 'waiting', 'a step waits');
SELECT pg_temp.issue('run', 's') AS token
\gset
SELECT matches(
    :'token'::text, format('^fst_%s_[0-9a-f]{64}$', translate(md5('run')::uuid::text, '-', '')),
    'a token carries its run, and two random UUIDs'
);
SELECT is(
    pg_temp.rows_written('issue_token(p_run_id => md5(''run'')::uuid, p_step_key => ''s'')'),
    1::bigint, 'which writes one row: the waiter is as it was'
);
SELECT is(
    count(DISTINCT pg_temp.issue('run', 's')), 100::bigint, 'no two tokens of a step are equal'
)
FROM generate_series(1, 100);
-- Each of the 244 bits that are random is 1 about half the time: 2000 tokens, six sigma.
SELECT is_empty(
    $$WITH tokens AS MATERIALIZED (
        SELECT right(pg_temp.issue('run', 's'), 64) AS secret FROM generate_series(1, 2000) AS n
    )
    SELECT b.bit, sum(get_bit(decode(t.secret, 'hex'), b.bit))
    FROM tokens AS t
    CROSS JOIN generate_series(0, 255) AS b (bit)
    GROUP BY b.bit
    HAVING sum(get_bit(decode(t.secret, 'hex'), b.bit)) NOT BETWEEN 866 AND 1134
        AND b.bit % 128 NOT IN (48, 49, 50, 51, 52, 53, 54, 55, 64, 65, 66, 67, 68, 69, 70, 71)$$,
    'its bits are random'
);
RESET ROLE;
SELECT is_empty(
    format(
        $$SELECT t FROM flow_signal.flow_signal_tokens AS t
        WHERE t::text ~ %L OR strpos(encode(t.token_hash, 'hex'), %1$L) > 0$$, right(:'token', 32)
    ),
    'no part of it is stored'
);
SELECT is(
    ROW(t.step_key, t.signal_name, t.registered_at, t.expires_at, t.delivered_at, t.payload_hash)::text,
    ROW('s', 'go', w.created_at, NULL, NULL, NULL)::text, 'what is stored names the registration'
)
FROM flow_signal.flow_signal_tokens AS t
CROSS JOIN flow_signal.flow_signal_waiters AS w
WHERE t.token_hash = sha256(decode(right(:'token', 64), 'hex'));
SET LOCAL ROLE flow_signal_engine;
SELECT is(
    pg_temp.redeem(:'token', '1') || pg_temp.get('run', 's'), 'delivered sdelivered 1',
    'it delivers to that step'
);

-- A step in any state has tokens; one that is not registered has none.

SELECT is(
    pg_temp.redeem(pg_temp.issue('run', 's')), 'already_delivered s', 'of a step with a payload'
);
SELECT is(
    pg_temp.register('late', 's', 'yesterday') || pg_temp.redeem(pg_temp.issue('late', 's')),
    'expiredexpired s', 'of an expired step'
);
SELECT is(
    pg_temp.issue('run', n.step_key), NULL, format('there is no step "%s"', n.step_key)
)
FROM (VALUES ('S'), ('s '), ('go'), ('%'), ('nobody')) AS n (step_key);
SELECT is(pg_temp.issue('other run', 's'), NULL, 'nor one in another run');

-- The deadline of a token, and that of its step.

SELECT is(
    pg_temp.register('deadlines', 'never') || pg_temp.register('deadlines', 'once', '2990-01-01'),
    'waitingwaiting', 'one waits for ever, another one until 2990'
);
SELECT is(
    pg_temp.describe(pg_temp.issue('deadlines', d.step_key, d.expires_at)), d.described,
    format('%s, a token until %s', d.step_key, d.expires_at)
)
FROM (
    VALUES
    ('never', timestamptz 'infinity', 'go waiting'), ('never', NULL, 'go waiting'),
    ('never', '2980-01-01', 'go waiting 2980-01-01 00:00:00+00'),
    ('once', NULL, 'go waiting 2990-01-01 00:00:00+00'),
    ('once', '2980-01-01', 'go waiting 2980-01-01 00:00:00+00'),
    ('once', '2995-01-01', 'go waiting 2990-01-01 00:00:00+00'),
    ('once', '2001-01-01', NULL)
) AS d (step_key, expires_at, described);
SELECT is(
    pg_temp.redeem(pg_temp.issue('deadlines', 'once', clock_timestamp())), 'not_found',
    'a token whose deadline has passed is void from the start'
);

-- What is refused.

SELECT is(pg_temp.refusal(format('issue_token(%s)', r.arguments)), r.refusal, r.arguments)
FROM (
    VALUES
    ('NULL, ''s''', pg_temp.is_null('run id')),
    ('gen_random_uuid(), NULL', pg_temp.is_null('step key')),
    ('gen_random_uuid(), E'' \n''', pg_temp.is_blank('step key', ' ?')),
    ('gen_random_uuid(), repeat(''x'', 257)', pg_temp.is_too_long('step key', repeat('x', 40))),
    (
        'gen_random_uuid(), ''s'', ''-infinity''',
        E'22023 deadline -infinity is out of range\n'
        'drivers carry finite instants of the years 1 to 9999\npass NULL to wait for ever'
    ),
    (
        'gen_random_uuid(), ''s'', ''10000-01-01''',
        E'22023 deadline 10000-01-01 00:00:00+00 is out of range\n'
        'drivers carry finite instants of the years 1 to 9999\npass NULL to wait for ever'
    )
) AS r (arguments, refusal);

-- Who may.

SELECT is(
    pg_temp.outcome(
        'flow_signal_' || r.role, 'SELECT flow_signal_v1.issue_token(gen_random_uuid(), ''s'')'
    ), 'permission denied for function issue_token', format('a %s may not issue', r.role)
)
FROM (VALUES ('redeemer'), ('sender'), ('reader')) AS r (role);

SELECT * FROM finish();
ROLLBACK;
