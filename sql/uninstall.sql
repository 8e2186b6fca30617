-- Removes flow-signal from this database: psql -X -v ON_ERROR_STOP=1 -f uninstall.sql
-- Says what goes and what stays; drops nothing that others built on it. Refuses while steps
-- wait, unless the session is told: SET flow_signal.drop_live_waiters = on
-- (for psql: PGOPTIONS='-c flow_signal.drop_live_waiters=on'). One transaction.
BEGIN;
SET LOCAL transaction_isolation = 'read committed';
SET LOCAL transaction_read_only = off;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = '10s';
SET LOCAL client_min_messages = 'notice';

DO $objects$
DECLARE
    v_role text := current_setting('role');
    v_owner oid := (
        SELECT n.nspowner FROM pg_namespace AS n WHERE n.nspname = 'flow_signal'
    );
    v_schemas regnamespace [] := ARRAY(
        SELECT n.oid
        FROM pg_namespace AS n
        WHERE n.nspname ~ '^flow_signal(_v[0-9]+)?$' AND n.nspowner = v_owner
        ORDER BY n.nspname
    );
    v_table regclass;
    v_rows bigint;
    v_live bigint;
    v_drop text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('flow_signal install', 0));
    IF to_regclass('flow_signal.ledger') IS NULL THEN
        RAISE NOTICE 'flow-signal: is not installed in database %', current_database();
        RETURN;
    END IF;

    RAISE NOTICE 'flow-signal: drops from database % the schemas %', current_database(),
        array_to_string(v_schemas, ' and ');
    PERFORM set_config('role', pg_get_userbyid(v_owner), true);
    FOR v_table IN
        SELECT c.oid
        FROM pg_class AS c
        WHERE c.relnamespace = ANY(v_schemas) AND c.relowner = v_owner AND c.relkind = 'r'
        ORDER BY c.relname
    LOOP
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', v_table);
        EXECUTE format('SELECT count(*) FROM %s', v_table) INTO v_rows;
        RAISE NOTICE 'flow-signal: drops table % with % rows', v_table, v_rows;
    END LOOP;
    SELECT count(*)
    INTO v_live
    FROM flow_signal.flow_signal_waiters AS w
    WHERE w.delivered_at IS NULL AND (w.expires_at > clock_timestamp()) IS NOT FALSE;
    IF v_live > 0 AND coalesce(
        nullif(current_setting('flow_signal.drop_live_waiters', true), '')::boolean, false
    ) IS FALSE THEN
        RAISE EXCEPTION USING
            ERRCODE = '55000',
            MESSAGE = format('there are live waiters (%s)', v_live),
            DETAIL = 'nothing was dropped',
            HINT = 'to drop them too: SET flow_signal.drop_live_waiters = on';
    END IF;
    PERFORM set_config('role', v_role, true);

    IF EXISTS (SELECT FROM pg_extension AS e WHERE e.extname = 'flow_signal') THEN
        DROP EXTENSION flow_signal;
        RETURN;
    END IF;
    PERFORM set_config('role', pg_get_userbyid(v_owner), true);
    -- Kind by kind and never CASCADE, which would take what others put in or built on these.
    FOR v_drop IN
        SELECT format('DROP %s %s', o.kind, string_agg(o.name, ', '))
        FROM (
            SELECT 1, 'VIEW', c.oid::regclass::text
            FROM pg_class AS c
            WHERE
                c.relnamespace = ANY(v_schemas) AND c.relowner = v_owner AND c.relkind = 'v'
            UNION ALL
            SELECT 2, 'ROUTINE', p.oid::regprocedure::text
            FROM pg_proc AS p
            WHERE p.pronamespace = ANY(v_schemas) AND p.proowner = v_owner
            UNION ALL
            SELECT
                CASE c.relkind WHEN 'r' THEN 3 ELSE 4 END,
                CASE c.relkind WHEN 'r' THEN 'TABLE' ELSE 'TYPE' END,
                c.oid::regclass::text
            FROM pg_class AS c
            WHERE
                c.relnamespace = ANY(v_schemas) AND c.relowner = v_owner
                AND c.relkind IN ('r', 'c')
            UNION ALL
            SELECT 5, 'SCHEMA', s.name::text
            FROM unnest(v_schemas) AS s (name)
        ) AS o (step, kind, name)
        GROUP BY o.step, o.kind
        ORDER BY o.step
    LOOP
        EXECUTE v_drop;
    END LOOP;
    PERFORM set_config('role', v_role, true);
END
$objects$;

-- The roles are those of the whole cluster: each stays as long as anybody uses it.
DO $roles$
DECLARE
    v_role text;
    v_users text;
    v_detail text;
BEGIN
    FOREACH v_role IN ARRAY ARRAY['flow_signal_admin', 'flow_signal_engine',
        'flow_signal_redeemer', 'flow_signal_reader', 'flow_signal_broadcaster',
        'flow_signal_sender', 'flow_signal_owner'] LOOP
        CONTINUE WHEN to_regrole(v_role) IS NULL;
        SELECT string_agg(u.name, ', ' ORDER BY u.name)
        INTO v_users
        FROM (
            SELECT m.member::regrole::text
            FROM pg_auth_members AS m
            WHERE m.roleid = to_regrole(v_role) AND pg_get_userbyid(m.member) <> current_user
            UNION
            SELECT 'database ' || quote_ident(d.datname)
            FROM pg_shdepend AS s
            INNER JOIN pg_database AS d ON d.oid = s.dbid
            WHERE s.refclassid = 'pg_authid'::regclass
                AND s.refobjid = ANY(ARRAY[
                    to_regrole('flow_signal_owner'), to_regrole(v_role)
                ]::oid [])
                AND d.datname <> current_database()
        ) AS u (name);
        IF v_users IS NOT NULL THEN
            RAISE NOTICE 'flow-signal: keeps role %, used by %', v_role, v_users;
            CONTINUE;
        END IF;
        BEGIN
            EXECUTE format('DROP ROLE %I', v_role);
            RAISE NOTICE 'flow-signal: drops role %', v_role;
        EXCEPTION
            WHEN dependent_objects_still_exist OR insufficient_privilege THEN
                GET STACKED DIAGNOSTICS v_detail = PG_EXCEPTION_DETAIL;
                RAISE NOTICE 'flow-signal: keeps role %, %', v_role,
                    concat_ws(': ', SQLERRM, nullif(v_detail, ''));
        END;
    END LOOP;
END
$roles$;
COMMIT;
