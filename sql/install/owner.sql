-- From here on everything is made as, and owned by, flow_signal_owner; where that role does not
-- exist, the installer may not act as it or owns it all already, by the installing role.
DO $owner$
DECLARE
    v_owner text := current_user;
    v_schema record;
BEGIN
    IF to_regrole('flow_signal_owner') IS NOT NULL
        AND pg_has_role(current_user, 'flow_signal_owner', 'MEMBER')
        AND NOT EXISTS (
            SELECT FROM pg_class AS c
            WHERE c.oid = to_regclass('flow_signal.ledger')
                AND pg_get_userbyid(c.relowner) = current_user
        ) THEN
        v_owner := 'flow_signal_owner';
    END IF;
    FOR v_schema IN
        SELECT n.nspname, pg_get_userbyid(n.nspowner) AS owner
        FROM pg_namespace AS n
        WHERE n.nspname IN ('flow_signal', 'flow_signal_v1')
    LOOP
        IF v_schema.owner <> v_owner THEN
            RAISE EXCEPTION USING
                ERRCODE = '42501',
                MESSAGE = format('schema %I belongs to %I', v_schema.nspname, v_schema.owner),
                DETAIL = format('this script would install as %I and replaces only what that role owns',
                    v_owner),
                HINT = 'install as the owner of the schema, or move the schema out of the way';
        END IF;
    END LOOP;
    IF to_regnamespace('flow_signal') IS NULL THEN
        EXECUTE format('CREATE SCHEMA flow_signal AUTHORIZATION %I', v_owner);
    END IF;
    IF to_regnamespace('flow_signal_v1') IS NULL THEN
        EXECUTE format('CREATE SCHEMA flow_signal_v1 AUTHORIZATION %I', v_owner);
    END IF;
    PERFORM set_config('role', v_owner, true);
    IF to_regrole('flow_signal_admin') IS NULL THEN
        RAISE NOTICE 'flow-signal: installing into role %, which alone may use it', v_owner;
    END IF;
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
    v_object text;
    v_statement text;
BEGIN
    IF to_regrole('flow_signal_admin') IS NULL AND NOT p_once THEN
        -- There are no roles to grant to. Once there are, the checksum differs.
        p_statements := ARRAY(
            SELECT s.statement
            FROM unnest(p_statements) WITH ORDINALITY AS s (statement, position)
            WHERE s.statement !~ '^\s*GRANT '
            ORDER BY s.position
        );
        p_checksum := p_checksum || ' without grants';
    END IF;
    IF v_known = p_checksum THEN
        RETURN;
    ELSIF p_once AND v_known IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = '55000',
            MESSAGE = format('%s was changed after it had been applied here', p_part),
            DETAIL = format('the database has checksum %s, the script %s', v_known, p_checksum),
            HINT = 'use the script of an official release: a migration never changes';
    END IF;
    IF v_known IS NOT NULL AND to_regrole('flow_signal_admin') IS NOT NULL THEN
        -- CREATE OR REPLACE would keep what an earlier release granted and this one does not.
        FOR v_object IN
            SELECT 'FUNCTION ' || p.oid::regprocedure
            FROM pg_proc AS p
            INNER JOIN pg_namespace AS n ON p.pronamespace = n.oid
            WHERE p_part = format('functions/%s/%s.sql', n.nspname, p.proname)
            UNION ALL
            SELECT 'TABLE ' || c.oid::regclass
            FROM pg_class AS c
            INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
            WHERE p_part = format('views/%s/%s.sql', n.nspname, c.relname)
        LOOP
            EXECUTE format(
                'REVOKE ALL ON %s FROM flow_signal_sender, flow_signal_reader, '
                'flow_signal_engine, flow_signal_admin',
                v_object
            );
        END LOOP;
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
