-- flow-signal @VERSION@
-- Run on an empty database it installs, on an earlier release it upgrades, on this release it
-- changes nothing. One transaction: psql -X -v ON_ERROR_STOP=1 -f THIS_FILE
BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '10s';
SET LOCAL client_min_messages = 'notice';

DO $check$
BEGIN
    IF current_setting('server_version_num')::integer < 140000 THEN
        RAISE EXCEPTION USING
            ERRCODE = '0A000',
            MESSAGE = 'PostgreSQL ' || current_setting('server_version') || ' is too old',
            DETAIL = 'flow-signal needs PostgreSQL 14 or later',
            HINT = 'upgrade the server';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('flow_signal install', 0));
END
$check$;
