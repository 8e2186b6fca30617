-- Every call reads a few index entries and never a whole table or FIFO, whatever the statistics say.
-- The sizes: psql -v waiters=1000000 -v fifo=100000
\if :{?waiters}
\else
    \set waiters 30000
\endif
\if :{?fifo}
\else
    \set fifo 10000
\endif
BEGIN;
-- Debian compiles the plans of the costly queries here, which takes minutes.
SET LOCAL jit = off;
SET LOCAL statement_timeout = '200s';
SELECT set_config('test.waiters', :'waiters', true) AS waiters, set_config('test.fifo', :'fifo', true) AS fifo
\gset ignored_

-- %1$L is the run, %2$s the number of the call, 1 to 3; most: how many index entries it may read, if not 60.
CREATE TEMP TABLE calls (
    number integer GENERATED ALWAYS AS IDENTITY, what text, call text, most integer
) ON COMMIT DROP;
INSERT INTO calls (what, call)
VALUES
('list_waiters: a run', $$list_waiters(p_run_id => %1$L, p_limit => 5)$$),
(
    'list_waiters: a run, further on',
    $$list_waiters(
        p_run_id => %1$L, p_signal_name => 'go', p_state => 'waiting', p_after_run_id => %1$L,
        p_after_step_key => 'go 5%2$s', p_limit => 5
    )$$
),
(
    'list_waiters: all runs',
    $$list_waiters(
        p_after_run_id => %1$L, p_after_step_key => 'go 5%2$s', p_limit => 5
    )$$
),
('list_buffered_signals: a run', $$list_buffered_signals(p_run_id => %1$L, p_limit => 5)$$),
(
    'list_buffered_signals: a run, further on',
    $$list_buffered_signals(
        p_run_id => %1$L, p_signal_name => 'early', p_after_run_id => %1$L,
        p_after_signal_name => 'early', p_after_position => 5%2$s, p_limit => 5
    )$$
),
(
    'list_buffered_signals: all runs',
    $$list_buffered_signals(
        p_after_run_id => %1$L, p_after_signal_name => 'early', p_after_position => 5%2$s,
        p_limit => 5
    )$$
),
('get_waiter', $$get_waiter(p_run_id => %1$L, p_step_key => 'go 9%2$s')$$),
('get_waiter: nobody', $$get_waiter(p_run_id => %1$L, p_step_key => 'nobody %2$s')$$),
('await_waiter', $$await_waiter(p_run_id => %1$L, p_step_key => 'done 4%2$s')$$),
('await_waiter: overdue', $$await_waiter(p_run_id => %1$L, p_step_key => 'overdue %2$s 1')$$),
(
    'register_waiter: the first of a signal',
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
    $$register_waiter(p_run_id => %1$L, p_step_key => 'go 4%2$s', p_signal_name => 'go')$$
),
(
    'register_waiter: a new deadline',
    $$register_waiter(
        p_run_id => %1$L, p_step_key => 'go 5%2$s', p_signal_name => 'go',
        p_expires_at => 'tomorrow'
    )$$
),
(
    'register_waiter: another wake channel',
    $$register_waiter(
        p_run_id => %1$L, p_step_key => 'go 4%2$s', p_signal_name => 'go', p_wake_channel => 'c'
    )$$
),
(
    'register_waiter: another signal',
    $$register_waiter(p_run_id => %1$L, p_step_key => 'go 6%2$s', p_signal_name => 'late')$$
),
(
    'register_waiter: live again',
    $$register_waiter(
        p_run_id => %1$L, p_step_key => 'expired 3%2$s', p_signal_name => 'expired',
        p_expires_at => 'tomorrow'
    )$$
),
(
    'register_waiter: a repeat after delivery',
    $$register_waiter(
        p_run_id => %1$L, p_step_key => 'done 3%2$s', p_signal_name => 'done'
    )$$
),
(
    'register_waiter: takes a buffered signal',
    $$register_waiter(p_run_id => %1$L, p_step_key => 'taker %2$s', p_signal_name => 'early')$$
),
(
    'register_waiter: where all buffered signals are dead',
    $$register_waiter(p_run_id => %1$L, p_step_key => 'dead %2$s', p_signal_name => 'dead')$$
),
(
    'deliver_signal: to one of two',
    $$deliver_signal(p_run_id => %1$L, p_signal_name => 'fifo %2$s')$$
),
(
    'deliver_signal: to a lone waiter of a run of many signals',
    $$deliver_signal(p_run_id => %1$L, p_signal_name => 'alone %2$s')$$
),
('deliver_signal: to a long FIFO', $$deliver_signal(p_run_id => %1$L, p_signal_name => 'go')$$),
(
    'deliver_signal: with an id',
    $$deliver_signal(p_run_id => %1$L, p_signal_name => 'go', p_delivery_id => 'id %2$s')$$
),
(
    'deliver_signal: again',
    $$deliver_signal(
        p_run_id => %1$L, p_signal_name => 'done', p_delivery_id => 'done 1%2$s'
    )$$
),
(
    'deliver_signal: again, its waiter is gone',
    $$deliver_signal(
        p_run_id => %1$L, p_signal_name => 'go', p_delivery_id => 'gone 1%2$s'
    )$$
),
(
    'deliver_signal: past one that is overdue',
    $$deliver_signal(p_run_id => %1$L, p_signal_name => 'overdue %2$s')$$
),
(
    'deliver_signal: not_found',
    $$deliver_signal(p_run_id => %1$L, p_signal_name => 'nobody %2$s', p_delivery_id => 'n')$$
),
(
    'deliver_signal: already_delivered',
    $$deliver_signal(p_run_id => %1$L, p_signal_name => 'done')$$
),
(
    'deliver_signal: expired', $$deliver_signal(p_run_id => %1$L, p_signal_name => 'past')$$
),
(
    'deliver_signal: buffered before',
    $$deliver_signal(
        p_run_id => %1$L, p_signal_name => 'early', p_delivery_id => 'early 5%2$s'
    )$$
),
(
    'deliver_signal: the id of a dead one',
    $$deliver_signal(
        p_run_id => %1$L, p_signal_name => 'early', p_delivery_id => 'early -1%2$s'
    )$$
),
(
    'deliver_to_step',
    $$deliver_to_step(
        p_run_id => %1$L, p_step_key => 'fifo %2$s 2', p_delivery_id => 'step %2$s'
    )$$
),
(
    'deliver_to_step: again',
    $$deliver_to_step(
        p_run_id => %1$L, p_step_key => 'done 1%2$s', p_delivery_id => 'done 1%2$s'
    )$$
),
(
    'deliver_to_step: buffered before for its signal',
    $$deliver_to_step(
        p_run_id => %1$L, p_step_key => 'too late', p_delivery_id => 'early 5%2$s'
    )$$
),
(
    'deliver_to_step: already_delivered',
    $$deliver_to_step(
        p_run_id => %1$L, p_step_key => 'done 1%2$s', p_delivery_id => 'other %2$s'
    )$$
),
(
    'deliver_to_step: expired',
    $$deliver_to_step(p_run_id => %1$L, p_step_key => 'expired 1%2$s')$$
),
(
    'deliver_to_step: overdue',
    $$deliver_to_step(p_run_id => %1$L, p_step_key => 'late %2$s')$$
),
(
    'deliver_to_step: not_found',
    $$deliver_to_step(
        p_run_id => %1$L, p_step_key => 'nobody %2$s', p_delivery_id => 'done 1%2$s'
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
        p_run_ids => '{%1$s, %1$s, %1$s}', p_step_keys => '{go 7%2$s, done 2%2$s, go 7%2$s}',
        p_signal_names => '{go, done, go}'
    )$$
),
(
    'register_waiters: changes and a new step',
    $$register_waiters(
        p_run_ids => '{%1$s, %1$s, %1$s}', p_step_keys => '{go 5%2$s, go 7%2$s, r %2$s}',
        p_signal_names => '{go, late, late}', p_expires_at => '{tomorrow, NULL, NULL}'
    )$$
),
(
    'deliver_signals: to several FIFOs',
    $$deliver_signals(
        p_run_ids => '{%1$s, %1$s, %1$s}', p_payloads_json => '{1, 2, 3}',
        p_signal_names => '{batch %2$s, many %2$s, first %2$s}'
    )$$
),
(
    'deliver_signals: past one that is overdue',
    $$deliver_signals(
        p_run_ids => '{%1$s, %1$s, %1$s}', p_payloads_json => '{1, 2, 3}',
        p_signal_names => '{go, batch %2$s, stale %2$s}'
    )$$
),
(
    'deliver_signals: with ids, new and old',
    $$deliver_signals(
        p_run_ids => '{%1$s, %1$s, %1$s}', p_payloads_json => '{1, NULL, NULL}',
        p_delivery_ids => '{b %2$s, done 1%2$s, early 5%2$s}',
        p_signal_names => '{go, done, early}'
    )$$
),
(
    'deliver_signals: to nobody',
    $$deliver_signals(
        p_run_ids => '{%1$s, %1$s, %1$s}', p_payloads_json => '{1, 2, 3}',
        p_signal_names => '{nobody %2$s, done, past}'
    )$$
),
(
    'import_waiters',
    $$import_waiters(
        p_run_ids => '{%1$s, %1$s, %1$s}', p_step_keys => '{go 8%2$s, done 2%2$s, import %2$s}',
        p_signal_names => '{go, done, go}', p_created_at => '{2019-01-01, 2019-01-01, 2019-01-01}',
        p_expires_at => '{NULL, NULL, NULL}', p_delivered_at => '{NULL, NULL, NULL}',
        p_payloads_json => '{NULL, NULL, NULL}'
    )$$
),
(
    'withdraw_signal',
    $$withdraw_signal(p_run_id => %1$L, p_signal_name => 'early', p_position => 2000004%2$s)$$
),
('list_senders', $$list_senders(p_run_id => md5('%2$s')::uuid)$$),
('remove_waiter', $$remove_waiter(p_run_id => %1$L, p_step_key => 'go 8%2$s')$$),
('remove_waiter: the oldest', $$remove_waiter(p_run_id => %1$L, p_step_key => 'batch %2$s 3')$$),
('remove_waiter: nobody', $$remove_waiter(p_run_id => %1$L, p_step_key => 'nobody %2$s')$$),
(
    'remove_waiter: of a claim',
    $$remove_waiter(
        p_run_id => %1$L, p_step_key => 'done 3%2$s', p_claim_id => md5('claim')::uuid
    )$$
),
(
    'remove_waiter: of another claim',
    $$remove_waiter(
        p_run_id => %1$L, p_step_key => 'done 2%2$s', p_claim_id => md5('other')::uuid
    )$$
),
(
    'extend_claim',
    $$extend_claim(
        p_run_id => %1$L, p_step_key => 'done 2%2$s', p_claim_id => md5('claim')::uuid,
        p_lease => '1 minute'
    )$$
),
('issue_token', $$issue_token(p_run_id => %1$L, p_step_key => 'go 5%2$s')$$),
(
    'describe_token',
    $$describe_token(pg_temp.token(%1$L, 'go 3%2$s'))$$
),
(
    'redeem_token',
    $$redeem_token(pg_temp.token(%1$L, 'go 3%2$s'))$$
),
(
    'redeem_token: again',
    $$redeem_token(pg_temp.token(%1$L, 'gone 3%2$s'))$$
),
(
    'redeem_token: not_found',
    $$redeem_token(pg_temp.token(%1$L, 'nobody %2$s'))$$
),
('revoke_tokens', $$revoke_tokens(p_run_id => %1$L, p_step_key => 'go 4%2$s')$$),
('remove_run: a small one', $$remove_run(p_run_id => md5('%1$s %2$s')::uuid)$$),
('claim_waiters', $$claim_waiters(p_queue => 'due', p_limit => 5)$$),
('claim_waiters: nobody is due', $$claim_waiters(p_queue => 'idle')$$);
-- Those that count the buffered signals of (run, signal), at most 100 of them.
INSERT INTO calls (what, call, most)
VALUES
(
    'deliver_signal: buffered',
    $$deliver_signal(
        p_run_id => %1$L, p_signal_name => 'early', p_delivery_id => 'new %2$s',
        p_buffer_until => 'tomorrow'
    )$$,
    160
),
(
    'deliver_signal: too many are buffered',
    $$deliver_signal(
        p_run_id => %1$L, p_signal_name => 'full', p_buffer_until => 'tomorrow'
    )$$,
    260
),
(
    'deliver_signals: buffered',
    $$deliver_signals(
        p_run_ids => '{%1$s, %1$s, %1$s}', p_payloads_json => '{1, 2, 3}',
        p_delivery_ids => '{c %2$s, d %2$s, e %2$s}', p_signal_names => '{early, done, early}',
        p_buffer_until => 'tomorrow'
    )$$,
    360
);
-- Batches of 50 about one FIFO: a few entries for each element.
INSERT INTO calls (what, call, most)
SELECT
    b.what,
    format(
        '%s(p_run_ids => array_fill(uuid %s, ARRAY[50]), %s)', split_part(b.what, ':', 1), '%1$L',
        b.arguments
    ),
    50 * b.each
