-- since: 1.0 | role: reader
CREATE OR REPLACE VIEW flow_signal_v1.health
WITH (security_barrier)
AS
SELECT
    h.checked_at,
    h.version,
    h.waiters_estimate,
    h.buffered_signals_estimate,
    h.total_bytes,
    h.dead_rows_estimate,
    h.oldest_due_at,
    h.oldest_dead_at,
    h.oldest_snapshot_xids,
    h.notify_queue_usage,
    h.problems,
    h.receipts_estimate,
    h.tokens_estimate,
    h.lock_rows_estimate,
    h.toast_bytes,
    h.dead_bytes_estimate,
    h.overdue_estimate,
    h.oldest_overdue_at,
    h.oldest_buffered_at,
    h.oldest_settled_at,
    h.oldest_snapshot_holder
FROM flow_signal_v1.read_health() AS h;
REVOKE ALL ON flow_signal_v1.health FROM public;
GRANT SELECT ON flow_signal_v1.health TO flow_signal_reader;
COMMENT ON VIEW flow_signal_v1.health IS
'One row for monitoring, in milliseconds at any size: reads statistics, whose estimates it '
'gives, the first entries of indexes, and a sample of 128 blocks of each table (a smaller '
'table whole). oldest_due_at: the wait of a queue that is due the longest and not claimed. '
'oldest_dead_at: since when the longest-dead buffered signal is dead. oldest_snapshot_xids: '
'the age, in transactions, of the oldest snapshot that keeps vacuum from removing dead rows. '
'problems: what is wrong and what to do, a sentence each; empty while all is within the limits '
'in flow_signal_settings. toast_bytes: the part of total_bytes that holds long payloads. '
'dead_bytes_estimate: what dead rows take, in TOAST tables too. overdue_estimate: waiters '
'without a queue that are past their deadline. oldest_overdue_at: the earliest such deadline '
'in the sample. oldest_buffered_at: since when the oldest live buffered signal in the sample '
'waits for its waiter. oldest_settled_at: the earliest delivery in the sample whose waiter '
'(without a queue), receipt or token purge would delete, or the end of such a token. '
'oldest_snapshot_holder: the session, standby, replication slot or prepared transaction that '
'has the oldest snapshot.';
