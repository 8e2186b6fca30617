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
    v_all_fit CONSTANT boolean := pg_client_encoding() IN (getdatabaseencoding(), 'SQL_ASCII');
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

    -- These rows are there and locked, so the INSERT changes them and inserts none. It finds each
    -- by its key; to the join of an UPDATE, the statistics could suggest to read the table. It
    -- returns them in the order in which it gets them.
    RETURN QUERY
    INSERT INTO flow_signal.flow_signal_waiters AS w (
        run_id, step_key, signal_name, status, created_at
    )
    SELECT d.run_id, d.step_key, d.signal_name, d.status, d.created_at
    FROM (
        SELECT o.run_id, o.step_key, o.signal_name, o.status, o.created_at
        FROM flow_signal.flow_signal_waiters AS o
        WHERE o.queue = p_queue COLLATE "C" AND o.due_at <= v_now
            -- A waiter that cannot be sent would end this claim, and each one after it.
            AND (
                v_all_fit
                OR flow_signal.fits_client(concat(o.step_key, o.signal_name, o.payload_json))
            )
        ORDER BY o.due_at, o.run_id, o.step_key
        LIMIT p_limit
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS d
    ON CONFLICT (run_id, step_key) DO UPDATE
    SET
        due_at = v_now + p_lease,
        status = CASE WHEN w.status = 'waiting' THEN 'expired' ELSE w.status END,
        claim_id = v_claim_id,
        attempt = coalesce(w.attempt, 0) + 1
    RETURNING
        w.run_id, w.step_key::text, w.signal_name::text, w.status::text, w.created_at,
        w.expires_at, w.delivered_at, w.payload_json, w.claim_id, w.attempt;
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
'claim_id. A waiter that the client''s encoding cannot carry is left for another client.';
