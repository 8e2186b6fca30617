-- Nothing that a caller plants in its search_path or temporary schema changes what a call does.
BEGIN;
SELECT plan(47);
\ir ../helpers.psql

-- Objects in the way of everything that the functions use: a function and an operator fail, a
-- table is empty.
CREATE SCHEMA evil;
CREATE FUNCTION pg_temp.plant(p_schema text)
RETURNS void
LANGUAGE plpgsql
AS $function$
DECLARE
    v_signature text;
    v_operator record;
BEGIN
    FOREACH v_signature IN ARRAY ARRAY[
        'clock_timestamp() RETURNS timestamptz', 'now() RETURNS timestamptz',
        'length(text) RETURNS integer', 'octet_length(text) RETURNS integer',
        'left(text, integer) RETURNS text',
        'repeat(text, integer) RETURNS text', 'format(text, text, text) RETURNS text',
        'current_setting(text) RETURNS text',
        'pg_notify(text, text) RETURNS void', 'pg_sleep(double precision) RETURNS void',
        'cardinality(uuid[]) RETURNS integer', 'array_ndims(text[]) RETURNS integer',
        'array_fill(uuid, integer[]) RETURNS uuid[]', 'array_remove(integer[], integer) RETURNS integer[]',
        'max(bigint) RETURNS bigint', 'random() RETURNS double precision',
        'pg_relation_size(regclass) RETURNS bigint', 'age(xid) RETURNS integer',
        'is_name(text) RETURNS boolean', 'is_instant(timestamptz) RETURNS boolean',
        'lock_signal(uuid, text) RETURNS boolean', 'hash_payload(text) RETURNS bytea',
        'get_waiter(uuid, text) RETURNS text',
        'waiter_state(text, timestamptz, timestamptz) RETURNS text',
        'sha256(bytea) RETURNS bytea', 'convert_to(text, name) RETURNS bytea',
        'getdatabaseencoding() RETURNS name', 'gen_random_uuid() RETURNS uuid',
        'array_fill(anyelement, integer[]) RETURNS anyarray', 'to_json(text) RETURNS json',
        'is_equal(uuid, uuid) RETURNS boolean', 'is_equal(text, text) RETURNS boolean',
        'is_equal(timestamptz, timestamptz) RETURNS boolean',
        'is_equal(integer, integer) RETURNS boolean',
        'join_texts(text, text) RETURNS text', 'add(timestamptz, interval) RETURNS timestamptz'
    ] LOOP
        EXECUTE format(
            'CREATE FUNCTION %I.%s LANGUAGE plpgsql AS %L', p_schema, v_signature,
            'BEGIN RAISE EXCEPTION ''hijacked''; END'
        );
    END LOOP;
    FOR v_operator IN
        SELECT o.name, t.type
        FROM unnest('{=,<>,<,>,<=,>=,~}'::text []) AS o (name)
        CROSS JOIN unnest('{uuid,text,timestamptz,integer}'::text []) AS t (type)
    LOOP
        EXECUTE format(
            'CREATE OPERATOR %I.%s (FUNCTION = %1$I.is_equal, LEFTARG = %3$s, RIGHTARG = %3$s)',
            p_schema, v_operator.name, v_operator.type
        );
    END LOOP;
    EXECUTE format(
        'CREATE OPERATOR %I.|| (FUNCTION = %1$I.join_texts, LEFTARG = text, RIGHTARG = text)',
        p_schema
    );
    EXECUTE format(
        'CREATE OPERATOR %I.+ '
        '(FUNCTION = %1$I.add, LEFTARG = timestamptz, RIGHTARG = interval)',
        p_schema
    );
    EXECUTE format('CREATE TYPE %I.json AS ENUM (''1'')', p_schema);
    EXECUTE format('CREATE TYPE %I.waiter AS (hijacked text)', p_schema);
    EXECUTE format('CREATE TYPE %I.delivery AS (hijacked text)', p_schema);
    EXECUTE format('CREATE TYPE %I.buffered_signal AS (hijacked text)', p_schema);
    EXECUTE format('CREATE TABLE %I.pg_class (hijacked text)', p_schema);
    FOR v_operator IN
        SELECT c.relname AS name FROM pg_catalog.pg_class AS c
        WHERE c.relnamespace = 'flow_signal'::regnamespace AND c.relkind = 'r'
    LOOP
        EXECUTE format('CREATE TABLE %I.%I (LIKE flow_signal.%2$I)', p_schema, v_operator.name);
    END LOOP;
