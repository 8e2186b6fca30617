-- The functions, views and types of the API, and the tables; fields are parameters or columns.
WITH objects AS (
    SELECT
        p.oid, p.pronamespace AS schema, p.proname AS name, 'function' AS kind, p.proowner AS owner,
        obj_description(p.oid, 'pg_proc') AS comment, coalesce(p.proacl, acldefault('f', p.proowner)) AS acl,
        p.prorettype::regtype::text AS returns, p.proretset AS returns_set,
        CASE p.provolatile WHEN 'i' THEN 'IMMUTABLE' WHEN 's' THEN 'STABLE' ELSE 'VOLATILE' END
        || CASE WHEN p.prosecdef THEN ', SECURITY DEFINER' ELSE ', SECURITY INVOKER' END AS properties
    FROM pg_proc AS p
    WHERE p.pronamespace = 'flow_signal_v1'::regnamespace
    UNION ALL
    SELECT
        c.oid, c.relnamespace, c.relname, k.kind, c.relowner,
        coalesce(obj_description(t.oid, 'pg_type'), obj_description(c.oid, 'pg_class')),
        CASE c.relkind WHEN 'c' THEN coalesce(t.typacl, acldefault('T', t.typowner))
            ELSE coalesce(c.relacl, acldefault('r', c.relowner)) END,
        '', false, array_to_string(c.reloptions, ', ')
    FROM pg_class AS c
    INNER JOIN pg_type AS t ON t.typrelid = c.oid
    INNER JOIN (VALUES ('r', 'table'), ('v', 'view'), ('c', 'type')) AS k (relkind, kind) ON k.relkind = c.relkind
    WHERE c.relnamespace IN ('flow_signal'::regnamespace, 'flow_signal_v1'::regnamespace)
)

SELECT
    o.schema::regnamespace::text AS schema, o.name, o.kind, o.returns, o.returns_set, o.properties,
    coalesce(o.comment, '') AS comment,
    ARRAY(
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
        FROM aclexplode(o.acl) AS a
        WHERE a.grantee <> o.owner
        ORDER BY 1
    ) AS granted,
    ARRAY(
        SELECT r.rolname::text
        FROM pg_roles AS r
        WHERE r.rolname LIKE 'flow%' AND r.oid NOT IN (SELECT a.grantee FROM aclexplode(o.acl) AS a)
            AND EXISTS (
                SELECT FROM aclexplode(o.acl) AS a WHERE a.grantee <> 0 AND pg_has_role(r.oid, a.grantee, 'USAGE')
            )
        ORDER BY 1
    ) AS inherited,
    CASE WHEN o.kind = 'function' THEN ARRAY(
        SELECT ARRAY[
            n.name, a.type::regtype::text,
            regexp_replace(pg_get_function_arg_default(o.oid, a.n::integer), '::[^'']+$', ''), '', '', NULL
        ]
        FROM pg_proc AS p
        CROSS JOIN unnest(p.proargtypes) WITH ORDINALITY AS a (type, n)
        INNER JOIN unnest(p.proargnames) WITH ORDINALITY AS n (name, n) ON n.n = a.n
        WHERE p.oid = o.oid
        ORDER BY a.n
    ) ELSE ARRAY(
        SELECT ARRAY[
            a.attname::text, format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid),
            CASE WHEN a.attnotnull THEN 'NOT NULL' ELSE '' END,
            CASE WHEN a.attnum = ANY(i.indkey) THEN 'PK' ELSE '' END, col_description(o.oid, a.attnum)
        ]
        FROM pg_attribute AS a
        LEFT JOIN pg_attrdef AS d ON d.adrelid = o.oid AND d.adnum = a.attnum
        LEFT JOIN pg_index AS i ON i.indrelid = o.oid AND i.indisprimary
        WHERE a.attrelid = o.oid AND a.attnum > 0 AND NOT a.attisdropped
        ORDER BY a.attnum
    ) END AS fields,
    ARRAY(SELECT pg_get_indexdef(i.indexrelid) FROM pg_index AS i WHERE i.indrelid = o.oid ORDER BY 1) AS indexes
FROM objects AS o
ORDER BY array_position('{function,view,type,table}', o.kind), o.name
