-- deliver_to_step sends a signal to exactly one step, and says truthfully what became of it.
BEGIN;
SELECT plan(94);
\ir ../helpers.psql
SET LOCAL ROLE flow_signal_sender;

SELECT is(
    pg_get_function_arguments('flow_signal_v1.deliver_to_step'::regproc),
    'p_run_id uuid, p_step_key text, p_payload_json text DEFAULT NULL::text, '
    'p_delivery_id text DEFAULT NULL::text',
    'the parameters, their order and their defaults'
);
SELECT is(
    pg_get_function_result('flow_signal_v1.deliver_to_step'::regproc),
    'SETOF flow_signal_v1.delivery', 'the result'
);

-- Each verdict in full.

SELECT is(
    d::text, ROW('not_found', md5('verdicts')::uuid, NULL, NULL, false)::text,
    'not_found: there is no such waiter'
)
FROM flow_signal_v1.deliver_to_step(
    p_run_id => md5('verdicts')::uuid, p_step_key => 'second'
) AS d;
SELECT is(
    pg_temp.deliver_to_step('verdicts', 'second', '1', 'id'), 'not_found', 'nor under an id'
);
RESET ROLE;
SELECT is(pg_temp.contents(), '', 'which leaves nothing');
SET LOCAL ROLE flow_signal_engine;
SELECT is(
    pg_temp.register('verdicts', s.step_key, s.deadline), s.state,
    format('%s is %s', s.step_key, s.state)
)
FROM (
    VALUES ('first', NULL, 'waiting'), ('second', timestamptz '2990-01-01', 'waiting'),
    ('third', NULL, 'waiting'), ('late', '2001-01-01', 'expired')
) AS s (step_key, deadline, state);
SELECT is(pg_temp.register('other run', 'fourth'), 'waiting', 'one is of another run');
SET LOCAL ROLE flow_signal_sender;
CREATE TEMP TABLE sent ON COMMIT DROP AS
SELECT d.*, clock_timestamp() AS now
FROM flow_signal_v1.deliver_to_step(
    p_run_id => md5('verdicts')::uuid, p_step_key => 'second', p_payload_json => '{"a" : 1}'
) AS d;
SELECT is(
    ROW(s.status, s.run_id, s.step_key, s.replayed)::text,
    ROW('delivered', md5('verdicts')::uuid, 'second', false)::text,
    'delivered: the step that was named, not the oldest of the signal'
)
FROM sent AS s;
SET LOCAL ROLE flow_signal_engine;
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
SET LOCAL ROLE flow_signal_sender;
SELECT is(
    d::text, ROW('already_delivered', s.run_id, 'second', s.delivered_at, false)::text,
    'already_delivered: with the instant of the delivery'
)
FROM sent AS s
CROSS JOIN flow_signal_v1.deliver_to_step(
    p_run_id => s.run_id, p_step_key => 'second', p_payload_json => '2'
) AS d;
SELECT is(
    d::text, ROW('expired', md5('verdicts')::uuid, 'late', NULL, false)::text, 'expired'
)
FROM flow_signal_v1.deliver_to_step(
    p_run_id => md5('verdicts')::uuid, p_step_key => 'late', p_delivery_id => 'id'
) AS d;
SET LOCAL ROLE flow_signal_engine;
SELECT is(
    ARRAY[
        pg_temp.get('verdicts', 'first'), pg_temp.get('verdicts', 'second'),
        pg_temp.get('verdicts', 'third'), pg_temp.get('verdicts', 'late')
    ],
    ARRAY['waiting', 'delivered {"a" : 1}', 'waiting', 'expired'], 'no other step is touched'
);
SELECT is(
    pg_temp.deliver_to_step('verdicts', n.step_key), 'not_found', format('not_found: "%s"', n.step_key)
)
FROM (VALUES ('FIRST'), ('first '), ('fourth'), ('%'), ('go')) AS n (step_key);
SELECT is(
    pg_temp.deliver('verdicts', '3') || pg_temp.deliver('verdicts', '4'),
    'delivered firstdelivered third', 'signals by name pass over the step that has its payload'
);
SELECT is(
    pg_temp.deliver('verdicts'), 'already_delivered first', 'and name the oldest with a payload'
);

-- An overdue waiter is expired for good; a new deadline makes it live again.

