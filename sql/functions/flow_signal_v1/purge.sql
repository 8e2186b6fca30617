-- since: 1.0 | role: admin | raises: 22004 22023 0A000
-- locks: what it deletes, and waits for none (SKIP LOCKED)
CREATE OR REPLACE FUNCTION flow_signal_v1.purge(
    p_settled_before timestamptz, p_limit integer DEFAULT 10000
)
RETURNS bigint
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $function$
DECLARE
    v_block_size CONSTANT integer := current_setting('block_size')::integer;
    v_began CONSTANT timestamptz := clock_timestamp();
    v_before CONSTANT timestamptz := least(p_settled_before, v_began);
    -- The blocks of both tables are numbered through, the waiters' first.
    v_waiter_blocks bigint;
    v_blocks bigint;
    v_unseen bigint;
    v_from bigint;
    v_to bigint;
    v_step bigint := 1::bigint;
    v_step_began timestamptz := v_began;
    v_now timestamptz;
    v_found bigint;
    v_deleted bigint := 0::bigint;
BEGIN
    IF p_settled_before IS NULL THEN
        PERFORM flow_signal.refuse_null('purge time');
    ELSIF NOT flow_signal.is_instant(p_settled_before) THEN
        PERFORM flow_signal.refuse_instant('purge time', p_settled_before);
    ELSIF p_limit IS NULL THEN
        PERFORM flow_signal.refuse_null('limit');
    ELSIF p_limit NOT BETWEEN 1 AND 100000 THEN
        PERFORM flow_signal.refuse_range('limit', p_limit::text, '1 to 100000');
    -- Every waiter that somebody changed after the snapshot would end the call with 40001.
    ELSIF current_setting('transaction_isolation') NOT LIKE 'read %' THEN
        PERFORM flow_signal.refuse_isolation('purge');
    END IF;

    v_waiter_blocks := pg_relation_size('flow_signal.flow_signal_waiters') / v_block_size;
    v_blocks := v_waiter_blocks
        + pg_relation_size('flow_signal.flow_signal_buffered_signals') / v_block_size;
    v_unseen := v_blocks;
    -- Anywhere, so that what earlier calls have emptied is not read again each time.
    v_to := floor(random() * v_blocks)::bigint;

    WHILE v_unseen > 0 LOOP
        v_from := v_to % v_blocks;
        -- Who holds a row keeps it from being deleted, not us from going on: nobody's answer
        -- depends on a row that stays, and the next call finds it.
        IF v_from < v_waiter_blocks THEN
            v_to := least(v_from + v_step, v_waiter_blocks);
            DELETE FROM flow_signal.flow_signal_waiters AS w
            WHERE w.ctid = ANY(ARRAY(
                SELECT s.ctid
                FROM flow_signal.flow_signal_waiters AS s
                WHERE s.ctid >= format('(%s,0)', v_from)::tid
                    AND s.ctid < format('(%s,0)', v_to)::tid
                    AND coalesce(s.delivered_at, s.expired_at, s.expires_at) < v_before
                LIMIT p_limit - v_deleted
                FOR UPDATE SKIP LOCKED
            ));
        ELSE
            v_to := least(v_from + v_step, v_blocks);
            DELETE FROM flow_signal.flow_signal_buffered_signals AS b
            WHERE b.ctid = ANY(ARRAY(
                SELECT s.ctid
                FROM flow_signal.flow_signal_buffered_signals AS s
                WHERE s.ctid >= format('(%s,0)', v_from - v_waiter_blocks)::tid
                    AND s.ctid < format('(%s,0)', v_to - v_waiter_blocks)::tid
                    AND s.buffered_until < v_before
                LIMIT p_limit - v_deleted
                FOR UPDATE SKIP LOCKED
            ));
        END IF;
        GET DIAGNOSTICS v_found = ROW_COUNT;
        v_deleted := v_deleted + v_found;
        v_unseen := v_unseen - (v_to - v_from);

        v_now := clock_timestamp();
        EXIT WHEN v_deleted = p_limit
            OR v_deleted > 0 AND v_now > v_began + interval '250 milliseconds';
        v_step := CASE
            WHEN v_now < v_step_began + interval '5 milliseconds' THEN v_step * 2
            ELSE greatest(v_step / 2, 1)
        END;
        v_step_began := v_now;
    END LOOP;
    RETURN v_deleted;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.purge(timestamptz, integer) FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.purge(timestamptz, integer) TO flow_signal_admin;
COMMENT ON FUNCTION flow_signal_v1.purge(timestamptz, integer) IS
'Deletes up to p_limit (1 to 100000) waiters that were delivered or expired before '
'p_settled_before, fetched by their engine or not, and buffered signals whose time was over '
'before then; never a live one. Returns how many. Stops early after a quarter of a second if '
'it has found some; 0: in both tables none is left, except what others hold at the moment. '
'Call it until then, each call in a transaction of its own.';
