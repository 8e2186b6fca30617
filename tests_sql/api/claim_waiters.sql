-- claim_waiters hands out the settled and overdue waiters of a queue, once a lease, oldest due first.
BEGIN;
SELECT plan(72);
\ir ../helpers.psql

SELECT is(
    pg_get_function_arguments('flow_signal_v1.claim_waiters'::regproc),
    'p_queue text, p_limit integer DEFAULT 100, '
    'p_lease interval DEFAULT ''00:01:00''::interval',
    'the parameters, their order and defaults'
);
SELECT is(
    pg_get_function_result('flow_signal_v1.claim_waiters'::regproc),
    'SETOF flow_signal_v1.claimed_waiter',
    'the result'
);

CREATE FUNCTION pg_temp.queued(
    p_queue text, p_step_key text, p_expires_at timestamptz DEFAULT NULL
)
RETURNS text
LANGUAGE sql
AS $function$
SELECT w.state
FROM flow_signal_v1.register_waiter(
    p_run_id => md5('run')::uuid, p_step_key => p_step_key, p_signal_name => 'go ' || p_step_key,
    p_expires_at => p_expires_at, p_queue => p_queue
) AS w
$function$;

CREATE FUNCTION pg_temp.claim(
    p_queue text, p_limit integer DEFAULT 100, p_lease interval DEFAULT '1 minute'
)
RETURNS text
LANGUAGE sql
AS $function$
SELECT coalesce(string_agg(concat_ws(' ', w.step_key, w.state, w.payload_json), ', ' ORDER BY w.n), '')
FROM flow_signal_v1.claim_waiters(p_queue => p_queue, p_limit => p_limit, p_lease => p_lease)
WITH ORDINALITY AS w (
    run_id, step_key, signal_name, state, created_at, expires_at, delivered_at, payload_json, claim_id,
    attempt, n
)
$function$;

-- Leases of the queue end now.
CREATE FUNCTION pg_temp.let_leases_end(p_queue text)
RETURNS boolean
LANGUAGE sql
SECURITY DEFINER
AS $function$
UPDATE flow_signal.flow_signal_waiters SET due_at = clock_timestamp()
WHERE queue = p_queue AND status <> 'waiting';
SELECT true
$function$;

SET LOCAL ROLE flow_signal_engine;

-- what is handed out
SELECT is(pg_temp.claim('nobody'), '', 'an empty queue gives nothing');
SELECT is(pg_temp.queued('q', 'waits'), 'waiting', 'a waiter without a deadline');
SELECT
    is(
        pg_temp.queued('q', 'waits until', 'tomorrow'),
        'waiting',
        'a waiter whose deadline is ahead'
    );
SELECT
    is(
        pg_temp.register('run', 'no queue', 'yesterday', 'no queue'),
        'expired',
        'an expired waiter without a queue'
    );
SELECT
    is(
        pg_temp.queued('Q', 'other queue', 'yesterday'),
        'expired',
        'an expired waiter of another queue'
    );
SELECT is(pg_temp.claim('q'), '', 'none of them is handed out');

SELECT is(pg_temp.queued('q', 'late 2', '2002-01-01'), 'expired', 'expired second');
SELECT is(pg_temp.queued('q', 'late 1', '2001-01-01'), 'expired', 'expired first');
SELECT is(pg_temp.queued('q', 'late 3', '2003-01-01'), 'expired', 'expired third');
SELECT is(pg_temp.queued('q', 'gets'), 'waiting', 'one to deliver to');
SELECT
    is(
        pg_temp.deliver('run', '{"a": 1}', p_signal_name => 'go gets'),
        'delivered gets',
        'its signal'
    );
SELECT
    is(
        pg_temp.claim('q', 2),
        'late 1 expired, late 2 expired',
        'oldest due first, at most the limit'
    );
SELECT
    is(
        pg_temp.claim('q'),
        'late 3 expired, gets delivered {"a": 1}',
        'then the others, delivered ones with the payload'
    );
SELECT is(pg_temp.claim('q'), '', 'each only once while its lease lasts');
SELECT is(pg_temp.claim('Q'), 'other queue expired', 'queue names are case-sensitive');

