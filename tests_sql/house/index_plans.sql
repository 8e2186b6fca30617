-- Hot calls read a few index entries each and never a whole table, whatever the statistics say.
-- The size: psql -v waiters=1000000 -v line=100000
\if :{?waiters}
\else
    \set waiters 1000000
\endif
\if :{?line}
\else
    \set line 100000
\endif
BEGIN;
SELECT plan(208);
\ir ../helpers.psql

-- %1$L is the run, %2$s the number of the call.
CREATE TEMP TABLE hot_calls (number integer GENERATED ALWAYS AS IDENTITY, what text, call text)
ON COMMIT DROP;
INSERT INTO hot_calls (what, call)
VALUES
('list_waiters: a run', $$list_waiters(p_run_id => %1$L, p_limit => 5)$$),
(
    'list_waiters: a run, further on',
    $$list_waiters(
        p_run_id => %1$L, p_signal_name => 'go', p_state => 'waiting', p_after_run_id => %1$L,
        p_after_step_key => 'go 50%2$s', p_limit => 5
    )$$
),
(
    'list_waiters: all runs',
    $$list_waiters(
        p_after_run_id => %1$L, p_after_step_key => 'go 50%2$s', p_limit => 5
    )$$
),
('list_buffered_signals: a run', $$list_buffered_signals(p_run_id => %1$L, p_limit => 5)$$),
(
    'list_buffered_signals: a run, further on',
    $$list_buffered_signals(
        p_run_id => %1$L, p_signal_name => 'early', p_after_run_id => %1$L,
        p_after_signal_name => 'early', p_after_position => 50%2$s, p_limit => 5
    )$$
),
(
    'list_buffered_signals: all runs',
    $$list_buffered_signals(
        p_after_run_id => %1$L, p_after_signal_name => 'early', p_after_position => 50%2$s,
        p_limit => 5
    )$$
),
('get_waiter', $$get_waiter(p_run_id => %1$L, p_step_key => 'go %2$s')$$),
('await_waiter', $$await_waiter(p_run_id => %1$L, p_step_key => 'done %2$s')$$),
(
    'register_waiter: first of a line',
    $$register_waiter(
        p_run_id => %1$L, p_step_key => 'first %2$s', p_signal_name => 'first %2$s'
    )$$
),
(
    'register_waiter: behind others',
    $$register_waiter(p_run_id => %1$L, p_step_key => 'new %2$s', p_signal_name => 'go')$$
),
(
    'register_waiter: a repeat',
    $$register_waiter(p_run_id => %1$L, p_step_key => 'go 10%2$s', p_signal_name => 'go')$$
),
(
    'register_waiter: a new deadline',
    $$register_waiter(
        p_run_id => %1$L, p_step_key => 'go 20%2$s', p_signal_name => 'go',
        p_expires_at => 'tomorrow'
    )$$
),
(
    'register_waiter: another signal',
    $$register_waiter(p_run_id => %1$L, p_step_key => 'go 30%2$s', p_signal_name => 'late')$$
),
(
    'register_waiter: a repeat after delivery',
    $$register_waiter(p_run_id => %1$L, p_step_key => 'done %2$s', p_signal_name => 'done')$$
),
(
    'register_waiter: takes a buffered signal',
    $$register_waiter(p_run_id => %1$L, p_step_key => 'taker %2$s', p_signal_name => 'early')$$
),
(
    'deliver_signal: to the head',
    $$deliver_signal(p_run_id => %1$L, p_signal_name => 'line %2$s')$$
),
(
    'deliver_signal: behind the head',
    $$deliver_signal(p_run_id => %1$L, p_signal_name => 'go')$$
),
(
    'deliver_signal: with an id',
    $$deliver_signal(p_run_id => %1$L, p_signal_name => 'go', p_delivery_id => 'id %2$s')$$
),
(
    'deliver_signal: again',
    $$deliver_signal(p_run_id => %1$L, p_signal_name => 'done', p_delivery_id => 'done %2$s')$$
),
(
    'deliver_signal: past one that is overdue',
    $$deliver_signal(p_run_id => %1$L, p_signal_name => 'overdue %2$s')$$
),
(
    'deliver_signal: not_found',
    $$deliver_signal(p_run_id => %1$L, p_signal_name => 'nobody %2$s')$$
),
(
    'deliver_signal: already_delivered',
    $$deliver_signal(p_run_id => %1$L, p_signal_name => 'done')$$
),
('deliver_signal: expired', $$deliver_signal(p_run_id => %1$L, p_signal_name => 'expired')$$),
(
    'deliver_signal: buffered',
    $$deliver_signal(
        p_run_id => %1$L, p_signal_name => 'early', p_delivery_id => 'new %2$s',
        p_buffer_until => 'tomorrow'
    )$$
),
(
    'deliver_signal: buffered before',
    $$deliver_signal(
        p_run_id => %1$L, p_signal_name => 'early', p_delivery_id => 'early 9%2$s'
    )$$
),
(
    'register_waiters: new steps',
    $$register_waiters(
        p_run_ids => '{%1$s, %1$s, %1$s}', p_step_keys => '{many %2$s, m %2$s, n %2$s}',
        p_signal_names => '{many %2$s, many %2$s, go}'
    )$$
),
(
    'register_waiters: takes buffered signals',
    $$register_waiters(
        p_run_ids => '{%1$s, %1$s, %1$s}', p_step_keys => '{o %2$s, p %2$s, q %2$s}',
        p_signal_names => '{early, early, go}'
    )$$
),
(
    'register_waiters: repeats',
    $$register_waiters(
        p_run_ids => '{%1$s, %1$s, %1$s}', p_step_keys => '{go 11%2$s, done 1%2$s, go 1}',
        p_signal_names => '{go, done, go}'
    )$$
),
(
    'register_waiters: changes and a new step',
    $$register_waiters(
        p_run_ids => '{%1$s, %1$s, %1$s}', p_step_keys => '{go 21%2$s, go 31%2$s, r %2$s}',
        p_signal_names => '{go, late, late}', p_expires_at => '{tomorrow, NULL, NULL}'
    )$$
),
(
    'deliver_signals: to heads',
    $$deliver_signals(
        p_run_ids => '{%1$s, %1$s, %1$s}', p_payloads_json => '{1, 2, 3}',
        p_signal_names => '{batch %2$s, many %2$s, first %2$s}'
    )$$
),
(
    'deliver_signals: behind heads, past one that is overdue',
    $$deliver_signals(
        p_run_ids => '{%1$s, %1$s, %1$s}', p_payloads_json => '{1, 2, 3}',
        p_signal_names => '{go, batch %2$s, overdue %2$s}'
    )$$
),
(
    'deliver_signals: with ids, new and old',
    $$deliver_signals(
        p_run_ids => '{%1$s, %1$s, %1$s}', p_payloads_json => '{1, NULL, NULL}',
        p_delivery_ids => '{b %2$s, done 1%2$s, early 9%2$s}',
        p_signal_names => '{go, done, early}'
    )$$
),
(
    'deliver_signals: to nobody',
    $$deliver_signals(
        p_run_ids => '{%1$s, %1$s, %1$s}', p_payloads_json => '{1, 2, 3}',
        p_signal_names => '{nobody %2$s, done, expired}'
    )$$
),
(
    'deliver_signals: buffered',
    $$deliver_signals(
        p_run_ids => '{%1$s, %1$s, %1$s}', p_payloads_json => '{1, 2, 3}',
        p_delivery_ids => '{c %2$s, d %2$s, e %2$s}', p_signal_names => '{early, done, early}',
        p_buffer_until => 'tomorrow'
    )$$
),
('broadcast_signal', $$broadcast_signal(p_signal_name => 'signal 1')$$),
('remove_run: a small one', $$remove_run(p_run_id => md5('%1$s %2$s')::uuid)$$),
('remove_waiter', $$remove_waiter(p_run_id => %1$L, p_step_key => 'go 40%2$s')$$),
('remove_waiter: a head', $$remove_waiter(p_run_id => %1$L, p_step_key => 'line %2$s 1')$$),
('claim_waiters', $$claim_waiters(p_queue => 'due', p_limit => 5)$$),
('claim_waiters: nobody is due', $$claim_waiters(p_queue => 'idle')$$),
('health', 'health');

