-- An interval is judged by the instant at which it ends, whatever it is made of and in any time zone.
BEGIN;
SELECT plan(17);
\ir ../helpers.psql

SELECT set_eq(
    $$SELECT p.proname::text
    FROM pg_proc AS p
    WHERE p.pronamespace = 'flow_signal_v1'::regnamespace
        AND 'interval'::regtype = ANY(p.proargtypes::oid [])$$,
    '{await_waiter, claim_waiters, extend_claim}'::text [],
    'these functions take an interval'
);

SELECT pg_temp.register('run', 'gets') || pg_temp.deliver('run') AS gets \gset
SELECT w.state AS queued FROM flow_signal_v1.register_waiter(
    p_run_id => md5('run')::uuid, p_step_key => 'q', p_signal_name => 'stop',
    p_expires_at => '2001-01-01', p_queue => 'q'
) AS w \gset
SELECT is(
    concat_ws(', ', :'gets', :'queued'), 'waitingdelivered gets, expired', 'two steps are there'
);

-- Gives step q back, and the claim on it.
CREATE FUNCTION pg_temp.make_due()
RETURNS void
LANGUAGE sql
SECURITY DEFINER
AS $function$
UPDATE flow_signal.flow_signal_waiters
SET due_at = clock_timestamp(), claim_id = md5('claim')::uuid
WHERE queue IS NOT NULL
$function$;
-- When it is due again, from now.
CREATE FUNCTION pg_temp.due_in()
RETURNS interval
LANGUAGE sql
SECURITY DEFINER
AS $function$
SELECT w.due_at - clock_timestamp()
FROM flow_signal.flow_signal_waiters AS w
WHERE w.queue IS NOT NULL
$function$;

SET LOCAL ROLE flow_signal_engine;

-- Parts that lengthen, shorten and cancel one another, up to the ends of their ranges.
CREATE TEMP TABLE intervals ON COMMIT DROP AS
SELECT DISTINCT concat(m.part, ' mon ', d.part, ' days ', t.part) AS text
FROM unnest('{0, 1, -1, 12, -12, 1200, 2147483647, -2147483648}'::text []) AS m (part)
CROSS JOIN unnest(
    '{0, 1, -1, -30, 31, -360, 366, -35999, 2147483647, -2147483648}'::text []
) AS d (part)
CROSS JOIN unnest(
    '{0, -00:00:00.000001, -24:00:00, 24:00:00, 2147483647:00:00, -2147483647:00:00}'::text []
) AS t (part)
UNION ALL
SELECT i.text
FROM unnest('{infinity, -infinity}'::text []) AS i (text)
WHERE current_setting('server_version_num')::integer >= 170000;

-- What is wrong with the answers to a call: any SQLSTATE but 22023, a step due in the past, or in more
-- than a day; and whether there was an answer, and a refusal.
CREATE FUNCTION pg_temp.answers(p_call text)
RETURNS text
LANGUAGE plpgsql
AS $function$
DECLARE
    v_interval text;
    v_kinds text [] := '{}';
BEGIN
    FOR v_interval IN SELECT i.text FROM intervals AS i LOOP
        BEGIN
            PERFORM pg_temp.make_due();
            EXECUTE format('SELECT FROM flow_signal_v1.' || p_call, v_interval);
            v_kinds := v_kinds || CASE
                WHEN pg_temp.due_in() NOT BETWEEN '-1 minute' AND interval '25 hours'
                    THEN concat_ws(' ', v_interval, 'is due in', pg_temp.due_in())
                ELSE 'answered'
            END;
        EXCEPTION
            WHEN OTHERS THEN
                v_kinds := v_kinds
                    || CASE SQLSTATE WHEN '22023' THEN 'refused' ELSE SQLSTATE || ' ' || v_interval END;
        END;
    END LOOP;
    RETURN (SELECT string_agg(DISTINCT k.kind, ', ') FROM unnest(v_kinds) AS k (kind));
END
$function$;

SET LOCAL timezone = 'Europe/Berlin';
SELECT is(pg_temp.answers(c.call), 'answered, refused', 'Europe/Berlin: ' || c.call)
FROM (
    VALUES ('await_waiter(md5(''run'')::uuid, ''gets'', %L)'), ('claim_waiters(''q'', 1, %L)'),
    ('extend_claim(md5(''run'')::uuid, ''q'', md5(''claim'')::uuid, %L)')
) AS c (call);
SET LOCAL timezone = '<x>+167';
SELECT is(pg_temp.answers(c.call), 'answered, refused', '<x>+167: ' || c.call)
FROM (
    VALUES ('await_waiter(md5(''run'')::uuid, ''gets'', %L)'), ('claim_waiters(''q'', 1, %L)'),
    ('extend_claim(md5(''run'')::uuid, ''q'', md5(''claim'')::uuid, %L)')
) AS c (call);
RESET ROLE;

-- The night on which the clocks change has 23 or 25 hours: a day is either.
SET LOCAL timezone = 'Europe/Berlin';
SELECT is(
    flow_signal.is_soon(s.length, s.since, '1 day'), s.is_soon, format('%s from %s', s.length, s.since)
)
FROM (
    VALUES
    (interval '1 day', timestamptz '2026-03-28 12:00:00+01', true),
    ('24 hours', '2026-03-28 12:00:00+01', true),
    ('24 hours 1 second', '2026-03-28 12:00:00+01', false),
    ('1 day', '2026-10-24 12:00:00+02', true), ('24 hours', '2026-10-24 12:00:00+02', true),
    ('1 day 1 second', '2026-10-24 12:00:00+02', false),
    ('1 day', '2026-11-24 12:00:00+01', true), ('24 hours', '2026-11-24 12:00:00+01', true),
    ('24 hours 1 second', '2026-11-24 12:00:00+01', false)
) AS s (length, since, is_soon);

SELECT * FROM finish();
ROLLBACK;
