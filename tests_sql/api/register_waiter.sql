-- register_waiter parks a step once, keeps its created_at and hands over what is there.
BEGIN;
SELECT plan(322);
\ir ../helpers.psql
SET LOCAL ROLE flow_signal_engine;

SELECT is(
    pg_get_function_arguments('flow_signal_v1.register_waiter'::regproc),
    'p_run_id uuid, p_step_key text, p_signal_name text, '
    'p_expires_at timestamp with time zone DEFAULT NULL::timestamp with time zone, '
    'p_wake_channel text DEFAULT NULL::text, p_queue text DEFAULT NULL::text',
    'the parameters, their order and their defaults'
);
SELECT is(
    pg_get_function_result('flow_signal_v1.register_waiter'::regproc),
    'SETOF flow_signal_v1.waiter', 'the result'
);

-- A new key.

SELECT is(
    ROW(
        w.run_id, w.step_key, w.signal_name, w.state, w.expires_at, w.delivered_at,
        w.payload_json
    )::text,
    ROW(md5('new')::uuid, 'approve', 'approved', 'waiting', NULL, NULL, NULL)::text,
    'a new key is a waiting waiter; by default it waits for ever'
)
FROM flow_signal_v1.register_waiter(
    p_run_id => md5('new')::uuid, p_step_key => 'approve', p_signal_name => 'approved'
) AS w;

WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now)
SELECT ok(
    w.created_at > c.now AND w.created_at > transaction_timestamp()
    AND w.created_at < clock_timestamp(),
    'created_at is the clock at the call, not the start of the transaction'
)
FROM clock AS c
CROSS JOIN LATERAL flow_signal_v1.register_waiter(
    p_run_id => CASE WHEN c.now IS NOT NULL THEN md5('clock')::uuid END,
    p_step_key => 'approve', p_signal_name => 'approved'
) AS w;

CREATE TEMP TABLE deadlines ON COMMIT DROP AS
SELECT d.deadline, d.state, d.kept, md5('deadline ' || d.deadline)::uuid AS run_id
FROM (
    VALUES
    (timestamptz 'infinity', 'waiting', NULL),
    (clock_timestamp() + interval '1 hour', 'waiting', clock_timestamp() + interval '1 hour'),
    ('2999-01-02 03:04:05.678901+00', 'waiting', timestamptz '2999-01-02 03:04:05.678901+00'),
    ('9999-12-31 23:59:59.999999+00', 'waiting', '9999-12-31 23:59:59.999999+00'),
    (clock_timestamp(), 'expired', clock_timestamp()),
    (transaction_timestamp(), 'expired', transaction_timestamp()),
    ('2001-02-03 04:05:06+00', 'expired', '2001-02-03 04:05:06+00'),
    ('0001-01-01 00:00:00+00', 'expired', '0001-01-01 00:00:00+00')
) AS d (deadline, state, kept);
UPDATE deadlines SET kept = deadline WHERE isfinite(deadline);

SELECT is(
    ROW(w.state, w.expires_at, w.delivered_at)::text, ROW(d.state, d.kept, NULL)::text,
    format('deadline %s: %s', d.deadline, d.state)
)
FROM deadlines AS d
CROSS JOIN LATERAL flow_signal_v1.register_waiter(
    p_run_id => d.run_id, p_step_key => 's', p_signal_name => 'go', p_expires_at => d.deadline
) AS w;

SELECT is(
    ROW(w.state, w.expires_at)::text, ROW(d.state, d.kept)::text,
    format('deadline %s: read back', d.deadline)
)
FROM deadlines AS d
CROSS JOIN LATERAL flow_signal_v1.get_waiter(p_run_id => d.run_id, p_step_key => 's') AS w;

