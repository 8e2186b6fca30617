-- flow-signal from psql: psql -X -f example.sql
\set ON_ERROR_STOP on
\set QUIET on
\pset tuples_only on
\pset format unaligned
SET client_min_messages = warning;
SELECT gen_random_uuid() AS run \gset

-- In the caller's transaction: the run and its parked step are committed together.
CREATE TEMPORARY TABLE runs (id uuid, state text);
BEGIN;
INSERT INTO runs VALUES (:'run', 'parked');
SELECT 'parked: ' || state
FROM flow_signal_v1.register_waiter(p_run_id => :'run', p_step_key => 'approve', p_signal_name => 'approval');
COMMIT;

-- The payload is JSON text: repeat the same text under the same delivery id.
\set payload '{"approved":true,"by":"Büro"}'
SELECT status, replayed
FROM flow_signal_v1.deliver_signal(
    p_run_id => :'run', p_signal_name => 'approval', p_payload_json => :'payload', p_delivery_id => 'webhook-17'
) \gset verdict_
SELECT :'verdict_status' IN ('delivered', 'buffered') AS is_taken \gset
\if :is_taken
    \echo delivered: :verdict_status :verdict_replayed
\else
    \warn nobody took it: :verdict_status
\endif
SELECT 'repeated: ' || status || ' ' || replayed
FROM flow_signal_v1.deliver_signal(
    p_run_id => :'run', p_signal_name => 'approval', p_payload_json => :'payload', p_delivery_id => 'webhook-17'
);

\set ON_ERROR_STOP off
\set VERBOSITY sqlstate
SELECT status
FROM flow_signal_v1.deliver_signal(
    p_run_id => :'run', p_signal_name => 'approval', p_payload_json => '{}', p_delivery_id => 'webhook-17'
);
\echo refused: :SQLSTATE
\set ON_ERROR_STOP on

-- Where LISTEN is not possible: waits in the database, at most 10 seconds a call.
SELECT state AS awaited, payload_json AS payload
FROM flow_signal_v1.await_waiter(p_run_id => :'run', p_step_key => 'approve', p_max_wait => '10 seconds') \gset
\echo awaited: :awaited :payload

-- psql shows a notification after the next command.
LISTEN "MyWorker";
SELECT 'parked: ' || state
FROM flow_signal_v1.register_waiter(
    p_run_id => :'run', p_step_key => 'ask', p_signal_name => 'question', p_wake_channel => 'MyWorker'
);
SELECT 'delivered: ' || status
FROM flow_signal_v1.deliver_signal(p_run_id => :'run', p_signal_name => 'question', p_payload_json => '42');
SELECT 'removed: ' || remove_run FROM flow_signal_v1.remove_run(p_run_id => :'run');
