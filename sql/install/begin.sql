-- flow-signal @VERSION@
-- Run on an empty database it installs, on an earlier release it upgrades, on this release it
-- changes nothing. One transaction: psql -X -v ON_ERROR_STOP=1 -f THIS_FILE
BEGIN;
SET LOCAL transaction_isolation = 'read committed';
SET LOCAL transaction_read_only = off;
