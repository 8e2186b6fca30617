-- deliver_signal says truthfully what became of a signal, and no signal reaches two waiters.
BEGIN;
SELECT plan(611);
\ir ../helpers.psql
SET LOCAL ROLE flow_signal_sender;

SELECT is(
    pg_get_function_arguments('flow_signal_v1.deliver_signal'::regproc),
    'p_run_id uuid, p_signal_name text, p_payload_json text DEFAULT NULL::text, '
    'p_delivery_id text DEFAULT NULL::text, '
    'p_buffer_until timestamp with time zone DEFAULT NULL::timestamp with time zone',
    'the parameters, their order and their defaults'
);
SELECT is(
    pg_get_function_result('flow_signal_v1.deliver_signal'::regproc),
    'SETOF flow_signal_v1.delivery', 'the result'
);

-- Each verdict in full.

SELECT is(
    d::text, ROW('not_found', md5('verdicts')::uuid, NULL, NULL, false)::text,
    'not_found: there was no waiter yet'
)
FROM flow_signal_v1.deliver_signal(
    p_run_id => md5('verdicts')::uuid, p_signal_name => 'go'
) AS d;
SET LOCAL ROLE flow_signal_engine;
SELECT is(
    pg_temp.register('verdicts', 'other', p_signal_name => 'stop'), 'waiting', 'another signal'
);
SELECT is(pg_temp.register('other run', 's'), 'waiting', 'another run');
SELECT is(pg_temp.deliver('verdicts'), 'not_found', 'not_found: neither of them is meant');
SELECT is(pg_temp.register('verdicts', 'late', '2001-01-01'), 'expired', 'an overdue waiter');
SET LOCAL ROLE flow_signal_sender;
SELECT is(
    d::text, ROW('expired', md5('verdicts')::uuid, 'late', NULL, false)::text,
    'expired: with its step key'
)
FROM flow_signal_v1.deliver_signal(
    p_run_id => md5('verdicts')::uuid, p_signal_name => 'go'
) AS d;
SELECT is(
    d::text, ROW('buffered', md5('verdicts')::uuid, NULL, NULL, false)::text, 'buffered'
)
FROM flow_signal_v1.deliver_signal(
    p_run_id => md5('verdicts')::uuid, p_signal_name => 'go', p_buffer_until => 'tomorrow'
) AS d;
SET LOCAL ROLE flow_signal_engine;
SELECT is(
    pg_temp.register('verdicts', 'first')
    || pg_temp.register('verdicts', 'second', '2990-01-01'),
    'deliveredwaiting', 'one waiter takes the buffered signal, the other waits'
);
CREATE TEMP TABLE sent ON COMMIT DROP AS
SELECT d.*, clock_timestamp() AS now
FROM flow_signal_v1.deliver_signal(
    p_run_id => md5('verdicts')::uuid, p_signal_name => 'go', p_payload_json => '{"a": 1}'
) AS d;
SELECT is(
    ROW(s.status, s.run_id, s.step_key, s.replayed)::text,
    ROW('delivered', md5('verdicts')::uuid, 'second', false)::text,
    'delivered: with its step key'
)
FROM sent AS s;
SELECT ok(
    s.delivered_at > transaction_timestamp() AND s.delivered_at > w.created_at
    AND s.delivered_at < w.expires_at AND s.delivered_at < s.now,
    'delivered_at is the clock at the delivery, not the start of the transaction'
)
FROM sent AS s
CROSS JOIN flow_signal_v1.get_waiter(p_run_id => s.run_id, p_step_key => s.step_key) AS w;
SELECT is(
    ROW(w.state, w.delivered_at, w.payload_json, w.expires_at)::text,
    ROW('delivered', s.delivered_at, '{"a": 1}', timestamptz '2990-01-01')::text,
    'the waiter has it, and keeps its deadline'
)
FROM sent AS s
CROSS JOIN flow_signal_v1.get_waiter(p_run_id => s.run_id, p_step_key => s.step_key) AS w;
SET LOCAL ROLE flow_signal_sender;
SELECT is(
    ROW(d.status, d.run_id, d.step_key, d.replayed)::text,
    ROW('already_delivered', md5('verdicts')::uuid, 'first', false)::text,
    'already_delivered: with the step key of the oldest'
)
FROM flow_signal_v1.deliver_signal(
    p_run_id => md5('verdicts')::uuid, p_signal_name => 'go'
) AS d;
SET LOCAL ROLE flow_signal_engine;
SELECT is(
    d.delivered_at, w.delivered_at, 'already_delivered: with the delivered_at of the oldest'
)
FROM flow_signal_v1.deliver_signal(
    p_run_id => md5('verdicts')::uuid, p_signal_name => 'go'
) AS d
CROSS JOIN flow_signal_v1.get_waiter(
    p_run_id => md5('verdicts')::uuid, p_step_key => 'first'
) AS w;

-- The order of the decision: all that can be there at once, in every combination. The waiter that
-- joins last may be the oldest: it was registered for another signal before the others.

CREATE TEMP TABLE lines ON COMMIT DROP AS
SELECT
    row_number() OVER () AS number, known.*, live.*, until.*, delivered.*, expired.*, older.*,
    concat_ws(
        ', ', known.known, live.live, until.until, delivered.delivered, expired.expired,
        older.older
    ) AS line
