-- At SERIALIZABLE, calls that must see what was committed meanwhile are refused, the others work.
BEGIN ISOLATION LEVEL SERIALIZABLE;
\ir snapshot_isolation.psql
SELECT * FROM finish();
ROLLBACK;
