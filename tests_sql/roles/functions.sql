-- Each role may call what it is for; the others, and who has no role, may not.
BEGIN;
SELECT plan(272);
CREATE ROLE flow_signal_test_stranger;
\ir ../helpers.psql

-- of another store
CREATE TEMP TABLE flow_signal_waiters (
    run_id uuid, step_key text, signal_name text, created_at timestamptz,
    expires_at timestamptz, delivered_at timestamptz, payload_json text
) ON COMMIT DROP;
GRANT SELECT ON flow_signal_waiters TO public;

CREATE TEMP TABLE calls ON COMMIT DROP AS
SELECT c.name, c.arguments, c.roles
FROM (
    VALUES
    (
        'register_waiter',
        $$p_run_id => gen_random_uuid(), p_step_key => 's', p_signal_name => 'go'$$, '{engine}'
    ),
    (
        'register_waiters',
        $$p_run_ids => ARRAY[gen_random_uuid()], p_step_keys => '{s}', p_signal_names => '{go}'$$,
        '{engine}'
    ),
    ('remove_waiter', $$p_run_id => gen_random_uuid(), p_step_key => 's'$$, '{engine}'),
    ('remove_run', $$p_run_id => gen_random_uuid()$$, '{engine}'),
    (
        'extend_claim',
        $$p_run_id => gen_random_uuid(), p_step_key => 's', p_claim_id => gen_random_uuid(),
        p_lease => '1 s'$$, '{engine}'
    ),
    (
        'withdraw_signal',
        $$p_run_id => gen_random_uuid(), p_signal_name => 'go', p_position => 1$$, '{engine}'
    ),
    (
        'deliver_to_step', $$p_run_id => gen_random_uuid(), p_step_key => 's'$$,
        '{engine, sender}'
    ),
    ('issue_token', $$p_run_id => gen_random_uuid(), p_step_key => 's'$$, '{engine}'),
    ('revoke_tokens', $$p_run_id => gen_random_uuid(), p_step_key => 's'$$, '{engine}'),
    ('redeem_token', $$p_token => 't'$$, '{engine, redeemer}'),
    ('describe_token', $$p_token => 't'$$, '{engine, redeemer}'),
    ('purge_buffered', $$p_buffered_before => '2001-01-01'$$, '{}'),
    ('claim_waiters', $$p_queue => 'q'$$, '{engine}'),
    (
        'deliver_signal', $$p_run_id => gen_random_uuid(), p_signal_name => 'go'$$,
        '{engine, sender}'
    ),
    (
        'deliver_signals',
        $$p_run_ids => ARRAY[gen_random_uuid()], p_signal_names => '{go}', p_payloads_json => '{1}'$$,
        '{engine, sender}'
    ),
    ('broadcast_signal', $$p_signal_name => 'go'$$, '{engine, broadcaster}'),
    ('get_waiter', $$p_run_id => gen_random_uuid(), p_step_key => 's'$$, '{engine, reader}'),
    ('await_waiter', $$p_run_id => gen_random_uuid(), p_step_key => 's'$$, '{engine, reader}'),
    ('list_waiters', '', '{engine, reader}'), ('list_buffered_signals', '', '{engine, reader}'),
    ('purge', $$p_settled_before => '2001-01-01'$$, '{}'),
    ('list_senders', $$p_run_id => gen_random_uuid()$$, '{}'),
    (
        'import_waiters',
        $$p_run_ids => '{}', p_step_keys => '{}', p_signal_names => '{}', p_created_at => '{}',
        p_expires_at => '{}', p_delivered_at => '{}', p_payloads_json => '{}'$$, '{}'
    ),
    ('import_floworchestrator', $$p_schema => 'pg_temp'$$, '{}'),
    ('read_health', '', '{engine, reader}'),
    ('version', '', '{engine, sender, reader}')
) AS c (name, arguments, roles);

