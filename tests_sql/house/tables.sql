-- Tables, types and indexes are owned, documented and shaped so that a run can live anywhere.
BEGIN;
SELECT plan(31);

CREATE TEMP VIEW relations AS
SELECT
    c.oid, c.relname::text AS name, c.relkind, c.relpersistence, c.relowner, c.relhasrules,
    n.nspname
FROM pg_class AS c
INNER JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname ~ '^flow_signal(_v\d+)?$';
CREATE TEMP VIEW columns AS
SELECT
    r.oid, r.name AS relation, r.relkind, r.nspname, a.attnum, a.attname::text AS name,
    a.atttypid::regtype::text AS type, a.attcollation, a.attidentity, a.attgenerated
FROM relations AS r
INNER JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped;
CREATE TEMP VIEW indexes AS
SELECT
    i.indexrelid::regclass::text AS name, i.indrelid::regclass::text AS relation, i.indisunique,
    i.indisvalid, (
        SELECT array_agg(a.attname::text ORDER BY k.number)
        FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, number)
        INNER JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    ) AS keys
FROM pg_index AS i
INNER JOIN relations AS r ON r.oid = i.indrelid
WHERE EXISTS (SELECT FROM columns AS c WHERE c.oid = r.oid AND c.name = 'run_id');

SELECT set_eq(
    $$SELECT r.name
    FROM relations AS r WHERE r.relkind IN ('r', 'p') AND r.nspname = 'flow_signal'$$,
    ARRAY[
        'flow_signal_waiters', 'flow_signal_buffered_signals', 'flow_signal_locks',
        'flow_signal_receipts', 'flow_signal_tokens', 'flow_signal_settings', 'ledger'
    ],
    'the tables'
);
SELECT is_empty(
    $$SELECT r.name FROM relations AS r WHERE r.relkind IN ('r', 'p', 'S', 'm', 'f')
    AND r.nspname <> 'flow_signal'$$,
    'the API has none'
);
SELECT is_empty(
    $$SELECT r.name FROM relations AS r WHERE r.relkind IN ('S', 'm', 'f', 'p')$$,
    'no sequence, no materialized view, no foreign table, no partition'
);
SELECT is_empty(
    $$SELECT r.name FROM relations AS r WHERE r.relpersistence <> 'p'$$,
    'all of it survives a crash'
);
SELECT is_empty(
    $$SELECT t.tgname FROM pg_trigger AS t INNER JOIN relations AS r ON r.oid = t.tgrelid$$,
    'no trigger'
);
SELECT is_empty(
    $$SELECT w.rulename
    FROM pg_rewrite AS w INNER JOIN relations AS r ON r.oid = w.ev_class
    WHERE r.relkind <> 'v'$$,
    'no rule'
);
SELECT is_empty(
    $$SELECT c.conname
    FROM pg_constraint AS c INNER JOIN relations AS r ON r.oid IN (c.conrelid, c.confrelid)
    WHERE c.contype = 'f'$$,
    'no foreign key'
);
SELECT is_empty(
    $$SELECT c.conname
    FROM pg_constraint AS c INNER JOIN relations AS r ON r.oid = c.conrelid
    WHERE c.contype = 'x' OR c.condeferrable OR NOT c.convalidated$$,
    'no exclusion, no deferred check, none that is not validated'
);
SELECT is_empty(
    $$SELECT c.relation, c.name
    FROM columns AS c WHERE c.attidentity <> '' OR c.attgenerated <> ''$$,
    'no identity column, no generated one'
);
SELECT is_empty(
    $$SELECT c.relation, c.name FROM columns AS c
    WHERE c.type ~ '^(timestamp without|time with|character|jsonb|real|double|money)'
        AND c.name <> 'notify_queue_usage'$$,
    'no type that drivers or time zones change, but for a ratio that PostgreSQL gives so'
);
SELECT is_empty(
    $$SELECT t.typname FROM pg_type AS t
    WHERE t.typnamespace::regnamespace::text ~ '^flow_signal'
    AND t.typtype IN ('e', 'd', 'r')$$,
    'no enum, no domain, no range'
);
SELECT is_empty(
    $$SELECT c.relation, c.name, c.attcollation::regcollation
    FROM columns AS c
    WHERE c.relkind = 'r' AND c.relation <> 'ledger' AND c.type = 'text'
        AND c.attcollation <> '"C"'::regcollation$$,
    'names are ordered by their bytes, in every database'
);

