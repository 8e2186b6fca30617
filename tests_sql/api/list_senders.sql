-- list_senders tells an admin which login sent each signal of a run.
BEGIN;
SELECT plan(19);
\ir ../helpers.psql

SELECT is(
    pg_get_function_arguments('flow_signal_v1.list_senders'::regproc), 'p_run_id uuid',
    'the parameters'
);
SELECT is(
    pg_get_function_result('flow_signal_v1.list_senders'::regproc),
    'SETOF flow_signal_v1.sender', 'the result'
);

CREATE ROLE flow_signal_test_one IN ROLE flow_signal_engine;
CREATE ROLE flow_signal_test_two IN ROLE flow_signal_engine;
CREATE ROLE flow_signal_test_engine IN ROLE flow_signal_engine;
CREATE FUNCTION pg_temp.senders(p_run text)
RETURNS text
LANGUAGE sql
SECURITY DEFINER
AS $function$
SELECT string_agg(
    concat_ws(' ', s.signal_name, s.step_key, s.delivery_id, s.status, coalesce(s.login, '?')), ', '
    ORDER BY s.recorded_at, s.step_key
)
FROM flow_signal_v1.list_senders(p_run_id => md5(p_run)::uuid) AS s
$function$;

SET SESSION AUTHORIZATION flow_signal_test_engine;
SELECT is(
    concat_ws(
        ' ', pg_temp.register('run', 'a'), pg_temp.register('run', 'b'), pg_temp.register('run', 'c'),
        pg_temp.register('run', 'd'), pg_temp.register('run', 'e', NULL, 'all'),
        pg_temp.register('batch', 'f'), pg_temp.register('batch', 'g')
    ), 'waiting waiting waiting waiting waiting waiting waiting', 'steps wait'
);
SELECT pg_temp.issue('run', 'd') AS token \gset
SET SESSION AUTHORIZATION flow_signal_test_one;
-- A role that was set is not who sent it.
SET LOCAL ROLE flow_signal_engine;
SELECT is(pg_temp.deliver('run'), 'delivered a', 'one sends a signal');
RESET ROLE;
SELECT is(pg_temp.deliver('run', '1', 'id'), 'delivered b', 'and another one, with an id');
SELECT is(pg_temp.buffer('run', '1', 'id', 'early'), 'buffered', 'and one that is kept');
SET SESSION AUTHORIZATION flow_signal_test_two;
SELECT is(pg_temp.deliver('run', '1', 'id'), 'delivered b (replayed)', 'a retry by two');
SELECT is(pg_temp.deliver_to_step('run', 'c'), 'delivered c', 'two sends to a step');
SELECT is(pg_temp.redeem(:'token'), 'delivered d', 'and redeems a token');
SELECT is(
    (SELECT string_agg(b.step_key, ', ') FROM flow_signal_v1.broadcast_signal('all') AS b), 'e',
    'and broadcasts'
);
SELECT is(
    (
        SELECT string_agg(d.step_key, ', ')
        FROM flow_signal_v1.deliver_signals(
            p_run_ids => array_fill(md5('batch')::uuid, ARRAY[3]), p_signal_names => '{go, go, early}',
            p_payloads_json => '{1, 2, 3}', p_delivery_ids => '{x, NULL, y}', p_buffer_until => 'tomorrow'
        ) AS d
    ), 'f, g', 'and sends a batch'
);
SET SESSION AUTHORIZATION flow_signal_test_engine;
SELECT is(
    pg_temp.register('run', 'h', NULL, 'early'), 'delivered 1', 'a step takes what was kept'
);
RESET SESSION AUTHORIZATION;
SELECT is(
    pg_temp.senders('run'),
    'go a delivered flow_signal_test_one, go b id delivered flow_signal_test_one, '
    'go c delivered flow_signal_test_two, go d delivered flow_signal_test_two, '
    'all e delivered flow_signal_test_two, early h id delivered flow_signal_test_one',
    'who sent each of them, once'
);
SELECT is(
    pg_temp.senders('batch'),
    'go f x delivered flow_signal_test_two, go g delivered flow_signal_test_two, '
    'early y buffered flow_signal_test_two', 'also those of a batch'
);
UPDATE flow_signal.flow_signal_buffered_signals SET buffered_by = '';
SELECT is(pg_temp.register('batch', 'z', NULL, 'early'), 'delivered 3', 'a step takes what 1.0 kept');
SELECT is(
    pg_temp.senders('batch'),
    'go f x delivered flow_signal_test_two, go g delivered flow_signal_test_two, '
    'early z y delivered ?', 'whose sender is not known'
);
SELECT is(
    concat_ws(' ', pg_temp.remove('run', 'a'), pg_temp.remove('run', 'b')), 'delivered delivered 1',
    'two steps go'
);
SELECT matches(
    pg_temp.senders('run'), '^go b id delivered flow_signal_test_one, go c',
    'with an id a delivery is known for longer than its waiter is there'
);
SELECT is(
    pg_temp.refusal('list_senders(NULL)'), pg_temp.is_null('run id'), 'a run is needed'
);

SELECT * FROM finish();
ROLLBACK;