FROM (
    VALUES
    (NULL), ('a new id'), ('id of a waiter'), ('id of a removed waiter'),
    ('id of a buffered signal')
) AS known (known)
CROSS JOIN (VALUES (NULL), ('live')) AS live (live)
CROSS JOIN (VALUES (NULL), ('until now'), ('until tomorrow')) AS until (until)
CROSS JOIN (VALUES (NULL), ('delivered')) AS delivered (delivered)
CROSS JOIN (VALUES (NULL), ('overdue'), ('settled as expired')) AS expired (expired)
CROSS JOIN (VALUES (NULL), ('the oldest joins last')) AS older (older)
WHERE (known.known IS DISTINCT FROM 'id of a buffered signal' OR live.live IS NULL)
    AND (older.older IS NULL OR live.live IS NOT NULL OR expired.expired IS NOT NULL);

DO $$
DECLARE
    r record;
BEGIN
    FOR r IN SELECT * FROM lines LOOP
        IF r.older IS NOT NULL AND r.live IS NOT NULL THEN
            PERFORM pg_temp.register(r.line, 'live', p_signal_name => 'elsewhere');
        END IF;
        IF r.older IS NOT NULL AND r.expired IS NOT NULL THEN
            PERFORM pg_temp.register(r.line, 'expired', p_signal_name => 'elsewhere');
        END IF;
        IF r.known IN ('id of a waiter', 'id of a removed waiter') THEN
            PERFORM pg_temp.register(r.line, 'known');
            PERFORM pg_temp.deliver(r.line, '"same"', p_delivery_id => 'id');
        END IF;
        IF r.known = 'id of a removed waiter' THEN
            PERFORM pg_temp.remove(r.line, 'known');
        END IF;
        IF r.delivered IS NOT NULL THEN
            PERFORM pg_temp.register(r.line, 'delivered');
            PERFORM pg_temp.deliver(r.line);
        END IF;
        IF r.expired IS NOT NULL THEN
            PERFORM pg_temp.register(r.line, 'expired', '2001-01-01');
        END IF;
        IF r.expired = 'settled as expired' THEN
            PERFORM pg_temp.deliver(r.line);
        END IF;
        IF r.known = 'id of a buffered signal' THEN
            PERFORM pg_temp.buffer(r.line, '"same"', p_delivery_id => 'id');
        END IF;
        IF r.live IS NOT NULL THEN
            PERFORM pg_temp.register(r.line, 'live');
        END IF;
    END LOOP;
END
$$;
SELECT is(
    pg_temp.deliver(
        r.line, '"same"', CASE WHEN r.known IS NOT NULL THEN 'id' END,
        CASE r.until
            WHEN 'until now' THEN clock_timestamp() WHEN 'until tomorrow' THEN 'tomorrow'
        END
    ),
    CASE
        WHEN r.known IN ('id of a waiter', 'id of a removed waiter')
            THEN 'delivered known (replayed)'
        WHEN r.known = 'id of a buffered signal' THEN 'buffered (replayed)'
        WHEN r.live IS NOT NULL THEN 'delivered live'
        WHEN r.until = 'until tomorrow' THEN 'buffered'
        WHEN r.delivered IS NOT NULL THEN 'already_delivered delivered'
        WHEN r.expired IS NOT NULL THEN 'expired expired'
        ELSE 'not_found'
    END,
    'there is: ' || r.line
)
FROM lines AS r;

-- The oldest.

SELECT is(pg_temp.register('oldest', s.step_key), 'waiting', format('%s waits', s.step_key))
FROM (VALUES ('c'), ('a'), ('b'), ('late'), ('d')) AS s (step_key);
SELECT is(
    pg_temp.register('oldest', 'late', clock_timestamp()), 'expired',
    'one is overdue: judged by the clock, not by the start of the transaction'
);
SELECT is(
    pg_temp.register('oldest', 'c', '2990-01-01'), 'waiting', 'the first registers again'
);
SELECT is(
    pg_temp.deliver('oldest', n::text), 'delivered ' || s.step_key,
    format(
        'signal %s goes to %s: in the order of created_at, the overdue one is passed over', n,
        s.step_key
    )
)
FROM unnest(ARRAY['c', 'a', 'b', 'd']) WITH ORDINALITY AS s (step_key, n);
SELECT is(
    pg_temp.deliver('oldest'), 'already_delivered c',
    'then no waiter is live: the oldest with a payload is named'
);
SELECT is(pg_temp.remove('oldest', 'c'), 'delivered 1', 'the oldest is removed');
SELECT is(pg_temp.deliver('oldest'), 'already_delivered a', 'then it is the next');

SELECT is(pg_temp.register('ties', s.step_key), 'waiting', format('%s waits', s.step_key))
FROM (VALUES ('ä'), ('b'), ('B'), ('a'), ('a ')) AS s (step_key);
SELECT is(
    pg_temp.register('other ties', 'first') || pg_temp.deliver('other ties'),
    'waitingdelivered first', 'in another FIFO the first has its signal'
);
SELECT is(pg_temp.register('other ties', s.step_key), 'waiting', format('%s waits', s.step_key))
FROM (VALUES ('ä'), ('b'), ('B'), ('a'), ('a ')) AS s (step_key);
RESET ROLE;
UPDATE flow_signal.flow_signal_waiters SET created_at = now()
WHERE run_id IN (md5('ties')::uuid, md5('other ties')::uuid);
SET LOCAL ROLE flow_signal_engine;
SELECT is(
    pg_temp.deliver(r.run), 'delivered ' || s.step_key,
    format('%s, created at the same instant: %s is next in the order of bytes', r.run, s.step_key)
)
FROM (VALUES ('ties'), ('other ties')) AS r (run)
CROSS JOIN (VALUES ('B'), ('a'), ('a '), ('b'), ('ä')) AS s (step_key);

