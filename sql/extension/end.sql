-- What pg_dump saves beside CREATE EXTENSION: the data, not what the extension makes of itself.
DO $dump$
DECLARE
    v_table regclass;
BEGIN
    FOR v_table IN
        SELECT c.oid
        FROM pg_class AS c
        WHERE c.relnamespace = 'flow_signal'::regnamespace
            AND c.relkind = 'r'
            AND c.relname <> 'ledger'
    LOOP
        PERFORM pg_extension_config_dump(v_table, '');
    END LOOP;
END
$dump$;
