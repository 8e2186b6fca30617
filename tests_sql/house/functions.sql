-- Every function is declared, pinned, documented and written as the house wants it.
BEGIN;
SELECT plan(35);
\set test_files `ls tests_sql/api`
-- The first line of each file: what since, for which role.
\set headers `awk 'FNR == 1 { print FILENAME, $0 }' sql/functions/flow_signal_v1/*.sql`
\set no_locks `grep -L '^-- locks: ' sql/functions/flow_signal_v1/*.sql | grep -v /version.sql`
\set long_headers `awk 'FNR == 4 && /^--/ { print FILENAME }' sql/functions/*/*.sql`

CREATE TEMP VIEW functions AS
SELECT
    p.oid, n.nspname::text AS schema, p.proname::text AS name, p.provolatile, p.prosecdef,
    p.proconfig,
    p.proargnames, p.proargmodes, p.pronargs, l.lanname::text AS language, p.prorettype,
    p.proretset, p.prorows, p.proowner, p.proacl, p.prosrc,
    -- without comments and strings
    regexp_replace(
        regexp_replace(p.prosrc, '--[^\n]*', '', 'g'), '''[^'']*''', '''''', 'g'
    ) AS code
FROM pg_proc AS p
INNER JOIN pg_namespace AS n ON n.oid = p.pronamespace
INNER JOIN pg_language AS l ON l.oid = p.prolang
WHERE n.nspname ~ '^flow_signal(_v\d+)?$';
CREATE TEMP VIEW statements AS
SELECT f.schema, f.name, regexp_replace(s.statement, '\s+', ' ', 'g') AS statement
FROM functions AS f
CROSS JOIN regexp_split_to_table(f.code, ';|\mLOOP\M|\mBEGIN\M') AS s (statement);

SELECT cmp_ok(count(*), '>=', 2::bigint, format('schema %s has functions', s.schema))
FROM (VALUES ('flow_signal'), ('flow_signal_v1')) AS s (schema)
INNER JOIN functions AS f ON f.schema = s.schema
GROUP BY s.schema ORDER BY s.schema;

SELECT is_empty(
    $$SELECT f.schema, f.name, f.language
    FROM functions AS f WHERE f.language NOT IN ('plpgsql', 'sql')$$,
    'they are written in PL/pgSQL or SQL'
);
SELECT is_empty(
    $$SELECT f.schema, f.name
    FROM functions AS f
    WHERE f.prosecdef <> (f.schema <> 'flow_signal' AND f.name <> 'import_floworchestrator')$$,
    'those of the API are SECURITY DEFINER, but for one that reads a table of others; helpers are not'
);
SELECT is_empty(
    $$SELECT f.schema, f.name, f.proconfig FROM functions AS f
    WHERE NOT (f.schema = 'flow_signal' AND f.language = 'sql' AND f.proconfig IS NULL)
        AND 'search_path=pg_catalog, pg_temp' <> ALL(coalesce(f.proconfig, '{}'))$$,
    'their search_path is pg_catalog, pg_temp; only helpers that are inlined do without'
);
SELECT is_empty(
    $$SELECT f.schema, f.name, s.setting
    FROM functions AS f
    CROSS JOIN unnest(f.proconfig) AS s (setting)
    WHERE s.setting NOT IN (
        'search_path=pg_catalog, pg_temp', 'enable_seqscan=off', 'enable_bitmapscan=off', 'enable_hashjoin=off',
        'enable_mergejoin=off', 'enable_sort=off', 'jit=off'
    )$$,
    'they set nothing else, but for the planner'
);
SELECT is_empty(
    $$SELECT f.name, f.code
    FROM functions AS f
    CROSS JOIN regexp_replace(f.code, 'OPERATOR\(pg_catalog\.[^)]+\)', '', 'g') AS r (rest)
    WHERE f.proconfig IS NULL AND (
        r.rest ~ '[-+*/<>=~!@#%^&|`?]'
        OR r.rest ~ '::(?!pg_catalog\.)'
        OR regexp_replace(r.rest, 'pg_catalog\.\w+\(', '', 'g') ~* '\w+\s*\('
    )$$,
    'the helpers that are inlined qualify every operator, type and function'
);
SELECT is_empty(
    $$SELECT f.name FROM functions AS f WHERE f.proconfig IS NULL AND f.provolatile = 'v'$$,
    'and are not volatile, or they would not be inlined'
);
SELECT is_empty(
    $$SELECT f.schema, f.name
    FROM functions AS f
    WHERE f.provolatile <> 'v'
        AND f.code ~* '\m(clock_timestamp|insert|update|delete|pg_notify|pg_sleep)\M'$$,
    'who writes, waits or reads the clock is VOLATILE'
);
SELECT is_empty(
    $$SELECT f.schema, f.name, count(*)
    FROM functions AS f GROUP BY f.schema, f.name HAVING count(*) > 1$$,
    'no two functions have one name'
);
SELECT is_empty(
    $$SELECT f.schema, f.name
    FROM functions AS f
    WHERE f.pronargs <> (
        SELECT count(*)
        FROM unnest(f.proargnames) WITH ORDINALITY AS a (name, number)
        WHERE a.name ~ '^p_[a-z_]+$' AND coalesce(f.proargmodes[a.number] IN ('i', 'v'), true)
    )$$,
    'every parameter has a name, which starts with p_'
);
SELECT is_empty(
    $$SELECT f.schema, f.name
    FROM functions AS f
    INNER JOIN pg_type AS t ON t.oid = f.prorettype
    WHERE f.schema <> 'flow_signal'
        AND t.typnamespace NOT IN (f.schema::regnamespace, 'pg_catalog'::regnamespace)$$,
    'what the API returns is a type of its own major or of PostgreSQL'
);
SELECT is_empty(
    $$SELECT f.schema, f.name
    FROM functions AS f
    INNER JOIN pg_type AS t ON t.oid = f.prorettype
    WHERE f.schema <> 'flow_signal' AND t.typtype = 'c' AND NOT f.proretset$$,
    'a row is returned as a set, so that (f()).* calls the function once'
);
SELECT set_eq(
    $$SELECT f.name FROM functions AS f
    WHERE f.schema <> 'flow_signal' AND f.proretset AND f.prorows = 1$$,
    ARRAY[
        'register_waiter', 'deliver_signal', 'deliver_to_step', 'get_waiter', 'await_waiter',
        'remove_waiter', 'withdraw_signal', 'redeem_token', 'describe_token', 'read_health'
    ],
    'the planner knows which of them return one row'
);
SELECT is_empty(
    $$SELECT f.schema, f.name
    FROM functions AS f
    WHERE coalesce(obj_description(f.oid, 'pg_proc'), '') !~ '^[a-zA-Z].*\.$'$$,
    'every function has a comment, in sentences'
);
SELECT is_empty(
    $$SELECT f.schema, f.name, f.proowner::regrole
    FROM functions AS f WHERE f.proowner <> 'flow_signal_owner'::regrole$$,
    'flow_signal_owner owns every function'
);

