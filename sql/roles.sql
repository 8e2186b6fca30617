-- Cluster-wide: the five roles, none of which can log in. Creates what is missing where the
-- installer may create roles; where it may not, says so and goes on.
DO $roles$
DECLARE
    v_role text;
BEGIN
    FOREACH v_role IN ARRAY ARRAY['flow_signal_owner', 'flow_signal_sender',
        'flow_signal_broadcaster',
        'flow_signal_reader', 'flow_signal_engine', 'flow_signal_admin'] LOOP
        CONTINUE WHEN to_regrole(v_role) IS NOT NULL;
        IF NOT (SELECT r.rolsuper OR r.rolcreaterole FROM pg_roles AS r
                WHERE r.rolname = current_user) THEN
            RAISE NOTICE 'flow-signal: role % does not exist and % may not create roles',
                v_role, current_user
                USING HINT = 'have a role with CREATEROLE run sql/roles.sql, then run this again';
            RETURN;
        END IF;
        EXECUTE format('CREATE ROLE %I NOLOGIN', v_role);
        IF v_role = 'flow_signal_engine' THEN
            GRANT flow_signal_sender, flow_signal_broadcaster, flow_signal_reader
            TO flow_signal_engine;
        ELSIF v_role = 'flow_signal_admin' THEN
            GRANT flow_signal_engine TO flow_signal_admin;
        ELSIF v_role = 'flow_signal_owner'
            AND NOT (SELECT r.rolsuper FROM pg_roles AS r WHERE r.rolname = current_user) THEN
            EXECUTE format('GRANT flow_signal_owner TO %I', current_user);
        END IF;
    END LOOP;
END
$roles$;