SELECT is(
    pg_temp.register('expired', s.step_key, '2001-01-01'), 'expired',
    format('%s is overdue', s.step_key)
)
FROM (VALUES ('y'), ('x'), ('z')) AS s (step_key);
SELECT is(pg_temp.deliver('expired'), 'expired y', 'the oldest expired one is named');
SELECT is(pg_temp.deliver('expired'), 'expired y', 'and named again');
SELECT is(pg_temp.register('expired', 'y'), 'waiting', 'revived');
SELECT is(pg_temp.deliver('expired', '1'), 'delivered y', 'it gets the next signal');
SELECT is(pg_temp.remove('expired', 'y'), 'delivered 1', 'and is removed');
SELECT is(pg_temp.deliver('expired'), 'expired x', 'then the next expired one is named');

-- The time to live of a buffered signal.

SELECT is(
    pg_temp.deliver('until', p_buffer_until => u.until), 'not_found',
    format('buffered until %s, which is past: as if not given', u.what)
)
FROM (
    VALUES
    ('now', clock_timestamp()), ('the start of the transaction', transaction_timestamp()),
    ('2001', '2001-01-01'), ('year 1', '0001-01-01 00:00:00+00')
) AS u (what, until);
SELECT is(
    pg_temp.deliver('until', n::text, p_buffer_until => u.until), 'buffered',
    format('buffered until %s', u.until)
)
FROM unnest(ARRAY[timestamptz '9999-12-31 23:59:59.999999+00', 'tomorrow', '2990-01-01'])
WITH ORDINALITY AS u (until, n);
SELECT is(
    pg_temp.register('until', s.step_key), s.outcome,
    format('%s: first in, first out, not first to die', s.outcome)
)
FROM (
    VALUES ('a', 'delivered 1'), ('b', 'delivered 2'), ('c', 'delivered 3'), ('d', 'waiting')
) AS s (step_key, outcome);

SELECT is(
    pg_temp.buffer('dead', n::text, 'id ' || n), 'buffered', format('signal %s is buffered', n)
)
FROM generate_series(1, 3) AS n;
DO $$ BEGIN PERFORM pg_temp.let_buffered_die('dead'); END $$;
SELECT is(pg_temp.deliver('dead'), 'not_found', 'a signal past its time is no answer');
SELECT is(
    pg_temp.buffer('dead', '"new"', 'id 2'), 'buffered',
    'the id of a signal past its time is forgotten'
);
SELECT is(
    pg_temp.buffer('dead', '"new"', 'id 2'), 'buffered (replayed)', 'and known of the new one'
);
SELECT is(pg_temp.register('dead', 's'), 'delivered "new"', 'which the next waiter gets');
SELECT is(
    pg_temp.deliver('dead', '"new"', 'id 2'), 'delivered s (replayed)',
    'and the id is known of that'
);
SELECT is(
    pg_temp.deliver('dead', '3', 'id 3'), 'already_delivered s',
    'the id of a dead letter that a waiter has passed over is forgotten as well'
);

-- The delivery id.

SELECT is(pg_temp.deliver('ids', '1', 'a'), 'not_found', 'a signal without a waiter');
SELECT is(pg_temp.register('ids', 'late', '2001-01-01'), 'expired', 'an overdue waiter');
SELECT is(pg_temp.deliver('ids', '2', 'a'), 'expired late', 'its id was not recorded');
SELECT is(pg_temp.register('ids', 'first'), 'waiting', 'a live one');
SELECT is(pg_temp.deliver('ids', '3', 'a'), 'delivered first', 'nor was it now');
SELECT is(
    pg_temp.deliver('ids', '4', 'b'), 'already_delivered first', 'no waiter is live for the next'
);
SELECT is(pg_temp.buffer('ids', '5', 'b'), 'buffered', 'whose id was not recorded either');
SELECT is(
    left(pg_temp.refusal(format(
        'deliver_signal(p_run_id => %L, p_signal_name => %L, p_payload_json => %L, '
        'p_delivery_id => %L)',
        md5('ids')::uuid, 'go', 'no json', 'c'
    )), 5),
    '22P02', 'a call that is refused'
);
SELECT is(pg_temp.buffer('ids', '6', 'c'), 'buffered', 'records no id');

