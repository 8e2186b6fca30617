-- redeem_token delivers to the step that the token was issued for, once, and tells a stranger nothing.
BEGIN;
SELECT plan(84);
\ir ../helpers.psql
SET LOCAL ROLE flow_signal_engine;

SELECT is(
    pg_get_function_arguments('flow_signal_v1.redeem_token'::regproc),
    'p_token text, p_payload_json text DEFAULT NULL::text', 'the parameters, their order and their defaults'
);
SELECT is(
    pg_get_function_result('flow_signal_v1.redeem_token'::regproc),
    'SETOF flow_signal_v1.delivery', 'the result'
);

-- Each verdict in full.

SELECT is(
    pg_temp.register('verdicts', s.step_key, s.deadline), s.state,
    format('%s is %s', s.step_key, s.state)
)
FROM (
    VALUES ('first', NULL, 'waiting'), ('second', timestamptz '2990-01-01', 'waiting'),
    ('third', NULL, 'waiting'), ('late', '2001-01-01', 'expired')
) AS s (step_key, deadline, state);
SELECT
    pg_temp.issue('verdicts', 'second') AS token, pg_temp.issue('verdicts', 'second') AS other,
    pg_temp.issue('verdicts', 'third') AS third, pg_temp.issue('verdicts', 'late') AS late
\gset
SET LOCAL ROLE flow_signal_redeemer;
CREATE TEMP TABLE sent ON COMMIT DROP AS
SELECT d.*, clock_timestamp() AS now
FROM flow_signal_v1.redeem_token(p_token => :'token', p_payload_json => '{"a" : 1}') AS d;
SELECT is(
    ROW(s.status, s.run_id, s.step_key, s.replayed)::text,
    ROW('delivered', md5('verdicts')::uuid, 'second', false)::text,
    'delivered: to the step of the token, not to the oldest of the signal'
)
FROM sent AS s;
RESET ROLE;
SELECT is(
    ROW(w.state, w.delivered_at, w.payload_json, w.expires_at)::text,
    ROW('delivered', s.delivered_at, '{"a" : 1}', timestamptz '2990-01-01')::text,
    'the waiter has the payload as it was sent, and keeps its deadline'
)
FROM sent AS s
CROSS JOIN flow_signal_v1.get_waiter(p_run_id => s.run_id, p_step_key => s.step_key) AS w;
SELECT ok(
    s.delivered_at > transaction_timestamp() AND s.delivered_at > w.created_at
    AND s.delivered_at < w.expires_at AND s.delivered_at < s.now,
    'delivered_at is the clock at the delivery, not the start of the transaction'
)
FROM sent AS s
CROSS JOIN flow_signal_v1.get_waiter(p_run_id => s.run_id, p_step_key => s.step_key) AS w;
SET LOCAL ROLE flow_signal_redeemer;
SELECT is(
    d::text, ROW('delivered', s.run_id, 'second', s.delivered_at, true)::text,
    'the same token and payload again: the first answer'
)
FROM sent AS s
CROSS JOIN flow_signal_v1.redeem_token(p_token => :'token', p_payload_json => '{"a" : 1}') AS d;
SELECT is(
    pg_temp.rows_written(format('redeem_token(%L, %L)', :'token', '{"a" : 1}')), 0::bigint,
    'which writes nothing'
);
SELECT is(
    d::text, ROW('already_delivered', s.run_id, 'second', s.delivered_at, false)::text,
    'already_delivered: another token of that step, with the instant of the delivery'
)
FROM sent AS s
CROSS JOIN flow_signal_v1.redeem_token(p_token => :'other', p_payload_json => '{"a" : 1}') AS d;
SELECT is(
    d::text, ROW('expired', md5('verdicts')::uuid, 'late', NULL, false)::text, 'expired'
)
FROM flow_signal_v1.redeem_token(p_token => :'late') AS d;
SELECT is(
    d::text, ROW('not_found', NULL, NULL, NULL, false)::text,
    'not_found: nothing but that, for a token that was never issued'
)
FROM flow_signal_v1.redeem_token(p_token => translate(:'third', '0123456789abcdef', '0123456789abcdfe')) AS d;
RESET ROLE;
SELECT is(
    ARRAY[
        pg_temp.get('verdicts', 'first'), pg_temp.get('verdicts', 'second'),
        pg_temp.get('verdicts', 'third'), pg_temp.get('verdicts', 'late')
    ],
    ARRAY['waiting', 'delivered {"a" : 1}', 'waiting', 'expired'], 'no other step is touched'
);
SET LOCAL ROLE flow_signal_engine;
SELECT is(
    pg_temp.deliver('verdicts', '3') || pg_temp.deliver('verdicts', '4'),
    'delivered firstdelivered third', 'signals by name pass over the step that has its payload'
);
SELECT is(pg_temp.redeem(:'third', '1'), 'already_delivered third', 'a signal was faster');
SELECT is(
    pg_temp.remove('verdicts', 'third') || ' ' || pg_temp.redeem(:'third', '1'),
    'delivered 4 not_found', 'a token that was not redeemed dies with its waiter'
);