SELECT is(
    pg_temp.rows_written(format(
        'register_waiter(p_run_id => %L, p_step_key => %L, p_signal_name => %L, '
        'p_expires_at => %L)',
        d.run_id, 's', 'go', d.deadline
    )),
    0::bigint, format('deadline %s: a repeat writes nothing', d.deadline)
)
FROM deadlines AS d;

-- The same key again: every state before, with every change.

CREATE TEMP TABLE repeats ON COMMIT DROP AS
SELECT
    md5(concat_ws('/', s.state, c.change))::uuid AS run_id, s.state, s.deadline, c.change,
    c.signal_name, c.channel, c.queue,
    CASE c.new_deadline WHEN 'same' THEN s.deadline
    ELSE c.new_deadline::timestamptz END AS new_deadline,
    NULL::timestamptz AS created_at
FROM (
    VALUES
    ('live', NULL), ('live with a deadline', timestamptz '2990-01-01'),
    ('overdue', '2001-01-01'), ('settled as expired', '2001-01-01'),
    ('delivered', NULL), ('delivered with a deadline', '2990-01-01')
) AS s (state, deadline)
CROSS JOIN (
    VALUES
    ('nothing', 'go', 'same', NULL, NULL),
    ('no deadline', 'go', NULL, NULL, NULL),
    ('a later deadline', 'go', '2991-01-01', NULL, NULL),
    ('another past deadline', 'go', '2001-01-02', NULL, NULL),
    ('the wake channel', 'go', 'same', 'awake', NULL),
    ('the queue', 'go', 'same', NULL, 'fast'),
    ('the signal', 'stop', 'same', NULL, NULL),
    ('the signal and the deadline', 'stop', '2991-01-01', NULL, NULL),
    ('everything', 'stop', '2991-01-01', 'awake', 'fast')
) AS c (change, signal_name, new_deadline, channel, queue);

DO $$
DECLARE
    r record;
BEGIN
    FOR r IN SELECT * FROM repeats LOOP
        PERFORM flow_signal_v1.register_waiter(
            p_run_id => r.run_id, p_step_key => 's', p_signal_name => 'go',
            p_expires_at => r.deadline
        );
        IF r.state LIKE 'delivered%' OR r.state = 'settled as expired' THEN
            PERFORM flow_signal_v1.deliver_signal(
                p_run_id => r.run_id, p_signal_name => 'go', p_payload_json => '{"was": "sent"}'
            );
        END IF;
    END LOOP;
END
$$;

UPDATE repeats AS r SET created_at = w.created_at
FROM repeats AS o
CROSS JOIN LATERAL flow_signal_v1.get_waiter(p_run_id => o.run_id, p_step_key => 's') AS w
WHERE o.run_id = r.run_id;

SELECT is(
    ROW(
        w.signal_name, w.state, w.created_at, w.expires_at, w.delivered_at, w.payload_json
    )::text,
    ROW(
        r.signal_name, CASE WHEN r.new_deadline < now() THEN 'expired' ELSE 'waiting' END,
        r.created_at, r.new_deadline, NULL, NULL
    )::text,
    format('%s, changes %s: the new values, the old created_at', r.state, r.change)
)
FROM repeats AS r
CROSS JOIN LATERAL flow_signal_v1.register_waiter(
    p_run_id => r.run_id, p_step_key => 's', p_signal_name => r.signal_name,
    p_expires_at => r.new_deadline, p_wake_channel => r.channel, p_queue => r.queue
) AS w
WHERE r.state NOT LIKE 'delivered%';

RESET ROLE;
SELECT is_empty(
    $$SELECT r.state, r.change, w.wake_channel, w.queue, w.due_at
    FROM repeats AS r
    JOIN flow_signal.flow_signal_waiters AS w USING (run_id)
    WHERE r.state NOT LIKE 'delivered%'
        AND (w.wake_channel, w.queue, w.due_at) IS DISTINCT FROM
        (r.channel, r.queue, CASE WHEN r.queue IS NOT NULL THEN r.new_deadline END)$$,
    'the new wake channel and queue are kept; only a waiter with a queue is ever due'
);
SET LOCAL ROLE flow_signal_engine;