RESET ROLE;
UPDATE flow_signal.flow_signal_waiters SET expires_at = 'tomorrow'
WHERE run_id = md5('verdicts')::uuid AND step_key = 'late';
SET LOCAL ROLE flow_signal_engine;
SELECT is(
    pg_temp.deliver_to_step('verdicts', 'late'), 'expired late',
    'it stays expired when the clock steps back'
);
SELECT is(pg_temp.register('verdicts', 'late'), 'waiting', 'given another deadline');
SELECT is(pg_temp.deliver_to_step('verdicts', 'late', '5', 'id'), 'delivered late', 'it gets the signal');
SELECT is(
    pg_temp.register('soon', 's', clock_timestamp()) || pg_temp.deliver_to_step('soon', 's'),
    'expiredexpired s', 'a deadline is judged by the clock, not by the start of the transaction'
);
SELECT is(pg_temp.register('soon', 't', 'tomorrow'), 'waiting', 'a waiter with a deadline ahead');
RESET ROLE;
UPDATE flow_signal.flow_signal_waiters SET expires_at = clock_timestamp()
WHERE run_id = md5('soon')::uuid AND step_key = 't';
SET LOCAL ROLE flow_signal_engine;
SELECT is(pg_temp.deliver_to_step('soon', 't'), 'expired t', 'which it reaches, is found expired');
RESET ROLE;
SELECT is(w.status, 'expired', 'and settled as that')
FROM flow_signal.flow_signal_waiters AS w
WHERE w.run_id = md5('soon')::uuid AND w.step_key = 't';
SET LOCAL ROLE flow_signal_engine;

-- The delivery id: what became of it, whichever step got it, whichever call sent it.

SELECT is(
    pg_temp.register('ids', s.step_key, NULL, s.signal_name), 'waiting',
    format('%s waits for %s', s.step_key, s.signal_name)
)
FROM (
    VALUES ('a', 'go'), ('b', 'go'), ('c', 'go'), ('d', 'go'), ('x', 'stop'), ('y', 'stop')
) AS s (step_key, signal_name);
SELECT is(pg_temp.deliver_to_step('ids', 'b', '1', 'id 1'), 'delivered b', 'a signal for one step');
CREATE TEMP TABLE receipts ON COMMIT DROP AS
SELECT w.delivered_at
FROM flow_signal_v1.get_waiter(p_run_id => md5('ids')::uuid, p_step_key => 'b') AS w;
CREATE TEMP TABLE before ON COMMIT DROP AS SELECT pg_temp.contents() AS contents;
SELECT is(
    d::text, ROW('delivered', md5('ids')::uuid, 'b', r.delivered_at, true)::text,
    'again: the step and the instant of the delivery'
)
FROM receipts AS r
CROSS JOIN flow_signal_v1.deliver_to_step(
    p_run_id => md5('ids')::uuid, p_step_key => 'b', p_payload_json => '1', p_delivery_id => 'id 1'
) AS d;
SELECT is(
    pg_temp.deliver_to_step('ids', 'c', '1', 'id 1'), 'delivered b (replayed)',
    'to another step of the same signal: one id answers one question'
);
SELECT is(
    pg_temp.deliver('ids', '1', 'id 1'), 'delivered b (replayed)', 'deliver_signal knows the id'
);
SELECT is(pg_temp.contents(), b.contents, 'which all writes nothing') FROM before AS b;
SELECT is(
    pg_temp.refusal(format(
        'deliver_to_step(p_run_id => %L, p_step_key => %L, p_payload_json => %L, '
        'p_delivery_id => %L)', md5('ids')::uuid, s.step_key, s.payload_json, 'id 1'
    )),
    format(
        E'WS002 delivery id "id 1" was used with another payload\n'
        'signal "go" of run %s is recorded under it as delivered\n'
        'repeat the payload byte for byte, or send a new signal under a new id', md5('ids')::uuid
    ),
    format('to %s with another payload: %s', s.step_key, s.payload_json)
)
FROM (
    VALUES ('b', '2'), ('b', '1 '), ('b', NULL), ('b', 'null'), ('c', '2')
) AS s (step_key, payload_json);
SELECT is(
    pg_temp.deliver_to_step('ids', 'x', '"other"', 'id 1'), 'delivered x',
    'to a step of another signal the id is another one'
);
SELECT is(
    pg_temp.deliver('ids', '"other"', 'id 1', p_signal_name => 'stop'), 'delivered x (replayed)',
    'and known for that signal'
);
SELECT is(
    pg_temp.deliver('ids', '2', 'id 2'), 'delivered a', 'a signal by name, under an id'
);
SELECT is(
    ARRAY[
        pg_temp.deliver_to_step('ids', 'a', '2', 'id 2'), pg_temp.deliver_to_step('ids', 'c', '2', 'id 2'),
        pg_temp.deliver_to_step('ids', 'y', '2', 'id 2')
    ],
    ARRAY['delivered a (replayed)', 'delivered a (replayed)', 'delivered y'],
    'is known to the steps of that signal, not to those of another'
);
SELECT is(
    pg_temp.deliver_to_step('ids', 'nobody', '2', 'id 2'), 'not_found',
    'nor to a step that is not there and never got it'
);

