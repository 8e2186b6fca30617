-- The oldest live waiter gets the signal, whatever became of those that came before it.
BEGIN;
SELECT plan(29);
\ir ../helpers.psql
SET LOCAL ROLE flow_signal_engine;

-- The first waiter is removed; the next one is younger than those that wait.
SELECT is(pg_temp.register('removed', s.step_key), 'waiting', format('%s waits', s.step_key))
FROM (VALUES ('first'), ('second'), ('third')) AS s (step_key);
SELECT is(pg_temp.remove('removed', 'first'), 'waiting', 'the first is removed');
SELECT is(pg_temp.register('removed', 'fourth'), 'waiting', 'a fourth comes');
SELECT is(
    pg_temp.register('removed', 'first'), 'waiting', 'the first comes again, as the last'
);
SELECT is(
    pg_temp.deliver('removed'), 'delivered ' || s.step_key, format('%s is next', s.step_key)
)
FROM (VALUES ('second'), ('third'), ('fourth'), ('first')) AS s (step_key);

-- An old waiter changes to the signal of younger ones.
SELECT is(
    pg_temp.register('joined', 'old', p_signal_name => 'stop'), 'waiting', 'one waits for stop'
);
SELECT is(
    pg_temp.register('joined', s.step_key), 'waiting', format('%s waits for go', s.step_key)
)
FROM (VALUES ('young'), ('younger')) AS s (step_key);
SELECT is(pg_temp.register('joined', 'old'), 'waiting', 'the old one now waits for go as well');
SELECT is(
    pg_temp.deliver('joined', p_signal_name => 'stop'), 'not_found', 'and for stop no more'
);
SELECT is(
    pg_temp.deliver('joined'), 'delivered ' || s.step_key, format('%s is next', s.step_key)
)
FROM (VALUES ('old'), ('young'), ('younger')) AS s (step_key);

-- The first waiter leaves for another signal and comes back.
SELECT is(pg_temp.register('left', s.step_key), 'waiting', format('%s waits', s.step_key))
FROM (VALUES ('first'), ('second')) AS s (step_key);
SELECT is(
    pg_temp.register('left', 'first', p_signal_name => 'stop'), 'waiting', 'the first leaves'
);
SELECT is(pg_temp.register('left', 'third'), 'waiting', 'a third comes');
SELECT is(pg_temp.register('left', 'first'), 'waiting', 'the first comes back');
SELECT is(pg_temp.deliver('left'), 'delivered first', 'it is still the oldest');

-- The first waiter is overdue, is passed over and is live again.
SELECT is(
    pg_temp.register('revived', 'first', '2001-01-01'), 'expired', 'the first is overdue'
);
SELECT is(pg_temp.register('revived', s.step_key), 'waiting', format('%s waits', s.step_key))
FROM (VALUES ('second'), ('third')) AS s (step_key);
SELECT is(pg_temp.deliver('revived'), 'delivered second', 'it is passed over');
SELECT is(
    pg_temp.register('revived', 'first') || ', ' || pg_temp.deliver('revived'),
    'waiting, delivered first', 'live again, it is the oldest'
);

SELECT * FROM finish();
ROLLBACK;
