-- since: 1.0 | role: engine | raises: 22004 0A000
-- locks: the run's waiters, tokens, then lock rows, each in the order that sql/README.md says
CREATE OR REPLACE FUNCTION flow_signal_v1.remove_run(p_run_id uuid)
RETURNS bigint
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $function$
DECLARE
    v_step_keys text[] COLLATE "C";
    v_removed bigint;
    v_locked bigint;
    v_is_new boolean;
BEGIN
    IF p_run_id IS NULL THEN
        PERFORM flow_signal.refuse_null('run id');
    -- What was committed after the snapshot would stay.
    ELSIF current_setting('transaction_isolation') NOT LIKE 'read %' THEN
        PERFORM flow_signal.refuse_isolation('remove_run');
    END IF;

    LOOP
        BEGIN
            v_step_keys := ARRAY(
                SELECT w.step_key
                FROM flow_signal.flow_signal_waiters AS w
                WHERE w.run_id = p_run_id
                ORDER BY w.signal_name, w.created_at, w.step_key
                FOR UPDATE
            );
            DELETE FROM flow_signal.flow_signal_waiters AS w
            WHERE w.run_id = p_run_id AND w.step_key = ANY(v_step_keys);
            GET DIAGNOSTICS v_removed = ROW_COUNT;
            DELETE FROM flow_signal.flow_signal_tokens AS t WHERE t.run_id = p_run_id;
            SELECT count(*) INTO STRICT v_locked
            FROM (
                SELECT
                FROM flow_signal.flow_signal_locks AS l
                WHERE l.run_id = p_run_id
                ORDER BY l.signal_name
                FOR UPDATE
            ) AS locked;
            -- One statement, so that what it deletes is of one instant, and there is no lock row
            -- then that is not ours: a signal would stay without its lock row, and no registration
            -- would look for it. A waiter that is there came while we waited for a lock row, maybe
            -- with a buffered signal of this run: it goes as well. But no call waits for a waiter
            -- while it has a lock row, so let all locks go and begin again.
            WITH new AS MATERIALIZED (
                SELECT
                    v_locked < (
                        SELECT count(*)
                        FROM flow_signal.flow_signal_locks AS l
                        WHERE l.run_id = p_run_id
                    )
                    OR (
                        SELECT true
                        FROM flow_signal.flow_signal_waiters AS w
                        WHERE w.run_id = p_run_id
                        ORDER BY w.step_key
                        LIMIT 1
                    ) IS NOT NULL AS is_there
            ),

            buffered AS (
                DELETE FROM flow_signal.flow_signal_buffered_signals AS b
                WHERE b.run_id = p_run_id AND NOT (SELECT n.is_there FROM new AS n)
            ),

            receipts AS (
                DELETE FROM flow_signal.flow_signal_receipts AS r
                WHERE r.run_id = p_run_id AND NOT (SELECT n.is_there FROM new AS n)
            ),

            lock_rows AS (
                DELETE FROM flow_signal.flow_signal_locks AS l
                WHERE l.run_id = p_run_id AND NOT (SELECT n.is_there FROM new AS n)
            )

            SELECT n.is_there INTO STRICT v_is_new FROM new AS n;
            IF v_is_new THEN
                RAISE SQLSTATE 'WS099';
            END IF;
            RETURN v_removed;
        EXCEPTION
            WHEN SQLSTATE 'WS099' THEN
                NULL;
        END;
    END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.remove_run(uuid) FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.remove_run(uuid) TO flow_signal_engine;
COMMENT ON FUNCTION flow_signal_v1.remove_run(uuid) IS
'Forgets all of a run that is over: waiters, buffered signals, receipts, tokens and lock rows. '
'Returns how many waiters it deleted. A registration or a buffered signal of another '
'transaction that is not committed yet stays.';