-- The payload of a retry is the same to the byte.

SELECT is(
    pg_temp.refusal(format('redeem_token(%L, %L)', :'token', p.payload_json)),
    format(
        E'WS002 token was used with another payload\n'
        'signal "go" of run %s is recorded under it as delivered\n'
        'repeat the payload byte for byte to get the first answer', md5('verdicts')::uuid
    ),
    format('another payload: %s', p.payload_json)
)
FROM (VALUES ('{"a": 1}'), ('{"a" : 1} '), (NULL), ('null')) AS p (payload_json);
SELECT is(
    pg_temp.register('empty', 's') || pg_temp.redeem(pg_temp.issue('empty', 's'))
    || pg_temp.get('empty', 's'), 'waitingdelivered sdelivered', 'no payload at all'
);

-- A redeemed token outlives its waiter, until remove_run or purge.

SELECT is(pg_temp.remove('verdicts', 'second'), 'delivered {"a" : 1}', 'the engine takes the waiter away');
SELECT is(pg_temp.redeem(:'token', '{"a" : 1}'), 'delivered second (replayed)', 'a retry gets the first answer');
SELECT is(pg_temp.redeem(:'other', '{"a" : 1}'), 'not_found', 'the other token is void');
SELECT is(pg_temp.register('verdicts', 'second'), 'waiting', 'the step waits anew');
SELECT is(
    pg_temp.redeem(:'token', '{"a" : 1}') || ' ' || pg_temp.redeem(:'other', '{"a" : 1}'),
    'delivered second (replayed) not_found', 'which changes nothing for either'
);
SELECT is(pg_temp.get('verdicts', 'second'), 'waiting', 'and nothing reaches it');
SELECT is(flow_signal_v1.remove_run(md5('verdicts')::uuid), 3::bigint, 'the run is over');
SELECT is(pg_temp.redeem(:'token', '{"a" : 1}'), 'not_found', 'and the token forgotten');

-- It is for one registration.

SELECT is(pg_temp.register('moves', 's'), 'waiting', 'a step waits for one signal');
SELECT pg_temp.issue('moves', 's') AS token
\gset
SELECT is(pg_temp.register('moves', 's', '2990-01-01'), 'waiting', 'a new deadline');
SELECT is(
    pg_temp.describe(:'token'), 'go waiting 2990-01-01 00:00:00+00', 'leaves the token as it was'
);
SELECT is(pg_temp.register('moves', 's', '2990-01-01', 'stop'), 'waiting', 'then for another signal');
SELECT is(pg_temp.redeem(:'token', '1'), 'not_found', 'the token is void');
SELECT is(pg_temp.register('moves', 's'), 'waiting', 'then for the first one again');
SELECT is(pg_temp.redeem(:'token', '1'), 'not_found', 'it stays void');
SELECT is(
    pg_temp.remove('moves', 's') || pg_temp.register('moves', 's') || pg_temp.redeem(:'token', '1'),
    'waitingwaitingnot_found', 'also when the step is registered anew'
);
SELECT pg_temp.issue('moves', 's') AS token
\gset
SELECT is(
    pg_temp.register('moves', 's', NULL, 'stop') || ' ' || pg_temp.register('moves', 's', NULL, 'away')
    || ' ' || pg_temp.redeem(pg_temp.issue('moves', 's'), '1'), 'waiting waiting delivered s',
    'a token that is issued after the move is good'
);

-- Its own deadline, and that of the step; an expired step that is given a new deadline is live again.

SELECT is(pg_temp.register('times', 's', '2990-01-01'), 'waiting', 'a step with a deadline');
SELECT
    pg_temp.issue('times', 's', 'tomorrow') AS short, pg_temp.issue('times', 's') AS token
\gset
RESET ROLE;
UPDATE flow_signal.flow_signal_tokens SET expires_at = clock_timestamp() WHERE expires_at = 'tomorrow';
SET LOCAL ROLE flow_signal_engine;
SELECT is(pg_temp.redeem(:'short', '1'), 'not_found', 'a token that has reached its deadline is void');
SELECT is(pg_temp.get('times', 's'), 'waiting', 'and does nothing');
RESET ROLE;
UPDATE flow_signal.flow_signal_waiters SET expires_at = clock_timestamp() WHERE run_id = md5('times')::uuid;
SET LOCAL ROLE flow_signal_engine;
SELECT is(pg_temp.redeem(:'token', '1'), 'expired s', 'a step that has reached its deadline');
RESET ROLE;
SELECT is(w.status, 'expired', 'is settled as expired for good')
FROM flow_signal.flow_signal_waiters AS w WHERE w.run_id = md5('times')::uuid;
SET LOCAL ROLE flow_signal_engine;
SELECT is(
    pg_temp.register('times', 's', '2990-01-01') || ' ' || pg_temp.redeem(:'token', '2'),
    'waiting delivered s', 'given a new one, it gets the signal'
);
RESET ROLE;
UPDATE flow_signal.flow_signal_tokens SET expires_at = '2001-01-01' WHERE delivered_at IS NOT NULL;
SET LOCAL ROLE flow_signal_engine;
SELECT is(
    pg_temp.redeem(:'token', '2'), 'delivered s (replayed)', 'a redeemed token has no deadline any more'
);

