-- version names the release that is installed.
BEGIN;
SELECT plan(6);
\ir ../helpers.psql

SELECT is(
    pg_get_function_arguments('flow_signal_v1.version'::regproc), '', 'there are no parameters'
);
SELECT is(pg_get_function_result('flow_signal_v1.version'::regproc), 'text', 'the result');

SELECT is(
    flow_signal_v1.version(), (
        SELECT l.release FROM flow_signal.ledger AS l
        WHERE l.part = 'functions/flow_signal_v1/version.sql'
    ),
    'it is the release that the ledger names'
);
SELECT matches(
    flow_signal_v1.version(), '^\d+\.\d+\.\d+([a-z.+]+\d*)*$', 'in the form of a release'
);

SET LOCAL ROLE flow_signal_sender;
SELECT isnt(flow_signal_v1.version(), NULL, 'a sender may ask');
SET LOCAL ROLE flow_signal_reader;
SELECT isnt(flow_signal_v1.version(), NULL, 'a reader may ask');

SELECT * FROM finish();
ROLLBACK;
