-- import_waiters takes over waiters of another store as they were, and a repeat only what is new.
BEGIN;
SELECT plan(50);
\ir ../helpers.psql

SELECT is(
    pg_get_function_arguments('flow_signal_v1.import_waiters'::regproc),
    'p_run_ids uuid[], p_step_keys text[], p_signal_names text[], '
    'p_created_at timestamp with time zone[], p_expires_at timestamp with time zone[], '
    'p_delivered_at timestamp with time zone[], p_payloads_json text[], p_dry_run boolean DEFAULT false',
    'the parameters, their order and defaults'
);
SELECT is(
    pg_get_function_result('flow_signal_v1.import_waiters'::regproc), 'SETOF flow_signal_v1.imported_waiter',
    'the result'
);

CREATE TEMP TABLE source (
    number integer GENERATED ALWAYS AS IDENTITY, run text DEFAULT 'run', step_key text, signal_name text DEFAULT 'go',
    created_at timestamptz DEFAULT '2020-01-01', expires_at timestamptz, delivered_at timestamptz, payload_json text
) ON COMMIT DROP;
GRANT SELECT ON source TO public;

-- A line for each that is not simply "imported".
CREATE FUNCTION pg_temp.import(p_dry_run boolean DEFAULT false)
RETURNS text
LANGUAGE sql
AS $function$
SELECT string_agg(concat_ws(' ', i.step_key, i.outcome, '(' || i.detail || ')'), ', ')
FROM (
    SELECT
        array_agg(md5(s.run)::uuid ORDER BY s.number), array_agg(s.step_key ORDER BY s.number),
        array_agg(s.signal_name ORDER BY s.number), array_agg(s.created_at ORDER BY s.number),
        array_agg(s.expires_at ORDER BY s.number), array_agg(s.delivered_at ORDER BY s.number),
        array_agg(s.payload_json ORDER BY s.number)
    FROM source AS s
) AS a (run_ids, step_keys, signal_names, created_at, expires_at, delivered_at, payloads)
CROSS JOIN LATERAL flow_signal_v1.import_waiters(
    p_run_ids => a.run_ids, p_step_keys => a.step_keys, p_signal_names => a.signal_names,
    p_created_at => a.created_at, p_expires_at => a.expires_at, p_delivered_at => a.delivered_at,
    p_payloads_json => a.payloads, p_dry_run => p_dry_run
) AS i
$function$;
CREATE FUNCTION pg_temp.waiter(p_run text, p_step_key text)
RETURNS text
LANGUAGE sql
AS $function$
SELECT concat_ws(
    ' ', w.signal_name, w.state, w.created_at::date, w.expires_at::date, w.delivered_at::date, w.payload_json
)
FROM flow_signal_v1.get_waiter(p_run_id => md5(p_run)::uuid, p_step_key => p_step_key) AS w
$function$;
-- The FIFOs of a run: each signal and status with its steps, oldest first.
CREATE FUNCTION pg_temp.fifos(p_run text)
RETURNS text
LANGUAGE sql
SECURITY DEFINER
AS $function$
SELECT string_agg(f.fifo, ', ' ORDER BY f.fifo)
FROM (
    SELECT format('%s %s: %s', w.signal_name, w.status, string_agg(w.step_key, ' ' ORDER BY w.created_at, w.step_key))
    FROM flow_signal.flow_signal_waiters AS w
    WHERE w.run_id = md5(p_run)::uuid
    GROUP BY w.signal_name, w.status
) AS f (fifo)
$function$;

