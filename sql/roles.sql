-- Cluster-wide: the roles, none of which can log in, and their memberships. Creates and grants
-- the missing ones; lists the statements that this session may not run.
DO $roles$
DECLARE
    v_16 boolean := current_setting('server_version_num')::integer >= 160000;
    v_statement text;
    v_tried text [] := '{}';
    v_denied text [] := '{}';
BEGIN
    LOOP
        SELECT s.statement
        INTO v_statement
        FROM (
            SELECT 1, format('CREATE ROLE %I NOLOGIN', r.name)
            FROM unnest(ARRAY[
                'flow_signal_owner', 'flow_signal_sender', 'flow_signal_broadcaster',
                'flow_signal_reader', 'flow_signal_redeemer', 'flow_signal_engine',
                'flow_signal_admin'
            ]) AS r (name)
            WHERE to_regrole(r.name) IS NULL
            UNION ALL
            SELECT 2, format('ALTER ROLE %I INHERIT', r.rolname)
            FROM pg_roles AS r
            WHERE r.rolname IN ('flow_signal_engine', 'flow_signal_admin')
                AND NOT (r.rolinherit OR v_16)
            UNION ALL
            SELECT
                3, format('GRANT %I TO %I%s', m.role, m.member, CASE WHEN v_16 THEN ' WITH INHERIT TRUE' END)
            FROM (
                VALUES
                ('flow_signal_sender', 'flow_signal_engine'),
                ('flow_signal_broadcaster', 'flow_signal_engine'),
                ('flow_signal_reader', 'flow_signal_engine'),
                ('flow_signal_redeemer', 'flow_signal_engine'),
                ('flow_signal_engine', 'flow_signal_admin')
            ) AS m (role, member)
            WHERE pg_has_role(to_regrole(m.member), to_regrole(m.role), 'USAGE') IS NOT TRUE
        ) AS s (step, statement)
        WHERE s.statement <> ALL(v_tried)
        ORDER BY s.step, s.statement DESC
        LIMIT 1;
        EXIT WHEN NOT FOUND;
        v_tried := v_tried || v_statement;
        BEGIN
            EXECUTE v_statement;
        EXCEPTION
            -- An installation in another database of the cluster was faster.
            WHEN unique_violation OR duplicate_object THEN
                NULL;
            WHEN insufficient_privilege OR undefined_object THEN
                v_denied := v_denied || v_statement;
        END;
    END LOOP;
    IF v_denied <> '{}' THEN
        RAISE NOTICE 'flow-signal: % may not make all roles; a privileged role has to run: %;',
            current_user, array_to_string(v_denied, '; ')
            USING HINT = 'then run this script again';
    END IF;
END
$roles$;
