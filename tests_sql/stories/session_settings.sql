-- The settings of a session change no answer.
BEGIN;
SELECT plan(6);
\ir ../helpers.psql
SET LOCAL ROLE flow_signal_engine;

SET LOCAL escape_string_warning = off;
SET LOCAL standard_conforming_strings = off;
SELECT is(pg_temp.register('settings', 'sss'), 'waiting', 'a name is one');
SELECT is(pg_temp.register('settings', 'back\\slash'), 'waiting', 'also with a backslash');
SELECT alike(
    pg_temp.refusal(format($$register_waiter(
        p_run_id => %L, p_step_key => ' ', p_signal_name => 'go'
    )$$, md5('settings'))),
    '22023 step key " " is blank%', 'and a blank is none'
);
SET LOCAL standard_conforming_strings = on;
SELECT is(pg_temp.get('settings', 'back\slash'), 'waiting', 'the backslash was one character');

SET LOCAL intervalstyle = 'iso_8601';
SET LOCAL datestyle = 'SQL, DMY';
SET LOCAL timezone = 'Australia/Lord_Howe';
SET LOCAL extra_float_digits = -15;
SELECT is(
    (
        SELECT string_agg(concat_ws(' ', d.status, d.step_key), ', ')
        FROM flow_signal_v1.deliver_signals(
            p_run_ids => array_fill(md5('settings')::uuid, ARRAY[3]),
            p_signal_names => ARRAY['go', 'stop', 'go'],
            p_payloads_json => ARRAY['1', '2', '3']
        ) AS d
    ),
    'delivered sss, not_found, delivered back\slash', 'a batch tells its rows apart'
);
SELECT is(
    (
        SELECT count(*)
        FROM flow_signal_v1.register_waiters(
            p_run_ids => ARRAY[md5('one')::uuid, md5('two')::uuid],
            p_step_keys => ARRAY['s', 's'], p_signal_names => ARRAY['go', 'go']
        ) AS w
        WHERE w.state = 'waiting'
    ),
    2::bigint, 'and so does one that registers'
);

SELECT * FROM finish();
ROLLBACK;