FROM (
    VALUES
    (
        'register_waiters: a batch of 50',
        $$p_step_keys => ARRAY(SELECT 'new %2$s ' || n FROM generate_series(1, 50) AS n),
        p_signal_names => array_fill('long'::text, ARRAY[50])$$,
        10
    ),
    (
        'register_waiters: 50 repeats',
        $$p_step_keys => ARRAY(SELECT 'new %2$s ' || n FROM generate_series(1, 50) AS n),
        p_signal_names => array_fill('long'::text, ARRAY[50])$$,
        20
    ),
    (
        'deliver_signals: a batch of 50',
        $$p_payloads_json => NULL, p_signal_names => array_fill('long'::text, ARRAY[50])$$,
        15
    ),
    (
        'deliver_signals: 50 ids',
        $$p_payloads_json => NULL, p_signal_names => array_fill('long'::text, ARRAY[50]),
        p_delivery_ids => ARRAY(SELECT 'new %2$s ' || n FROM generate_series(1, 50) AS n)$$,
        15
    ),
    (
        'deliver_signals: 50 ids again',
        $$p_payloads_json => NULL, p_signal_names => array_fill('long'::text, ARRAY[50]),
        p_delivery_ids => ARRAY(SELECT 'new %2$s ' || n FROM generate_series(1, 50) AS n)$$,
        10
    ),
    (
        'deliver_signals: 50 to nobody',
        $$p_payloads_json => NULL, p_signal_names => array_fill('done'::text, ARRAY[50])$$,
        10
    )
) AS b (what, arguments, each);
-- These read what they delete or deliver, and nothing a second time; health reads 128
-- blocks of each table.
INSERT INTO calls (what, call, most)
VALUES
('health', 'health', 200000),
('remove_run: a large one', $$remove_run(p_run_id => md5('%1$s rows %2$s')::uuid)$$, 6000),
('broadcast_signal', $$broadcast_signal(p_signal_name => 'signal 1')$$, 1000000),
('purge', $$purge(p_settled_before => '2001-01-01')$$, 1000000);

