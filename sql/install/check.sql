SET LOCAL client_min_messages = 'notice';
SET LOCAL search_path = pg_catalog, pg_temp;

DO $check$
BEGIN
    IF EXISTS (SELECT FROM pg_extension AS e WHERE e.extname = 'flow_signal') THEN
        RAISE EXCEPTION USING
            ERRCODE = '55000',
            MESSAGE = 'flow-signal is installed as an extension here',
            DETAIL = 'a part that this script adds would not belong to the extension',
            HINT = 'use ALTER EXTENSION flow_signal UPDATE';
    END IF;
END
$check$;
