-- since: 1.0 | role: reader
CREATE OR REPLACE VIEW flow_signal_v1.signal_stats
WITH (security_barrier)
AS
WITH clock AS MATERIALIZED (
    SELECT clock_timestamp() AS now
),

-- The states as in flow_signal.waiter_state and buffered_state, which no reader may call.
signals AS (
    SELECT
        w.signal_name,
        w.created_at,
        w.delivered_at - w.created_at AS wait,
        CASE
            WHEN w.status = 'waiting' AND w.expires_at <= c.now THEN 'expired'
            ELSE w.status
        END AS state
    FROM flow_signal.flow_signal_waiters AS w
    CROSS JOIN clock AS c
    UNION ALL
    SELECT
        b.signal_name,
        b.buffered_at AS created_at,
        NULL::interval AS wait,
        CASE WHEN b.dead OR b.buffered_until <= c.now THEN 'dead' ELSE 'buffered' END AS state
    FROM flow_signal.flow_signal_buffered_signals AS b
    CROSS JOIN clock AS c
)

SELECT
    s.signal_name,
    count(*) FILTER (WHERE s.state = 'waiting') AS waiting,
    count(*) FILTER (WHERE s.state = 'expired') AS overdue,
    count(*) FILTER (WHERE s.state = 'delivered') AS delivered,
    count(*) FILTER (WHERE s.state = 'buffered') AS buffered,
    count(*) FILTER (WHERE s.state = 'dead') AS dead,
    min(s.created_at) FILTER (WHERE s.state = 'waiting') AS oldest_waiting_since,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY s.wait) AS wait_p50,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY s.wait) AS wait_p95
FROM signals AS s
GROUP BY s.signal_name;
REVOKE ALL ON flow_signal_v1.signal_stats FROM public;
GRANT SELECT ON flow_signal_v1.signal_stats TO flow_signal_reader;
COMMENT ON VIEW flow_signal_v1.signal_stats IS
'A row for each signal name: how many waiters are waiting, overdue (past their deadline) or '
'delivered, how many signals buffered or dead, since when the oldest waiter waits, median and '
'95th percentile of the time from registration to delivery. Reads both tables whole, a second '
'or two for a million rows: for people, not for a monitor.';
