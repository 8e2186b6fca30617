-- What pg_dump saves beside CREATE EXTENSION: the data, not the rows that the extension makes.
-- A dumped row of settings would collide with the one that the restored extension makes.
DO $dump$
DECLARE
    v_table regclass;
BEGIN
    FOR v_table IN
        SELECT c.oid
        FROM pg_class AS c
        WHERE c.relnamespace = 'flow_signal'::regnamespace
            AND c.relkind = 'r'
            AND c.relname NOT IN ('ledger', 'flow_signal_settings')
    LOOP
        PERFORM pg_extension_config_dump(v_table, '');
    END LOOP;
END
$dump$;