-- The token of a step.
CREATE FUNCTION pg_temp.token(p_run_id uuid, p_step_key text)
RETURNS text
LANGUAGE sql
AS $function$
SELECT concat('fst_', replace(p_run_id::text, '-', ''), '_', repeat(md5(p_step_key), 2))
$function$;

-- A run of size FIFOs of one waiter, of long FIFOs of every kind, with receipts and buffered signals.
CREATE FUNCTION pg_temp.fill(p_run_id uuid, p_size integer)
RETURNS void
LANGUAGE sql
AS $function$
INSERT INTO flow_signal.flow_signal_waiters (
    run_id, step_key, signal_name, status, created_at, expires_at, delivered_at, due_at, queue,
    claim_id, attempt
)
SELECT
    p_run_id, f.signal_name || ' ' || n, f.signal_name, f.status,
    timestamptz '2020-01-01' + n * interval '1 second',
    CASE WHEN f.status = 'expired' OR n = 1 AND f.signal_name ~ 'overdue|stale'
        OR n < 10 AND f.signal_name = 'late' THEN timestamptz '2021-01-01' END,
    CASE WHEN f.status = 'delivered' THEN timestamptz '2021-01-01' END,
    CASE f.queue WHEN 'due' THEN timestamptz '2021-01-01' WHEN 'idle' THEN '2990-01-01' END,
    f.queue, CASE WHEN f.queue = 'due' THEN md5('claim')::uuid END,
    CASE WHEN f.queue = 'due' THEN 1 END
