\echo CREATE EXTENSION flow_signal, or ALTER EXTENSION flow_signal UPDATE, loads this file \quit
-- flow-signal @VERSION@: installs, and upgrades any earlier release.
DO $check$
BEGIN
    IF EXISTS (
        SELECT FROM pg_catalog.pg_namespace AS n
        WHERE n.nspname = 'flow_signal' AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_depend AS d
            INNER JOIN pg_catalog.pg_extension AS e ON d.refobjid = e.oid
            WHERE d.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
                AND d.objid = n.oid
                AND d.deptype = 'e'
                AND e.extname = 'flow_signal'
        )
    ) THEN
        RAISE EXCEPTION USING
            ERRCODE = '55000',
            MESSAGE = 'flow-signal is installed here, but not as an extension',
            DETAIL = 'what is there would not belong to the extension',
            HINT = 'go on with the script that installed it, or uninstall it first';
    END IF;
END
$check$;
