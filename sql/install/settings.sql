SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL standard_conforming_strings = on;
SET LOCAL lock_timeout = '10s';

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
