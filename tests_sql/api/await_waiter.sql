-- await_waiter returns a waiter when it no longer waits, at the latest after p_max_wait.
BEGIN;
SELECT plan(34);
\ir ../helpers.psql
SET LOCAL ROLE flow_signal_engine;

SELECT is(
    pg_get_function_arguments('flow_signal_v1.await_waiter'::regproc),
    'p_run_id uuid, p_step_key text, p_max_wait interval DEFAULT ''00:00:30''::interval',
    'the parameters, their order and defaults'
);
SELECT is(
    pg_get_function_result('flow_signal_v1.await_waiter'::regproc),
    'SETOF flow_signal_v1.waiter',
    'the result'
);

CREATE FUNCTION pg_temp.await(p_step_key text, p_max_wait interval)
RETURNS text
LANGUAGE sql
AS $function$
SELECT concat_ws(' ', w.state, w.payload_json)
FROM flow_signal_v1.await_waiter(
    p_run_id => md5('run')::uuid, p_step_key => p_step_key, p_max_wait => p_max_wait
) AS w
$function$;

SELECT is(pg_temp.register('run', 'gets', NULL, 'gets'), 'waiting', 'a waiter');
SELECT
    is(
        pg_temp.deliver('run', '{"a": 1}', p_signal_name => 'gets'),
        'delivered gets',
        'that gets its signal'
    );
SELECT
    is(pg_temp.register('run', 'late', 'yesterday', 'late'), 'expired', 'one that is expired');
SELECT is(pg_temp.register('run', 'waits', NULL, 'waits'), 'waiting', 'one that waits');
SELECT is(
    pg_temp.register('run', 'soon', clock_timestamp() + '200 milliseconds', 'soon'), 'waiting',
    'one that expires soon'
);
SET LOCAL ROLE flow_signal_reader;

SELECT
    is(
        pg_temp.await(a.step_key, '5 minutes'),
        a.result,
        format('%s: comes back at once', a.step_key)
    )
FROM (
    VALUES ('gets', 'delivered {"a": 1}'), ('late', 'expired'), ('nobody', NULL)
) AS a (step_key, result);
SELECT is(pg_temp.await('waits', '0'), 'waiting', 'no wait: the waiter as it is');
SELECT
    is(
        pg_temp.await('waits', '30 milliseconds'),
        'waiting',
        'after the wait: the waiter as it is'
    );
SELECT is(pg_temp.await('soon', '5 minutes'), 'expired', 'the deadline ends the wait');

SELECT is(
    pg_temp.refusal(r.call), r.refusal, r.call
)
FROM (
    VALUES
    (
        'await_waiter(NULL, ''s'')',
        pg_temp.is_null('run id')
    ),
    (
        'await_waiter(md5(''run'')::uuid, NULL)',
        pg_temp.is_null('step key')
    ),
    (
        'await_waiter(md5(''run'')::uuid, '''')',
        pg_temp.is_blank('step key', '')
    ),
    (
        'await_waiter(md5(''run'')::uuid, ''s'', NULL)',
        pg_temp.is_null('wait')
    ),
    (
        'await_waiter(md5(''run'')::uuid, ''s'', ''301 s'')',
        pg_temp.out_of_range('wait 00:05:01', '0 to 5 minutes')
    ),
    (
        'await_waiter(md5(''run'')::uuid, ''s'', ''-1 us'')',
        pg_temp.out_of_range('wait -00:00:00.000001', '0 to 5 minutes')
    )
) AS r (call, refusal);
-- A wait is judged as it is applied: what looks short may add up to days, or end in the past.
SELECT is(
    pg_temp.refusal(format('await_waiter(%L, %L, %L)', md5('run')::uuid, 'waits', w.wait)),
    pg_temp.out_of_range(format('wait %s', w.wait), '0 to 5 minutes'), format('a wait of %s', w.wait)
)
FROM (
    VALUES
    (interval '12 mon -360 days'), ('1 mon -25 days'), ('-12 mon 360 days'), ('00:05:00.000001'),
    ('178000000 years'), ('-178000000 years')
) AS w (wait);
SELECT is(
    w.state, 'delivered', 'a wait of 1 day -24 hours is none'
)
FROM flow_signal_v1.await_waiter(
    p_run_id => md5('run')::uuid, p_step_key => 'gets', p_max_wait => '1 day -24 hours'
) AS w;

-- It changes nothing, whatever it finds.
SELECT is(
    pg_temp.rows_written(format('await_waiter(%L, %L)', md5('run')::uuid, s.step_key)), 0::bigint,
    format('%s: writes nothing', s.step_key)
)
FROM (VALUES ('gets'), ('late'), ('soon'), ('nobody')) AS s (step_key);
RESET ROLE;
SET LOCAL transaction_read_only = on;
SET LOCAL ROLE flow_signal_reader;
SELECT is(
    pg_temp.await(a.step_key, '10 milliseconds'), a.result,
    format('%s: in a read-only transaction', a.step_key)
)
FROM (
    VALUES ('gets', 'delivered {"a": 1}'), ('late', 'expired'), ('waits', 'waiting'), ('nobody', NULL)
) AS a (step_key, result);

SELECT * FROM finish();
ROLLBACK;