-- leases
SELECT ok(pg_temp.let_leases_end('q'), 'the leases end');
SELECT is(
    (
        SELECT string_agg(s, ',' ORDER BY s)
        FROM unnest(string_to_array(pg_temp.claim('q', 10, '1 microsecond'), ', ')) AS s
    ),
    'gets delivered {"a": 1},late 1 expired,late 2 expired,late 3 expired',
    'what was not removed comes back after the lease'
);
SELECT is(
    (SELECT count(*) FROM flow_signal_v1.claim_waiters(p_queue => 'q', p_lease => '1 day')),
    4::bigint,
    'the shortest lease is over at once'
);
SELECT is(pg_temp.remove('run', 'gets'), 'delivered {"a": 1}', 'remove_waiter acknowledges');
SELECT ok(pg_temp.let_leases_end('q'), 'the leases end');
SELECT is(
    (SELECT count(*) FROM flow_signal_v1.claim_waiters(p_queue => 'q')), 3::bigint,
    'what is removed does not come back'
);

-- settled for good
SELECT is(pg_temp.queued('settle', 'head', clock_timestamp()), 'expired', 'an overdue waiter');
SELECT is(
    (
        SELECT w.state FROM flow_signal_v1.register_waiter(
            p_run_id => md5('run')::uuid, p_step_key => 'behind', p_signal_name => 'go head',
            p_expires_at => clock_timestamp(), p_queue => 'settle'
        ) AS w
    ),
    'expired', 'another one behind it'
);
SELECT
    is(
        pg_temp.claim('settle'),
        'head expired, behind expired',
        'both are handed out as expired'
    );
RESET ROLE;
UPDATE flow_signal.flow_signal_waiters SET expires_at = 'tomorrow' WHERE queue = 'settle';
SET LOCAL ROLE flow_signal_engine;
SELECT
    is(
        pg_temp.get('run', s),
        'expired',
        format('%s: stays expired when the clock steps back', s)
    )
FROM (VALUES ('head'), ('behind')) AS v (s);
SELECT is(
    pg_temp.deliver('run', p_signal_name => 'go head'), 'expired head',
    'and cannot be delivered to'
);
SELECT is(pg_temp.queued('settle', 'head'), 'waiting', 'a new deadline makes it live again');
SELECT is(pg_temp.claim('settle'), '', 'so that it is not handed out');
SELECT
    is(
        pg_temp.deliver('run', '1', p_signal_name => 'go head'),
        'delivered head',
        'and gets the signal'
    );
SELECT is(pg_temp.claim('settle'), 'head delivered 1', 'and is handed out with it');

-- signals from the buffer are due at once
SELECT
    is(
        pg_temp.buffer('run', '"early"', p_signal_name => 'go early'),
        'buffered',
        'an early signal'
    );
SELECT is(pg_temp.queued('early', 'early'), 'delivered', 'its waiter takes it');
SELECT is(pg_temp.claim('early'), 'early delivered "early"', 'and is due');

-- the claim: an id for each call, the number of the attempt for each waiter
CREATE FUNCTION pg_temp.claim_to(p_table text, p_limit integer)
RETURNS void
LANGUAGE plpgsql
AS $function$
BEGIN
    EXECUTE format(
        'CREATE TEMP TABLE %I ON COMMIT DROP AS
        SELECT * FROM flow_signal_v1.claim_waiters(''claims'', %s, ''1 microsecond'')',
        p_table, p_limit
    );
