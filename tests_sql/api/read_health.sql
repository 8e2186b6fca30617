-- read_health is what the view health shows.
BEGIN;
SELECT plan(3);
\ir ../helpers.psql
SET LOCAL ROLE flow_signal_reader;

SELECT results_eq(
    $$SELECT a.attname, a.atttypid::regtype FROM pg_attribute AS a
    WHERE a.attrelid = 'flow_signal_v1.health'::regclass ORDER BY a.attnum$$,
    $$SELECT a.attname, a.atttypid::regtype FROM pg_attribute AS a
    WHERE a.attrelid = 'flow_signal_v1.health_report'::regclass ORDER BY a.attnum$$,
    'the same columns'
);
SELECT results_eq(
    'SELECT h.waiters_estimate, h.total_bytes, h.problems FROM flow_signal_v1.read_health() AS h',
    'SELECT h.waiters_estimate, h.total_bytes, h.problems FROM flow_signal_v1.health AS h',
    'the same row'
);
SELECT is((SELECT count(*) FROM flow_signal_v1.read_health()), 1::bigint, 'one');

SELECT * FROM finish();
ROLLBACK;