SELECT is(
    pg_temp.rows_written(format(
        'register_waiter(p_run_id => %L, p_step_key => %L, p_signal_name => %L, '
        'p_expires_at => %L, p_wake_channel => %L, p_queue => %L)',
        r.run_id, 's', r.signal_name, r.new_deadline, r.channel, r.queue
    )),
    0::bigint, format('%s, changes %s: said again, writes nothing', r.state, r.change)
)
FROM repeats AS r
WHERE NOT (r.state LIKE 'delivered%' AND r.signal_name = 'stop');

SELECT is(
    ROW(w.signal_name, w.state, w.created_at, w.expires_at, w.payload_json)::text,
    ROW('go', 'delivered', r.created_at, r.deadline, '{"was": "sent"}')::text,
    format('%s, changes %s: comes back with its payload, unchanged', r.state, r.change)
)
FROM repeats AS r
CROSS JOIN LATERAL flow_signal_v1.register_waiter(
    p_run_id => r.run_id, p_step_key => 's', p_signal_name => 'go',
    p_expires_at => r.new_deadline, p_wake_channel => r.channel, p_queue => r.queue
) AS w
WHERE r.state LIKE 'delivered%' AND r.signal_name = 'go';

SELECT is(
    pg_temp.refusal(format(
        'register_waiter(p_run_id => %L, p_step_key => %L, p_signal_name => %L, '
        'p_expires_at => %L)',
        r.run_id, 's', r.signal_name, r.new_deadline
    )),
    format(
        E'WS001 step "s" of run %s already has the payload of signal "go"\n'
        'it was delivered at %s; the call asks for signal "stop"\n'
        'read the payload with get_waiter, then remove_waiter and register again',
        r.run_id, w.delivered_at
    ),
    format('%s, changes %s: refused', r.state, r.change)
)
FROM repeats AS r
CROSS JOIN LATERAL flow_signal_v1.get_waiter(p_run_id => r.run_id, p_step_key => 's') AS w
WHERE r.state LIKE 'delivered%' AND r.signal_name = 'stop';

-- A repeat where other waiters have joined.

DO $$
DECLARE
    v_step text;
BEGIN
    FOREACH v_step IN ARRAY ARRAY['first', 'second', 'third'] LOOP
        PERFORM flow_signal_v1.register_waiter(
            p_run_id => md5('locked')::uuid, p_step_key => v_step, p_signal_name => 'go'
        );
    END LOOP;
    PERFORM flow_signal_v1.deliver_signal(
        p_run_id => md5('locked')::uuid, p_signal_name => 'go'
    );
END
$$;
SELECT is(
    pg_temp.rows_written(format(
        'register_waiter(p_run_id => %L, p_step_key => %L, p_signal_name => %L)',
        md5('locked')::uuid, s.step_key, 'go'
    )),
    0::bigint,
    format('the %s of three: a repeat writes nothing', s.step_key)
)
FROM (VALUES ('first'), ('second'), ('third')) AS s (step_key);

-- A lease: a change of the wake channel alone leaves it as it is; any other change ends it.

RESET ROLE;
CREATE FUNCTION pg_temp.lease(p_run text)
RETURNS text
LANGUAGE sql
SECURITY DEFINER
AS $function$
SELECT concat_ws(' ', w.claim_id, w.attempt, w.due_at)
FROM flow_signal.flow_signal_waiters AS w
WHERE w.run_id = md5(p_run)::uuid
$function$;
SET LOCAL ROLE flow_signal_engine;
CREATE TEMP TABLE leased ON COMMIT DROP AS
SELECT
    'leased, ' || c.change AS run, c.*, NULL::uuid AS claim_id, NULL::text AS lease
