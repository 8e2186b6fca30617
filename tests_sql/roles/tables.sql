-- No client reads or writes a table, or makes anything of its own in the schemas.
BEGIN;
SELECT plan(457);
CREATE ROLE flow_signal_test_outsider;
\ir ../helpers.psql

SET LOCAL ROLE flow_signal_engine;
SELECT is(
    pg_temp.register('run', 's') || pg_temp.buffer('run', '1', p_signal_name => 'stop'),
    'waitingbuffered', 'there is something to read'
);
RESET ROLE;
CREATE TEMP TABLE before ON COMMIT DROP AS SELECT pg_temp.contents() AS contents;

CREATE TEMP TABLE statements ON COMMIT DROP AS
SELECT format(s.statement, t.name) AS statement
FROM (
    VALUES ('flow_signal.flow_signal_waiters'), ('flow_signal.flow_signal_buffered_signals'),
    ('flow_signal.flow_signal_locks'), ('flow_signal.flow_signal_receipts'),
    ('flow_signal.flow_signal_settings'), ('flow_signal.flow_signal_tokens'),
    ('flow_signal.ledger')
) AS t (name)
CROSS JOIN (
    VALUES
    ('SELECT FROM %s'), ('SELECT FROM %s FOR KEY SHARE'), ('INSERT INTO %s DEFAULT VALUES'),
    ('DELETE FROM %s'),
    ('TRUNCATE %s'), ('LOCK TABLE %s IN ACCESS SHARE MODE'), ('DROP TABLE %s'),
    ('CREATE VIEW pg_temp.peep AS SELECT * FROM %s')
) AS s (statement)
UNION ALL
VALUES
('UPDATE flow_signal.flow_signal_waiters SET step_key = ''x'''),
('UPDATE flow_signal.flow_signal_settings SET max_buffered = 1'),
('CREATE TABLE flow_signal.mine ()'), ('CREATE TABLE flow_signal_v1.mine ()'),
('CREATE FUNCTION flow_signal_v1.mine() RETURNS integer LANGUAGE sql AS ''SELECT 1'''),
('DROP FUNCTION flow_signal_v1.version()'),
('ALTER FUNCTION flow_signal_v1.version() SECURITY INVOKER'),
('CREATE TEMP TABLE mine (w flow_signal_v1.waiter)');

SELECT matches(
    pg_temp.outcome('flow_signal_' || r.role, s.statement),
    '^(permission denied for|must be owner of) ',
    format('%s: %s', r.role, s.statement)
)
FROM statements AS s
CROSS JOIN (
    VALUES ('sender'), ('broadcaster'), ('reader'), ('redeemer'), ('engine'), ('admin'), ('test_outsider')
) AS r (role);
SELECT is(pg_temp.contents(), b.contents, 'all is as it was') FROM before AS b;

SELECT is(
    pg_temp.outcome('flow_signal_owner', format('SELECT FROM %s', t.name)), 'allowed',
    format('the owner reads %s', t.name)
)
FROM (
    VALUES ('flow_signal.flow_signal_waiters'), ('flow_signal.flow_signal_buffered_signals'),
    ('flow_signal.flow_signal_locks'), ('flow_signal.flow_signal_receipts'),
    ('flow_signal.flow_signal_settings'), ('flow_signal.flow_signal_tokens'),
    ('flow_signal.ledger')
) AS t (name);

SELECT * FROM finish();
ROLLBACK;