END
$function$;
SELECT is(pg_temp.queued('claims', 'claim ' || n, '2001-01-01'), 'expired', 'an overdue waiter')
FROM generate_series(1, 3) AS n;
SELECT pg_temp.claim_to('first', 2) AS ignored
\gset
SELECT pg_temp.claim_to('second', 10) AS ignored
\gset
SELECT is(
    ROW(count(*), count(DISTINCT f.claim_id), count(f.claim_id), min(f.attempt), max(f.attempt))::text,
    ROW(2, 1, 2, 1, 1)::text, 'two are claimed, with one id, for the first time'
)
FROM first AS f;
SELECT set_eq(
    'SELECT s.step_key, s.attempt FROM second AS s',
    $$SELECT 'claim ' || n, CASE WHEN EXISTS (
        SELECT FROM first AS f WHERE f.step_key = 'claim ' || n
    ) THEN 2 ELSE 1 END FROM generate_series(1, 3) AS n$$,
    'after the lease, all three: two of them for the second time'
);
SELECT ok(
    count(DISTINCT s.claim_id) = 1 AND bool_and(s.claim_id NOT IN (SELECT f.claim_id FROM first AS f)),
    'with another id'
)
FROM second AS s;

-- a waiter can change its queue
SELECT is(pg_temp.queued('old', 'moves', clock_timestamp()), 'expired', 'an overdue waiter');
SELECT is(pg_temp.queued('new', 'moves', '2001-01-01'), 'expired', 'moves to another queue');
SELECT is(pg_temp.claim('old'), '', 'no longer in the old one');
SELECT is(pg_temp.claim('new'), 'moves expired', 'but in the new one');
SELECT
    is(pg_temp.register('run', 'moves', '2001-01-01', 'go moves'), 'expired', 'and out of it');
SELECT ok(pg_temp.let_leases_end('new'), 'no lease is left');
SELECT is(pg_temp.claim('new'), '', 'and is not handed out');

-- what is refused
SELECT is(
    pg_temp.refusal(r.call), r.refusal, r.call
)
FROM (
    VALUES
    (
        'claim_waiters(NULL)',
        pg_temp.is_null('queue')
    ),
    (
        'claim_waiters('' '')',
        pg_temp.is_blank('queue', ' ')
    ),
    (
        'claim_waiters(''q'', NULL)',
        E'22004 limit is null\nthis call needs a value there\npass a limit'
    ),
    (
        'claim_waiters(''q'', 0)',
        pg_temp.out_of_range('limit 0', '1 to 10000')
    ),
    (
        'claim_waiters(''q'', 10001)',
        pg_temp.out_of_range('limit 10001', '1 to 10000')
    ),
    (
        'claim_waiters(''q'', 1, NULL)',
        E'22004 lease is null\nthis call needs a value there\npass a lease'
    ),
    (
        'claim_waiters(''q'', 1, ''0'')',
        pg_temp.out_of_range('lease 00:00:00', 'more than 0 to 1 day')
    ),
    (
        'claim_waiters(''q'', 1, ''25 hours'')',
        pg_temp.out_of_range('lease 25:00:00', 'more than 0 to 1 day')
    ),
    (
        'claim_waiters(E''q\n\u001b[1m'' || repeat(''x'', 251))',
        pg_temp.is_too_long('queue', 'q??[1m' || repeat('x', 34))
    )
) AS r (call, refusal);
-- A lease is judged as it is applied: what looks short may add up to days, or end in the past.
SELECT is(
    pg_temp.refusal(format('claim_waiters(%L, 1, %L)', 'q', l.lease)),
    pg_temp.out_of_range(format('lease %s', l.lease), 'more than 0 to 1 day'),
    format('a lease of %s', l.lease)
)
FROM (
    VALUES
    (interval '12 mon -360 days'), ('1 mon -25 days'), ('-12 mon 360 days'), ('1 mon -31 days'),
    ('-1 microsecond'),
    ('24:00:00.000001'), ('1 day 1 microsecond'), ('178000000 years'), ('-178000000 years')
) AS l (lease);
SELECT is(
    pg_temp.claim('nobody', 1, l.lease), '', format('a lease of %s is none too long', l.lease)
)
FROM (VALUES (interval '1 day'), ('24 hours'), ('2 days -24 hours'), ('1 microsecond')) AS l (lease);

-- who may
SET LOCAL ROLE flow_signal_reader;
SELECT
    throws_ok(
        $$SELECT flow_signal_v1.claim_waiters('q')$$,
        '42501',
        'permission denied for function claim_waiters',
        'a reader may not claim'
    );

SELECT * FROM finish();
ROLLBACK;