FROM (
    VALUES
    ('go', 'waiting', p_size, NULL), ('long', 'waiting', p_size / 5, NULL),
    ('done', 'delivered', p_size / 5, 'due'), ('expired', 'expired', p_size / 5, 'due'),
    ('past', 'expired', p_size / 5, NULL), ('late', 'waiting', p_size / 5, 'idle')
    UNION ALL
    SELECT k.name || ' ' || i, 'waiting', greatest(p_size / 50, 5), NULL
    FROM (VALUES ('fifo'), ('overdue'), ('batch'), ('stale')) AS k (name)
    CROSS JOIN generate_series(1, 8) AS i
) AS f (signal_name, status, waiters, queue)
CROSS JOIN LATERAL generate_series(1, f.waiters) AS n
UNION ALL
SELECT
    p_run_id, 'too late', 'early', 'expired', '2020-01-01', '2021-01-01', NULL, NULL, NULL, NULL,
    NULL
UNION ALL
SELECT
    p_run_id, 'alone ' || n, 'alone ' || n, 'waiting', '2020-01-01', NULL, NULL, NULL, NULL,
    NULL, NULL
FROM generate_series(1, p_size) AS n
UNION ALL
-- runs that remove_run removes
SELECT
    md5(concat(p_run_id, r.name, r.i))::uuid, 'step ' || n, 'signal ' || n % 2, 'waiting',
    '2020-01-01', NULL, NULL, NULL, NULL, NULL, NULL