END
$function$;
SELECT is(pg_temp.plant('evil')::text, '', 'a schema is hostile');
SELECT is(
    pg_temp.plant(pg_my_temp_schema()::regnamespace::text)::text, '', 'so is the temporary one'
);
GRANT USAGE ON SCHEMA evil TO public;
GRANT ALL ON ALL TABLES IN SCHEMA evil TO public;

-- Nothing in it may depend on the search_path.
CREATE FUNCTION pg_temp.result(p_call text)
RETURNS text
LANGUAGE plpgsql
AS $function$
DECLARE
    v_result text;
BEGIN
    EXECUTE p_call INTO v_result;
    RETURN v_result;
EXCEPTION
    WHEN OTHERS THEN
        RETURN SQLERRM;
END
$function$;

CREATE SCHEMA origin;
CREATE TABLE origin.flow_signal_waiters AS
SELECT
    uuid '00000000-0000-0000-0000-000000000001' AS run_id, text 'i' AS step_key,
    text 'stay' AS signal_name, timestamptz '2020-01-01' AS created_at,
    timestamptz '2020-01-02' AS expires_at, timestamptz '2020-01-03' AS delivered_at,
    text 'no' AS payload_json;
GRANT USAGE ON SCHEMA origin TO public;
GRANT SELECT ON origin.flow_signal_waiters TO public;

SET LOCAL ROLE flow_signal_admin;
SET LOCAL search_path = evil, pg_temp, pg_catalog;
SELECT
    pg_temp.result($$SELECT clock_timestamp()$$) AS function,
    pg_temp.result($$SELECT 1 = 1$$) AS operator,
    pg_temp.result($$SELECT pg_catalog.count(*) FROM flow_signal_waiters$$) AS table
