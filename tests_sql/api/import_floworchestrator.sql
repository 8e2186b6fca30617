-- import_floworchestrator takes over a FlowOrchestrator table page by page, with its caller's own rights.
BEGIN;
SELECT plan(31);
\ir ../helpers.psql

SELECT is(
    pg_get_function_arguments('flow_signal_v1.import_floworchestrator'::regproc),
    'p_schema text, p_limit integer DEFAULT 1000, p_after_run_id uuid DEFAULT NULL::uuid, '
    'p_after_step_key text DEFAULT NULL::text, p_dry_run boolean DEFAULT false',
    'the parameters, their order and defaults'
);
SELECT is(
    pg_get_function_result('flow_signal_v1.import_floworchestrator'::regproc),
    'SETOF flow_signal_v1.imported_waiter', 'the result'
);

CREATE SCHEMA "Origin";
CREATE TABLE "Origin".flow_signal_waiters (
    run_id uuid, step_key varchar(256), signal_name varchar(256) NOT NULL, created_at timestamptz NOT NULL,
    expires_at timestamptz, delivered_at timestamptz, payload_json text, PRIMARY KEY (run_id, step_key)
);
INSERT INTO "Origin".flow_signal_waiters
SELECT md5((n / 10)::text)::uuid, 'Step ' || n, 'go', '2020-01-01'
FROM generate_series(0, 99) AS n;
INSERT INTO "Origin".flow_signal_waiters
VALUES
(md5('run')::uuid, 'a', 'go', '2020-01-01', '2990-01-01', NULL, NULL),
(md5('run')::uuid, 'B', 'go', '2020-01-02', NULL, '2020-02-01', '{"a" : 1}'),
(md5('run')::uuid, 'ä', 'stop', '2020-01-03', NULL, '2020-02-01', 'yes'),
(md5('run')::uuid, ' ', 'go', '2020-01-04', NULL, NULL, NULL);

CREATE FUNCTION pg_temp.import_all(p_limit integer, p_dry_run boolean DEFAULT false)
RETURNS text
LANGUAGE plpgsql
AS $function$
DECLARE
    v_last flow_signal_v1.imported_waiter;
    v_page flow_signal_v1.imported_waiter [];
    v_rows flow_signal_v1.imported_waiter [];
BEGIN
    LOOP
        v_page := ARRAY(
            SELECT i FROM flow_signal_v1.import_floworchestrator(
                p_schema => 'Origin', p_limit => p_limit, p_after_run_id => v_last.run_id,
                p_after_step_key => v_last.step_key, p_dry_run => p_dry_run
            ) AS i
        );
        EXIT WHEN v_page = '{}';
        v_rows := v_rows || v_page;
        v_last := v_page[cardinality(v_page)];
    END LOOP;
    RETURN (
        SELECT string_agg(format('%s %s', g.outcome, g.number), ', ' ORDER BY g.outcome)
        FROM (
            SELECT r.outcome, count(DISTINCT (r.run_id, r.step_key)) FROM unnest(v_rows) AS r GROUP BY r.outcome
        ) AS g (outcome, number)
    ) || format(', %s rows', cardinality(v_rows));
END
$function$;

-- The caller's rights: those of the role alone are not enough.
SET LOCAL ROLE flow_signal_admin;
SELECT throws_ok(
    $$SELECT flow_signal_v1.import_floworchestrator('Origin')$$, '42501',
    'permission denied for schema Origin', 'an admin without rights there'
);
RESET ROLE;
GRANT USAGE ON SCHEMA "Origin" TO flow_signal_admin, flow_signal_engine;
SET LOCAL ROLE flow_signal_admin;
SELECT throws_ok(
    $$SELECT flow_signal_v1.import_floworchestrator('Origin')$$, '42501',
    'permission denied for table flow_signal_waiters', 'who may not read the table'
);
RESET ROLE;
GRANT SELECT ON "Origin".flow_signal_waiters TO flow_signal_admin, flow_signal_engine;
SET LOCAL ROLE flow_signal_engine;
SELECT throws_ok(
    $$SELECT flow_signal_v1.import_floworchestrator('Origin')$$, '42501',
    'permission denied for function import_floworchestrator', 'who may read it but not import'
);
SET LOCAL ROLE flow_signal_admin;
SELECT is(
    pg_temp.import_all(1000, p_dry_run => true), 'changed 1, imported 102, refused 1, 104 rows', 'a dry run'
);
RESET ROLE;
SELECT is(pg_temp.rows_written(), 0::bigint, 'writes nothing');
SET LOCAL ROLE flow_signal_admin;
SELECT is(
    pg_temp.import_all(p.size), p.result, format('in pages of %s', p.size)
)
FROM (
    VALUES
    (7, 'changed 1, imported 102, refused 1, 104 rows'), (1, 'present 103, refused 1, 104 rows'),
    (104, 'present 103, refused 1, 104 rows'), (10000, 'present 103, refused 1, 104 rows')
) AS p (size, result);
SELECT is(
    (
        SELECT concat_ws(' ', w.signal_name, w.state, w.created_at, w.expires_at, w.delivered_at, w.payload_json)
        FROM flow_signal_v1.get_waiter(p_run_id => md5('run')::uuid, p_step_key => c.step_key) AS w
    ),
    c.waiter, format('step "%s"', c.step_key)
)
FROM (
    VALUES
    ('a', 'go waiting 2020-01-01 00:00:00+00 2990-01-01 00:00:00+00'),
    ('B', 'go delivered 2020-01-02 00:00:00+00 2020-02-01 00:00:00+00 {"a" : 1}'),
    ('ä', 'stop delivered 2020-01-03 00:00:00+00 2020-02-01 00:00:00+00 "yes"')
) AS c (step_key, waiter);
SELECT is(
    ARRAY(
        SELECT concat_ws(' ', i.step_key, i.outcome, i.detail)
        FROM flow_signal_v1.import_floworchestrator('Origin', p_limit => 2) AS i
    ),
    ARRAY['Step 60 present', 'Step 61 present'], 'in the order of the key'
);
RESET ROLE;
SELECT is(count(*), 104::bigint, 'all is there as it was') FROM "Origin".flow_signal_waiters;

