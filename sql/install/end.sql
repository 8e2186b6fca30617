DROP PROCEDURE flow_signal.apply_part;

DO $report$
BEGIN
    IF current_user = 'flow_signal_owner' THEN
        GRANT USAGE ON SCHEMA flow_signal_v1 TO flow_signal_sender, flow_signal_reader;
    END IF;
    RAISE NOTICE 'flow-signal: % is installed in database %', '@VERSION@', current_database();
END
$report$;
COMMIT;
