-- flow-signal @VERSION@, to be run by another tool inside its transaction
-- On an empty database it installs, on an earlier release it upgrades, on this release it
-- changes nothing. Two statements. Settings and role are afterwards what they were before.
DO $begin$
BEGIN
    PERFORM pg_catalog.set_config('flow_signal.transaction', 'begun', true);
END
$begin$;

DO $script$
DECLARE
    v_search_path text := pg_catalog.current_setting('search_path');
    v_settings jsonb;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    -- What the first statement set is gone unless both are in one transaction.
    IF coalesce(current_setting('flow_signal.transaction', true), '') <> 'begun' THEN
        RAISE EXCEPTION USING
            ERRCODE = '25P01',
            MESSAGE = 'there is no transaction around this script',
            DETAIL = 'it is for tools that begin and commit themselves; nothing was changed',
            HINT = 'run it between BEGIN and COMMIT, or run the output of flow-signal sql instead';
    ELSIF current_setting('transaction_isolation') NOT LIKE 'read %' THEN
        RAISE EXCEPTION USING
            ERRCODE = '0A000',
            MESSAGE = format('the transaction around this script is %s',
                current_setting('transaction_isolation')),
            DETAIL = 'its snapshot may lack changes that another installation has committed',
            HINT = 'begin it with: BEGIN ISOLATION LEVEL READ COMMITTED';
    ELSIF current_setting('transaction_read_only')::boolean THEN
        RAISE EXCEPTION USING
            ERRCODE = '25006',
            MESSAGE = 'the transaction around this script is read-only',
            DETAIL = 'nothing was changed',
            HINT = 'begin it with: BEGIN READ WRITE';
    END IF;
    v_settings := (
        SELECT jsonb_object_agg(s.name, current_setting(s.name))
        FROM unnest(ARRAY[
            'client_min_messages', 'standard_conforming_strings', 'quote_all_identifiers',
            'lock_timeout', 'role'
        ]) AS s (name)
    );
    @STATEMENTS@
    PERFORM set_config(s.key, s.value, true) FROM jsonb_each_text(v_settings) AS s;
    PERFORM set_config('flow_signal.transaction', '', true);
    PERFORM set_config('search_path', v_search_path, true);
END
$script$;