SELECT set_eq(
    $$SELECT p.proname::text
    FROM pg_proc AS p WHERE p.pronamespace = 'flow_signal_v1'::regnamespace$$,
    $$SELECT c.name FROM calls AS c$$,
    'these are all functions of the API'
);
SELECT is(
    pg_temp.outcome(r.role, format('SELECT flow_signal_v1.%s(%s)', c.name, c.arguments)),
    CASE
        WHEN r.role = 'flow_signal_test_stranger'
            THEN 'permission denied for schema flow_signal_v1'
        WHEN split_part(r.role, '_', 3) = ANY(
            c.roles::text [] || ARRAY['owner', 'admin']
        ) THEN 'allowed'
        ELSE 'permission denied for function ' || c.name
    END,
    format('%s calls %s', r.role, c.name)
)
FROM calls AS c
CROSS JOIN (
    VALUES
    ('flow_signal_owner'), ('flow_signal_sender'), ('flow_signal_broadcaster'),
    ('flow_signal_reader'), ('flow_signal_redeemer'), ('flow_signal_engine'),
    ('flow_signal_admin'), ('flow_signal_test_stranger')
) AS r (role);

-- Up to PostgreSQL 15 a function that the view calls can be refused first.
SELECT is(
    replace(
        pg_temp.outcome(r.role, format('SELECT FROM flow_signal_v1.%s', v.name)),
        'function read_health', 'view health'
    ),
    CASE
        WHEN r.role = 'flow_signal_test_stranger'
            THEN 'permission denied for schema flow_signal_v1'
        WHEN r.role IN (
            'flow_signal_sender', 'flow_signal_broadcaster', 'flow_signal_redeemer'
        )
            THEN 'permission denied for view ' || v.name
        ELSE 'allowed'
    END,
    format('%s reads %s', r.role, v.name)
)
FROM (VALUES ('signal_stats'), ('health')) AS v (name)
CROSS JOIN (
    VALUES
    ('flow_signal_owner'), ('flow_signal_sender'), ('flow_signal_broadcaster'),
    ('flow_signal_reader'), ('flow_signal_redeemer'), ('flow_signal_engine'),
    ('flow_signal_admin'), ('flow_signal_test_stranger')
) AS r (role);

-- Even who sees the schema: PUBLIC may not call.
GRANT USAGE ON SCHEMA flow_signal, flow_signal_v1 TO flow_signal_test_stranger;
SELECT is(
    pg_temp.outcome(
        'flow_signal_test_stranger', format('SELECT flow_signal_v1.%s(%s)', c.name, c.arguments)
    ),
    'permission denied for function ' || c.name, format('PUBLIC calls %s', c.name)
)
FROM calls AS c;
-- Here too a function can be refused first.
SELECT matches(
    pg_temp.outcome(
        'flow_signal_test_stranger', format('SELECT FROM flow_signal_v1.%s', v.name)
    ),
    '^permission denied for (function read_health|view ' || v.name || ')$', format('PUBLIC reads %s', v.name)
)
FROM (VALUES ('signal_stats'), ('health')) AS v (name);
SELECT is_empty(
    $$SELECT p.oid::regprocedure
    FROM pg_proc AS p
    WHERE p.pronamespace::regnamespace::text ~ '^flow_signal'
        AND has_function_privilege('flow_signal_test_stranger', p.oid, 'EXECUTE')$$,
    'nor any helper'
);
REVOKE USAGE ON SCHEMA flow_signal, flow_signal_v1 FROM flow_signal_test_stranger;

SELECT is(
    pg_temp.outcome('flow_signal_' || r.role, c.call),
    'permission denied for schema flow_signal',
    format('%s: %s', r.role, c.call)
)
FROM (
    VALUES ('sender'), ('broadcaster'), ('reader'), ('engine'), ('admin'), ('test_stranger')
) AS r (role)
CROSS JOIN (
    VALUES
    ($$SELECT flow_signal.is_name('x')$$),
    ($$SELECT flow_signal.lock_signal(gen_random_uuid(), 'go')$$),
    ($$SELECT flow_signal.record_delivery(NULL, 's', 'go', '1', NULL, 'x', now())$$)
) AS c (call);

SELECT * FROM finish();
ROLLBACK;