-- What is taken over, and how.
INSERT INTO source (step_key, created_at, expires_at, delivered_at, payload_json)
VALUES
('waits', '2020-01-02', NULL, NULL, NULL), ('waits until', '2020-01-03', '2990-01-01', NULL, NULL),
('overdue', '2020-01-04', '2020-01-05', NULL, NULL), ('for ever', '2020-01-05', 'infinity', NULL, NULL),
('delivered', '2020-01-01', NULL, '2020-02-01', ' {"b":1, "a" : 2}'), ('empty', '2020-01-06', NULL, '2020-02-01', NULL),
('in time', '2020-01-07', '2020-02-02', '2020-02-01', 'null'),
('same time', '2020-01-08', '2020-02-01', '2020-02-01', '1'),
('too late', '2020-01-09', '2020-01-31', '2020-02-01', '1'), ('too early', '2020-03-01', NULL, '2020-02-01', '1'),
('text', '2020-01-10', NULL, '2020-02-01', 'yes "no" \'), ('nothing', '2020-01-11', NULL, '2020-02-01', ''),
('deep', '2020-01-11', NULL, '2020-02-01', repeat('[', 100000)), ('stray', '2020-01-12', NULL, NULL, '1');
CREATE TEMP TABLE expected (outcomes text) ON COMMIT DROP;
INSERT INTO expected
VALUES (
    'waits imported, waits until imported, overdue imported, for ever imported, delivered imported, '
    'empty imported, in time imported, '
    'same time changed (the deadline is left out: it was delivered later), '
    'too late changed (the deadline is left out: it was delivered later), '
    'too early changed (delivered_at is now created_at, which was later), '
    'text changed (the payload is no JSON: it is now a JSON string), '
    'nothing changed (the payload is no JSON: it is now a JSON string), '
    'deep changed (the payload is no JSON: it is now a JSON string), '
    'stray changed (the payload is left out: it was not delivered)'
);
GRANT SELECT ON expected TO public;
SET LOCAL ROLE flow_signal_admin;
SELECT is(pg_temp.import(p_dry_run => true), e.outcomes, 'a dry run says what would become of each') FROM expected AS e;
RESET ROLE;
SELECT is(pg_temp.rows_written(), 0::bigint, 'and writes nothing');
SET LOCAL ROLE flow_signal_admin;
SELECT is(pg_temp.import(), e.outcomes, 'they are taken over') FROM expected AS e;
SELECT is(pg_temp.waiter('run', c.step_key), c.waiter, c.step_key)
FROM (
    VALUES
    ('waits', 'go waiting 2020-01-02'), ('waits until', 'go waiting 2020-01-03 2990-01-01'),
    ('overdue', 'go expired 2020-01-04 2020-01-05'), ('for ever', 'go waiting 2020-01-05'),
    ('delivered', 'go delivered 2020-01-01 2020-02-01  {"b":1, "a" : 2}'),
    ('empty', 'go delivered 2020-01-06 2020-02-01'), ('in time', 'go delivered 2020-01-07 2020-02-02 2020-02-01 null'),
    ('same time', 'go delivered 2020-01-08 2020-02-01 1'), ('too late', 'go delivered 2020-01-09 2020-02-01 1'),
    ('too early', 'go delivered 2020-03-01 2020-03-01 1'),
    ('text', 'go delivered 2020-01-10 2020-02-01 "yes \"no\" \\"'),
    ('nothing', 'go delivered 2020-01-11 2020-02-01 ""'),
    ('deep', format('go delivered 2020-01-11 2020-02-01 "%s"', repeat('[', 100000))),
    ('stray', 'go waiting 2020-01-12')
) AS c (step_key, waiter);
SELECT is(
    pg_temp.fifos('run'),
    'go delivered: delivered empty in time same time too late text deep nothing too early, '
    'go expired: overdue, go waiting: waits waits until for ever stray',
    'each has its status, in the order of created_at'
);

-- A repeat.
SELECT is(
    pg_temp.import(),
    regexp_replace(regexp_replace(e.outcomes, ' \([^)]*\)', '', 'g'), 'imported|changed', 'present', 'g'),
    'they are here now'
)
FROM expected AS e;
RESET ROLE;
CREATE TEMP TABLE before ON COMMIT DROP AS SELECT pg_temp.contents() AS contents;
GRANT SELECT ON before TO public;
SET LOCAL ROLE flow_signal_admin;
SELECT isnt(pg_temp.import(), NULL, 'again');
SELECT is(pg_temp.contents(), b.contents, 'a repeat writes nothing') FROM before AS b;
RESET ROLE;
INSERT INTO source (step_key) VALUES ('new');
UPDATE source SET signal_name = 'stop' WHERE step_key = 'waits until';
UPDATE source SET delivered_at = '2020-02-01', payload_json = '7' WHERE step_key = 'for ever';
UPDATE source SET payload_json = '8' WHERE step_key = 'delivered';
UPDATE source SET expires_at = '2991-01-01', created_at = '2020-06-06' WHERE step_key = 'waits';
DELETE FROM source WHERE step_key NOT IN ('new', 'waits', 'waits until', 'for ever', 'delivered', 'stray');
SET LOCAL ROLE flow_signal_admin;
SELECT is(
    pg_temp.import(),
    'waits present, waits until conflict (it waits here for signal "go"), '
    'for ever conflict (it is delivered there and not here), delivered present, stray present, new imported',
    'only what is new is brought; what cannot be the same wait is reported'
);
SELECT is(pg_temp.waiter('run', c.step_key), c.waiter, c.step_key || ' is as it was')
FROM (
    VALUES
    ('waits', 'go waiting 2020-01-02'), ('waits until', 'go waiting 2020-01-03 2990-01-01'),
    ('for ever', 'go waiting 2020-01-05'), ('delivered', 'go delivered 2020-01-01 2020-02-01  {"b":1, "a" : 2}'),
    ('new', 'go waiting 2020-01-01')
) AS c (step_key, waiter);
SELECT is(
    pg_temp.fifos('run'),
    'go delivered: delivered empty in time same time too late text deep nothing too early, '
    'go expired: overdue, go waiting: new waits waits until for ever stray',
    'the new one is where its created_at puts it'
);
SELECT is(
    ARRAY[pg_temp.deliver('run', '9'), pg_temp.deliver('run', '9')], ARRAY['delivered new', 'delivered waits'],
    'signals go to the oldest, whichever was imported first'
);
SELECT is(pg_temp.remove('run', 'for ever'), 'waiting', 'who is removed here');
SELECT matches(pg_temp.import(), 'for ever imported', 'comes anew, with what it got there');
SELECT is(pg_temp.waiter('run', 'for ever'), 'go delivered 2020-01-05 2020-02-01 7', 'the payload is not lost');
RESET ROLE;

-- A FIFO that is there already, buffered signals, the same step twice.
TRUNCATE source;
INSERT INTO source (run, step_key, signal_name, created_at, expires_at, delivered_at, payload_json)
VALUES
('lines', 'late', 'go', '2020-01-02', NULL, NULL, NULL), ('lines', 'early', 'go', '2020-01-01', NULL, NULL, NULL),
('lines', 'done', 'end', '2020-01-01', NULL, '2020-01-02', '1'),
('lines', 'other', 'a', '2020-01-01', NULL, NULL, NULL),
('lines', 'early', 'stop', '2020-01-01', NULL, NULL, NULL), ('full', 'third', 'go', '2020-01-03', NULL, NULL, NULL),
('full', 'first', 'go', '2020-01-01', '2020-01-02', NULL, NULL),
('full', 'second', 'go', '2020-01-02', NULL, NULL, NULL),
('there', 'a', 'go', '2020-01-01', NULL, NULL, NULL);
SET LOCAL ROLE flow_signal_admin;
SELECT is(pg_temp.buffer('full', '1'), 'buffered', 'a signal is buffered');
SELECT is(
    pg_temp.register('there', 'i'), 'waiting', 'a waiter is there'
);
SELECT is(
    pg_temp.import(),
    'late imported, early imported, done imported, other imported, early present, '
    'third imported, first imported, second imported, a imported', 'the second of the same step is present'
);
SELECT is(
    pg_temp.fifos('lines'), 'a waiting: other, end delivered: done, go waiting: early late',
    'each signal has its waiters'
);
SELECT is(
    ARRAY[pg_temp.deliver('there', '1'), pg_temp.deliver('there', '2')], '{delivered a, delivered i}',
    'an imported waiter that is older than the one that was there gets the first signal'
);
SELECT is(
    ARRAY[pg_temp.get('full', 'first'), pg_temp.get('full', 'second'), pg_temp.get('full', 'third')],
    ARRAY['expired', 'delivered 1', 'waiting'], 'the oldest live one takes the buffered signal'
);
SELECT is(pg_temp.deliver('full'), 'delivered third', 'the next signal is for the next');
RESET ROLE;

-- What cannot be a waiter is refused, each alone and in the words of register_waiter.
TRUNCATE source;
INSERT INTO source (run, step_key, signal_name, created_at, expires_at, delivered_at, payload_json)
VALUES
(NULL, 'r', 'go', '2020-01-01', NULL, NULL, NULL), ('bad', NULL, 'go', '2020-01-01', NULL, NULL, NULL),
('bad', ' ', 'go', '2020-01-01', NULL, NULL, NULL), ('bad', 's', E'\t', '2020-01-01', NULL, NULL, NULL),
('bad', 't', repeat('x', 257), '2020-01-01', NULL, NULL, NULL), ('bad', 'u', 'go', NULL, NULL, NULL, NULL),
('bad', 'v', 'go', 'infinity', NULL, NULL, NULL), ('bad', 'w', 'go', '2020-01-01', '-infinity', NULL, NULL),
('bad', 'x', 'go', '2020-01-01', NULL, '10000-01-01', NULL),
('bad', 'y', 'go', '2020-01-01', NULL, '2020-01-01', format('"%s"', repeat('x', 1048575))),
('bad', 'z', 'go', '2020-01-01', NULL, '2020-01-01', repeat('"', 600000)),
('bad', 'good', 'go', '2020-01-01', NULL, '2020-01-01', format('"%s"', repeat('x', 1048574)));
SET LOCAL ROLE flow_signal_admin;
SELECT is(
    pg_temp.import(p_dry_run => d.dry_run),
    format(
        'r refused (run id is null), refused (step key is null),   refused (step key " " is blank), '
        's refused (signal name "%s" is blank), t refused (signal name "%s..." is too long), '
        'u refused (created_at is null), v refused (created_at infinity is out of range), '
        'w refused (deadline -infinity is out of range), '
        'x refused (delivered_at 10000-01-01 00:00:00+00 is out of range), '
        'y refused (payload of 1048577 bytes is too large), '
        'z refused (payload of 1200002 bytes is too large), good imported', '?', repeat('x', 40)
    ),
    format('reported and left, dry run: %s', d.dry_run)
)
FROM (VALUES (true), (false)) AS d (dry_run);
SELECT is(pg_temp.fifos('bad'), 'go delivered: good', 'the others come all the same');

-- Calls that are refused as a whole.
SELECT is(
    pg_temp.refusal(format(
        $$import_waiters(
            p_run_ids => %s, p_step_keys => %s, p_signal_names => '{go}', p_created_at => '{2020-01-01}',
            p_expires_at => '{NULL}', p_delivered_at => '{NULL}', p_payloads_json => '{NULL}', p_dry_run => %s
        )$$, c.run_ids, c.step_keys, c.dry_run
    )),
    c.refusal, c.what
)
FROM (
    VALUES
    (
        'NULL', '''{s}''', 'false',
        pg_temp.is_null('array of run ids'),
        'no array of run ids'
    ),
    (
        'ARRAY[gen_random_uuid()]', 'NULL', 'false',
        pg_temp.is_null('array of step keys'),
        'no array of step keys'
    ),
    (
        'ARRAY[gen_random_uuid()]', '''{s}''', 'NULL',
        pg_temp.is_null('dry run'),
        'neither a dry run nor none'
    ),
    (
        'ARRAY[gen_random_uuid()]', '''{s, t}''', 'false',
        E'22023 arrays of 1, 2, 1, 1, 1, 1, 1 elements are not a batch\n'
        'element n of each array belongs to input n; the most dimensions are 1\n'
        'pass arrays of one dimension and equal length; leave an optional one out', 'arrays of unequal length'
    ),
    (
        'ARRAY[ARRAY[gen_random_uuid()]]', '''{s}''', 'false',
        E'22023 arrays of 1, 1, 1, 1, 1, 1, 1 elements are not a batch\n'
        'element n of each array belongs to input n; the most dimensions are 2\n'
        'pass arrays of one dimension and equal length; leave an optional one out', 'an array of two dimensions'
    )
) AS c (run_ids, step_keys, dry_run, refusal, what);
SELECT is_empty(
    $$SELECT flow_signal_v1.import_waiters('{}', '{}', '{}', '{}', '{}', '{}', '{}')$$, 'nothing to import is no error'
);

SELECT * FROM finish();
ROLLBACK;
