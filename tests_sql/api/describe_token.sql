-- describe_token tells what a page may show before the button is pressed, and nothing of other tokens.
BEGIN;
SELECT plan(33);
\ir ../helpers.psql
SET LOCAL ROLE flow_signal_engine;

SELECT is(
    pg_get_function_arguments('flow_signal_v1.describe_token'::regproc), 'p_token text', 'the parameter'
);
SELECT is(
    pg_get_function_result('flow_signal_v1.describe_token'::regproc),
    'SETOF flow_signal_v1.token', 'the result'
);

SELECT is(pg_temp.register('run', s.step_key, s.deadline), 'waiting', format('%s waits', s.step_key))
FROM (
    VALUES ('mine', timestamptz '2990-01-01'), ('theirs', NULL), ('late', 'tomorrow')
) AS s (step_key, deadline);
SELECT
    pg_temp.issue('run', 'mine') AS mine, pg_temp.issue('run', 'theirs') AS theirs,
    pg_temp.issue('run', 'late') AS late, pg_temp.issue('run', 'late', '2980-01-01') AS ends
\gset
SET LOCAL ROLE flow_signal_redeemer;
SELECT is(
    t::text, ROW('go', 'waiting', timestamptz '2990-01-01')::text,
    'waiting: the signal, and until when'
)
FROM flow_signal_v1.describe_token(p_token => :'mine') AS t;
SELECT is(pg_temp.describe(:'theirs'), 'go waiting', 'waiting, for ever');
SELECT is(
    pg_temp.rows_written(format('describe_token(p_token => %L)', :'mine')), 0::bigint,
    'it writes nothing'
);
SAVEPOINT writable;
SET LOCAL transaction_read_only = on;
SELECT pg_temp.describe(:'mine') AS read_only
\gset
ROLLBACK TO writable;
SELECT is(
    :'read_only'::text, 'go waiting 2990-01-01 00:00:00+00', 'and works where nothing may be written'
);

-- What became of the step.

RESET ROLE;
UPDATE flow_signal.flow_signal_waiters SET expires_at = clock_timestamp() WHERE step_key = 'late';
SET LOCAL ROLE flow_signal_engine;
SELECT matches(
    pg_temp.describe(:'late'), '^go expired 20', 'expired: with the instant, though no call has found it yet'
);
SELECT is(pg_temp.deliver_to_step('run', 'late'), 'expired late', 'a call finds it');
SELECT matches(pg_temp.describe(:'late'), '^go expired 20', 'expired for good');
SELECT is(pg_temp.register('run', 'late', '2990-01-01'), 'waiting', 'a new deadline');
SELECT is(
    pg_temp.describe(:'late'), 'go waiting 2990-01-01 00:00:00+00', 'makes the token good again'
);
SELECT is(
    pg_temp.describe(:'ends'), 'go waiting 2980-01-01 00:00:00+00', 'the earlier of two deadlines'
);
RESET ROLE;
UPDATE flow_signal.flow_signal_tokens
SET expires_at = clock_timestamp() WHERE expires_at = '2980-01-01';
SET LOCAL ROLE flow_signal_engine;
SELECT is(pg_temp.describe(:'ends'), NULL, 'a token past its own deadline is void');
SELECT is(
    pg_temp.deliver_to_step('run', 'theirs', '"secret"') || ' ' || pg_temp.describe(:'theirs'),
    'delivered theirs go delivered', 'delivered: somebody else was faster'
);
SELECT is(
    pg_temp.redeem(:'mine', '"secret"') || ' ' || pg_temp.describe(:'mine'),
    'delivered mine go redeemed', 'redeemed: this token did it'
);
SELECT is(
    pg_temp.remove('run', 'mine') || ' ' || pg_temp.describe(:'mine'),
    'delivered "secret" go redeemed', 'also when the waiter is gone'
);

-- Every unusable token: no row.

SELECT is(pg_temp.remove('run', 'theirs'), 'delivered "secret"', 'a step is removed');
SELECT is(pg_temp.describe(:'theirs'), NULL, 'its token is void');
SELECT is(pg_temp.register('run', 'theirs'), 'waiting', 'and registered anew');
SELECT is(pg_temp.describe(:'theirs'), NULL, 'its token stays void');
SELECT is(pg_temp.register('run', 'late', '2990-01-01', 'stop'), 'waiting', 'a step is moved');
SELECT is(pg_temp.describe(:'late'), NULL, 'its token is void');
SELECT is(pg_temp.describe(t.token), NULL, format('not a token: %s', left(t.what, 40)))
FROM (
    VALUES
    ('', 'empty'), (left(:'mine', -1), 'too short'), (:'mine' || '0', 'too long'),
    (upper(:'mine'), 'in capitals'),
    (left(:'mine', -1) || translate(right(:'mine', 1), '0123456789abcdef', '123456789abcdef0'), 'one digit off')
) AS t (token, what);
SELECT is(
    pg_temp.refusal('describe_token(NULL)'), pg_temp.is_null('token'), 'a token is needed'
);

-- Who may.

SELECT is(
    pg_temp.outcome('flow_signal_' || r.role, 'SELECT flow_signal_v1.describe_token('''')'),
    'permission denied for function describe_token', format('a %s may not describe', r.role)
)
FROM (VALUES ('sender'), ('reader')) AS r (role);

SELECT * FROM finish();
ROLLBACK;
