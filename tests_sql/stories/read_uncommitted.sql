-- At READ UNCOMMITTED, which is READ COMMITTED to PostgreSQL, every call works.
BEGIN ISOLATION LEVEL READ UNCOMMITTED;
SELECT plan(6);
\ir ../helpers.psql
SET LOCAL ROLE flow_signal_engine;

SELECT is(current_setting('transaction_isolation'), 'read uncommitted', 'the level');
SELECT is(pg_temp.register('run', 's'), 'waiting', 'register_waiter');
SELECT is(pg_temp.deliver('run', '1'), 'delivered s', 'deliver_signal');
SELECT is(
    pg_temp.deliver('run', '1', 'id'), 'already_delivered s', 'deliver_signal, with an id'
);
SELECT is(pg_temp.get('run', 's'), 'delivered 1', 'get_waiter');
SELECT is(pg_temp.remove('run', 's'), 'delivered 1', 'remove_waiter');

SELECT * FROM finish();
ROLLBACK;
