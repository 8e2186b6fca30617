-- Drops functions and views of an earlier release that CREATE OR REPLACE cannot replace, before
-- anything else is changed. Objects of others that depend on them stop it with one message.
DO $former$
DECLARE
    v_functions oid [];
    v_views oid [];
    v_kept oid [];
    v_foreign text;
    v_object record;
    v_others record;
BEGIN
    WITH present (part, names, types, defaults, returns_set, result) AS (
        VALUES
        @SIGNATURES@
    ),

    functions AS (
        SELECT
            p.oid, l.part, f.part IS NOT NULL AS has_successor,
            coalesce(p.proargnames, '{}') = f.names::text []
            AND p.proargtypes::text = (
                SELECT coalesce(string_agg(
                    coalesce(to_regtype(t.name)::oid, 0)::text, ' ' ORDER BY t.position
                ), '')
                FROM unnest(f.types::text []) WITH ORDINALITY AS t (name, position)
            )
            AND p.pronargdefaults <= f.defaults
            AND p.proretset = f.returns_set
            AND p.prorettype IS NOT DISTINCT FROM to_regtype(f.result) AS replaceable
        FROM pg_proc AS p
        INNER JOIN pg_namespace AS n ON p.pronamespace = n.oid
        INNER JOIN flow_signal.ledger AS l
            ON l.part = format('functions/%s/%s.sql', n.nspname, p.proname)
        LEFT JOIN present AS f ON f.part = l.part
    ),

    objects (oid, kind, name, state) AS (
        SELECT
            f.oid, 'FUNCTION', f.oid::regprocedure::text,
            CASE
                -- A helper that is gone goes; the API keeps what it ever had.
                WHEN NOT f.has_successor THEN
                    CASE WHEN starts_with(f.part, 'functions/flow_signal/') THEN 'former' END
                WHEN f.replaceable THEN 'kept'
                WHEN bool_or(f.replaceable) OVER (PARTITION BY f.part) THEN 'foreign'
                ELSE 'former'
            END
        FROM functions AS f
        UNION ALL
        SELECT
            c.oid, 'VIEW', c.oid::regclass::text,
            -- More columns may follow those that there were.
            CASE WHEN (f.names::text [])[1:cardinality(a.names)] = a.names THEN 'kept'
                ELSE 'former'
            END
        FROM pg_class AS c
        INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
        INNER JOIN flow_signal.ledger AS l
            ON l.part = format('views/%s/%s.sql', n.nspname, c.relname)
        INNER JOIN present AS f ON f.part = l.part
        CROSS JOIN LATERAL (
            SELECT array_agg(a.attname::text ORDER BY a.attnum)
            FROM pg_attribute AS a
            WHERE a.attrelid = c.oid AND a.attnum > 0
        ) AS a (names)
        WHERE c.relkind = 'v'
    )

    SELECT
        array_remove(array_agg(CASE WHEN o.kind = 'FUNCTION' AND o.state = 'former' THEN o.oid END), NULL),
        array_remove(array_agg(CASE WHEN o.kind = 'VIEW' AND o.state = 'former' THEN o.oid END), NULL),
        array_remove(array_agg(CASE WHEN o.kind = 'VIEW' AND o.state = 'kept' THEN o.oid END), NULL),
        string_agg(o.name, ', ' ORDER BY o.name) FILTER (WHERE o.state = 'foreign')
    INTO v_functions, v_views, v_kept, v_foreign
    FROM objects AS o;
    IF v_foreign IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = '42723',
            MESSAGE = format('functions with names of the API: %s', v_foreign),
            DETAIL = 'no release made them, and they make calls ambiguous; nothing was changed',
            HINT = format('run: DROP FUNCTION %s', v_foreign);
    END IF;

    WITH RECURSIVE dependents (class, oid, part, depth) AS (
        SELECT 'pg_proc'::regclass::oid, f.oid, 0, 0
        FROM unnest(v_functions) AS f (oid)
        UNION ALL
        SELECT 'pg_class'::regclass::oid, v.oid, 0, 0
        FROM unnest(v_views) AS v (oid)
        UNION ALL
        SELECT o.class, o.oid, o.part, d.depth + 1
        FROM dependents AS d
        INNER JOIN pg_depend AS p
            ON p.refclassid = d.class AND p.refobjid = d.oid
                AND (d.part = 0 OR p.refobjsubid = d.part)
                AND p.deptype IN ('n', 'a', 'i')
        LEFT JOIN pg_rewrite AS r
            ON p.classid = 'pg_rewrite'::regclass AND r.oid = p.objid AND r.rulename = '_RETURN'
        LEFT JOIN (
            pg_attrdef AS e
            INNER JOIN pg_attribute AS g
                ON g.attrelid = e.adrelid AND g.attnum = e.adnum AND g.attgenerated <> ''
        ) ON p.classid = 'pg_attrdef'::regclass AND e.oid = p.objid
        -- A view is meant, not its rule, and a generated column, not its expression.
        CROSS JOIN LATERAL (
            SELECT
                CASE WHEN coalesce(r.oid, e.oid) IS NULL THEN p.classid
                    ELSE 'pg_class'::regclass::oid
                END,
                coalesce(r.ev_class, e.adrelid, p.objid),
                coalesce(e.adnum, p.objsubid)
        ) AS o (class, oid, part)
        WHERE (o.class, o.oid, o.part) <> (d.class, d.oid, d.part)
            AND NOT (o.class = 'pg_class'::regclass AND o.oid = ANY(v_views || v_kept))
    ),

    others AS (
        SELECT
            d.class, d.oid, d.part, max(d.depth) AS depth,
            pg_describe_object(d.class, d.oid, d.part) AS name
        FROM dependents AS d
        WHERE d.depth > 0
            -- the type of a view comes and goes with it
            AND NOT EXISTS (
                SELECT FROM pg_type AS t
                WHERE d.class = 'pg_type'::regclass AND t.oid = d.oid
                    AND (t.typrelid <> 0 OR t.typelem <> 0)
            )
            AND NOT EXISTS (
                SELECT FROM pg_class AS c
                WHERE d.class = 'pg_class'::regclass AND c.oid = d.oid AND c.relkind = 't'
            )
        GROUP BY d.class, d.oid, d.part
    )

    SELECT
        string_agg(o.name, ', ' ORDER BY o.depth, o.name) AS names,
        string_agg(coalesce(s.remove, '-- drop ' || o.name), E'\n'
            ORDER BY o.depth DESC, o.name) AS removal,
        string_agg(coalesce(s.remake, '-- make ' || o.name), E'\n'
            ORDER BY o.depth, o.name) AS remaking
    INTO v_others
    FROM others AS o
    LEFT JOIN LATERAL (
        SELECT
            format('DROP %s %s;', k.kind, o.oid::regclass),
            format(
                E'CREATE %s %s%s AS\n%s\nALTER %s %s OWNER TO %I;%s',
                k.kind, o.oid::regclass,
                ' WITH (' || array_to_string(c.reloptions, ', ') || ')',
                pg_get_viewdef(o.oid),
                k.kind, o.oid::regclass, pg_get_userbyid(c.relowner),
                (
                    SELECT string_agg(format(
                        E'\nGRANT %s ON %s TO %s%s;', a.privilege_type, o.oid::regclass,
                        CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
                        CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' END
                    ), '')
                    FROM aclexplode(c.relacl) AS a
                    WHERE a.grantee <> c.relowner
                )
            )
        FROM pg_class AS c
        CROSS JOIN LATERAL (
            SELECT CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'MATERIALIZED VIEW' END
        ) AS k (kind)
        WHERE o.class = 'pg_class'::regclass AND c.oid = o.oid AND c.relkind IN ('v', 'm')
        UNION ALL
        SELECT
            format('DROP INDEX %s;', o.oid::regclass), pg_get_indexdef(o.oid) || ';'
        FROM pg_index AS x
        WHERE o.class = 'pg_class'::regclass AND x.indexrelid = o.oid
        UNION ALL
        SELECT
            format('ALTER TABLE %s DROP COLUMN %I;', o.oid::regclass, a.attname),
            format(
                'ALTER TABLE %s ADD COLUMN %I %s GENERATED ALWAYS AS (%s) STORED;',
                o.oid::regclass, a.attname, format_type(a.atttypid, a.atttypmod),
                pg_get_expr(e.adbin, e.adrelid)
            )
        FROM pg_attribute AS a
        INNER JOIN pg_attrdef AS e ON e.adrelid = a.attrelid AND e.adnum = a.attnum
        WHERE o.class = 'pg_class'::regclass AND a.attrelid = o.oid AND a.attnum = o.part
            AND a.attgenerated <> ''
        UNION ALL
        SELECT
            format('DROP ROUTINE %s;', o.oid::regprocedure),
            format(
                E'%s;\nALTER ROUTINE %s OWNER TO %I;%s%s', rtrim(pg_get_functiondef(o.oid), E'\n'),
                o.oid::regprocedure, pg_get_userbyid(p.proowner),
                CASE WHEN p.proacl IS NOT NULL
                    THEN format(E'\nREVOKE ALL ON ROUTINE %s FROM PUBLIC;', o.oid::regprocedure)
                END,
                (
                    SELECT string_agg(format(
                        E'\nGRANT EXECUTE ON ROUTINE %s TO %s%s;', o.oid::regprocedure,
                        CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
                        CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' END
                    ), '')
                    FROM aclexplode(p.proacl) AS a
                    WHERE a.grantee <> p.proowner
                )
            )
        FROM pg_proc AS p
        WHERE o.class = 'pg_proc'::regclass AND p.oid = o.oid AND p.prokind IN ('f', 'p')
        UNION ALL
        SELECT
            format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT;', e.adrelid::regclass, a.attname),
            format(
                'ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s;', e.adrelid::regclass, a.attname,
                pg_get_expr(e.adbin, e.adrelid)
            )
        FROM pg_attrdef AS e
        INNER JOIN pg_attribute AS a ON a.attrelid = e.adrelid AND a.attnum = e.adnum
        WHERE o.class = 'pg_attrdef'::regclass AND e.oid = o.oid
        UNION ALL
        SELECT
            format('ALTER %s DROP CONSTRAINT %I;', t.name, c.conname),
            format('ALTER %s ADD CONSTRAINT %I %s;', t.name, c.conname, pg_get_constraintdef(c.oid))
        FROM pg_constraint AS c
        CROSS JOIN LATERAL (
            SELECT CASE c.conrelid WHEN 0 THEN 'DOMAIN ' || c.contypid::regtype
                ELSE 'TABLE ' || c.conrelid::regclass
            END
        ) AS t (name)
        WHERE o.class = 'pg_constraint'::regclass AND c.oid = o.oid
        UNION ALL
        SELECT
            format('DROP TRIGGER %I ON %s;', t.tgname, t.tgrelid::regclass),
            pg_get_triggerdef(t.oid) || ';'
        FROM pg_trigger AS t
        WHERE o.class = 'pg_trigger'::regclass AND t.oid = o.oid
        UNION ALL
        SELECT
            format('DROP RULE %I ON %s;', r.rulename, r.ev_class::regclass), pg_get_ruledef(r.oid)
        FROM pg_rewrite AS r
        WHERE o.class = 'pg_rewrite'::regclass AND r.oid = o.oid
        UNION ALL
        SELECT
            format('DROP STATISTICS %I.%I;', n.nspname, x.stxname),
            pg_get_statisticsobjdef(x.oid) || ';'
        FROM pg_statistic_ext AS x
        INNER JOIN pg_namespace AS n ON x.stxnamespace = n.oid
        WHERE o.class = 'pg_statistic_ext'::regclass AND x.oid = o.oid
        UNION ALL
        SELECT
            format('DROP POLICY %I ON %s;', p.polname, p.polrelid::regclass),
            format(
                'CREATE POLICY %I ON %s AS %s FOR %s TO %s%s%s;', p.polname, p.polrelid::regclass,
                CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
                CASE p.polcmd
                    WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                    WHEN 'd' THEN 'DELETE' ELSE 'ALL'
                END,
                (
                    SELECT string_agg(
                        CASE r.oid WHEN 0 THEN 'PUBLIC' ELSE r.oid::regrole::text END, ', '
                    )
                    FROM unnest(p.polroles) AS r (oid)
                ),
                ' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')',
                ' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')'
            )
        FROM pg_policy AS p
        WHERE o.class = 'pg_policy'::regclass AND p.oid = o.oid
    ) AS s (remove, remake) ON true;

    IF v_others.names IS NOT NULL THEN
        RAISE EXCEPTION USING
            ERRCODE = '2BP01',
            MESSAGE = format('other objects depend on objects that this release replaces: %s', v_others.names),
            DETAIL = 'nothing was changed',
            HINT = format(E'drop them, run this script again, then make them anew:\n%s\n-- now the script\n%s',
                v_others.removal, v_others.remaking);
    END IF;

    -- A migration can then drop the columns that a view shows; its part is applied again.
    IF v_functions <> '{}' OR EXISTS (
        SELECT FROM unnest('{@PARTS@}'::text []) AS p (part)
        WHERE starts_with(p.part, 'migrations/')
            AND p.part NOT IN (SELECT l.part FROM flow_signal.ledger AS l)
    ) THEN
        FOR v_object IN
            SELECT
                v.oid::regclass AS name,
                string_agg(format(
                    'NULL::%s%s AS %I', format_type(a.atttypid, a.atttypmod),
                    CASE WHEN a.attcollation <> t.typcollation
                        THEN ' COLLATE ' || a.attcollation::regcollation
                    END, a.attname
                ), ', ' ORDER BY a.attnum) AS columns
            FROM unnest(v_kept) AS v (oid)
            INNER JOIN pg_attribute AS a ON a.attrelid = v.oid AND a.attnum > 0
            INNER JOIN pg_type AS t ON t.oid = a.atttypid
            GROUP BY v.oid
        LOOP
            EXECUTE format('CREATE OR REPLACE VIEW %s AS SELECT %s', v_object.name, v_object.columns);
        END LOOP;
    ELSE
        v_kept := '{}';
    END IF;
    UPDATE flow_signal.ledger AS l
    SET checksum = ''
    WHERE l.part IN (
        SELECT format('views/%s/%s.sql', n.nspname, c.relname)
        FROM pg_class AS c
        INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid
        WHERE c.oid = ANY(v_views || v_kept)
        UNION ALL
        SELECT format('functions/%s/%s.sql', n.nspname, p.proname)
        FROM pg_proc AS p
        INNER JOIN pg_namespace AS n ON p.pronamespace = n.oid
        WHERE p.oid = ANY(v_functions)
    );
    FOR v_object IN
        SELECT 'VIEW' AS kind, v.oid::regclass::text AS name
        FROM unnest(v_views) AS v (oid)
        UNION ALL
        SELECT 'FUNCTION', f.oid::regprocedure::text
        FROM unnest(v_functions) AS f (oid)
        ORDER BY 1 DESC, 2
    LOOP
        EXECUTE format('DROP %s %s', v_object.kind, v_object.name);
        RAISE NOTICE 'flow-signal: % % dropped', lower(v_object.kind), v_object.name;
    END LOOP;
    DELETE FROM flow_signal.ledger AS l
    WHERE starts_with(l.part, 'functions/flow_signal/') AND l.part <> ALL('{@PARTS@}'::text []);
END
$former$;