CREATE TEMP TABLE kept ON COMMIT DROP AS
SELECT w.delivered_at
FROM flow_signal_v1.get_waiter(p_run_id => md5('ids')::uuid, p_step_key => 'first') AS w;
CREATE TEMP TABLE before ON COMMIT DROP AS SELECT pg_temp.contents() AS contents;
SELECT is(
    pg_temp.deliver('ids', r.payload_json, r.delivery_id, r.until), r.outcome,
    format('%s again, kept until %s: %s', r.delivery_id, r.until, r.outcome)
)
FROM (
    VALUES
    ('a', '3', NULL, 'delivered first (replayed)'), ('b', '5', NULL, 'buffered (replayed)'),
    ('b', '5', timestamptz '2001-01-01', 'buffered (replayed)'),
    ('c', '6', '2990-01-01', 'buffered (replayed)'),
    ('a', '3', '2990-01-01', 'delivered first (replayed)')
) AS r (delivery_id, payload_json, until, outcome);
SELECT is(
    d::text,
    ROW('delivered', w.run_id, w.step_key, w.delivered_at, true)::text,
    'a replay tells the step and the instant of the delivery'
)
FROM flow_signal_v1.get_waiter(p_run_id => md5('ids')::uuid, p_step_key => 'first') AS w
CROSS JOIN flow_signal_v1.deliver_signal(
    p_run_id => w.run_id, p_signal_name => 'go', p_payload_json => '3', p_delivery_id => 'a'
) AS d;
SELECT is(pg_temp.contents(), b.contents, 'a replay writes nothing') FROM before AS b;

SELECT is(
    pg_temp.refusal(format(
        'deliver_signal(p_run_id => %L, p_signal_name => %L, p_payload_json => %L, '
        'p_delivery_id => %L, p_buffer_until => %L)',
        md5('ids')::uuid, 'go', r.payload_json, r.delivery_id, r.until
    )),
    format(
        E'WS002 delivery id "%s" was used with another payload\n'
        'signal "go" of run %s is recorded under it as %s\n'
        'repeat the payload byte for byte, or send a new signal under a new id',
        r.delivery_id, md5('ids')::uuid, r.status
    ),
    format('%s with another payload: %s', r.delivery_id, r.payload_json)
)
FROM (
    VALUES
    ('a', '4', NULL, 'delivered'), ('a', '3 ', NULL, 'delivered'),
    ('a', ' 3', 'tomorrow', 'delivered'),
    ('a', '3.0', NULL, 'delivered'), ('a', NULL, NULL, 'delivered'),
    ('a', 'null', NULL, 'delivered'),
    ('b', '6', NULL, 'buffered'), ('b', '5 ', 'tomorrow', 'buffered'),
    ('b', NULL, NULL, 'buffered')
) AS r (delivery_id, payload_json, until, status);

SELECT is(
    pg_temp.deliver('ids', '3', i.id), 'already_delivered first',
    format('id "%s" is another', i.id)
)
FROM (VALUES ('A'), (' a'), ('a '), (E'a\u0308'), ('aa')) AS i (id);
SELECT is(
    pg_temp.register('ids', 'second'), 'delivered 5',
    'the next waiter takes the buffered signal'
);
SELECT is(
    pg_temp.deliver('ids', '5', 'b'), 'delivered second (replayed)',
    'whose id now tells the waiter'
);
SELECT is(pg_temp.register('ids', 'fourth'), 'delivered 6', 'the next takes the last one');
SELECT is(pg_temp.register('ids', 'third'), 'waiting', 'the next waits');
SELECT is(
    pg_temp.deliver('ids', '3', 'a'), 'delivered first (replayed)',
    'a retry never reaches a second waiter'
);
SELECT is(pg_temp.get('ids', 'third'), 'waiting', 'it still waits');
SELECT is(pg_temp.remove('ids', 'first'), 'delivered 3', 'the first waiter is removed');
SELECT is(
    pg_temp.deliver('ids', '3', 'a', b.until), 'delivered first (replayed)',
    format('its id is still known, kept until %s', b.until)
)
FROM (VALUES (NULL), (timestamptz '2990-01-01')) AS b (until);
SELECT is(
    d::text, ROW('delivered', md5('ids')::uuid, 'first', k.delivered_at, true)::text,
    'with the step and the instant of the delivery'
)
FROM kept AS k
CROSS JOIN flow_signal_v1.deliver_signal(
    p_run_id => md5('ids')::uuid, p_signal_name => 'go', p_payload_json => '3', p_delivery_id => 'a'
) AS d;
SELECT is(
    left(pg_temp.refusal(format(
        'deliver_signal(p_run_id => %L, p_signal_name => %L, p_payload_json => %L, '
        'p_delivery_id => %L, p_buffer_until => %L)',
        md5('ids')::uuid, 'go', r.payload_json, 'a', r.until
    )), 5),
    'WS002', format('payload %s under it is refused, kept until %s', r.payload_json, r.until)
)
FROM (
    VALUES ('7', NULL), (NULL, NULL), ('3 ', timestamptz '2990-01-01')
) AS r (payload_json, until);
SELECT is(pg_temp.get('ids', 'third'), 'waiting', 'the third waiter still waits');
SELECT is(pg_temp.deliver('ids', '7'), 'delivered third', 'for a signal of its own');
SELECT is(
    ROW(
        pg_temp.register('ids', 'first'), pg_temp.deliver('ids', '3', 'a'),
        pg_temp.get('ids', 'first')
    )::text,
    ROW('waiting', 'delivered first (replayed)', 'waiting')::text,
    'the same step, parked anew, does not get that signal again'
);
SELECT is(
    ROW(
        pg_temp.remove('ids', 'second'), pg_temp.remove('ids', 'fourth'),
        pg_temp.buffer('ids', '5', 'b'), pg_temp.deliver('ids', '6', 'c')
    )::text,
    ROW(
        'delivered 5', 'delivered 6', 'delivered second (replayed)',
        'delivered fourth (replayed)'
    )::text,
    'an id that was buffered is known as well, after its waiter was removed: it is not kept anew'
);
SELECT is(pg_temp.get('ids', 'first'), 'waiting', 'and reaches no other waiter');
SELECT is(pg_temp.remove('ids', 'first'), 'waiting', 'which is removed');

