-- At READ UNCOMMITTED, which is READ COMMITTED to PostgreSQL, every call works.
BEGIN ISOLATION LEVEL READ UNCOMMITTED;
SELECT plan(10);
\ir ../helpers.psql
\ir ../lines.psql
SET LOCAL ROLE flow_signal_engine;

SELECT is(current_setting('transaction_isolation'), 'read uncommitted', 'the level');
SELECT is(pg_temp.register('run', 's'), 'waiting', 'register_waiter');
SELECT is(pg_temp.deliver('run', '1'), 'delivered s', 'deliver_signal');
SELECT is(
    pg_temp.deliver('run', '1', 'id'), 'already_delivered s', 'deliver_signal, with an id'
);
SELECT is(pg_temp.get('run', 's'), 'delivered 1', 'get_waiter');
SELECT is(pg_temp.remove('run', 's'), 'delivered 1', 'remove_waiter');
SELECT is(
    pg_temp.register_all('{run, run, run}', '{a, b, a}'), '{waiting, waiting, waiting}',
    'register_waiters'
);
SELECT is(pg_temp.deliver_all('{run, no run}'), '{delivered a, not_found}', 'deliver_signals');
SELECT is(d.step_key, 'b', 'broadcast_signal')
FROM flow_signal_v1.broadcast_signal(p_signal_name => 'go') AS d;
SELECT is(flow_signal_v1.remove_run(p_run_id => md5('run')::uuid), 2::bigint, 'remove_run');

SELECT * FROM finish();
ROLLBACK;
