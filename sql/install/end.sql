DROP PROCEDURE flow_signal.apply_part;

-- Helpers that an earlier release had and this one has not. The API keeps what it ever had.
DO $former$
DECLARE
    v_part text;
    v_function regprocedure;
BEGIN
    FOR v_part IN
        SELECT l.part
        FROM flow_signal.ledger AS l
        WHERE starts_with(l.part, 'functions/flow_signal/')
            AND l.part <> ALL('{@PARTS@}'::text [])
        ORDER BY l.part
    LOOP
        FOR v_function IN
            SELECT p.oid
            FROM pg_proc AS p
            WHERE p.pronamespace = 'flow_signal'::regnamespace
                AND v_part = format('functions/flow_signal/%s.sql', p.proname)
        LOOP
            EXECUTE format('DROP FUNCTION %s', v_function);
        END LOOP;
        DELETE FROM flow_signal.ledger AS l WHERE l.part = v_part;
        RAISE NOTICE 'flow-signal: % dropped', v_part;
    END LOOP;
END
$former$;

DO $report$
BEGIN
    IF to_regrole('flow_signal_admin') IS NOT NULL THEN
        GRANT USAGE ON SCHEMA flow_signal_v1 TO flow_signal_sender, flow_signal_reader;
    END IF;
    RAISE NOTICE 'flow-signal: % is installed in database %', '@VERSION@', current_database();
END
$report$;