FROM (
    VALUES
    ('nothing', true, 'go', timestamptz '2001-01-01', NULL, 'leases'),
    ('the wake channel', true, 'go', '2001-01-01', 'awake', 'leases'),
    ('a past deadline', false, 'go', '2001-01-02', NULL, 'leases'),
    ('a deadline ahead', false, 'go', '2990-01-01', NULL, 'leases'),
    ('no deadline', false, 'go', NULL, NULL, 'leases'),
    ('the queue', false, 'go', '2001-01-01', NULL, 'other leases'),
    ('no queue', false, 'go', '2001-01-01', NULL, NULL),
    ('the signal', false, 'stop', '2001-01-01', NULL, 'leases'),
    ('the signal and the wake channel', false, 'stop', '2001-01-01', 'awake', 'leases')
) AS c (change, lease_stays, signal_name, deadline, channel, queue);
DO $$
BEGIN
    PERFORM flow_signal_v1.register_waiter(
        p_run_id => md5(l.run)::uuid, p_step_key => 's', p_signal_name => 'go',
        p_expires_at => '2001-01-01', p_queue => 'leases'
    )
    FROM leased AS l;
END
$$;
UPDATE leased AS l SET claim_id = c.claim_id, lease = pg_temp.lease(l.run)
FROM flow_signal_v1.claim_waiters(p_queue => 'leases', p_lease => '1 hour') AS c
WHERE c.run_id = md5(l.run)::uuid;
SELECT is(
    w.state, CASE WHEN l.deadline < now() THEN 'expired' ELSE 'waiting' END,
    format('a claimed waiter changes %s', l.change)
)
FROM leased AS l
CROSS JOIN LATERAL flow_signal_v1.register_waiter(
    p_run_id => md5(l.run)::uuid, p_step_key => 's', p_signal_name => l.signal_name,
    p_expires_at => l.deadline, p_wake_channel => l.channel, p_queue => l.queue
) AS w;
SELECT is(
    pg_temp.lease(l.run),
    CASE
        WHEN l.lease_stays THEN l.lease
        ELSE concat_ws(' ', CASE WHEN l.queue IS NOT NULL THEN l.deadline END)
    END,
    format('%s: the lease %s', l.change, CASE WHEN l.lease_stays THEN 'stays' ELSE 'ends' END)
)
FROM leased AS l;
SELECT is(
    flow_signal_v1.extend_claim(
        p_run_id => md5(l.run)::uuid, p_step_key => 's', p_claim_id => l.claim_id,
        p_lease => '1 hour'
    ), l.lease_stays, format('%s: whether the claim has the waiter', l.change)
)
FROM leased AS l;

-- A call in a SELECT list, its columns taken apart, is still one call.

RESET ROLE;
SET LOCAL track_functions = 'pl';
SELECT coalesce(pg_stat_get_xact_function_calls('flow_signal_v1.register_waiter'::regproc), 0) AS calls
\gset
SET LOCAL ROLE flow_signal_engine;
CREATE TEMP TABLE once ON COMMIT DROP AS
SELECT
    (flow_signal_v1.register_waiter(
        p_run_id => md5('once')::uuid, p_step_key => 's', p_signal_name => 'go'
    )).*;
SELECT is(
    pg_stat_get_xact_function_calls('flow_signal_v1.register_waiter'::regproc)
    - :calls, 1::bigint, 'as PostgreSQL counts them'
);
SELECT is(
    array_agg(concat_ws(' ', o.step_key, o.signal_name, o.state)), '{s go waiting}', 'one row'
)
FROM once AS o;

-- A buffered signal.

SELECT is(pg_temp.buffer('fifo', n::text), 'buffered', format('signal %s is buffered', n))
FROM generate_series(1, 3) AS n;
SELECT is(
    pg_temp.register('fifo', 'step ' || n, 'tomorrow'), 'delivered ' || n,
    format('waiter %s takes signal %s: first in, first out', n, n)
)
FROM generate_series(1, 3) AS n;
SELECT is(pg_temp.register('fifo', 'step 4'), 'waiting', 'the next one has none to take');
SELECT is(
    pg_temp.register('fifo', 'step ' || n), 'delivered ' || n,
    format('waiter %s keeps its own', n)
)
FROM generate_series(1, 3) AS n;

