-- Everything that flow-signal is in the catalog of a database, one fact a row: two databases
-- with the same rows have the same schema, rights, comments and settings.
WITH schemas AS (
    SELECT n.oid, n.nspname::text AS name
    FROM pg_namespace AS n
    WHERE n.nspname ~ '^flow_signal(_v[0-9]+)?$'
),

relations AS (
    SELECT
        c.*, format('%I.%I', s.name, c.relname) AS name,
        CASE c.relkind
            WHEN 'r' THEN 'table'
            WHEN 'v' THEN 'view'
            WHEN 'i' THEN 'index'
            WHEN 'c' THEN 'type'
            ELSE 'relation of kind ' || c.relkind::text
        END AS kind
    FROM pg_class AS c
    INNER JOIN schemas AS s ON c.relnamespace = s.oid
),

columns AS (
    SELECT
        a.*, r.kind, format('%s.%I', r.name, a.attname) AS name,
        row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum) AS place
    FROM pg_attribute AS a
    INNER JOIN relations AS r ON a.attrelid = r.oid
    WHERE a.attnum > 0 AND NOT a.attisdropped AND r.kind <> 'index'
),

functions AS (
    SELECT p.*, p.oid::regprocedure::text AS name
    FROM pg_proc AS p
    INNER JOIN schemas AS s ON p.pronamespace = s.oid
),

types AS (
    SELECT t.*, t.oid::regtype::text AS name
    FROM pg_type AS t
    INNER JOIN schemas AS s ON t.typnamespace = s.oid
    WHERE t.typelem = 0
),

grants AS (
    SELECT o.object, a.grantor, a.grantee, a.privilege_type, a.is_grantable
    FROM (
        SELECT 'schema ' || s.name, coalesce(n.nspacl, acldefault('n', n.nspowner))
        FROM schemas AS s
        INNER JOIN pg_namespace AS n ON s.oid = n.oid
        UNION ALL
        SELECT r.kind || ' ' || r.name, coalesce(r.relacl, acldefault('r', r.relowner))
        FROM relations AS r
        WHERE r.kind IN ('table', 'view')
        UNION ALL
        SELECT 'column ' || c.name, c.attacl
        FROM columns AS c
        UNION ALL
        SELECT 'function ' || f.name, coalesce(f.proacl, acldefault('f', f.proowner))
        FROM functions AS f
        UNION ALL
        SELECT 'type ' || t.name, coalesce(t.typacl, acldefault('T', t.typowner))
        FROM types AS t
    ) AS o (object, acl)
    CROSS JOIN LATERAL aclexplode(o.acl) AS a
),