FROM (
    SELECT ' ', i, 5 FROM generate_series(1, 3) AS i
    UNION ALL
    SELECT ' rows ', i, p_size / 10 FROM generate_series(1, 3) AS i
) AS r (name, i, steps)
CROSS JOIN LATERAL generate_series(1, r.steps) AS n;

INSERT INTO flow_signal.flow_signal_receipts (
    run_id, delivery_id, signal_name, step_key, delivered_at
)
SELECT w.run_id, w.step_key, w.signal_name, w.step_key, w.delivered_at
FROM flow_signal.flow_signal_waiters AS w
WHERE w.run_id = p_run_id AND w.status = 'delivered'
UNION ALL
SELECT p_run_id, 'gone ' || n, 'go', 'gone ' || n, timestamptz '2021-01-01'
FROM generate_series(1, p_size) AS n
UNION ALL
SELECT
    md5(concat(p_run_id, ' rows ', i))::uuid, 'gone ' || n, 'signal ' || n % 2, 'gone ' || n,
    timestamptz '2021-01-01'
FROM generate_series(1, 3) AS i
CROSS JOIN generate_series(1, p_size / 10) AS n;

INSERT INTO flow_signal.flow_signal_tokens (
    run_id, token_hash, step_key, signal_name, registered_at, delivered_at
)
SELECT
    t.run_id, sha256(decode(right(pg_temp.token(t.run_id, t.step_key), 64), 'hex')), t.step_key,
    t.signal_name, t.created_at, t.delivered_at
FROM (
    SELECT w.run_id, w.step_key, w.signal_name, w.created_at, w.delivered_at
    FROM flow_signal.flow_signal_waiters AS w
    WHERE w.run_id = p_run_id AND w.signal_name = 'go'
    UNION ALL
    SELECT r.run_id, r.step_key, r.signal_name, r.delivered_at, r.delivered_at
    FROM flow_signal.flow_signal_receipts AS r
    WHERE r.run_id = p_run_id AND r.step_key LIKE 'gone %'
) AS t;

