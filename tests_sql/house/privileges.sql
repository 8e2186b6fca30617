-- Clients may call what their role is for, and nothing else; PUBLIC may nothing.
BEGIN;
SELECT plan(14);

CREATE TEMP VIEW clients AS
SELECT r.oid, r.rolname::text AS name
FROM pg_roles AS r
WHERE r.rolname IN (
    'flow_signal_sender', 'flow_signal_broadcaster', 'flow_signal_reader',
    'flow_signal_redeemer', 'flow_signal_engine', 'flow_signal_admin'
);
-- Who was granted what, by default or by GRANT.
CREATE TEMP VIEW grants AS
SELECT o.kind, o.name, o.schema, a.grantee, a.privilege_type, a.is_grantable, o.owner
FROM (
    SELECT 'function', p.oid::regprocedure::text, p.pronamespace, p.proowner,
        coalesce(p.proacl, acldefault('f', p.proowner))
    FROM pg_proc AS p
    UNION ALL
    SELECT 'relation', c.relname::text, c.relnamespace, c.relowner,
        coalesce(
            c.relacl,
            acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner)
        )
    FROM pg_class AS c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    UNION ALL
    SELECT
        'column', a.attrelid::regclass || '.' || a.attname, c.relnamespace, c.relowner, a.attacl
    FROM pg_attribute AS a INNER JOIN pg_class AS c ON c.oid = a.attrelid
    WHERE a.attacl IS NOT NULL
    UNION ALL
    -- the type of a table, and an array, go by their table and their element
    SELECT 'type', t.typname::text, t.typnamespace, t.typowner,
        coalesce(t.typacl, acldefault('T', t.typowner))
    FROM pg_type AS t LEFT JOIN pg_class AS c ON c.oid = t.typrelid
    WHERE t.typelem = 0 AND coalesce(c.relkind = 'c', true)
    UNION ALL
    SELECT
        'schema', n.nspname::text, n.oid, n.nspowner,
        coalesce(n.nspacl, acldefault('n', n.nspowner))
    FROM pg_namespace AS n
) AS o (kind, name, schema, owner, acl)
CROSS JOIN LATERAL aclexplode(o.acl) AS a
WHERE o.schema::regnamespace::text ~ '^flow_signal(_v\d+)?$';

SELECT is(count(*), 6::bigint, 'there are six roles for clients') FROM clients;
SELECT is_empty(
    $$SELECT r.rolname FROM pg_roles AS r
    WHERE r.rolname ~ '^flow_signal_' AND (
        r.rolcanlogin OR r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication
        OR r.rolbypassrls OR NOT r.rolinherit
    )$$,
    'none of the roles can log in or has a power of its own'
);
SELECT set_eq(
    $$SELECT m.member::regrole::text, m.roleid::regrole::text
    FROM pg_auth_members AS m WHERE m.member::regrole::text ~ '^flow_signal_'$$,
    $$VALUES ('flow_signal_engine', 'flow_signal_sender'),
    ('flow_signal_engine', 'flow_signal_broadcaster'),
    ('flow_signal_engine', 'flow_signal_reader'),
    ('flow_signal_engine', 'flow_signal_redeemer'),
    ('flow_signal_admin', 'flow_signal_engine')$$,
    'the engine may do what the smaller roles may, the admin what the engine may'
);
SELECT is_empty(
    $$SELECT m.member::regrole
    FROM pg_auth_members AS m WHERE m.roleid = 'flow_signal_owner'::regrole$$,
    'nobody is a member of the owner'
);

SELECT cmp_ok(count(*), '>', 0::bigint, format('there are grants on each %s', g.kind))
FROM grants AS g GROUP BY g.kind ORDER BY g.kind;
SELECT is_empty(
    $$SELECT g.kind, g.name, g.privilege_type FROM grants AS g WHERE g.grantee = 0$$,
    'PUBLIC has no privilege on anything'
);
SELECT is_empty(
    $$SELECT g.kind, g.name, g.grantee::regrole FROM grants AS g
    WHERE g.is_grantable AND g.grantee <> g.owner$$,
    'nobody may grant further'
);
SELECT is_empty(
    $$SELECT g.kind, g.name, g.grantee::regrole, g.privilege_type FROM grants AS g
    WHERE g.grantee <> g.owner
        AND (g.kind, g.privilege_type) NOT IN (('function', 'EXECUTE'), ('schema', 'USAGE'))
        AND NOT (
            g.kind = 'relation' AND g.privilege_type = 'SELECT'
            AND g.schema <> 'flow_signal'::regnamespace
        )$$,
    'what is granted is to call functions and to read views of the API'
);
SELECT is_empty(
    $$SELECT g.kind, g.name, g.grantee::regrole FROM grants AS g
    WHERE g.grantee <> g.owner AND g.schema = 'flow_signal'::regnamespace$$,
    'nothing at all is granted in the schema of tables and helpers'
);
SELECT is_empty(
    $$SELECT c.name, r.relname
    FROM clients AS c
    CROSS JOIN pg_class AS r
    WHERE r.relnamespace = 'flow_signal'::regnamespace
    AND r.relkind IN ('r', 'p', 'v', 'm', 'f')
        AND (
            has_table_privilege(
                c.oid, r.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER'
            )
            OR has_any_column_privilege(c.oid, r.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
        )$$,
    'no client has a privilege on a table, not even by membership'
);
SELECT is_empty(
    $$SELECT d.defaclrole::regrole, d.defaclobjtype FROM pg_default_acl AS d
    WHERE d.defaclrole = 'flow_signal_owner'::regrole
    OR d.defaclnamespace::regnamespace::text ~ '^flow_signal'$$,
    'no default privilege adds to that'
);

SELECT * FROM finish();
ROLLBACK;