-- What a delivery does besides: the NOTIFY, and the queue.

SELECT is(w.state, 'waiting', 'a step with a queue')
FROM flow_signal_v1.register_waiter(
    p_run_id => md5('queue')::uuid, p_step_key => 's', p_signal_name => 'go', p_queue => 'q'
) AS w;
SELECT is(
    pg_temp.redeem(pg_temp.issue('queue', 's'), '1') || (
        SELECT c.payload_json::text FROM flow_signal_v1.claim_waiters(p_queue => 'q') AS c
    ), 'delivered s1', 'its engine can claim it'
);

-- Every text that is not a good token gives the same row, and changes nothing.

SELECT is(pg_temp.register('guess', 's'), 'waiting', 'a step waits');
SELECT pg_temp.issue('guess', 's') AS token
\gset
SET LOCAL ROLE flow_signal_redeemer;
SELECT is(
    ARRAY(
        SELECT d::text FROM flow_signal_v1.redeem_token(p_token => t.token, p_payload_json => '1') AS d
    ),
    ARRAY[ROW('not_found', NULL, NULL, NULL, false)::text], format('not a token: %s', t.what)
)
FROM (
    VALUES
    ('', 'empty'), (' ', 'blank'), (left(:'token', -1), 'too short'), (:'token' || '0', 'too long'),
    (:'token' || E'\n', 'a newline at the end'), (' ' || :'token', 'a blank before it'),
    (upper(:'token'), 'in capitals'), (replace(:'token', '_', '-'), 'other signs between'),
    (replace(:'token', 'fst_', 'fst '), 'another prefix'), (left(:'token', 36), 'the run alone'),
    (left(:'token', 37) || repeat('0', 64), 'the run and zeros'),
    ('fst_' || repeat('0', 32) || '_' || repeat('0', 64), 'all zeros'),
    ('fst_' || repeat('f', 32) || right(:'token', 65), 'another run'),
    (left(:'token', -1) || translate(right(:'token', 1), '0123456789abcdef', '123456789abcdef0'), 'one digit off'),
    (left(:'token', 37) || encode(sha256(decode(right(:'token', 64), 'hex')), 'hex'), 'its hash'),
    (md5('guess')::uuid::text, 'a UUID'), (repeat(:'token', 10000), 'a megabyte'),
    (E'\u0660' || right(:'token', 100), 'a digit of another script'), ('%', 'a pattern'),
    ($$'; DROP TABLE flow_signal.flow_signal_tokens; --$$, 'an injection')
) AS t (token, what);
SELECT is(
    pg_temp.rows_written(format('redeem_token(%L)', left(:'token', -1) || '!')), 0::bigint,
    'nothing is written for one that is malformed'
);
SELECT is(
    pg_temp.rows_written(format('redeem_token(%L)', left(:'token', -4) || '0000')), 0::bigint,
    'nor for one that was never issued'
);
RESET ROLE;
SELECT is(pg_temp.get('guess', 's'), 'waiting', 'the step waits on');

-- Arguments and payload are judged before the token is looked at.

SET LOCAL ROLE flow_signal_redeemer;
SELECT is(
    pg_temp.refusal(format('redeem_token(%L, %s)', t.token, r.payload)), r.refusal,
    format('%s, with %s token', left(r.payload, 20), t.what)
)
FROM (VALUES (:'token', 'a good'), ('no token', 'no')) AS t (token, what)
CROSS JOIN (
    VALUES
    ('''2 2''', pg_temp.not_json('payload', '2 2', 'line 1, before character 4')),
    ('''secret''', pg_temp.not_json('payload', 'secret', 'line 1, before character 7')),
    (
        $$'"' || repeat('x', 1048575) || '"'$$,
        E'WS003 payload of 1048577 bytes is too large\na payload has at most 1048576 bytes of text\n'
        'store the data elsewhere and send a reference to it'
    )
) AS r (payload, refusal);
SELECT is(
    pg_temp.refusal('redeem_token(NULL, ''2 2'')'), pg_temp.is_null('token'), 'a token is needed'
);
RESET ROLE;
SELECT is(
    pg_temp.redeem(:'token', '"' || repeat('x', 1048574) || '"'), 'delivered s', 'a megabyte is not too large'
);

-- Who may.

SELECT is(
    pg_temp.outcome('flow_signal_' || r.role, 'SELECT flow_signal_v1.redeem_token('''')'),
    'permission denied for function redeem_token', format('a %s may not redeem', r.role)
)
FROM (VALUES ('sender'), ('reader'), ('broadcaster')) AS r (role);

SELECT * FROM finish();
ROLLBACK;