INSERT INTO flow_signal.flow_signal_buffered_signals (
    run_id, signal_name, position, buffered_at, buffered_until, dead, delivery_id
)
SELECT
    p_run_id, b.signal_name, n, timestamptz '2020-01-01', timestamptz '2020-01-02', true,
    b.signal_name || ' -' || n
FROM (
    SELECT 'early', p_size
    UNION ALL
    SELECT 'full', p_size / 5
    UNION ALL
    SELECT 'dead ' || i, p_size / 5 FROM generate_series(1, 3) AS i
) AS b (signal_name, signals)
CROSS JOIN LATERAL generate_series(1, b.signals) AS n
UNION ALL
SELECT
    p_run_id, b.signal_name, 20000000 + n, '2020-01-01', '2990-01-01', false,
    b.signal_name || ' ' || n
FROM (VALUES ('early', 60), ('full', 100)) AS b (signal_name, signals)
CROSS JOIN LATERAL generate_series(1, b.signals) AS n;

INSERT INTO flow_signal.flow_signal_locks (run_id, signal_name, has_buffered)
SELECT DISTINCT w.run_id, w.signal_name, false
FROM flow_signal.flow_signal_waiters AS w
WHERE w.signal_name <> 'early'
UNION
SELECT b.run_id, b.signal_name, true
FROM flow_signal.flow_signal_buffered_signals AS b
ON CONFLICT DO NOTHING
$function$;

-- Runs with a row in each table.
CREATE FUNCTION pg_temp.add_lone_rows(p_name text, p_runs integer, p_signals integer DEFAULT 1)
RETURNS void
LANGUAGE plpgsql
AS $function$
BEGIN
    CREATE TEMP TABLE lone ON COMMIT DROP AS
    SELECT md5(p_name || ' ' || r)::uuid AS run_id, 'go' || s AS name, r
    FROM generate_series(1, p_runs) AS r
    CROSS JOIN generate_series(1, p_signals) AS s;
    INSERT INTO flow_signal.flow_signal_waiters (
        run_id, step_key, signal_name, status, created_at, delivered_at
    )
    SELECT
        l.run_id, l.name, l.name, CASE l.r % 2 WHEN 0 THEN 'waiting' ELSE 'delivered' END,
        timestamptz '2020-01-01' + l.r * interval '1 second',
        CASE l.r % 2 WHEN 1 THEN timestamptz '2021-01-01' END
    FROM lone AS l;
    INSERT INTO flow_signal.flow_signal_locks (run_id, signal_name)
    SELECT l.run_id, l.name FROM lone AS l;
    INSERT INTO flow_signal.flow_signal_receipts (
        run_id, delivery_id, signal_name, step_key, delivered_at
    )
    SELECT l.run_id, l.name, l.name, l.name, '2021-01-01' FROM lone AS l;
    INSERT INTO flow_signal.flow_signal_tokens (
        run_id, token_hash, step_key, signal_name, registered_at
    )
    SELECT l.run_id, sha256(l.name::bytea), l.name, l.name, '2020-01-01' FROM lone AS l;
    INSERT INTO flow_signal.flow_signal_buffered_signals (
        run_id, signal_name, position, buffered_at, buffered_until, delivery_id
    )
    SELECT l.run_id, l.name, 1, '2020-01-01', '2990-01-01', l.name FROM lone AS l;
    DROP TABLE lone;
END
$function$;

-- Makes all indexes large and leaves no row: those of a transaction that is rolled back are dead.
CREATE FUNCTION pg_temp.swell_indexes()
RETURNS void
LANGUAGE plpgsql
AS $function$
BEGIN
    PERFORM pg_temp.add_lone_rows('gone', current_setting('test.waiters')::integer);
    RAISE SQLSTATE 'TT001';
EXCEPTION
    WHEN SQLSTATE 'TT001' THEN NULL;