SELECT is(pg_temp.buffer('taken', '"kept"'), 'buffered', 'a signal is buffered');
SELECT is(
    pg_temp.register('taken', 'late', '2001-01-01'), 'expired',
    'a waiter that is past its deadline at once does not take it'
);
SELECT is(
    pg_temp.register('taken', 'late', '2001-01-02'), 'expired', 'nor with another past deadline'
);
SELECT is(
    pg_temp.register('taken', 'other', p_signal_name => 'stop'), 'waiting',
    'nor does a waiter for another signal'
);
SELECT is(
    pg_temp.register('taken', 'late'), 'delivered "kept"', 'live again, the late one takes it'
);
SELECT ok(
    w.delivered_at > w.created_at AND w.expires_at IS NULL, 'delivered after it was created'
)
FROM flow_signal_v1.get_waiter(p_run_id => md5('taken')::uuid, p_step_key => 'late') AS w;
SELECT is(pg_temp.buffer('taken', '"again"'), 'buffered', 'another signal is buffered');
SELECT is(
    pg_temp.register('taken', 'late'), 'delivered "kept"',
    'a delivered waiter takes no second one'
);
SELECT is(
    pg_temp.register('taken', 'other'), 'delivered "again"',
    'a waiting waiter that changes to the signal takes it'
);

CREATE TEMP TABLE revivals ON COMMIT DROP AS
SELECT
    concat_ws(', ', s.state, d.what, c.signal_name) AS run, s.state, d.deadline, c.signal_name
FROM (VALUES ('overdue'), ('settled')) AS s (state)
CROSS JOIN (
    VALUES ('waits for ever', NULL), ('new deadline', timestamptz 'tomorrow')
) AS d (what, deadline)
CROSS JOIN (VALUES ('go'), ('stop')) AS c (signal_name);
SELECT is(
    ROW(
        pg_temp.buffer(r.run, '1'), pg_temp.buffer(r.run, '1', p_signal_name => 'stop'),
        pg_temp.register(r.run, 's', '2001-01-01'),
        CASE r.state WHEN 'settled' THEN pg_temp.deliver(r.run) END
    )::text,
    ROW(
        'buffered', 'buffered', 'expired', CASE r.state WHEN 'settled' THEN 'expired s' END
    )::text,
    format('%s: buffered signals and a late waiter', r.run)
)
FROM revivals AS r;
SELECT is(
    pg_temp.register(r.run, 's', r.deadline, r.signal_name), 'delivered 1',
    format('%s: live again, it takes the one of its signal', r.run)
)
FROM revivals AS r;

SELECT is(pg_temp.buffer('dead', n::text), 'buffered', format('signal %s is buffered', n))
FROM generate_series(1, 4) AS n;
DO $$ BEGIN PERFORM pg_temp.let_buffered_die('dead', '1', '2', '4'); END $$;
SELECT is(
    pg_temp.register('dead', 'first'), 'delivered 3', 'signals past their time are passed over'
);
SELECT is(
    pg_temp.register('dead', 'second'), 'waiting', 'whether they stand in front or behind'
);
RESET ROLE;
SELECT is(
    array_agg(b.payload_json::text ORDER BY b.position), ARRAY['1', '2', '4'],
    'and stay as dead letters'
)
FROM flow_signal.flow_signal_buffered_signals AS b
WHERE b.run_id = md5('dead')::uuid;
SET LOCAL ROLE flow_signal_engine;

-- Names are stored as given.

