-- From here on everything is made as, and owned by, flow_signal_owner; where that role does not
-- exist, the installer may not act as it or owns it all already, by the installing role.
DO $owner$
DECLARE
    v_owner text := current_user;
    v_may_act boolean;
    v_unfit text;
    v_schema record;
BEGIN
    IF to_regrole('flow_signal_owner') IS NOT NULL AND NOT EXISTS (
        SELECT FROM pg_class AS c
        INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
        WHERE n.nspname = 'flow_signal' AND c.relname = 'ledger'
            AND pg_get_userbyid(c.relowner) = current_user
    ) THEN
        v_may_act := pg_has_role(current_user, 'flow_signal_owner',
            CASE WHEN current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'SET' END);
        IF NOT v_may_act THEN
            BEGIN
                EXECUTE format('GRANT flow_signal_owner TO %I', current_user);
                v_may_act := true;
            EXCEPTION
                WHEN insufficient_privilege THEN
                    NULL;
            END;
        END IF;
        IF v_may_act THEN
            v_owner := 'flow_signal_owner';
        END IF;
    END IF;
    FOR v_schema IN
        SELECT
            n.nspname, pg_get_userbyid(n.nspowner) AS owner,
            EXISTS (
                SELECT FROM pg_class AS c
                INNER JOIN pg_namespace AS s ON c.relnamespace = s.oid
                WHERE s.nspname = 'flow_signal' AND c.relname = 'ledger'
            ) AS is_ours
        FROM pg_namespace AS n
        WHERE n.nspname IN ('flow_signal', 'flow_signal_v1')
    LOOP
        IF v_schema.owner <> v_owner THEN
            RAISE EXCEPTION USING
                ERRCODE = '42501',
                MESSAGE = format('schema %I belongs to %I', v_schema.nspname, v_schema.owner),
                DETAIL = format('this script would install as %I and replaces only objects of that role',
                    v_owner),
                HINT = CASE
                    WHEN NOT v_schema.is_ours THEN
                        'flow-signal is not installed here, only its name is taken: '
                        'use another database'
                    WHEN v_schema.owner = 'flow_signal_owner' THEN
                        format('have a privileged role run: GRANT flow_signal_owner TO %I', current_user)
                    ELSE
                        format('run this script as that role: SET ROLE %I', v_schema.owner)
                END;
        END IF;
    END LOOP;
    IF v_owner = 'flow_signal_owner' THEN
        SELECT concat_ws(' ', CASE WHEN r.rolsuper THEN 'NOSUPERUSER' END,
            CASE WHEN r.rolbypassrls THEN 'NOBYPASSRLS' END)
        INTO v_unfit
        FROM pg_roles AS r
        WHERE r.rolname = 'flow_signal_owner';
        IF v_unfit <> '' THEN
            RAISE EXCEPTION USING
                ERRCODE = '55000',
                MESSAGE = 'role flow_signal_owner has a power of its own',
                DETAIL = 'functions that any client may call run as this role',
                HINT = format('run: ALTER ROLE flow_signal_owner %s', v_unfit);
        END IF;
        -- Expected is a login that can install, be it in another database.
        SELECT string_agg(DISTINCT format(
            'REVOKE flow_signal_owner FROM %s%s', m.member::regrole,
            CASE WHEN current_setting('server_version_num')::integer >= 160000
                THEN ' GRANTED BY ' || m.grantor::regrole
            END
        ), '; ')
        INTO v_unfit
        FROM pg_auth_members AS m
        WHERE m.roleid = 'flow_signal_owner'::regrole
            AND EXISTS (
                SELECT FROM pg_roles AS r
                WHERE pg_has_role(r.oid, m.member, 'MEMBER')
                    AND (r.rolcanlogin OR r.rolname ~ '^flow_signal_')
                    AND NOT (r.rolsuper OR r.rolcreaterole OR r.rolname IN (current_user, session_user))
                    AND NOT EXISTS (
                        SELECT FROM pg_database AS d
                        WHERE has_database_privilege(r.oid, d.oid, 'CREATE')
                    )
            );
        IF v_unfit IS NOT NULL THEN
            RAISE EXCEPTION USING
                ERRCODE = '55000',
                MESSAGE = 'role flow_signal_owner has members that can install nothing',
                DETAIL = 'a member of the owner reads every payload of every database of the cluster',
                HINT = format('run: %s', v_unfit);
        END IF;
        IF (SELECT r.rolcanlogin FROM pg_roles AS r WHERE r.rolname = 'flow_signal_owner') THEN
            RAISE WARNING 'flow-signal: role flow_signal_owner can log in'
                USING DETAIL = 'a login as the owner reads every payload; only Citus needs it: its nodes '
                    'reach each other as this role',
                HINT = 'without Citus run: ALTER ROLE flow_signal_owner NOLOGIN';
        END IF;
    END IF;
    IF to_regrole('flow_signal_admin') IS NULL THEN
        RAISE NOTICE 'flow-signal: installing into role %, which alone may use it', v_owner;
    ELSIF to_regnamespace('flow_signal') IS NULL AND v_owner <> 'flow_signal_owner' THEN
        RAISE NOTICE 'flow-signal: installing into role %', v_owner;
    END IF;
    IF to_regnamespace('flow_signal') IS NULL THEN
        EXECUTE format('CREATE SCHEMA flow_signal AUTHORIZATION %I', v_owner);
    END IF;
    IF to_regnamespace('flow_signal_v1') IS NULL THEN
        EXECUTE format('CREATE SCHEMA flow_signal_v1 AUTHORIZATION %I', v_owner);
    END IF;
    PERFORM set_config('role', v_owner, true);