END
$function$;

CREATE FUNCTION pg_temp.rebuild_indexes(p_primary boolean)
RETURNS void
LANGUAGE plpgsql
AS $function$
DECLARE
    v_index regclass;
BEGIN
    FOR v_index IN
        SELECT i.indexrelid FROM pg_index AS i
        INNER JOIN pg_class AS c ON c.oid = i.indrelid
        WHERE c.relnamespace = 'flow_signal'::regnamespace AND c.relname LIKE 'flow\_signal\_%'
            AND i.indisprimary = p_primary
    LOOP
        EXECUTE format('REINDEX INDEX %s', v_index);
    END LOOP;
END
$function$;

-- What is in the tables when they are analysed.
CREATE TEMP TABLE states (
    number integer GENERATED ALWAYS AS IDENTITY, state text, load text
) ON COMMIT DROP;
INSERT INTO states (state, load)
VALUES
('never analysed', NULL),
('analysed while empty', 'SELECT'),
('small full tables', $$SELECT pg_temp.add_lone_rows('few', 10, 5)$$),
(
    'one row a run',
    $$SELECT pg_temp.add_lone_rows('alone', current_setting('test.waiters')::integer)$$
),
('emptied, indexes swollen', 'SELECT pg_temp.swell_indexes()'),
(
    'nearly empty, indexes swollen',
    $$SELECT pg_temp.swell_indexes(), pg_temp.add_lone_rows('left', 10)$$
),
(
    'nearly empty, primary keys swollen',
    $$SELECT
        pg_temp.swell_indexes(), pg_temp.rebuild_indexes(p_primary => false),
        pg_temp.add_lone_rows('left', 10)$$
),
(
    'nearly empty, other indexes swollen',
    $$SELECT
        pg_temp.swell_indexes(), pg_temp.rebuild_indexes(p_primary => true),
        pg_temp.add_lone_rows('left', 10)$$
),
(
    'one run of many signals',
    $$SELECT pg_temp.add_lone_rows('signals', 1, current_setting('test.fifo')::integer)$$
),
(
    'one run of long FIFOs',
    $$SELECT pg_temp.fill(md5('other')::uuid, current_setting('test.fifo')::integer)$$
),
(
    'true statistics',
    $$SELECT pg_temp.fill(md5('large')::uuid, current_setting('test.fifo')::integer)$$
);

CREATE FUNCTION pg_temp.reads()
RETURNS TABLE (relation text, entries bigint, blocks bigint, sequential_scans bigint)
LANGUAGE sql
SECURITY DEFINER
AS $function$
SELECT
    c.relname, pg_stat_get_xact_tuples_returned(c.oid), pg_stat_get_xact_blocks_fetched(c.oid),
    CASE c.relkind WHEN 'r' THEN pg_stat_get_xact_numscans(c.oid) ELSE 0 END
FROM pg_class AS c
WHERE c.relnamespace = 'flow_signal'::regnamespace AND c.relname LIKE 'flow\_signal\_%'
$function$;

CREATE TEMP TABLE measured (
    state text, plans text, what text, reads text, entries bigint,
    blocks bigint, scans bigint
) ON COMMIT DROP;

CREATE FUNCTION pg_temp.measure(p_state text, p_plans text, p_run_id uuid, p_number integer)
RETURNS void
LANGUAGE plpgsql
AS $function$
DECLARE
    v_call record;
    v_before jsonb;
