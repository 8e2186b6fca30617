-- REPEATABLE READ: calls that must see what is committed meanwhile are refused, others work.
BEGIN ISOLATION LEVEL REPEATABLE READ;
\ir snapshot_isolation.psql
SELECT * FROM finish();
ROLLBACK;