SELECT is_empty(
    $$SELECT r.name FROM relations AS r
    WHERE r.relkind = 'r' AND NOT EXISTS (
        SELECT FROM pg_constraint AS c WHERE c.conrelid = r.oid AND c.contype = 'p'
    )$$,
    'every table has a primary key'
);
SELECT cmp_ok(count(*), '>=', 6::bigint, 'there are indexes on run_id') FROM indexes;
SELECT is_empty(
    $$SELECT i.name, i.keys FROM indexes AS i
    WHERE i.keys[1] <> 'run_id' AND i.name NOT IN (
        'flow_signal.flow_signal_waiters_due_idx',
        'flow_signal.flow_signal_buffered_signals_until_idx'
    )$$,
    'run_id comes first in every index but those of claim_waiters and health'
);
SELECT is_empty(
    $$SELECT i.name FROM indexes AS i WHERE i.indisunique AND 'run_id' <> ALL(i.keys)$$,
    'nothing is unique across runs'
);
SELECT is_empty(
    $$SELECT i.name FROM indexes AS i WHERE NOT i.indisvalid$$, 'every index is valid'
);
SELECT is_empty(
    $$SELECT r.name FROM relations AS r
    WHERE r.relkind IN ('r', 'v')
    AND coalesce(obj_description(r.oid, 'pg_class'), '') !~ '^[A-Z].*\.$'$$,
    'every table and view has a comment, in sentences'
);
SELECT is_empty(
    $$SELECT t.typname FROM pg_type AS t INNER JOIN relations AS r ON r.oid = t.typrelid
    WHERE r.relkind = 'c'
    AND coalesce(obj_description(t.oid, 'pg_type'), '') !~ '^[A-Z].*\.$'$$,
    'so has every type'
);
SELECT is_empty(
    $$SELECT r.name, r.relowner::regrole FROM relations AS r
    WHERE r.relowner <> 'flow_signal_owner'::regrole$$,
    'flow_signal_owner owns every table, index and view'
);
SELECT is_empty(
    $$SELECT t.typname, t.typowner::regrole FROM pg_type AS t
    WHERE t.typnamespace::regnamespace::text ~ '^flow_signal'
        AND t.typowner <> 'flow_signal_owner'::regrole$$,
    'and every type'
);
SELECT is_empty(
    $$SELECT n.nspname, n.nspowner::regrole FROM pg_namespace AS n
    WHERE n.nspname ~ '^flow_signal' AND n.nspowner <> 'flow_signal_owner'::regrole$$,
    'and both schemas'
);
SELECT is_empty(
    $$SELECT e.extname FROM pg_extension AS e
    INNER JOIN pg_depend AS d ON d.refobjid = e.oid AND d.refclassid = 'pg_extension'::regclass
    INNER JOIN relations AS r ON r.oid = d.objid$$,
    'no extension is needed'
);

SELECT is(
    (
        SELECT string_agg(c.name || ' ' || c.type, ', ' ORDER BY c.attnum)
        FROM columns AS c
        WHERE c.nspname = 'flow_signal_v1' AND c.relation = t.type
    ),
    t.attributes, format('type %s has the attributes of the contract, in their order', t.type)
)
FROM (
    VALUES
    (
        'waiter',
        'run_id uuid, step_key text, signal_name text, state text, '
        'created_at timestamp with time zone, expires_at timestamp with time zone, '
        'delivered_at timestamp with time zone, payload_json json'
    ),
    (
        'delivery',
        'status text, run_id uuid, step_key text, delivered_at timestamp with time zone, '
        'replayed boolean'
    ),
    (
        'buffered_signal',
        'run_id uuid, signal_name text, position bigint, state text, '
        'buffered_at timestamp with time zone, buffered_until timestamp with time zone, '
        'delivery_id text, payload_json json'
    ),
    (
        'claimed_waiter',
        'run_id uuid, step_key text, signal_name text, state text, '
        'created_at timestamp with time zone, expires_at timestamp with time zone, '
        'delivered_at timestamp with time zone, payload_json json, claim_id uuid, '
        'attempt integer'
    ),
    ('imported_waiter', 'run_id uuid, step_key text, outcome text, detail text'),
    (
        'sender',
        'run_id uuid, signal_name text, step_key text, delivery_id text, status text, '
        'recorded_at timestamp with time zone, login text'
    )
) AS t (type, attributes);
SELECT set_eq(
    $$SELECT r.name FROM relations AS r WHERE r.relkind = 'c'$$,
    ARRAY[
        'waiter', 'delivery', 'buffered_signal', 'claimed_waiter', 'token', 'imported_waiter',
        'health_report', 'sender'
    ],
    'there are no other types'
);
SELECT is(
    (
        SELECT count(*)
        FROM indexes AS i
        WHERE i.relation = 'flow_signal.flow_signal_waiters' AND 'queue' = ANY(i.keys)
            AND pg_get_expr(
                (SELECT x.indpred FROM pg_index AS x WHERE x.indexrelid = i.name::regclass),
                'flow_signal.flow_signal_waiters'::regclass
            ) IS NOT NULL
    ),
    (SELECT count(*) FROM indexes AS i WHERE 'queue' = ANY(i.keys)),
    'a waiter without a queue pays for no index of queues'
);

SELECT * FROM finish();
ROLLBACK;
