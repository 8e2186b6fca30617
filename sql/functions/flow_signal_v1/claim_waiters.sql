-- since: 1.0 | role: engine | raises: 22004 22023 0A000
-- locks: the waiters that it returns, and waits for none (SKIP LOCKED)
CREATE OR REPLACE FUNCTION flow_signal_v1.claim_waiters(
    p_queue text,
    p_limit integer DEFAULT 100,
    p_lease interval DEFAULT '1 minute'
)
RETURNS SETOF flow_signal_v1.claimed_waiter
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_sort = off
AS $function$
DECLARE
    v_now CONSTANT timestamptz := clock_timestamp();
    v_claim_id CONSTANT uuid := gen_random_uuid();
    v_waiter flow_signal.flow_signal_waiters;
BEGIN
    IF flow_signal.is_name(p_queue) IS NOT TRUE THEN
        PERFORM flow_signal.refuse_name('queue', p_queue);
    ELSIF p_limit IS NULL THEN
        PERFORM flow_signal.refuse_null('limit');
    ELSIF p_limit NOT BETWEEN 1 AND 10000 THEN
        PERFORM flow_signal.refuse_range('limit', p_limit::text, '1 to 10000');
    ELSIF p_lease IS NULL THEN
        PERFORM flow_signal.refuse_null('lease');
    ELSIF NOT flow_signal.is_soon(p_lease, v_now, '1 day') OR v_now + p_lease = v_now THEN
        PERFORM flow_signal.refuse_range('lease', p_lease::text, 'more than 0 to 1 day');
    -- Every waiter that somebody claimed after the snapshot would end the call with 40001.
    ELSIF current_setting('transaction_isolation') NOT LIKE 'read %' THEN
        PERFORM flow_signal.refuse_isolation('claim_waiters');
    END IF;

    -- Row by row: to a join, the statistics could suggest to read the table.
    FOR v_waiter IN
        SELECT w.*
        FROM flow_signal.flow_signal_waiters AS w
        WHERE w.queue = p_queue COLLATE "C" AND w.due_at <= v_now
        ORDER BY w.due_at, w.run_id, w.step_key
        LIMIT p_limit
        FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        UPDATE flow_signal.flow_signal_waiters AS w
        SET
            due_at = v_now + p_lease,
            status = CASE WHEN w.status = 'waiting' THEN 'expired' ELSE w.status END,
            claim_id = v_claim_id,
            attempt = coalesce(w.attempt, 0) + 1
        WHERE w.run_id = v_waiter.run_id AND w.step_key = v_waiter.step_key
        RETURNING w.* INTO v_waiter;
        RETURN NEXT (
            v_waiter.run_id, v_waiter.step_key, v_waiter.signal_name, v_waiter.status,
            v_waiter.created_at, v_waiter.expires_at, v_waiter.delivered_at,
            v_waiter.payload_json, v_waiter.claim_id, v_waiter.attempt
        )::flow_signal_v1.claimed_waiter;
    END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.claim_waiters(text, integer, interval) FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.claim_waiters(
    text, integer, interval
) TO flow_signal_engine;
COMMENT ON FUNCTION flow_signal_v1.claim_waiters(text, integer, interval) IS
'Hands out the waiters of a queue that are delivered or past their deadline, oldest due first, '
'each to one caller for p_lease (up to 1 day); at most p_limit (1 to 10000). A waiter handed '
'out as expired stays expired. remove_waiter with the claim_id acknowledges it; a waiter that '
'is not removed is handed out again after the lease, with the next attempt and another '
'claim_id.';