CREATE TEMP TABLE names ON COMMIT DROP AS
SELECT n.name, row_number() OVER () AS number
FROM unnest(ARRAY[
    'a', 'A', 'ä', E'a\u0308', ' a', 'a ', E'\ta', E'a\n', 'a b', 'a  b', '.', '-', '_', '%',
    '%s', '%L',
    '\', E'\\n', '''', '"', '""', ';', '--', '/*', '$$', '$1', '{}', '{NULL}', '()', '(,)',
    '[]', 'NULL', 'null',
    'true', '0', '-1', '1e400', '*', '/', 'a/b', '//', 'C', 'default', 'head', 'waiting',
    E'\u0001', E'\u007f', E'\u200b', E'\u180e', E'\u2060', E'\ufeff', E'\u00ad', E'\u0301',
    '漢字', '🙂', '🙂🙂',
    repeat('x', 256), repeat('ä', 256), repeat('🙂', 256), repeat('-', 256),
    repeat(' ', 255) || 'x',
    -- 1024 bytes that cannot be compressed, in every key of every index
    (SELECT string_agg(chr(131072 + n * 7919 % 42000), '') FROM generate_series(1, 256) AS n)
]) AS n (name);

SELECT is(
    ROW(w.step_key, w.signal_name, w.state)::text, ROW(n.name, n.name, 'waiting')::text,
    format('%s is a step key, a signal name and a queue', to_json(left(n.name, 20)))
)
FROM names AS n
CROSS JOIN LATERAL flow_signal_v1.register_waiter(
    p_run_id => md5('names')::uuid, p_step_key => n.name, p_signal_name => n.name,
    p_queue => n.name
) AS w;
SELECT set_eq(
    $$SELECT w.step_key, w.signal_name
    FROM names AS n
    CROSS JOIN flow_signal_v1.get_waiter(
        p_run_id => md5('names')::uuid, p_step_key => n.name
    ) AS w$$,
    $$SELECT n.name, n.name AS signal_name FROM names AS n$$,
    'and no two of them are the same'
);
SELECT is_empty(
    $$SELECT n.name, d.step_key
    FROM names AS n
    CROSS JOIN flow_signal_v1.deliver_signal(
        p_run_id => md5('names')::uuid, p_signal_name => n.name, p_delivery_id => n.name
    ) AS d
    WHERE ROW(d.status, d.step_key) IS DISTINCT FROM ROW('delivered'::text, n.name)$$,
    'the signal of each name reaches its waiter'
);
SELECT lives_ok(
    format(
        'SELECT flow_signal_v1.register_waiter(p_run_id => %L, p_step_key => %L, '
        'p_signal_name => %L, p_wake_channel => %L)',
        md5('channels')::uuid, c.channel, 'go', c.channel
    ),
    format('"%s" is a wake channel', c.channel)
)
FROM (VALUES ('c'), (' C'), (repeat('c', 63)), (repeat('ä', 31) || 'c'), ('🙂')) AS c (channel);

-- What is refused.

SELECT is(
    pg_temp.refusal(format(
        'register_waiter(p_run_id => %L, p_step_key => %L, p_signal_name => %L)',
        c.run_id, c.step_key, c.signal_name
    )),
    pg_temp.is_null(c.what),
    format('no %s', c.what)
)
FROM (
    VALUES
    ('run id', NULL, 's', 'go'),
    ('step key', md5('refused')::uuid, NULL, 'go'),
    ('signal name', md5('refused')::uuid, 's', NULL)
) AS c (what, run_id, step_key, signal_name);

CREATE TEMP TABLE arguments ON COMMIT DROP AS
SELECT a.what, a.call
FROM (
    VALUES
    ('step key', 'register_waiter(p_run_id => %L, p_step_key => %L, p_signal_name => %L)'),
    (
        'signal name',
        'register_waiter(p_run_id => %1$L, p_step_key => %3$L, p_signal_name => %2$L)'
    ),
    (
        'queue',
        'register_waiter(p_run_id => %1$L, p_step_key => %3$L, p_signal_name => %3$L, '
        'p_queue => %2$L)'
    )
) AS a (what, call);
SELECT is(
    pg_temp.refusal(format(a.call, md5('refused')::uuid, b.name, 'x')),
    pg_temp.is_blank(a.what, pg_temp.cleaned(b.name)),
    format('a blank %s: %s', a.what, to_json(b.name))
)
FROM arguments AS a
CROSS JOIN (VALUES (''), (' '), (E' \t\r\n\f\u000b '), (E'\u00a0\u3000')) AS b (name);
SELECT is(
    pg_temp.refusal(format(a.call, md5('refused')::uuid, n.name, 'x')),
    pg_temp.is_too_long(a.what, pg_temp.cleaned(left(n.name, 40))),
    format('a %s of 257 characters: %s', a.what, left(n.name, 1))
)
FROM arguments AS a
CROSS JOIN (
    VALUES (repeat('x', 257)), (repeat('🙂', 257)), (repeat('x', 256) || ' '), (repeat(' ', 257)),
    (E'\u001b[2J\r\n' || repeat('x', 251))
) AS n (name);

SELECT is(
    pg_temp.refusal(format(
        'register_waiter(p_run_id => %L, p_step_key => %L, p_signal_name => %L, '
        'p_wake_channel => %L)',
        md5('refused')::uuid, 's', 'go', c.channel
    )),
    format(
        E'22023 wake channel "%s" is not a channel name\n'
        'it has %s bytes; NOTIFY takes 1 to 63, not only white space\n'
        'use a short channel name, for example one per worker process',
        pg_temp.cleaned(left(c.channel, 80)), octet_length(c.channel)
    ),
    format('no wake channel: %s', to_json(c.channel))
)
FROM (
    VALUES (''), (' '), (E'\u3000'), (repeat('c', 64)), (repeat('ä', 32)), (repeat('🙂', 257)),
    (repeat(E'\u0007\n', 40))
) AS c (channel);

SELECT is(
    pg_temp.refusal(format(
        'register_waiter(p_run_id => %L, p_step_key => %L, p_signal_name => %L, '
        'p_expires_at => %L)',
        md5('refused')::uuid, 's', 'go', d.deadline
    )),
    format(
        E'22023 deadline %s is out of range\n'
        'drivers carry finite instants of the years 1 to 9999\n'
        'pass NULL to wait for ever',
        d.deadline
    ),
    format('deadline %s', d.deadline)
)
FROM (
    VALUES
    (timestamptz '-infinity'), ('10000-01-01 00:00:00+00'), ('9999-12-31 23:00:00-01'),
    ('294276-12-31 23:59:59+00'), ('0001-12-31 23:59:59.999999+00 BC'),
    ('4713-01-01 00:00:00+00 BC')
) AS d (deadline);

SELECT is_empty(
    $$SELECT * FROM flow_signal_v1.get_waiter(
        p_run_id => md5('refused')::uuid, p_step_key => 's'
    )$$,
    'a refused call leaves no waiter'
);
DO $$
BEGIN
    PERFORM flow_signal_v1.register_waiter(
        p_run_id => md5('refused')::uuid, p_step_key => 's', p_signal_name => 'go'
    );
END
$$;
SELECT is(
    left(pg_temp.refusal(
        format('register_waiter(p_run_id => %L, p_step_key => %L, ', md5('refused')::uuid, 's')
        || c.rest
    ), 6),
    '22023 ', format('refused for a step that waits: %s', c.rest)
)
FROM (
    VALUES
    ($$p_signal_name => ' ')$$),
    ($$p_signal_name => 'go', p_expires_at => '-infinity')$$),
    ($$p_signal_name => 'go', p_wake_channel => '')$$),
    ($$p_signal_name => 'go', p_queue => '')$$)
) AS c (rest);

SELECT * FROM finish();
ROLLBACK;