CREATE FUNCTION pg_temp.entries_read()
RETURNS TABLE (relation text, entries bigint, sequential_scans bigint)
LANGUAGE sql
SECURITY DEFINER
AS $function$
SELECT
    c.relname, pg_stat_get_xact_tuples_returned(c.oid),
    CASE c.relkind WHEN 'r' THEN pg_stat_get_xact_numscans(c.oid) ELSE 0 END
FROM pg_class AS c
WHERE c.relnamespace = 'flow_signal'::regnamespace AND c.relname LIKE 'flow\_signal\_%'
$function$;

CREATE TEMP TABLE measured (phase text, what text, reads text, entries bigint) ON COMMIT DROP;

-- Makes each call eight times: PostgreSQL keeps a plan from the sixth execution on.
CREATE FUNCTION pg_temp.measure(p_phase text, p_run_id uuid)
RETURNS void
LANGUAGE plpgsql
AS $function$
DECLARE
    v_call record;
    v_before jsonb;
BEGIN
    FOR v_call IN SELECT * FROM hot_calls AS c ORDER BY c.number LOOP
        FOR v_number IN 1..8 LOOP
            SELECT jsonb_object_agg(e.relation, to_jsonb(e)) INTO v_before
            FROM pg_temp.entries_read() AS e;
            SET LOCAL ROLE flow_signal_engine;
            EXECUTE 'SELECT * FROM flow_signal_v1.' || format(v_call.call, p_run_id, v_number);
            SET LOCAL ROLE NONE;
            INSERT INTO measured (phase, what, reads, entries)
            SELECT
                p_phase, v_call.what, string_agg(
                    concat(
                        r.relation, ' ', r.entries,
                        ' in a sequential scan' || nullif(r.scans, 0)
                    ),
                    ', '
                ) FILTER (WHERE r.entries > 0 OR r.scans > 0),
                sum(r.entries + 1000 * r.scans)
            FROM (
                SELECT
                    e.relation,
                    e.entries - (v_before -> e.relation ->> 'entries')::bigint AS entries,
                    e.sequential_scans - (
                        v_before -> e.relation ->> 'sequential_scans'
                    )::bigint AS scans
                FROM pg_temp.entries_read() AS e
            ) AS r;
        END LOOP;
    END LOOP;