BEGIN
    FOR v_call IN SELECT * FROM calls AS c ORDER BY c.number LOOP
        SELECT jsonb_object_agg(e.relation, to_jsonb(e)) INTO v_before
        FROM pg_temp.reads() AS e;
        BEGIN
            SET LOCAL ROLE flow_signal_admin;
            EXECUTE 'SELECT * FROM flow_signal_v1.' || format(v_call.call, p_run_id, p_number);
        EXCEPTION
            WHEN SQLSTATE 'WS004' THEN NULL;
        END;
        SET LOCAL ROLE NONE;
        INSERT INTO measured
        SELECT
            p_state, p_plans, v_call.what, string_agg(
                concat(
                    r.relation, ' ', r.entries, ' in ', r.blocks, ' blocks',
                    ' in a sequential scan' || nullif(r.scans, 0)
                ),
                ', ' ORDER BY r.relation
            ) FILTER (WHERE r.entries > 0 OR r.blocks > 0),
            sum(r.entries), sum(r.blocks), sum(r.scans)
        FROM (
            SELECT
                e.relation,
                e.entries - (v_before -> e.relation ->> 'entries')::bigint AS entries,
                e.blocks - (v_before -> e.relation ->> 'blocks')::bigint AS blocks,
                e.sequential_scans - (
                    v_before -> e.relation ->> 'sequential_scans'
                )::bigint AS scans
            FROM pg_temp.reads() AS e
        ) AS r;
    END LOOP;
END
$function$;

-- In each state of the statistics: plans made then and kept while the tables grow, generic plans
-- made after that, and plans made for each call.
SELECT s.statement
FROM states AS t
CROSS JOIN LATERAL (
    VALUES
    (
        1,
        'TRUNCATE flow_signal.flow_signal_waiters, flow_signal.flow_signal_receipts, '
        'flow_signal.flow_signal_tokens, '
        'flow_signal.flow_signal_locks, flow_signal.flow_signal_buffered_signals'
    ),
    (2, 'DO $do$ BEGIN EXECUTE ' || quote_literal(t.load) || '; END $do$'),
    (
        3,
        CASE WHEN t.load IS NOT NULL THEN
            'ANALYZE flow_signal.flow_signal_waiters, flow_signal.flow_signal_receipts, '
            'flow_signal.flow_signal_tokens, '
            'flow_signal.flow_signal_locks, flow_signal.flow_signal_buffered_signals' END
    ),
    (4, 'DISCARD PLANS'),
    (
        5,
        format($$DO $do$
        BEGIN
            SET LOCAL plan_cache_mode = force_generic_plan;
            PERFORM pg_temp.fill(md5('small')::uuid, 250);
            PERFORM pg_temp.measure('', '', md5('small')::uuid, 1);
            IF %L <> 'true statistics' THEN
                PERFORM pg_temp.fill(md5('large')::uuid, current_setting('test.fifo')::integer);
            END IF;
            PERFORM pg_temp.measure(%1$L, 'kept', md5('large')::uuid, 1);
        END $do$ $$, t.state)
    ),
    (6, 'DISCARD PLANS'),
    (
        7,
        format($$DO $do$
        BEGIN
            PERFORM pg_temp.measure(%L, 'new', md5('large')::uuid, 2);
            SET LOCAL plan_cache_mode = force_custom_plan;
            PERFORM pg_temp.measure(%1$L, 'custom', md5('large')::uuid, 3);
        END $do$ $$, t.state)
    )
) AS s (number, statement)
WHERE s.statement IS NOT NULL
ORDER BY t.number, s.number
\gexec

SELECT plan((count(DISTINCT s.number) * count(DISTINCT c.number) + 2)::integer)
FROM states AS s
CROSS JOIN calls AS c;
SELECT is(
    (
        SELECT m.plans || ' plan: ' || m.reads
        FROM measured AS m
        WHERE m.state = s.state AND m.what = c.what AND (
            m.scans > 0
            OR m.entries > coalesce(c.most, 60)
            OR m.blocks > 4 * coalesce(c.most, 60)
        )
        ORDER BY m.blocks DESC
        LIMIT 1
    ),
    NULL, format('%s: %s', c.what, s.state)
)
FROM states AS s
CROSS JOIN calls AS c
ORDER BY c.number, s.number;
SELECT is(
    count(*), 3 * (SELECT count(*) FROM calls) * (SELECT count(*) FROM states),
    'every call was made with three plans in each state'
)
FROM measured AS m WHERE m.state <> '';
SELECT is(min(m.entries), 1::bigint, 'and is seen to read')
FROM measured AS m WHERE m.what = 'get_waiter';

SELECT * FROM finish();
ROLLBACK;
