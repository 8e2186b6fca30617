-- locks: nothing
CREATE OR REPLACE FUNCTION flow_signal.read_lone_head(p_run_id uuid, p_signal_name text)
RETURNS flow_signal_v1.delivery
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $function$
DECLARE
    v_head record;
BEGIN
    -- Whoever wants to change what this says locks the head first, and that shows in its xmax:
    -- 0 or the version's own writer means nobody.
    SELECT w.step_key, w.delivered_at
    INTO v_head
    FROM flow_signal.flow_signal_waiters AS w
    WHERE w.run_id = p_run_id
        AND w.signal_name = p_signal_name COLLATE "C"
        AND w.place = 'head'
        AND w.xmax IN ('0'::xid, w.xmin)
        AND (w.delivered_at IS NOT NULL OR w.expired_at IS NOT NULL)
        AND NOT w.followed;
    IF NOT FOUND THEN
        RETURN NULL;
    ELSIF v_head.delivered_at IS NULL THEN
        RETURN ('expired', p_run_id, v_head.step_key, NULL, false)::flow_signal_v1.delivery;
    END IF;
    RETURN ('already_delivered', p_run_id, v_head.step_key, v_head.delivered_at, false)
    ::flow_signal_v1.delivery;
END
$function$;
REVOKE ALL ON FUNCTION flow_signal.read_lone_head(uuid, text) FROM public;
COMMENT ON FUNCTION flow_signal.read_lone_head(uuid, text) IS
'The verdict about a line that is a settled head alone, which nobody holds; else NULL.';