END
$function$;

CREATE FUNCTION pg_temp.fill(p_run_id uuid, p_line integer)
RETURNS void
LANGUAGE sql
AS $function$
INSERT INTO flow_signal.flow_signal_waiters (
    run_id, step_key, signal_name, place, created_at, expires_at, delivered_at, expired_at,
    due_at,
    delivery_id, queue
)
SELECT
    p_run_id, l.signal_name || ' ' || n, l.signal_name,
    CASE n WHEN 1 THEN 'head' ELSE l.place END,
    timestamptz '2020-01-01' + n * interval '1 second',
    CASE WHEN l.place = 'expired' OR l.signal_name LIKE 'overdue%'
    AND n = 1 THEN timestamptz '2021-01-01' END,
    CASE l.place WHEN 'delivered' THEN timestamptz '2021-01-01' END,
    CASE l.place WHEN 'expired' THEN timestamptz '2021-01-01' END,
    CASE l.queue WHEN 'due' THEN timestamptz '2021-01-01' WHEN 'idle' THEN '2990-01-01' END,
    CASE l.place WHEN 'delivered' THEN l.signal_name || ' ' || n END, l.queue
FROM (
    SELECT 'go', 'waiting', p_line, NULL
    UNION ALL
    VALUES
    ('done', 'delivered', p_line / 10, 'due'), ('expired', 'expired', p_line / 10, 'due'),
    ('late', 'waiting', p_line / 10, 'idle')
    UNION ALL
    SELECT line.name || i, 'waiting', p_line / 50, NULL
    FROM (VALUES ('line '), ('overdue '), ('batch ')) AS line (name)
    CROSS JOIN generate_series(1, 8) AS i
) AS l (signal_name, place, waiters, queue)
CROSS JOIN LATERAL generate_series(1, l.waiters) AS n;

-- small runs
INSERT INTO flow_signal.flow_signal_waiters (run_id, step_key, signal_name, place, created_at)
SELECT
    md5(concat(p_run_id, ' ', run))::uuid, 'step ' || n, 'signal ' || n % 2,
    CASE WHEN n < 3 THEN 'head' ELSE 'waiting' END, '2020-01-01'
FROM generate_series(1, 8) AS run
CROSS JOIN generate_series(1, 5) AS n;

INSERT INTO flow_signal.flow_signal_buffered_signals (
    run_id, signal_name, position, buffered_at, buffered_until, dead, delivery_id
)
SELECT
    p_run_id, 'early', n, '2020-01-01',
    CASE WHEN n % 4 = 0 THEN timestamptz '2020-01-02' ELSE '2990-01-01' END,
    n % 4 = 0, 'early ' || n
