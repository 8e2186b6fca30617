-- SERIALIZABLE: calls that must see what is committed meanwhile are refused, others work.
BEGIN ISOLATION LEVEL SERIALIZABLE;
\ir snapshot_isolation.psql
SELECT * FROM finish();
ROLLBACK;
