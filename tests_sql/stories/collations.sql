-- Values get the same answers whatever collation the caller gives them.
BEGIN;
\ir ../helpers.psql
CREATE SCHEMA collations;
DO $$
BEGIN
    CREATE COLLATION collations.ignores_case (
        provider = icu, locale = 'und-u-ks-level2', deterministic = false
    );
EXCEPTION
    WHEN feature_not_supported THEN NULL;  -- built without ICU
END
$$;
CREATE TEMP TABLE collations ON COMMIT DROP AS
SELECT format('%I.%I', n.nspname, c.collname) AS collation
FROM pg_collation AS c
INNER JOIN pg_namespace AS n ON n.oid = c.collnamespace
WHERE c.collencoding IN (-1, pg_char_to_encoding('UTF8')) AND c.collname IN (
    'default', 'C', 'POSIX', 'ucs_basic', 'C.utf8', 'pg_c_utf8', 'pg_unicode_fast', 'unicode',
    'und-x-icu',
    'de-x-icu', 'tr-x-icu', 'ignores_case'
);
GRANT USAGE ON SCHEMA collations TO public;
GRANT SELECT ON collations TO public;
SELECT plan((count(*) * 10 + 1)::integer) FROM collations;
SELECT ok(count(*) >= 4, format('there are %s collations', count(*))) FROM collations;
SET LOCAL ROLE flow_signal_engine;

-- A statement in which every text, %s, has a collation.
CREATE FUNCTION pg_temp.collated(p_collation text, p_statement text, VARIADIC p_values text [])
RETURNS text
LANGUAGE plpgsql
AS $function$
DECLARE
    v_arguments text [] := ARRAY(
        SELECT format('%L COLLATE %s', v, p_collation) FROM unnest(p_values) AS v
    );
    v_outcome text;
BEGIN
    EXECUTE format(p_statement, VARIADIC v_arguments) INTO v_outcome;
    RETURN v_outcome;
EXCEPTION
    WHEN OTHERS THEN
        RETURN SQLSTATE || ' ' || SQLERRM;
END
$function$;

-- Alike to one collation or the other.
CREATE TEMP TABLE names ON COMMIT DROP AS
SELECT n.name
FROM (
    VALUES ('a'), ('A'), ('ä'), (E'a\u0308'), ('i'), ('I'), ('İ'), ('ı'), ('ss'), ('ß'), ('a-b'),
    ('ab')
) AS n (name);

CREATE TEMP TABLE characters ON COMMIT DROP AS
SELECT chr(c.code) AS character, c.blank
FROM (
    SELECT code, true
    FROM unnest('{9,10,11,12,13,32,133,160,5760,8232,8233,8239,8287,12288}'::integer []) AS code
    UNION ALL
    SELECT code, true FROM generate_series(8192, 8202) AS code
    UNION ALL
    SELECT
        code,
        false FROM unnest(
            '{1,8,14,27,28,29,30,31,127,173,6158,8203,8204,8288,65279}'::integer []
        ) AS code
) AS c (code, blank);

SELECT is(
    (
        SELECT string_agg(to_hex(ascii(k.character)), ' ')
        FROM characters AS k
        CROSS JOIN LATERAL pg_temp.collated(
            c.collation,
            'SELECT FROM flow_signal_v1.get_waiter('
            'p_run_id => gen_random_uuid(), p_step_key => %s)',
            k.character
        ) AS o (outcome)
        -- A message shows a control character as a question mark.
        WHERE CASE WHEN k.blank THEN format(
            '22023 step key "%s" is blank',
            translate(k.character, E'\t\n\u000b\f\r\u0085', '??????')
        ) END IS DISTINCT FROM o.outcome
    ),
    NULL, format('%s: the same characters are blank', c.collation)
)
FROM collations AS c;