SELECT is(
    pg_temp.register(i.run, i.step_key, p_signal_name => i.signal_name), 'waiting',
    format('%s waits in run %s for %s', i.step_key, i.run, i.signal_name)
)
FROM (
    VALUES ('ids', 'stopper', 'stop'), ('ids', 'shouter', 'GO'),
    ('ids of another run', 'goer', 'go')
) AS i (run, step_key, signal_name);
SELECT is(
    pg_temp.deliver(i.run, '"other"', 'b', p_signal_name => i.signal_name),
    'delivered ' || i.step_key,
    format('the same id for %s of run %s is another', i.signal_name, i.run)
)
FROM (
    VALUES ('ids', 'stopper', 'stop'), ('ids', 'shouter', 'GO'),
    ('ids of another run', 'goer', 'go')
) AS i (run, step_key, signal_name);

SELECT is(pg_temp.register('null id', 's'), 'waiting', 'a waiter');
SELECT is(
    pg_temp.deliver('null id', p_delivery_id => 'a'), 'delivered s', 'an id without a payload'
);
SELECT is(
    pg_temp.deliver('null id', p_delivery_id => 'a'), 'delivered s (replayed)', 'and again'
);
SELECT is(
    left(pg_temp.refusal(format(
        'deliver_signal(p_run_id => %L, p_signal_name => %L, p_payload_json => %L, '
        'p_delivery_id => %L)',
        md5('null id')::uuid, 'go', 'null', 'a'
    )), 5),
    'WS002', 'the payload null is not no payload'
);

