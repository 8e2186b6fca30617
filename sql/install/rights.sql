DROP PROCEDURE flow_signal.apply_part;

-- Sets the rights on both schemas and their objects to exactly those of the sources: revokes
-- grants by hand and by default privileges. Names each change.
DO $rights$
DECLARE
    v_owner oid := (SELECT r.oid FROM pg_roles AS r WHERE r.rolname = current_user);
    v_change record;
    v_losers text;
BEGIN
    FOR v_change IN
        WITH granted (part, privilege, role) AS (
            VALUES
            @GRANTS@
        ),

        -- The rights of a role that is missing, or that the containing role does not inherit
        -- from, are granted to the containing role.
        grantees AS (
            SELECT g.part, g.privilege, r.oid, g.role
            FROM granted AS g
            INNER JOIN pg_roles AS r
                ON r.rolname = g.role
                    OR pg_has_role(r.oid, to_regrole(g.role), 'USAGE') IS NOT TRUE
                    AND CASE r.rolname
                        WHEN 'flow_signal_engine' THEN g.role <> 'flow_signal_admin'
                        WHEN 'flow_signal_admin' THEN
                            g.role = 'flow_signal_engine' OR pg_has_role(
                                r.oid, to_regrole('flow_signal_engine'), 'USAGE'
                            ) IS NOT TRUE
                    END
        ),

        objects (kind, name, part, owner, acl, initial, is_row) AS (
            SELECT
                'schema', quote_ident(n.nspname), n.nspname::text, n.nspowner, n.nspacl, 'n'::"char", false
            FROM pg_namespace AS n
            WHERE n.nspname IN ('flow_signal', 'flow_signal_v1')
            UNION ALL
            SELECT
                CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'table' END, c.oid::regclass::text,
                format('views/%s/%s.sql', n.nspname, c.relname), c.relowner, c.relacl,
                CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", false
            FROM pg_class AS c
            INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
            WHERE n.nspname IN ('flow_signal', 'flow_signal_v1')
                AND c.relkind IN ('r', 'v', 'm', 'p', 'f', 'S')
            UNION ALL
            SELECT
                'routine', p.oid::regprocedure::text,
                format('functions/%s/%s.sql', n.nspname, p.proname), p.proowner, p.proacl, 'f', false
            FROM pg_proc AS p
            INNER JOIN pg_namespace AS n ON p.pronamespace = n.oid
            WHERE n.nspname IN ('flow_signal', 'flow_signal_v1')
            UNION ALL
            -- The type of a row is PUBLIC's by default; pg_dump would not know that it is not.
            SELECT
                'type', t.oid::regtype::text, NULL, t.typowner, t.typacl, 'T',
                coalesce(c.relkind <> 'c', false)
            FROM pg_type AS t
            INNER JOIN pg_namespace AS n ON t.typnamespace = n.oid
            LEFT JOIN pg_class AS c ON t.typrelid = c.oid
            WHERE n.nspname IN ('flow_signal', 'flow_signal_v1')
                AND t.typelem = 0 AND t.typtype <> 'm'
        ),

        actual AS (
            SELECT
                o.kind, o.name, o.part, a.grantee, a.privilege_type AS privilege, a.is_grantable,
                a.grantor = o.owner AS by_owner
            FROM objects AS o
            CROSS JOIN LATERAL aclexplode(coalesce(o.acl, acldefault(o.initial, o.owner))) AS a
            WHERE o.owner = v_owner
            UNION ALL
            SELECT
                'table', c.oid::regclass::text, NULL, a.grantee,
                format('%s (%I)', a.privilege_type, t.attname), a.is_grantable, true
            FROM pg_attribute AS t
            INNER JOIN pg_class AS c ON t.attrelid = c.oid
            INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
            CROSS JOIN LATERAL aclexplode(t.attacl) AS a
            WHERE n.nspname IN ('flow_signal', 'flow_signal_v1')
                AND c.relowner = v_owner
        ),

        wanted AS (
            SELECT o.kind, o.name, o.part, a.grantee, a.privilege_type AS privilege
            FROM objects AS o
            CROSS JOIN LATERAL aclexplode(acldefault(o.initial, o.owner)) AS a
            WHERE o.owner = v_owner AND (a.grantee = o.owner OR o.is_row)
            UNION
            SELECT o.kind, o.name, o.part, g.oid, g.privilege
            FROM objects AS o
            INNER JOIN grantees AS g ON o.part = g.part
            WHERE o.owner = v_owner
            UNION
            SELECT o.kind, o.name, o.part, g.oid, 'USAGE'
            FROM objects AS o
            CROSS JOIN grantees AS g
            WHERE o.owner = v_owner AND o.kind = 'schema' AND o.part = 'flow_signal_v1'
            UNION
            -- A function that only earlier releases had keeps what it was granted by them.
            SELECT a.kind, a.name, a.part, a.grantee, a.privilege
            FROM actual AS a
            INNER JOIN flow_signal.ledger AS l ON a.part = l.part
            INNER JOIN grantees AS g ON a.grantee = g.oid
            WHERE l.part <> ALL('{@PARTS@}'::text [])
        ),

        changes AS (
            SELECT
                'REVOKE' AS verb, a.kind, a.name, a.part, a.grantee, a.privilege, false AS option
            FROM actual AS a
            WHERE NOT EXISTS (
                SELECT FROM wanted AS w
                WHERE (w.kind, w.name, w.grantee, w.privilege)
                    = (a.kind, a.name, a.grantee, a.privilege)
            )
            UNION
            SELECT 'REVOKE', a.kind, a.name, a.part, a.grantee, a.privilege, true
            FROM actual AS a
            WHERE a.is_grantable AND a.grantee <> v_owner
                AND EXISTS (
                    SELECT FROM wanted AS w
                    WHERE (w.kind, w.name, w.grantee, w.privilege)
                        = (a.kind, a.name, a.grantee, a.privilege)
                )
            UNION
            SELECT 'GRANT', w.kind, w.name, w.part, w.grantee, w.privilege, false
            FROM wanted AS w
            WHERE NOT EXISTS (
                SELECT FROM actual AS a
                WHERE a.by_owner
                    AND (w.kind, w.name, w.grantee, w.privilege)
                    = (a.kind, a.name, a.grantee, a.privilege)
            )
        )

        SELECT
            c.verb, c.kind, c.name, c.option,
            string_agg(c.privilege, ', ' ORDER BY c.privilege) AS privileges,
            CASE c.grantee WHEN 0 THEN 'PUBLIC' ELSE c.grantee::regrole::text END AS grantee,
            c.grantee IN (SELECT g.oid FROM grantees AS g) AS is_client,
            (SELECT g.role FROM granted AS g WHERE g.part = c.part LIMIT 1) AS instead,
            -- The rights on a new object are granted without a word.
            c.verb = 'REVOKE' OR EXISTS (
                SELECT FROM flow_signal.ledger AS l
                WHERE l.applied_at < transaction_timestamp()
                    AND (l.part = c.part OR c.kind NOT IN ('table', 'routine'))
            ) AS named
        FROM changes AS c
        GROUP BY c.verb, c.kind, c.name, c.option, c.grantee, c.part
        ORDER BY c.verb, c.kind, c.name, c.grantee
    LOOP
        IF v_change.verb = 'GRANT' THEN
            EXECUTE format(
                'GRANT %s ON %s %s TO %s', v_change.privileges, v_change.kind, v_change.name, v_change.grantee
            );
        ELSE
            EXECUTE format(
                'REVOKE %s%s ON %s %s FROM %s CASCADE', CASE WHEN v_change.option THEN 'GRANT OPTION FOR ' END,
                v_change.privileges, v_change.kind, v_change.name, v_change.grantee
            );
        END IF;
        IF v_change.named THEN
            RAISE NOTICE 'flow-signal: % on % % % %',
                concat(CASE WHEN v_change.option THEN 'grant option for ' END, v_change.privileges),
                v_change.kind, v_change.name,
                CASE v_change.verb WHEN 'GRANT' THEN 'granted to' ELSE 'revoked from' END, v_change.grantee;
        END IF;
        IF v_change.verb = 'REVOKE' AND v_change.kind = 'routine' AND v_change.is_client THEN
            v_losers := (
                SELECT string_agg(quote_ident(r.rolname), ', ' ORDER BY r.rolname)
                FROM pg_roles AS r
                WHERE pg_has_role(r.oid, v_change.grantee::regrole, 'MEMBER')
                    AND r.rolname !~ '^flow_signal_'
                    AND NOT has_function_privilege(r.oid, v_change.name::regprocedure, 'EXECUTE')
            );
            IF v_losers IS NOT NULL THEN
                RAISE NOTICE 'flow-signal: % may no longer call %; to let them: GRANT % TO %;',
                    v_losers, v_change.name, v_change.instead, v_losers;
            END IF;
        END IF;
    END LOOP;
END
$rights$;