\gset hijacked_
SELECT
    pg_temp.result($$SELECT state FROM flow_signal_v1.register_waiter(
        p_run_id => '00000000-0000-0000-0000-000000000001', p_step_key => 'a',
        p_signal_name => 'go',
        p_expires_at => '2990-01-01', p_wake_channel => 'c', p_queue => 'q'
    )$$) AS register,
    pg_temp.result($$SELECT state FROM flow_signal_v1.register_waiter(
        p_run_id => '00000000-0000-0000-0000-000000000001', p_step_key => 'b',
        p_signal_name => 'go'
    )$$) AS join,
    pg_temp.result($$SELECT state FROM flow_signal_v1.register_waiter(
        p_run_id => '00000000-0000-0000-0000-000000000001', p_step_key => 'b',
        p_signal_name => 'go',
        p_expires_at => '2001-01-01'
    )$$) AS change,
    pg_temp.result($$SELECT status FROM flow_signal_v1.deliver_signal(
        p_run_id => '00000000-0000-0000-0000-000000000001', p_signal_name => 'go',
        p_payload_json => '{"a": 1}'
    )$$) AS deliver,
    pg_temp.result($$SELECT status FROM flow_signal_v1.deliver_signal(
        p_run_id => '00000000-0000-0000-0000-000000000001', p_signal_name => 'go',
        p_delivery_id => 'i'
    )$$) AS miss,
    pg_temp.result($$SELECT status FROM flow_signal_v1.deliver_signal(
        p_run_id => '00000000-0000-0000-0000-000000000001', p_signal_name => 'go',
        p_delivery_id => 'i',
        p_buffer_until => '2990-01-01'
    )$$) AS buffer,
    pg_temp.result($$SELECT replayed FROM flow_signal_v1.deliver_signal(
        p_run_id => '00000000-0000-0000-0000-000000000001', p_signal_name => 'go',
        p_delivery_id => 'i'
    )$$) AS replay,
    pg_temp.result($$SELECT state FROM flow_signal_v1.list_buffered_signals(
        p_state => 'buffered', p_after_run_id => '00000000-0000-0000-0000-000000000000',
        p_after_signal_name => 'go', p_after_position => 1
    )$$) AS list_buffered,
    pg_temp.result($$SELECT state FROM flow_signal_v1.register_waiter(
        p_run_id => '00000000-0000-0000-0000-000000000001', p_step_key => 'b',
        p_signal_name => 'go'
    )$$) AS take,
    pg_temp.result($$SELECT payload_json FROM flow_signal_v1.list_waiters(
        p_state => 'delivered', p_after_run_id => '00000000-0000-0000-0000-000000000000',
        p_after_step_key => 'a'
    )$$) AS list,
    pg_temp.result($$SELECT delivered FROM flow_signal_v1.signal_stats$$) AS stats,
    pg_temp.result($$SELECT problems FROM flow_signal_v1.health$$) AS health,
    pg_temp.result($$SELECT payload_json FROM flow_signal_v1.get_waiter(
        p_run_id => '00000000-0000-0000-0000-000000000001', p_step_key => 'a'
    )$$) AS get,
    pg_temp.result($$SELECT payload_json FROM flow_signal_v1.await_waiter(
        p_run_id => '00000000-0000-0000-0000-000000000001', p_step_key => 'a'
    )$$) AS await,
    pg_temp.result(
        $$SELECT payload_json FROM flow_signal_v1.claim_waiters(p_queue => 'q')$$
    ) AS claim,
    pg_temp.result($$SELECT payload_json FROM flow_signal_v1.remove_waiter(
        p_run_id => '00000000-0000-0000-0000-000000000001', p_step_key => 'a'
    )$$) AS remove,
    pg_temp.result(
        $$SELECT flow_signal_v1.purge(p_settled_before => '9999-01-01') BETWEEN 1 AND 3$$
    ) AS purge,
    pg_temp.result($$SELECT state FROM flow_signal_v1.register_waiter(
        p_run_id => '00000000-0000-0000-0000-000000000001', p_step_key => 'c',
        p_signal_name => 'go'
    )$$) AS anew,
    pg_temp.result(
        $$SELECT detail FROM flow_signal_v1.import_floworchestrator(p_schema => 'origin')$$
    ) AS import,
    pg_temp.result($$SELECT state FROM flow_signal_v1.register_waiters(
        p_run_ids => '{00000000-0000-0000-0000-000000000002}', p_step_keys => '{d}',
        p_signal_names => '{go}', p_expires_at => '{2990-01-01}', p_wake_channel => 'c'
    )$$) AS register_all,
    pg_temp.result($$SELECT state FROM flow_signal_v1.register_waiters(
        p_run_ids => '{00000000-0000-0000-0000-000000000002}', p_step_keys => '{d}',
        p_signal_names => '{go}', p_expires_at => '{2001-01-01}', p_wake_channel => 'c'
    )$$) AS change_all,
    pg_temp.result($$SELECT state FROM flow_signal_v1.register_waiters(
        p_run_ids => '{00000000-0000-0000-0000-000000000002}', p_step_keys => '{e}',
        p_signal_names => '{go}', p_wake_channel => 'c'
    )$$) AS join_all,
    pg_temp.result($$SELECT status FROM flow_signal_v1.deliver_signals(
        p_run_ids => '{00000000-0000-0000-0000-000000000002}', p_signal_names => '{go}',
        p_payloads_json => '{1}'
    )$$) AS deliver_all,
    pg_temp.result(
        $$SELECT step_key FROM flow_signal_v1.broadcast_signal(p_signal_name => 'go')$$
    ) AS broadcast,
    pg_temp.result(
        $$SELECT flow_signal_v1.remove_run(p_run_id => '00000000-0000-0000-0000-000000000002')$$
    ) AS remove_run,
    pg_temp.result($$SELECT status FROM flow_signal_v1.deliver_signal(
        p_run_id => '00000000-0000-0000-0000-000000000003', p_signal_name => 'go',
        p_buffer_until => '2990-01-01'
    )$$) AS keep,
    pg_temp.result($$SELECT state FROM flow_signal_v1.withdraw_signal(
        p_run_id => '00000000-0000-0000-0000-000000000003', p_signal_name => 'go',
        p_position => (SELECT position FROM flow_signal_v1.list_buffered_signals(
            p_run_id => '00000000-0000-0000-0000-000000000003'
        ))
    )$$) AS withdraw,
    pg_temp.result(
        $$SELECT flow_signal_v1.purge_buffered(p_buffered_before => '9999-01-01')$$
    ) AS purge_buffered,
    pg_temp.result($$SELECT state FROM flow_signal_v1.register_waiter(
        p_run_id => '00000000-0000-0000-0000-000000000003', p_step_key => 's',
        p_signal_name => 'go', p_queue => 'q'
    )$$) AS queued,
    pg_temp.result($$SELECT status FROM flow_signal_v1.deliver_to_step(
        p_run_id => '00000000-0000-0000-0000-000000000003', p_step_key => 's',
        p_payload_json => '1', p_delivery_id => 'i'
    )$$) AS to_step,
    pg_temp.result($$SELECT replayed FROM flow_signal_v1.deliver_to_step(
        p_run_id => '00000000-0000-0000-0000-000000000003', p_step_key => 's',
        p_payload_json => '1', p_delivery_id => 'i'
    )$$) AS to_step_again,
    pg_temp.result($$SELECT flow_signal_v1.extend_claim(
        p_run_id => run_id, p_step_key => step_key, p_claim_id => claim_id,
        p_lease => '1 minute'
    ) FROM flow_signal_v1.claim_waiters(p_queue => 'q')$$) AS extend,
    pg_temp.result($$SELECT state FROM flow_signal_v1.register_waiter(
        p_run_id => '00000000-0000-0000-0000-000000000003', p_step_key => 't',
        p_signal_name => 'go'
    )$$) AS for_token,
    pg_temp.result($$SELECT state FROM flow_signal_v1.describe_token(
        p_token => flow_signal_v1.issue_token(
            p_run_id => '00000000-0000-0000-0000-000000000003', p_step_key => 't',
            p_expires_at => '2990-01-01'
        )
    )$$) AS describe,
    pg_temp.result($$SELECT flow_signal_v1.revoke_tokens(
        p_run_id => '00000000-0000-0000-0000-000000000003', p_step_key => 't'
    )$$) AS revoke,
    pg_temp.result($$SELECT status FROM flow_signal_v1.redeem_token(
        p_token => flow_signal_v1.issue_token(
            p_run_id => '00000000-0000-0000-0000-000000000003', p_step_key => 't'
        ), p_payload_json => '1'
    )$$) AS redeem,
    pg_temp.result($$SELECT login FROM flow_signal_v1.list_senders(
        p_run_id => '00000000-0000-0000-0000-000000000003'
    )$$) AS senders,
    pg_temp.result(
        $$SELECT flow_signal_v1.remove_run(p_run_id => '00000000-0000-0000-0000-000000000003')$$
    ) AS remove_third,
    pg_temp.result($$SELECT flow_signal_v1.version() IS NOT NULL$$) AS version,
    pg_temp.result($$SELECT flow_signal_v1.get_waiter(
        p_run_id => '00000000-0000-0000-0000-000000000001', p_step_key => ' '
    )$$) AS blank,
    pg_temp.result($$SELECT flow_signal_v1.register_waiter(
        p_run_id => '00000000-0000-0000-0000-000000000001', p_step_key => 's',
        p_signal_name => 'go',
        p_expires_at => '-infinity'
    )$$) AS never,
    pg_temp.result($$SELECT flow_signal_v1.deliver_signal(
        p_run_id => '00000000-0000-0000-0000-000000000001', p_signal_name => 'go',
        p_payload_json => '2 2'
    )$$) AS no_json
