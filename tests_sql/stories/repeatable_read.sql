-- At REPEATABLE READ, calls that must see what was committed meanwhile are refused, the others work.
BEGIN ISOLATION LEVEL REPEATABLE READ;
\ir snapshot_isolation.psql
SELECT * FROM finish();
ROLLBACK;