SELECT is(
    ROW(
        pg_temp.register('id names', n.name),
        pg_temp.deliver('id names', p_delivery_id => n.name),
        pg_temp.deliver('id names', p_delivery_id => n.name)
    )::text,
    ROW('waiting', 'delivered ' || n.name, concat('delivered ', n.name, ' (replayed)'))::text,
    format('%s is a delivery id', to_json(left(n.name, 20)))
)
FROM (
    VALUES
    ('x'), (' x'), ('x '), ('X'), ('%'), ('null'), (''''), ('"'), ('\'), (E'\u200b'), ('🙂'),
    (repeat('x', 256)), (repeat('🙂', 256))
) AS n (name);

-- The payload, byte for byte.

CREATE TEMP TABLE payloads ON COMMIT DROP AS
SELECT
    row_number() OVER () AS number, p.payload_json,
    coalesce(left(p.payload_json, 30), 'none') AS what
FROM (
    VALUES
    (NULL), ('null'), ('true'), ('0'), ('-0'), ('1e400'), ('1.10'), ('""'), ('"a"'), ('{}'),
    ('[]'),
    ('{ "b" : 1,  "a":2 }'), ('{"a": 1, "a": 2, "a": 1}'), (E' \n\t{"a":\r\n1}\n '),
    ('"\u0000"'), ('"\ud800"'),
    ('"\u00e4 \/ \""'), ('"ä"'), ('"漢🙂"'), ('"a\nb"'), (E'"\u2028\u00a0\ufeff"'), ('"''"'),
    ('"%s"'), ('"\\"'),
    ('123456789012345678901234567890.12345678901234567890'),
    (repeat('[', 1000) || repeat(']', 1000)),
    ('"' || repeat('x', 1048574) || '"'),
    (repeat(' ', 1048575) || '1'),
    ('"' || repeat('🙂', 262143) || '.."')
) AS p (payload_json);
SELECT is(
    max(octet_length(p.payload_json)), 1048576, 'the largest payloads have 1 MiB'
) FROM payloads AS p;
SELECT is(
    ROW(
        pg_temp.register('payload ' || p.number, 's'),
        pg_temp.deliver('payload ' || p.number, p.payload_json)
    )::text,
    ROW('waiting', 'delivered s')::text,
    format('payload %s is delivered', to_json(p.what))
)
FROM payloads AS p;
SELECT is(
    pg_temp.buffer('buffered payload ' || p.number, p.payload_json), 'buffered',
    format('payload %s is buffered', to_json(p.what))
)
FROM payloads AS p;
SELECT is_empty(
    $$SELECT p.what, w.payload_json
    FROM payloads AS p
    CROSS JOIN flow_signal_v1.get_waiter(
        p_run_id => md5('payload ' || p.number)::uuid, p_step_key => 's'
    ) AS w
    WHERE w.payload_json::text IS DISTINCT FROM p.payload_json$$,
    'get_waiter returns what was sent, byte for byte'
);
SELECT is_empty(
    $$SELECT p.what, w.payload_json
    FROM payloads AS p
    CROSS JOIN flow_signal_v1.register_waiter(
        p_run_id => md5('buffered payload ' || p.number)::uuid, p_step_key => 's',
        p_signal_name => 'go'
    ) AS w
    WHERE w.payload_json::text IS DISTINCT FROM p.payload_json$$,
    'so does register_waiter, from the buffer'
);
SELECT is_empty(
    $$SELECT p.what, w.payload_json
    FROM payloads AS p
    CROSS JOIN flow_signal_v1.remove_waiter(
        p_run_id => md5('payload ' || p.number)::uuid, p_step_key => 's'
    ) AS w
    WHERE w.payload_json::text IS DISTINCT FROM p.payload_json$$,
    'so does remove_waiter'
);

-- The wake channel.

RESET ROLE;
\ir ../notified.psql
SET LOCAL ROLE flow_signal_engine;

SELECT is(
    pg_temp.register('wake', s.step_key, s.deadline, p_wake_channel => s.channel), s.state,
    format('%s, wake channel %s, %s', s.step_key, s.channel, s.state)
)
FROM (
    VALUES
    ('none', NULL, NULL, 'waiting'), ('one', 'c', NULL, 'waiting'),
    ('late', 'c', timestamptz '2001-01-01', 'expired'),
    (repeat('🙂', 256), repeat('c', 63), NULL, 'waiting'), ('changes', 'c', NULL, 'waiting'),
    ('changes', 'd', NULL, 'waiting'), ('drops', 'c', NULL, 'waiting'),
    ('drops', NULL, NULL, 'waiting')
) AS s (step_key, channel, deadline, state);
SELECT is(
    (
        SELECT count(*) FROM generate_series(1, 5) AS n WHERE pg_temp.deliver(
            'wake', n::text
        ) LIKE 'delivered%'
    ),
    5::bigint, 'five signals are delivered'
);
SELECT is(pg_temp.deliver('wake'), 'already_delivered none', 'one more is not');
SELECT is(
    pg_temp.register('wake', 'one', p_wake_channel => 'c'), 'delivered 2', 'a step comes back'
);
SELECT set_eq(
    'SELECT n.channel, n.payload FROM notified AS n',
    format(
        'VALUES (%L, %L), (%L, %L), (%L, %L)',
        'c', md5('wake')::uuid || '/one', repeat('c', 63),
        md5('wake')::uuid || '/' || repeat('🙂', 256),
        'd', md5('wake')::uuid || '/changes'
    ),
    'run_id/step_key goes to each wake channel, and none without one'
);
SELECT is((SELECT count(*) FROM notified), 3::bigint, 'once each');
DELETE FROM notified;

SELECT is(
    pg_temp.deliver('wake by id', p_delivery_id => 'id')
    || pg_temp.register('wake by id', 's', NULL, 'go', 'c')
    || pg_temp.deliver('wake by id', p_delivery_id => 'id')
    || pg_temp.deliver('wake by id', p_delivery_id => 'id'),
    'not_foundwaitingdelivered sdelivered s (replayed)', 'a signal with an id, and again'
);
SELECT is(
    ARRAY(SELECT ROW(n.channel, n.payload)::text FROM notified AS n),
    ARRAY[ROW('c', md5('wake by id')::uuid || '/s')::text], 'notifies once'
);
DELETE FROM notified;
SELECT is(
    pg_temp.register('wake at once', 's', p_wake_channel => 'c')
    || pg_temp.deliver('wake at once'),
    'waitingdelivered s', 'a signal for a waiter'
);
SELECT is(
    ARRAY(SELECT ROW(n.channel, n.payload)::text FROM notified AS n),
    ARRAY[ROW('c', md5('wake at once')::uuid || '/s')::text], 'notifies it'
);
DELETE FROM notified;
SELECT is(
    pg_temp.buffer('wake later', '1') || pg_temp.buffer('wake later', '2')
    || pg_temp.register('wake later', 's')
    || pg_temp.register('wake later', 't', NULL, 'go', 'c'),
    'bufferedbuffereddelivered 1delivered 2',
    'two take a buffered signal, one of them has a channel'
);
SELECT is(
    ARRAY(SELECT ROW(n.channel, n.payload)::text FROM notified AS n),
    ARRAY[ROW('c', md5('wake later')::uuid || '/t')::text], 'and is notified'
);

-- What is refused.

SELECT is(
    pg_temp.register('refused', 's'), 'waiting', 'a live waiter, which no refused signal reaches'
);
SELECT is(
    pg_temp.refusal(
        format('deliver_signal(p_run_id => %L, p_signal_name => %L)', c.run_id, c.signal_name)
    ),
    pg_temp.is_null(c.what),
    format('no %s', c.what)
)
FROM (
    VALUES ('run id', NULL, 'go'), ('signal name', md5('refused')::uuid, NULL)
) AS c (what, run_id, signal_name);
SELECT is(
    pg_temp.refusal(format(a.call, md5('refused')::uuid, b.name)),
    pg_temp.is_blank(a.what, pg_temp.cleaned(b.name)),
    format('a blank %s: %s', a.what, to_json(b.name))
)
FROM (
    VALUES
    ('signal name', 'deliver_signal(p_run_id => %L, p_signal_name => %L)'),
    (
        'delivery id',
        'deliver_signal(p_run_id => %L, p_signal_name => ''go'', p_delivery_id => %L)'
    )
) AS a (what, call)
CROSS JOIN (VALUES (''), (' '), (E' \t\r\n\f\u000b '), (E'\u00a0\u3000')) AS b (name);
SELECT is(
    pg_temp.refusal(format(a.call, md5('refused')::uuid, n.name)),
    pg_temp.is_too_long(a.what, pg_temp.cleaned(left(n.name, 40))),
    format('a %s of 257 characters: %s', a.what, left(n.name, 1))
)
FROM (
    VALUES
    ('signal name', 'deliver_signal(p_run_id => %L, p_signal_name => %L)'),
    (
        'delivery id',
        'deliver_signal(p_run_id => %L, p_signal_name => ''go'', p_delivery_id => %L)'
    )
) AS a (what, call)
CROSS JOIN (
    VALUES (repeat('x', 257)), (repeat('🙂', 257)), (repeat(' ', 257)),
    (repeat(E'\u001b\n\u0085\u007f', 64) || 'x')
) AS n (name);
SELECT is(
    pg_temp.refusal(format(
        'deliver_signal(p_run_id => %L, p_signal_name => %L, p_buffer_until => %L)',
        md5('refused')::uuid, 'go', u.until
    )),
    format(
        E'22023 buffer time %s is out of range\n'
        'drivers carry finite instants of the years 1 to 9999\n'
        'pass an instant at which the buffered signal may be forgotten',
        u.until
    ),
    format('buffered until %s', u.until)
)
FROM (
    VALUES
    (timestamptz 'infinity'), ('-infinity'), ('10000-01-01 00:00:00+00'),
    ('0001-12-31 23:59:59.999999+00 BC')
) AS u (until);

SELECT is(
    pg_temp.refusal(format(
        'deliver_signal(p_run_id => %L, p_signal_name => %L, p_payload_json => %L, '
        'p_buffer_until => %L)',
        md5('refused')::uuid, 'go', j.payload_json, 'tomorrow'
    )),
    pg_temp.not_json('payload', j.payload_json, j.at),
    format('no JSON: %s', to_json(left(j.payload_json, 40)))
)
FROM (
    VALUES
    ('', 'line 1, before character 1'), (' ', 'line 1, before character 2'),
    ('approved', 'line 1, before character 9'), ('''a''', 'line 1, before character 2'),
    ('{', 'line 1, before character 2'), ('{"a": }', 'line 1, before character 8'),
    ('{a: 1}', 'line 1, before character 3'), ('[1,]', 'line 1, before character 5'),
    ('[1 2]', 'line 1, before character 5'), ('1 2', 'line 1, before character 4'),
    ('NaN', 'line 1, before character 4'), ('+1', 'line 1, before character 2'),
    ('01', 'line 1, before character 3'), ('"', 'line 1, before character 2'),
    ('"\x"', 'line 1, before character 4'), ('"\u00"', 'line 1, before character 7'),
    (E'"a\nb"', 'line 1, before character 3'), ('nul', 'line 1, before character 4'),
    ('NULL', 'line 1, before character 5'), (E'\ufeff{}', 'line 1, before character 2'),
    (E'\u00a01', 'line 1, before character 3'), (E'[1,\n2,\n 3 4]', 'line 3, before character 5'),
    (E'[\r\n🙂]', 'line 2, before character 2'), ('[...', 'line 1, before character 3'),
    ('"no end...', 'line 1, before character 11'), (E'{"a": 1,\n', 'line 2, before character 1'),
    ('["' || repeat('x', 100) || '", y]', 'line 1, before character 107'),
    -- the fifty bytes that PostgreSQL tells are there more than once
    (format('["%1$s" "%1$s"]', repeat('x', 100)), 'line 1'),
    (repeat('x', 1048576), 'line 1')
) AS j (payload_json, at);
SELECT is(
    pg_temp.refusal(format(
        'deliver_signal(p_run_id => %L, p_signal_name => %L, p_payload_json => %L, '
        'p_buffer_until => %L)',
        md5('refused')::uuid, 'go', p.payload_json, 'tomorrow'
    )),
    format(
        E'WS003 payload of %s bytes is too large\na payload has at most 1048576 bytes of text\n'
        'store the data elsewhere and send a reference to it',
        octet_length(p.payload_json)
    ),
    format('a payload of %s bytes, %s', octet_length(p.payload_json), left(p.payload_json, 2))
)
FROM (
    VALUES
    ('"' || repeat('x', 1048575) || '"'), (repeat(' ', 1048576) || '1'),
    ('"' || repeat('🙂', 262144) || '"'),
    (repeat('x', 1048577))
) AS p (payload_json);

-- Under every limit of the stack, a megabyte of brackets is too much.
SELECT is(
    pg_temp.refusal(format(
        'deliver_signal(p_run_id => %L, p_signal_name => %L, p_payload_json => %L, '
        'p_buffer_until => %L)',
        md5('refused')::uuid, 'go', p.payload_json, 'tomorrow'
    )),
    format(
        E'54001 payload is nested too deeply\n'
        '%s characters; this server cannot parse so many nested arrays or objects\n'
        'send the inner part as a JSON string',
        length(p.payload_json)
    ),
    format('nested too deeply: %s', left(p.payload_json, 5))
)
FROM (
    VALUES
    (repeat('[', 500000) || repeat(']', 500000)), (repeat('{"a":', 150000) || '1' || repeat('}', 150000))
) AS p (payload_json);

SELECT is(pg_temp.get('refused', 's'), 'waiting', 'the waiter still waits');
SELECT is(pg_temp.remove('refused', 's'), 'waiting', 'it is removed');
SELECT is(pg_temp.register('refused', 's'), 'waiting', 'and finds nothing buffered');

-- A call in a SELECT list, its columns taken apart, is still one call.

SELECT is(
    pg_temp.register('once', s.step_key), 'waiting', format('%s waits', s.step_key)
)
FROM (VALUES ('a'), ('b'), ('c'), ('d'), ('e'), ('f')) AS s (step_key);
CREATE TEMP TABLE once ON COMMIT DROP AS
SELECT (flow_signal_v1.deliver_signal(p_run_id => md5('once')::uuid, p_signal_name => 'go')).*;
SELECT is(
    array_agg(concat_ws(' ', o.status, o.step_key, o.replayed)), '{delivered a f}', 'one row'
)
FROM once AS o;
SELECT is(pg_temp.get('once', 'b'), 'waiting', 'and one signal: the second waiter waits');

-- The quota of buffered signals of one (run, signal).

SELECT is(
    count(*) FILTER (WHERE pg_temp.buffer('quota', n::text, 'id ' || n) = 'buffered'), 1000::bigint,
    'a thousand signals are kept'
)
FROM generate_series(1, 1000) AS n;
CREATE FUNCTION pg_temp.one_too_many()
RETURNS text
LANGUAGE sql
AS $function$
SELECT pg_temp.refusal(format(
    'deliver_signal(p_run_id => %L, p_signal_name => %L, p_payload_json => %L, '
    'p_delivery_id => %L, p_buffer_until => %L)',
    md5('quota')::uuid, 'go', '"secret"', 'one too many', 'tomorrow'
))
$function$;
SELECT is(
    pg_temp.one_too_many(),
    format(
        E'WS004 run %s has too many buffered signals "go"\n'
        '1000 signals wait for a waiter, as many as are kept\n'
        'list_buffered_signals shows them; an engine takes one back with withdraw_signal',
        md5('quota')::uuid
    ),
    'one more is refused'
);
SELECT is(
    pg_temp.buffer('quota', '7', 'id 7'), 'buffered (replayed)', 'a retry is not one more'
);
SELECT is(pg_temp.deliver('quota', '7'), 'not_found', 'a signal that is not to be kept is not either');
SELECT is(
    pg_temp.buffer('quota', '1', p_signal_name => 'stop') || pg_temp.buffer('other quota', '1'),
    'bufferedbuffered', 'another signal or run has a quota of its own'
);
SELECT is(pg_temp.register('quota', 's'), 'delivered 1', 'a waiter takes one');
SELECT is(
    pg_temp.buffer('quota', '1001', 'one too many'), 'buffered',
    'so that there is room; the refused call recorded no id'
);
SELECT is(left(pg_temp.one_too_many(), 5), 'WS002', 'now it did');
DO $$ BEGIN PERFORM pg_temp.let_buffered_die('quota', '5'); END $$;
SELECT is(pg_temp.buffer('quota', '1002'), 'buffered', 'signals past their time do not count');
SELECT is(
    left(pg_temp.refusal(format(
        'deliver_signal(p_run_id => %L, p_signal_name => %L, p_buffer_until => %L)',
        md5('quota')::uuid, 'go', 'tomorrow'
    )), 5),
    'WS004', 'all the others do'
);
RESET ROLE;
UPDATE flow_signal.flow_signal_settings SET max_buffered = 2;
SET LOCAL ROLE flow_signal_engine;
SELECT is(
    ARRAY[pg_temp.buffer('setting', '1'), pg_temp.buffer('setting', '2')], '{buffered, buffered}',
    'the row of the settings says how many'
);
SELECT is(
    split_part(pg_temp.refusal(format(
        'deliver_signal(p_run_id => %L, p_signal_name => %L, p_buffer_until => %L)',
        md5('setting')::uuid, 'go', 'tomorrow'
    )), E'\n', 2),
    '2 signals wait for a waiter, as many as are kept', 'the third is refused'
);
SELECT throws_ok(
    'UPDATE flow_signal.flow_signal_settings SET max_buffered = 3', '42501',
    'permission denied for schema flow_signal', 'which only the owner can change'
);

-- To write a megabyte takes longer than a moment, but it is written once.

RESET ROLE;
CREATE FUNCTION pg_temp.bytes_of_payloads()
RETURNS bigint
LANGUAGE sql
AS $function$
SELECT pg_relation_size(c.reltoastrelid)
FROM pg_class AS c
WHERE c.oid = 'flow_signal.flow_signal_waiters'::regclass
$function$;
CREATE TEMP TABLE large ON COMMIT DROP AS
SELECT pg_temp.bytes_of_payloads() AS bytes_before, pg_temp.register('large', 's') AS state;
SELECT is(
    pg_temp.deliver('large', (SELECT '"' || string_agg(md5(n::text), '') || '"' FROM generate_series(1, 32000) AS n)),
    'delivered s', 'a megabyte that cannot be compressed'
);
SELECT cmp_ok(
    pg_temp.bytes_of_payloads() - l.bytes_before, '<', 1500000::bigint, 'takes a megabyte on disk'
)
FROM large AS l;

-- And of all that was delivered in this file:

SELECT is_empty(
    $$SELECT w.step_key, w.created_at, w.delivered_at, w.expires_at
    FROM flow_signal.flow_signal_waiters AS w
    WHERE w.delivered_at <= now() OR w.delivered_at <= w.created_at
        OR w.delivered_at >= w.expires_at OR w.delivered_at > clock_timestamp()$$,
    'delivered after it was created and before its deadline'
);

SELECT * FROM finish();
ROLLBACK;