\gset
SET LOCAL search_path = pgtap;

SELECT is(
    ARRAY[:'hijacked_function', :'hijacked_operator', :'hijacked_table'],
    ARRAY['hijacked', 'hijacked', '0'],
    'the caller itself is hijacked'
);
SELECT is(c.have, c.want, c.what)
FROM (
    VALUES
    (:'register', 'waiting', 'register_waiter'),
    (:'join', 'waiting', 'register_waiter, behind another'),
    (:'change', 'expired', 'register_waiter, with a new deadline'),
    (:'deliver', 'delivered', 'deliver_signal'),
    (:'miss', 'already_delivered', 'deliver_signal, to nobody'),
    (:'buffer', 'buffered', 'deliver_signal, for later'),
    (:'replay', 'true', 'deliver_signal, again'),
    (:'take', 'delivered', 'register_waiter, taking a signal'),
    (:'get', '{"a": 1}', 'get_waiter'),
    (:'await', '{"a": 1}', 'await_waiter'), (:'claim', '{"a": 1}', 'claim_waiters'),
    (:'remove', '{"a": 1}', 'remove_waiter'), (:'version', 'true', 'version'),
    (:'list_buffered', 'buffered', 'list_buffered_signals'),
    (:'list', '{"a": 1}', 'list_waiters'), (:'stats', '2', 'signal_stats'),
    (:'health', '{}', 'health'), (:'purge', 'true', 'purge'),
    (:'anew', 'waiting', 'register_waiter, after the purge'),
    (
        :'import', 'the payload is no JSON: it is now a JSON string; '
        'the deadline is left out: it was delivered later', 'import_floworchestrator'
    ),
    (:'register_all', 'waiting', 'register_waiters'),
    (:'change_all', 'expired', 'register_waiters, with a new deadline'),
    (:'join_all', 'waiting', 'register_waiters, behind another'),
    (:'deliver_all', 'delivered', 'deliver_signals'),
    (:'broadcast', 'c', 'broadcast_signal'), (:'remove_run', '2', 'remove_run'),
    (:'keep', 'buffered', 'deliver_signal, before its waiter'),
    (:'withdraw', 'buffered', 'withdraw_signal'), (:'purge_buffered', '0', 'purge_buffered'),
    (:'queued', 'waiting', 'register_waiter, with a queue'),
    (:'to_step', 'delivered', 'deliver_to_step'),
    (:'to_step_again', 'true', 'deliver_to_step, again'),
    (:'extend', 'true', 'extend_claim'), (:'for_token', 'waiting', 'register_waiter, for a token'),
    (:'describe', 'waiting', 'issue_token and describe_token'), (:'revoke', '1', 'revoke_tokens'),
    (:'redeem', 'delivered', 'redeem_token'), (:'senders', 'postgres', 'list_senders'),
    (:'remove_third', '2', 'remove_run, with receipts and tokens'),
    (:'blank', 'step key " " is blank', 'a blank name'),
    (:'never', 'deadline -infinity is out of range', 'a deadline out of range'),
    (:'no_json', 'payload is not valid JSON', 'a payload that is not JSON')
) AS c (have, want, what);
RESET ROLE;
SELECT is(
    (
        SELECT sum(pg_stat_get_xact_tuples_inserted(c.oid))
        FROM pg_catalog.pg_class AS c
        WHERE c.relname LIKE 'flow\_signal\_%' AND c.relkind = 'r'
            AND c.relnamespace IN ('evil'::regnamespace, pg_my_temp_schema())
    ),
    0::numeric, 'nothing went into a table of the caller'
);
SELECT is(
    (SELECT count(*) FROM flow_signal.flow_signal_waiters), 2::bigint,
    'two waiters are left where they belong'
);

SELECT * FROM finish();
ROLLBACK;
