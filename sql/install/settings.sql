SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL standard_conforming_strings = on;
SET LOCAL quote_all_identifiers = off;
SET LOCAL lock_timeout = '10s';

DO $check$
DECLARE
    v_lock bigint := hashtextextended('flow_signal install', 0);
    v_holders record;
BEGIN
    IF current_setting('server_version_num')::integer < 140000 THEN
        RAISE EXCEPTION USING
            ERRCODE = '0A000',
            MESSAGE = 'PostgreSQL ' || current_setting('server_version') || ' is too old',
            DETAIL = 'flow-signal needs PostgreSQL 14 or later',
            HINT = 'upgrade the server';
    END IF;
    PERFORM pg_advisory_xact_lock(v_lock);
EXCEPTION
    WHEN lock_not_available THEN
        SELECT
            string_agg(format('process %s of role %s', l.pid, a.usename), ', ') AS names,
            string_agg(format('SELECT pg_terminate_backend(%s)', l.pid), '; ') AS endings
        INTO v_holders
        FROM pg_locks AS l
        LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
        WHERE l.locktype = 'advisory' AND l.granted
            AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
            AND l.classid::bigint << 32 | l.objid::bigint = v_lock;
        RAISE EXCEPTION USING
            ERRCODE = '55P03',
            MESSAGE = 'another session holds the installation lock',
            DETAIL = concat(coalesce(v_holders.names, 'it is gone by now'), '; nothing was changed'),
            HINT = concat('run this again when it is done', ', or end it: ' || v_holders.endings);
END
$check$;