SELECT is(
    (
        SELECT string_agg(n.name, ' ')
        FROM names AS n
        CROSS JOIN LATERAL pg_temp.collated(
            c.collation, format(
                'SELECT step_key FROM flow_signal_v1.register_waiter('
                'p_run_id => %L, p_step_key => %%s, p_signal_name => %%s, '
                'p_wake_channel => %%s, p_queue => %%s)',
                md5(c.collation)
            ),
            n.name, n.name, n.name, n.name || c.collation
        ) AS o (outcome)
        WHERE o.outcome <> n.name
    ),
    NULL, format('%s: names that are alike register', c.collation)
)
FROM collations AS c;

SELECT is(
    (
        SELECT string_agg(n.name, ' ')
        FROM names AS n
        CROSS JOIN LATERAL pg_temp.collated(
            c.collation, format('SELECT step_key FROM flow_signal_v1.' || r.call, md5(c.collation)),
            n.name
        ) AS o (outcome)
        WHERE o.outcome IS DISTINCT FROM n.name
    ),
    NULL, format('%s: %s finds each by its own name', c.collation, split_part(r.call, '(', 1))
)
FROM collations AS c
CROSS JOIN (
    VALUES
    ('get_waiter(p_run_id => %L, p_step_key => %%s)'),
    ('await_waiter(p_run_id => %L, p_step_key => %%s, p_max_wait => ''0'')')
) AS r (call);

SELECT is(
    (
        SELECT string_agg(n.name || ': ' || o.outcome, ', ')
        FROM names AS n
        CROSS JOIN LATERAL pg_temp.collated(
            c.collation, format(
                'SELECT status FROM flow_signal_v1.deliver_signal('
                'p_run_id => %L, p_signal_name => %%s, p_payload_json => %%s, '
                'p_delivery_id => %%s) AS d WHERE d.step_key <> (%%s) COLLATE "C"',
                md5(c.collation)
            ),
            n.name, '1', n.name, n.name
        ) AS o (outcome)
        WHERE o.outcome IS NOT NULL
    ),
    NULL, format('%s: each signal reaches its own waiter', c.collation)
)
FROM collations AS c;

SELECT is(
    (
        SELECT string_agg(n.name, ' ')
        FROM names AS n
        CROSS JOIN LATERAL pg_temp.collated(
            c.collation,
            'SELECT string_agg(step_key, '','') FROM flow_signal_v1.claim_waiters(p_queue => %s)',
            n.name || c.collation
        ) AS o (outcome)
        WHERE o.outcome IS DISTINCT FROM n.name
    ),
    NULL, format('%s: claim_waiters finds each in its own queue', c.collation)
)
FROM collations AS c;

SELECT is(
    ARRAY(
        SELECT pg_temp.collated(
            c.collation, format(o.call, md5(c.collation)), VARIADIC o.arguments
        )
        FROM (
            SELECT
                'SELECT status FROM flow_signal_v1.deliver_signal('
                'p_run_id => %L, p_signal_name => %%s, p_payload_json => %%s, p_delivery_id => %%s)', a.arguments
            FROM (VALUES ('{a, 1, a}'::text []), ('{a, 2, a}'), ('{a, 1, A}')) AS a (arguments)
            UNION ALL
            VALUES
            (
                'SELECT status FROM flow_signal_v1.deliver_signal('
                'p_run_id => %L, p_signal_name => %%s)',
                '{nobody}'::text []
            ),
            (
                'SELECT state FROM flow_signal_v1.register_waiter('
                'p_run_id => %L, p_step_key => %%s, p_signal_name => %%s)',
                '{a, A}'
            )
        ) AS o (call, arguments)
    ),
    ARRAY[
        'delivered', 'WS002 delivery id "a" was used with another payload', 'already_delivered',
        'not_found',
        format(
            'WS001 step "a" of run %s already has the payload of signal "a"',
            md5(c.collation)::uuid
        )
    ],
    format('%s: the same verdicts', c.collation)
)
FROM collations AS c;