-- Payloads of more than 32 MiB come in several pages.
TRUNCATE "Origin".flow_signal_waiters;
INSERT INTO "Origin".flow_signal_waiters
SELECT md5('large')::uuid, 'Step ' || n, 'go', '2020-01-01', NULL, '2020-01-02', format('"%s"', repeat('x', 1000000))
FROM generate_series(100, 140) AS n;
SET LOCAL ROLE flow_signal_admin;
SELECT is(count(*), 34::bigint, 'one page') FROM flow_signal_v1.import_floworchestrator('Origin');
SELECT is(
    pg_temp.import_all(1000), 'imported 7, present 34, 41 rows', 'all of them'
);
RESET ROLE;

-- A table of an attacker is read with the rights of the caller, not of the owner.
CREATE ROLE flow_signal_test_attacker;
CREATE SCHEMA trap AUTHORIZATION flow_signal_test_attacker;
SET LOCAL ROLE flow_signal_test_attacker;
CREATE TABLE trap.rights_of (who name);
GRANT INSERT ON trap.rights_of TO public;
CREATE FUNCTION trap.spring(p_run_id uuid)
RETURNS uuid
LANGUAGE sql
AS $function$
INSERT INTO trap.rights_of VALUES (current_user);
SELECT p_run_id;
$function$;
CREATE VIEW trap.flow_signal_waiters AS
SELECT
    'step' AS step_key, 'go' AS signal_name, NULL::timestamptz AS expires_at, NULL::timestamptz AS delivered_at,
    NULL AS payload_json, trap.spring(gen_random_uuid()) AS run_id, now() AS created_at;
GRANT USAGE ON SCHEMA trap TO public;
GRANT SELECT ON trap.flow_signal_waiters TO public;
RESET ROLE;
SET LOCAL ROLE flow_signal_admin;
SELECT is(i.outcome, 'imported', 'a view can be a source') FROM flow_signal_v1.import_floworchestrator('trap') AS i;
RESET ROLE;
SELECT set_eq(
    'SELECT r.who::text FROM trap.rights_of AS r', ARRAY['flow_signal_admin'], 'its functions run as the caller'
);
SET LOCAL ROLE flow_signal_admin;
SELECT throws_ok(
    $$SELECT flow_signal_v1.import_floworchestrator('flow_signal')$$, '42501',
    'permission denied for schema flow_signal', 'nor does it lead to the private tables'
);

-- What is refused.
SELECT is(pg_temp.refusal(c.call), c.refusal, c.what)
FROM (
    VALUES
    (
        'import_floworchestrator(p_schema => NULL)', pg_temp.is_null('schema'), 'no schema'
    ),
    (
        'import_floworchestrator(p_schema => ''nowhere'')',
        E'42P01 relation "nowhere.flow_signal_waiters" does not exist\n\n', 'no table'
    ),
    (
        'import_floworchestrator(p_schema => '''')',
        E'22023 schema of 0 bytes is out of range\nit may be a name of 1 to 63 bytes\n'
        'pass the name of the schema that has the table', 'a schema without a name'
    ),
    (
        'import_floworchestrator(p_schema => repeat(''ä'', 32))',
        E'22023 schema of 64 bytes is out of range\nit may be a name of 1 to 63 bytes\n'
        'pass the name of the schema that has the table', 'a name that PostgreSQL would cut'
    ),
    (
        'import_floworchestrator(p_schema => ''trap'', p_limit => NULL)', pg_temp.is_null('limit'), 'no limit'
    ),
    (
        'import_floworchestrator(p_schema => ''trap'', p_limit => -1)',
        pg_temp.out_of_range('limit -1', '0 to 10000'), 'limit -1'
    ),
    (
        'import_floworchestrator(p_schema => ''trap'', p_limit => 10001)',
        pg_temp.out_of_range('limit 10001', '0 to 10000'), 'limit 10001'
    ),
    (
        'import_floworchestrator(p_schema => ''trap'', p_after_run_id => gen_random_uuid())',
        pg_temp.is_null('step key to start after'), 'half a key'
    ),
    (
        'import_floworchestrator(p_schema => ''trap'', p_after_step_key => ''a'')',
        pg_temp.is_null('run id to start after'), 'the other half'
    ),
    (
        'import_floworchestrator(p_schema => ''trap'', p_dry_run => NULL)',
        pg_temp.is_null('dry run'), 'neither a dry run nor none'
    )
) AS c (call, refusal, what);

SELECT * FROM finish();
ROLLBACK;