END
$owner$;

DO $ledger$
DECLARE
    v_release text;
BEGIN
    IF to_regclass('flow_signal.ledger') IS NULL THEN
        CREATE TABLE flow_signal.ledger (
            part text PRIMARY KEY,
            checksum text NOT NULL,
            release text NOT NULL,
            applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
        );
        COMMENT ON TABLE flow_signal.ledger IS
        'The parts of the installation script that were applied, each with the SHA-256 of its text.';
    END IF;
    SELECT l.release
    INTO v_release
    FROM flow_signal.ledger AS l
    ORDER BY string_to_array(substring(l.release from '^[0-9.]*[0-9]'), '.')::integer [] DESC
    LIMIT 1;
    IF string_to_array(substring(v_release from '^[0-9.]*[0-9]'), '.')::integer []
        > string_to_array(substring('@VERSION@' from '^[0-9.]*[0-9]'), '.')::integer [] THEN
        RAISE EXCEPTION USING
            ERRCODE = '55000',
            MESSAGE = format('flow-signal %s is installed here', v_release),
            DETAIL = 'this script is that of @VERSION@, an earlier release',
            HINT = format('use the script of %s or a later release', v_release);
    END IF;
END
$ledger$;

CREATE PROCEDURE flow_signal.apply_part(
    p_part text, p_checksum text, p_once boolean, p_statements text[]
)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $procedure$
DECLARE
    v_known text := (SELECT l.checksum FROM flow_signal.ledger AS l WHERE l.part = p_part);
    v_statement text;
BEGIN
    IF v_known = p_checksum THEN
        RETURN;
    ELSIF p_once AND v_known IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = '55000',
            MESSAGE = format('%s was changed after it had been applied here', p_part),
            DETAIL = format('the database has checksum %s, the script %s', v_known, p_checksum),
            HINT = 'use the script of an official release: a migration never changes';
    END IF;
    FOREACH v_statement IN ARRAY p_statements LOOP
        EXECUTE v_statement;
    END LOOP;
    INSERT INTO flow_signal.ledger AS l (part, checksum, release)
    VALUES (p_part, p_checksum, '@VERSION@')
    ON CONFLICT (part) DO UPDATE
    SET checksum = excluded.checksum, release = excluded.release, applied_at = excluded.applied_at;
    RAISE NOTICE 'flow-signal: % %', p_part,
        CASE WHEN v_known IS NULL THEN 'installed' ELSE 'replaced' END;
END
$procedure$;
REVOKE ALL ON PROCEDURE flow_signal.apply_part FROM public;