facts AS (
    SELECT 'schema ' || s.name, 'owner', n.nspowner::regrole::text
    FROM schemas AS s
    INNER JOIN pg_namespace AS n ON s.oid = n.oid
    UNION ALL
    SELECT 'schema ' || s.name, 'comment', obj_description(s.oid, 'pg_namespace')
    FROM schemas AS s
    UNION ALL
    SELECT r.kind || ' ' || r.name, f.fact, f.value
    FROM relations AS r
    CROSS JOIN LATERAL (
        VALUES
        ('owner', r.relowner::regrole::text),
        ('comment', obj_description(r.oid, 'pg_class')),
        ('persistence', r.relpersistence::text),
        ('settings', array_to_string(r.reloptions, ', ')),
        ('access method', (SELECT m.amname::text FROM pg_am AS m WHERE m.oid = r.relam)),
        ('tablespace', nullif(r.reltablespace, 0)::text),
        ('row security', concat(r.relrowsecurity, r.relforcerowsecurity)),
        ('replica identity', r.relreplident::text),
        ('definition', CASE r.kind
            WHEN 'view' THEN pg_get_viewdef(r.oid)
            WHEN 'index' THEN pg_get_indexdef(r.oid)
        END),
        ('state', (
            SELECT concat(x.indisvalid, x.indisready, x.indisclustered, x.indisreplident)
            FROM pg_index AS x
            WHERE x.indexrelid = r.oid
        ))
    ) AS f (fact, value)
    UNION ALL
    SELECT 'column ' || c.name, f.fact, f.value
    FROM columns AS c
    CROSS JOIN LATERAL (
        VALUES
        ('place', c.place::text),
        ('type', format_type(c.atttypid, c.atttypmod)),
        ('collation', nullif(c.attcollation, 0)::regcollation::text),
        ('not null', c.attnotnull::text),
        ('default', (
            SELECT pg_get_expr(d.adbin, d.adrelid)
            FROM pg_attrdef AS d
            WHERE d.adrelid = c.attrelid AND d.adnum = c.attnum
        )),
        ('generated', c.attidentity::text || c.attgenerated::text),
        ('storage', c.attstorage::text || c.attcompression::text),
        ('settings', array_to_string(c.attoptions, ', ')),
        ('comment', col_description(c.attrelid, c.attnum))
    ) AS f (fact, value)
    UNION ALL
    SELECT 'constraint ' || r.name || '.' || c.conname, f.fact, f.value
    FROM pg_constraint AS c
    INNER JOIN relations AS r ON c.conrelid = r.oid
    CROSS JOIN LATERAL (
        VALUES
        ('definition', pg_get_constraintdef(c.oid)),
        ('state', concat(c.convalidated, c.condeferrable, c.condeferred)),
        ('comment', obj_description(c.oid, 'pg_constraint'))
    ) AS f (fact, value)
    UNION ALL
    SELECT 'function ' || p.name, f.fact, f.value
    FROM functions AS p
    CROSS JOIN LATERAL (
        VALUES
        ('owner', p.proowner::regrole::text),
        ('comment', obj_description(p.oid, 'pg_proc')),
        ('definition', pg_get_functiondef(p.oid)),
        ('settings', array_to_string(p.proconfig, ', '))
    ) AS f (fact, value)
    UNION ALL
    SELECT 'type ' || t.name, f.fact, f.value
    FROM types AS t
    CROSS JOIN LATERAL (
        VALUES
        ('owner', t.typowner::regrole::text),
        ('comment', obj_description(t.oid, 'pg_type')),
        ('kind', t.typtype::text)
    ) AS f (fact, value)
    UNION ALL
    SELECT g.object, 'grant', format(
        '%s to %s by %s%s', string_agg(g.privilege_type, ', ' ORDER BY g.privilege_type),
        CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END,
        g.grantor::regrole, CASE WHEN g.is_grantable THEN ' with grant option' END
    )
    FROM grants AS g
    GROUP BY g.object, g.grantee, g.grantor, g.is_grantable
    UNION ALL
    SELECT 'table ' || r.name, 'trigger', pg_get_triggerdef(t.oid)
    FROM pg_trigger AS t
    INNER JOIN relations AS r ON t.tgrelid = r.oid
    UNION ALL
    SELECT 'table ' || r.name, 'policy', p.polname::text
    FROM pg_policy AS p
    INNER JOIN relations AS r ON p.polrelid = r.oid
    UNION ALL
    SELECT 'table ' || r.name, 'statistics', pg_get_statisticsobjdef(x.oid)
    FROM pg_statistic_ext AS x
    INNER JOIN relations AS r ON x.stxrelid = r.oid
    UNION ALL
    SELECT 'default privileges', d.defaclrole::regrole::text, d.defaclacl::text
    FROM pg_default_acl AS d
    WHERE d.defaclrole::regrole::text ~ '^flow_signal'
        OR d.defaclnamespace IN (SELECT s.oid FROM schemas AS s)
    UNION ALL
    SELECT 'role ' || r.rolname, f.fact, f.value
    FROM pg_roles AS r
    CROSS JOIN LATERAL (
        VALUES
        ('powers', concat(
            r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin,
            r.rolreplication, r.rolbypassrls, r.rolconnlimit
        )),
        ('settings', array_to_string(r.rolconfig, ', ')),
        ('comment', shobj_description(r.oid, 'pg_authid')),
        ('member of', (
            SELECT string_agg(m.roleid::regrole::text, ', ' ORDER BY m.roleid::regrole::text)
            FROM pg_auth_members AS m
            WHERE m.member = r.oid
        ))
    ) AS f (fact, value)
    WHERE r.rolname ~ '^flow_signal_(owner|sender|reader|engine|admin)$'
    UNION ALL
    SELECT 'part ' || l.part, 'checksum', l.checksum
    FROM flow_signal.ledger AS l
)

SELECT f.object, f.fact, f.value
FROM facts AS f (object, fact, value)
WHERE f.value IS NOT NULL
ORDER BY f.object, f.fact, f.value;
