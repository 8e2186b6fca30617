-- since: 1.1 | role: admin | raises: 22004 22023 0A000
-- locks: what it deletes, and waits for none (SKIP LOCKED)
CREATE OR REPLACE FUNCTION flow_signal_v1.purge_buffered(
    p_buffered_before timestamptz,
    p_limit integer DEFAULT 10000
)
RETURNS bigint
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_deleted bigint;
BEGIN
    IF p_buffered_before IS NULL THEN
        PERFORM flow_signal.refuse_null('purge time');
    ELSIF NOT flow_signal.is_instant(p_buffered_before) THEN
        PERFORM flow_signal.refuse_instant('purge time', p_buffered_before);
    ELSIF p_limit IS NULL THEN
        PERFORM flow_signal.refuse_null('limit');
    ELSIF p_limit NOT BETWEEN 1 AND 100000 THEN
        PERFORM flow_signal.refuse_range('limit', p_limit::text, '1 to 100000');
    -- A signal that a registration took after the snapshot would end the call with 40001.
    ELSIF current_setting('transaction_isolation') NOT LIKE 'read %' THEN
        PERFORM flow_signal.refuse_isolation('purge_buffered');
    END IF;

    -- Chosen once: a subquery could be read again for each row, and choose others then.
    WITH chosen AS MATERIALIZED (
        SELECT k.run_id, k.signal_name, k.position
        FROM flow_signal.flow_signal_buffered_signals AS k
        WHERE k.buffered_at < p_buffered_before
        LIMIT p_limit
        FOR UPDATE SKIP LOCKED
    )

    DELETE FROM flow_signal.flow_signal_buffered_signals AS b
    WHERE (b.run_id, b.signal_name, b.position) IN (
        SELECT c.run_id, c.signal_name, c.position FROM chosen AS c
    );
    GET DIAGNOSTICS v_deleted = ROW_COUNT;
    RETURN v_deleted;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.purge_buffered(timestamptz, integer) FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.purge_buffered(
    timestamptz, integer
) TO flow_signal_admin;
COMMENT ON FUNCTION flow_signal_v1.purge_buffered(timestamptz, integer) IS
'Deletes up to p_limit (1 to 100000) buffered signals that were buffered before '
'p_buffered_before, live ones included, and returns how many. Their delivery ids are '
'forgotten. Call it until it returns 0, each call in a transaction of its own.';