FROM generate_series(1, p_line / 10) AS n
$function$;

SELECT set_config('test.line', :'line', true) AS line, set_config('test.waiters', :'waiters', true) AS n
\gset ignored_

-- Plans made while the tables are small, kept while they grow.
INSERT INTO flow_signal.flow_signal_waiters (run_id, step_key, signal_name, place, created_at)
SELECT md5('few')::uuid, 'step ' || n, 'go ' || n, 'head', '2020-01-01'
FROM generate_series(1, 50) AS n;
INSERT INTO flow_signal.flow_signal_buffered_signals (
    run_id, signal_name, position, buffered_at, buffered_until
)
SELECT md5('few')::uuid, 'early', n, '2020-01-01', '2990-01-01' FROM generate_series(1, 50) AS n;
DO $$ BEGIN PERFORM pg_temp.fill(md5('small')::uuid, 50); END $$;
ANALYZE flow_signal.flow_signal_waiters, flow_signal.flow_signal_buffered_signals;
DO $$
BEGIN
    PERFORM pg_temp.measure('nothing', md5('small')::uuid);
    DELETE FROM measured;
    FOR n IN 1..3 LOOP
        PERFORM pg_temp.fill(md5('large ' || n)::uuid, current_setting('test.line')::integer / 5);
    END LOOP;
    PERFORM pg_temp.measure('plans kept from the small tables', md5('large 1')::uuid);
END
$$;
DISCARD PLANS;
DO $$
BEGIN
    PERFORM pg_temp.measure('new plans, statistics of the small tables', md5('large 2')::uuid);
END
$$;
ANALYZE flow_signal.flow_signal_waiters, flow_signal.flow_signal_buffered_signals;
DISCARD PLANS;
DO $$ BEGIN PERFORM pg_temp.measure('new plans, true statistics', md5('large 3')::uuid); END $$;

-- Plans made while every waiter is alone in its line, kept when long lines come.
TRUNCATE flow_signal.flow_signal_waiters, flow_signal.flow_signal_buffered_signals;
INSERT INTO flow_signal.flow_signal_waiters (run_id, step_key, signal_name, place, created_at)
SELECT
    md5('alone ' || n)::uuid, 'step ' || n, 'go', 'head',
    timestamptz '2020-01-01' + n * interval '1 second'
FROM generate_series(1, :waiters) AS n;
INSERT INTO flow_signal.flow_signal_buffered_signals (
    run_id, signal_name, position, buffered_at, buffered_until
)
SELECT
    md5('alone ' || n)::uuid, 'early', 1, '2020-01-01',
    timestamptz '2990-01-01' + n * interval '1 second'
FROM generate_series(1, :line) AS n;
ANALYZE flow_signal.flow_signal_waiters, flow_signal.flow_signal_buffered_signals;
DISCARD PLANS;
DO $$
BEGIN
    PERFORM pg_temp.fill(md5('small')::uuid, 50);
    PERFORM pg_temp.measure('plans for waiters that are alone', md5('small')::uuid);
    PERFORM pg_temp.fill(md5('large 1')::uuid, current_setting('test.line')::integer);
    PERFORM pg_temp.measure('plans kept from waiters that were alone', md5('large 1')::uuid);
END
$$;
SELECT cmp_ok(count(*), '>=', :waiters::bigint, 'the table is large')
FROM flow_signal.flow_signal_waiters;

SELECT is(
    (
        SELECT m.reads
        FROM measured AS m
        -- a broadcast reads an index of all heads, and one of all that wait behind them
        WHERE m.phase = p.phase AND m.what = c.what AND (
            m.reads LIKE '% sequential scan%'
            OR m.entries > 250 AND c.what <> 'broadcast_signal'
        )
        ORDER BY m.entries DESC
        LIMIT 1
    ),
    NULL, format('%s: %s', c.what, p.phase)
)
FROM (SELECT DISTINCT m.phase FROM measured AS m) AS p
CROSS JOIN hot_calls AS c
ORDER BY c.number, p.phase;
SELECT is(
    count(*), 5 * 8 * count(DISTINCT m.what), 'every call was made eight times in each phase'
)
FROM measured AS m;
SELECT cmp_ok(min(m.entries), '>', 0::bigint, 'and is seen to read') FROM measured AS m
WHERE m.what LIKE 'get%' AND m.phase <> 'plans for waiters that are alone';

SELECT * FROM finish();
ROLLBACK;