-- The receipt outlives the waiter, its signal name included.

SELECT is(pg_temp.remove('ids', 'b'), 'delivered 1', 'the step is removed');
SELECT is(
    pg_temp.deliver_to_step('ids', 'b', '1', 'id 1'), 'delivered b (replayed)', 'the id is still known'
);
SELECT is(
    ARRAY[
        pg_temp.register('ids', 'b'), pg_temp.deliver_to_step('ids', 'b', '1', 'id 1'), pg_temp.get('ids', 'b')
    ],
    ARRAY['waiting', 'delivered b (replayed)', 'waiting'], 'when the step is parked anew, too: it gets nothing'
);
SELECT is(pg_temp.register('ids', 'b', NULL, 'third'), 'waiting', 'it waits for a third signal');
SELECT is(
    pg_temp.deliver_to_step('ids', 'b', '1', 'id 1'), 'delivered b (replayed)',
    'what this step received is known under any signal'
);
SELECT throws_ok(
    $$SELECT pg_temp.deliver_to_step('ids', 'b', '3', 'id 1')$$, 'WS002',
    'delivery id "id 1" was used with another payload', 'also with another payload'
);
SELECT is(pg_temp.deliver_to_step('ids', 'b', '3', 'id 3'), 'delivered b', 'a new id reaches it');
SELECT is(
    pg_temp.deliver_to_step('ids', 'b', '3', 'id 4'), 'already_delivered b', 'another one is refused'
);
SELECT is(pg_temp.remove('ids', 'b'), 'delivered 3', 'and not recorded: once the step is removed');
SELECT is(pg_temp.deliver_to_step('ids', 'b', '3', 'id 4'), 'not_found', 'and not there');
SELECT is(
    pg_temp.register('ids', 'b') || pg_temp.deliver_to_step('ids', 'b', '4', 'id 4'),
    'waitingdelivered b', 'and parked anew, that id reaches it'
);

-- An id that is buffered for the signal that the step waits for.

SELECT is(
    pg_temp.register('early', 'late', '2001-01-01') || pg_temp.buffer('early', '1', 'id'),
    'expiredbuffered', 'an overdue step, and a signal that is kept'
);
SELECT is(
    d::text, ROW('buffered', md5('early')::uuid, NULL, NULL, true)::text,
    'sent to that step it is known as buffered'
)
FROM flow_signal_v1.deliver_to_step(
    p_run_id => md5('early')::uuid, p_step_key => 'late', p_payload_json => '1', p_delivery_id => 'id'
) AS d;
SELECT throws_ok(
    $$SELECT pg_temp.deliver_to_step('early', 'late', '2', 'id')$$, 'WS002',
    'delivery id "id" was used with another payload', 'with another payload it is refused'
);
SELECT is(
    pg_temp.deliver_to_step('early', 'nobody', '1', 'id'), 'not_found',
    'to a step that is not there it is not known: that waits for no signal'
);
SELECT is(
    pg_temp.register('early', 'taker') || pg_temp.deliver_to_step('early', 'late', '1', 'id'),
    'delivered 1delivered taker (replayed)', 'once a waiter took it, it is known as delivered to that'
);
SELECT is(pg_temp.buffer('early', '3', 'id 3'), 'buffered', 'another signal is kept');
DO $$ BEGIN PERFORM pg_temp.let_buffered_die('early', '3'); END $$;
SELECT is(
    pg_temp.deliver_to_step('early', 'late', '4', 'id 3'), 'expired late', 'past its time its id is free'
);

-- The wake channel and the queue.

RESET ROLE;
\ir ../notified.psql
SET LOCAL ROLE flow_signal_engine;
SELECT is(
    w.state, 'waiting', 'a waiter with a wake channel and a queue'
)
FROM flow_signal_v1.register_waiter(
    p_run_id => md5('wake')::uuid, p_step_key => 's', p_signal_name => 'go', p_wake_channel => 'c',
    p_queue => 'q'
) AS w;
SELECT is(
    pg_temp.register('wake', 't') || pg_temp.deliver_to_step('wake', 't')
    || pg_temp.deliver_to_step('wake', 's', '1', 'id') || pg_temp.deliver_to_step('wake', 's', '1', 'id'),
    'waitingdelivered tdelivered sdelivered s (replayed)', 'it gets a signal, and one without them'
);
SELECT is(
    ARRAY(SELECT ROW(n.channel, n.payload)::text FROM notified AS n),
    ARRAY[ROW('c', md5('wake')::uuid || '/s')::text], 'it is notified, once'
);
SELECT is(
    ARRAY(SELECT c.step_key FROM flow_signal_v1.claim_waiters(p_queue => 'q') AS c), '{s}',
    'and is due'
);