SELECT is(
    ARRAY(
        SELECT pg_temp.collated(
            c.collation,
            format(
                'SELECT signal_name || state FROM flow_signal_v1.register_waiter('
                'p_run_id => %L, p_step_key => %%s, p_signal_name => %%s, p_queue => %%s)',
                md5(c.collation || ' changes')
            ),
            VARIADIC o.arguments
        )
        FROM (
            VALUES ('{s, go, q}'::text []), ('{s, GO, q}'), ('{s, GO, Q}'), ('{S, go, q}'),
            ('{s, go, q}')
        ) AS o (arguments)
    ),
    ARRAY['gowaiting', 'GOwaiting', 'GOwaiting', 'gowaiting', 'gowaiting'],
    format('%s: a waiter changes to another signal', c.collation)
)
FROM collations AS c;

-- Behind them, what was registered by one call is there for another.
SELECT is(
    ARRAY(
        SELECT pg_temp.collated(
            c.collation, replace(o.call, '$run', quote_literal(md5(c.collation || ' batches'))),
            VARIADIC o.arguments
        )
        FROM (
            VALUES
            (
                'SELECT string_agg(state, '','') FROM flow_signal_v1.register_waiters('
                'array_fill(uuid $run, ARRAY[2]), ARRAY[%s, %s], ARRAY[%s, %s])',
                '{a, A, a, A}'::text []
            ),
            -- again, with a change
            (
                'SELECT string_agg(state, '','') FROM flow_signal_v1.register_waiters('
                'array_fill(uuid $run, ARRAY[2]), ARRAY[%s, %s], ARRAY[%s, %s], p_queue => %s)',
                '{a, A, a, A, q}'
            ),
            (
                'SELECT count(*) FROM flow_signal_v1.list_waiters($run, %s, %s)',
                '{A, waiting}'
            ),
            (
                'SELECT count(*) FROM flow_signal_v1.list_waiters(NULL, %s, %s, $run, %s)',
                '{a, waiting, A}'
            ),
            (
                'SELECT string_agg(status || step_key, '','') FROM flow_signal_v1.deliver_signals('
                'array_fill(uuid $run, ARRAY[2]), ARRAY[%s, %s], NULL, ARRAY[%s, %s])',
                '{a, A, i, I}'
            ),
            (
                'SELECT string_agg(status, '','') FROM flow_signal_v1.deliver_signals('
                'array_fill(uuid $run, ARRAY[2]), ARRAY[%s, %s], NULL, ARRAY[%s, %s], ''tomorrow'')',
                '{b, B, i, I}'
            ),
            (
                'SELECT count(*) FROM flow_signal_v1.list_buffered_signals($run, %s, %s)',
                '{B, buffered}'
            ),
            (
                'SELECT status FROM flow_signal_v1.deliver_to_step($run, %s, %s, %s)',
                '{A, 2, I}'
            ),
            (
                'SELECT state FROM flow_signal_v1.register_waiter($run, %s, %s, ''2001-01-01'')',
                '{past, c}'
            ),
            ('SELECT state FROM flow_signal_v1.await_waiter($run, %s)', '{past}'),
            ('SELECT count(*) FROM flow_signal_v1.broadcast_signal(%s)', '{nobody}')
        ) AS o (call, arguments)
    ),
    ARRAY[
        'waiting,waiting', 'waiting,waiting', '1', '1', 'delivereda,deliveredA',
        'buffered,buffered', '1', 'WS002 delivery id "I" was used with another payload',
        'expired', 'expired', '0'
    ],
    format('%s: batches, lists and the other calls', c.collation)
)
FROM collations AS c;

SELECT is(
    (
        SELECT count(o.outcome)
        FROM names AS n
        CROSS JOIN LATERAL pg_temp.collated(
            c.collation,
            format(
                'SELECT step_key FROM flow_signal_v1.remove_waiter('
                'p_run_id => %L, p_step_key => %%s)',
                md5(c.collation)
            ),
            n.name
        ) AS o (outcome)
    ),
    12::bigint, format('%s: each is removed by its own name', c.collation)
)
FROM collations AS c;

SELECT * FROM finish();
ROLLBACK;