SELECT is_empty(
    $$SELECT f.schema, f.name FROM functions AS f
    WHERE f.code ~* '\mskip\s+locked\M'
        AND f.name NOT IN ('await_waiter', 'claim_waiters', 'purge', 'purge_buffered')$$,
    'no call about a signal skips what is locked'
);
SELECT is_empty(
    $$SELECT s.schema, s.name, s.statement FROM statements AS s
    WHERE s.statement ~ '\mINSERT INTO flow_signal\.flow_signal_locks\M' AND NOT s.statement
        ~ ('ON CONFLICT \(run_id, signal_name\) DO UPDATE SET has_buffered = '
            '(true WHERE l\.has_buffered|l\.has_buffered WHERE false)')$$,
    'a lock row is locked by one form of a statement, which also makes it'
);
SELECT set_eq(
    $$SELECT s.name FROM statements AS s
    WHERE s.statement ~ '\mFROM flow_signal\.flow_signal_locks\M.*\mFOR (NO KEY )?(UPDATE|SHARE)\M'$$,
    ARRAY['purge', 'remove_run'], 'or by the two calls that delete it'
);
SELECT cmp_ok(count(*), '>=', 4::bigint, 'lock rows are seen to be locked')
FROM statements AS s WHERE s.statement ~ '\mINSERT INTO flow_signal\.flow_signal_locks\M';
SELECT is_empty(
    $$SELECT s.schema, s.name, s.statement FROM statements AS s
    WHERE s.statement ~ '\mFOR (NO KEY )?(UPDATE|SHARE)\M' AND NOT s.statement ~ '\mrun_id = \w'
        AND s.name NOT IN ('claim_waiters', 'broadcast_signal', 'purge', 'purge_buffered')$$,
    'rows are locked within a run, but by calls about all runs'
);
SELECT is_empty(
    $$SELECT f.schema, f.name FROM functions AS f
    WHERE f.code ~* '\mctid\M' AND f.name <> 'purge'
        OR replace(f.code, 'age(s.xmin)', '') ~* '\m(xmin|xmax|cmin|cmax|tableoid)\M'$$,
    'no system column is read, but the place of a row by purge; a replication slot has an xmin, too'
);
SELECT is_empty(
    $$SELECT f.schema, f.name FROM functions AS f
    WHERE (
        SELECT count(*) FROM regexp_matches(f.code, '(?<!END )\mCASE\M(?!\s+WHEN\M)', 'g')
    ) > (SELECT count(*) FROM regexp_matches(f.code, '\mEND CASE\M', 'g'))$$,
    'a CASE in a query has conditions, not values'
);
SELECT is_empty(
    $$SELECT s.schema, s.name, l.list[1] FROM statements AS s
    CROSS JOIN regexp_matches(
        s.statement, '\m(?:UPDATE .* )?SET ((?:(?!WHERE |FROM |RETURNING ).)*)', 'g'
    ) AS l (list)
    WHERE l.list[1] ~ '\w\['$$,
    'no array is subscripted in a SET list'
);
SELECT is_empty(
    $$SELECT f.schema, f.name FROM functions AS f
    WHERE f.code ~ '\m(FROM|INTO|UPDATE|JOIN) flow_signal\.flow_signal_'
        AND 'enable_seqscan=off' <> ALL(coalesce(f.proconfig, '{}'))
        AND f.name NOT IN ('record_delivery', 'purge_buffered')$$,
    'no function reads a whole table, but purge_buffered; the callers of record_delivery see to it'
);
SELECT is_empty(
    $$SELECT f.schema, f.name FROM functions AS f
    WHERE f.code ~* '\m(now|(transaction|statement)_timestamp|current_(timestamp|date|time))\M'$$,
    'the clock is clock_timestamp, never the start of the transaction'
);
SELECT is_empty(
    $$SELECT f.schema, f.name, c.call[1]
    FROM statements AS f
    CROSS JOIN regexp_replace(
        f.statement, '\mFOR (NO KEY )?UPDATE\M', '', 'gi'
    ) AS u (statement)
    CROSS JOIN substring(
        u.statement from '(?i)\m(?:UPDATE|DELETE FROM|ON CONFLICT|RETURNING)\M.*'
    ) AS w (part)
    CROSS JOIN regexp_matches(w.part, '(\w+)\s*\(', 'g') AS c (call)
    WHERE EXISTS (
        SELECT FROM pg_proc AS p WHERE p.proname = lower(c.call[1]) AND p.provolatile = 'v'
            AND p.pronamespace::regnamespace::text ~ '^(pg_catalog|flow_signal)'
    )$$,
    'no volatile function is called inside UPDATE, DELETE, ON CONFLICT or RETURNING'
);
SELECT is_empty(
    $$SELECT f.schema, f.name
    FROM functions AS f
    WHERE NOT (
        SELECT count(*) = ALL(ARRAY[
            count(*) FILTER (WHERE r.statement ~ '\mERRCODE = '),
            count(*) FILTER (WHERE r.statement ~ '\mMESSAGE = '),
            count(*) FILTER (WHERE r.statement ~ '\mDETAIL = '),
            count(*) FILTER (WHERE r.statement ~ '\mHINT = ')
        ])
        FROM regexp_split_to_table(f.code, ';') AS r (statement)
        WHERE r.statement ~ '\mRAISE\M(?! SQLSTATE|\s*$)'
    )$$,
    'every error has a code, a message, a detail and a hint'
);
SELECT is_empty(
    $$SELECT f.schema, f.name FROM functions AS f
    WHERE f.schema <> 'flow_signal' AND f.prosecdef AND f.code ~ '\mRAISE\M(?! SQLSTATE|;)'$$,
    'the API raises its errors through helpers, so that one condition has one wording'
);
SELECT is_empty(
    $$SELECT f.schema, f.name FROM functions AS f
    WHERE f.prosrc ~ '\mRAISE SQLSTATE (?!''WS099'')' OR f.prosrc ~ '\mWHEN OTHERS\M'$$,
    'a block is left with WS099 alone, and nothing is caught that is not named'
);
SELECT is_empty(
    $$SELECT f.schema, f.name FROM functions AS f
    WHERE f.prosrc !~ '\mWHEN SQLSTATE ''WS099'' THEN' AND (
        f.code ~ '\mRAISE SQLSTATE\M' AND f.name <> 'deliver_to_waiters'
        OR f.code ~ '\mdeliver_to_waiters\('
    )$$,
    'no caller sees WS099'
);
SELECT is(
    (
        SELECT string_agg(h.line, E'\n')
        FROM regexp_split_to_table(:'headers', E'\n') AS h (line)
        LEFT JOIN functions AS f
            ON f.schema = 'flow_signal_v1' AND h.line LIKE '%/' || f.name || '.sql %'
        WHERE h.line !~ '-- since: 1\.\d' OR (
            SELECT array_agg(substr(a.grantee::regrole::text, 13) ORDER BY a.grantee::regrole::text)
            FROM aclexplode(f.proacl) AS a WHERE a.grantee <> f.proowner
        ) IS DISTINCT FROM (
            SELECT array_agg(r.role[1] ORDER BY r.role[1])
            FROM substring(h.line, ' role: ([^|]*)') AS l (roles)
            CROSS JOIN regexp_matches(
                l.roles, '\m(sender|broadcaster|reader|redeemer|engine|admin)\M', 'g'
            ) AS r (role)
        )
    ),
    NULL, 'the header of each file says since when it is there, and who may call it'
);
SELECT is(:'no_locks'::text, '', 'and what it locks');
SELECT is(:'long_headers'::text, '', 'in at most three lines');

SELECT set_eq(
    $$SELECT f.name || '.sql' FROM functions AS f WHERE f.schema = 'flow_signal_v1'
    UNION ALL
    SELECT v.viewname || '.sql' FROM pg_views AS v WHERE v.schemaname = 'flow_signal_v1'$$,
    format('SELECT unnest(string_to_array(%L, E''\n''))', :'test_files'),
    'every function and view of the API has its test file, and every test file its object'
);

SELECT * FROM finish();
ROLLBACK;