-- The payload, byte for byte.

SELECT is(
    ROW(
        pg_temp.register('payload ' || p.n, 's'), pg_temp.deliver_to_step('payload ' || p.n, 's', p.payload_json),
        pg_temp.remove('payload ' || p.n, 's')
    )::text,
    ROW('waiting', 'delivered s', concat_ws(' ', 'delivered', p.payload_json))::text,
    format('payload %s', to_json(left(p.payload_json, 20)))
)
FROM (
    VALUES
    (1, NULL), (2, 'null'), (3, '{ "b" : 1,  "a":2, "b": 1 }'), (4, E' \n\t["ä🙂\u00e4", 1.10, 1e400]\r\n'),
    (5, '"\u0000\ud800"'), (6, '"' || repeat('🙂', 262143) || '.."')
) AS p (n, payload_json);

-- A call in a SELECT list, its columns taken apart, is still one call.

SELECT is(pg_temp.register('once', 's'), 'waiting', 'a waiter');
CREATE TEMP TABLE once ON COMMIT DROP AS
SELECT
    (flow_signal_v1.deliver_to_step(
        p_run_id => md5('once')::uuid, p_step_key => 's', p_delivery_id => 'id'
    )).*;
SELECT is(
    array_agg(concat_ws(' ', o.status, o.step_key, o.replayed)), '{delivered s f}',
    'gets a signal: no column comes from a replay'
)
FROM once AS o;

-- What is refused.

SELECT is(pg_temp.register('refused', 's'), 'waiting', 'a live waiter, which no refused signal reaches');
SELECT is(pg_temp.refusal(format('deliver_to_step(%s)', r.arguments)), r.refusal, to_json(left(r.arguments, 60))::text)
FROM (
    SELECT
        a.refusal, format('%L, %L, %L, %L', a.run_id, a.step_key, a.payload_json, a.delivery_id) AS arguments
    FROM (
        VALUES
        (NULL, 's', '1', NULL, pg_temp.is_null('run id')),
        (md5('refused')::uuid, NULL, '1', NULL, pg_temp.is_null('step key')),
        (md5('refused')::uuid, E' \u0085\n', '1', NULL, pg_temp.is_blank('step key', ' ??')),
        (md5('refused')::uuid, repeat('x', 257), '1', NULL, pg_temp.is_too_long('step key', repeat('x', 40))),
        (md5('refused')::uuid, 's', '1', '', pg_temp.is_blank('delivery id', '')),
        (md5('refused')::uuid, 's', '1', repeat('x', 257), pg_temp.is_too_long('delivery id', repeat('x', 40))),
        (
            md5('refused')::uuid, 's', 'secret', 'id',
            pg_temp.not_json('payload', 'secret', 'line 1, before character 7')
        ),
        (md5('refused')::uuid, 's', '', NULL, pg_temp.not_json('payload', '', 'line 1, before character 1')),
        (
            md5('refused')::uuid, 's', repeat('[', 500000), 'id',
            E'54001 payload is nested too deeply\n'
            '500000 characters; this server cannot parse so many nested arrays or objects\n'
            'send the inner part as a JSON string'
        ),
        (
            md5('refused')::uuid, 's', '"' || repeat('x', 1048575) || '"', 'id',
            E'WS003 payload of 1048577 bytes is too large\n'
            'a payload has at most 1048576 bytes of text\n'
            'store the data elsewhere and send a reference to it'
        )
    ) AS a (run_id, step_key, payload_json, delivery_id, refusal)
) AS r;
SELECT is(pg_temp.deliver_to_step('refused', 's', '1', 'id'), 'delivered s', 'it still waits, and no id was recorded');

-- Who may.

SET LOCAL ROLE flow_signal_reader;
SELECT throws_ok(
    $$SELECT flow_signal_v1.deliver_to_step(gen_random_uuid(), 's')$$, '42501',
    'permission denied for function deliver_to_step', 'a reader may not deliver'
);

SELECT * FROM finish();
ROLLBACK;
