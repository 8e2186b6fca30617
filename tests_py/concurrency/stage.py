"""Sessions that are moved step by step, and a monitor that sees who waits for whom."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import datetime
from uuid import UUID

import psycopg
from psycopg.pq import TransactionStatus

from tests_py.concurrency.calls import GO, Call, Run

PATIENCE_SECONDS = 60
"""What takes longer than this has failed."""

POLL_SECONDS = 0.001

PREPARED = 0
"""What pg_blocking_pids gives for a prepared transaction."""

BROKEN_RULES = """
SELECT 'waits though a signal is buffered: ' || w.step_key
FROM flow_signal.flow_signal_waiters AS w
INNER JOIN flow_signal.flow_signal_buffered_signals AS b USING (run_id, signal_name)
WHERE
    w.run_id = %(run)s AND w.status = 'waiting' AND (w.expires_at IS NULL OR w.expires_at > clock_timestamp())
    AND NOT b.dead AND b.buffered_until > clock_timestamp()
UNION ALL
SELECT 'a signal is buffered, and its lock row does not say so: ' || b.signal_name
FROM flow_signal.flow_signal_buffered_signals AS b
LEFT JOIN flow_signal.flow_signal_locks AS l USING (run_id, signal_name)
WHERE b.run_id = %(run)s AND NOT b.dead AND l.has_buffered IS NOT TRUE
UNION ALL
SELECT 'left by a call that looked for a step: ' || w.step_key
FROM flow_signal.flow_signal_waiters AS w
WHERE w.run_id = %(run)s AND (w.signal_name = '' OR w.created_at = '-infinity')
UNION ALL
SELECT 'delivered before it was registered, or past its deadline: ' || w.step_key
FROM flow_signal.flow_signal_waiters AS w
WHERE w.run_id = %(run)s AND (w.delivered_at < w.created_at OR w.delivered_at >= w.expires_at)
UNION ALL
SELECT 'status and payload do not fit: ' || w.step_key
FROM flow_signal.flow_signal_waiters AS w
WHERE
    w.run_id = %(run)s
    AND ((w.status = 'delivered') <> (w.delivered_at IS NOT NULL)
    OR w.status <> 'delivered' AND w.payload_json IS NOT NULL
    OR w.status = 'expired' AND w.expires_at IS NULL)
UNION ALL
SELECT 'a receipt names a delivery that its waiter did not get: ' || r.delivery_id
FROM flow_signal.flow_signal_receipts AS r
INNER JOIN flow_signal.flow_signal_waiters AS w USING (run_id, step_key)
WHERE
    r.run_id = %(run)s AND w.created_at <= r.delivered_at
    AND (w.delivered_at IS DISTINCT FROM r.delivered_at OR w.signal_name <> r.signal_name)
UNION ALL
SELECT 'buffered, and delivered: ' || r.delivery_id
FROM flow_signal.flow_signal_receipts AS r
INNER JOIN flow_signal.flow_signal_buffered_signals AS b USING (run_id, delivery_id, signal_name)
WHERE r.run_id = %(run)s AND NOT b.dead
"""

PAYLOADS = """
SELECT w.payload_json::text AS payload, w.step_key AS place
FROM flow_signal.flow_signal_waiters AS w
WHERE w.run_id = %(run)s AND w.payload_json IS NOT NULL
UNION ALL
SELECT b.payload_json::text, 'buffered'
FROM flow_signal.flow_signal_buffered_signals AS b
WHERE b.run_id = %(run)s
ORDER BY 1, 2
"""

CONTENTS = """
SELECT
    concat_ws(
        ' ', w.step_key,
        flow_signal.waiter_state(w.status, w.expires_at, clock_timestamp()),
        w.payload_json #>> '{}', 'for ' || nullif(w.signal_name, 'go')
    ) AS row, 1 AS kind, w.step_key COLLATE "C" AS step, 0 AS position
FROM flow_signal.flow_signal_waiters AS w
WHERE w.run_id = %(run)s
UNION ALL
SELECT b.payload_json #>> '{}', 2, '', b.position
FROM flow_signal.flow_signal_buffered_signals AS b
WHERE b.run_id = %(run)s
ORDER BY 2, 3, 4
"""


class Step:
    """A call that was started and may have to wait."""

    def __init__(self, pid: int, future: Future[str]) -> None:
        self.pid = pid
        self.future = future

    def answer(self) -> str:
        """Wait for the call to end; return its answer."""
        return self.future.result(PATIENCE_SECONDS)


class Session:
    """One connection, in autocommit mode until `begin`."""

    def __init__(self, conninfo: str, threads: ThreadPoolExecutor) -> None:
        # A test that fails by a deadlock shall not take a second to do so, and one that hangs not for ever.
        options = f"-c deadlock_timeout=50ms -c statement_timeout={PATIENCE_SECONDS}s"
        self.connection = psycopg.connect(conninfo, autocommit=True, options=options)
        self.pid = self.connection.info.backend_pid
        self._threads = threads
        self._step: Step | None = None

    def __call__(self, call: Call) -> str:
        """Make the call; return its answer, or the SQLSTATE of its error."""
        try:
            row = self.connection.execute(call.statement, call.values).fetchone()
        except psycopg.Error as error:
            return error.sqlstate or str(error)
        return call.answer(row)

    def start(self, call: Call) -> Step:
        """Make the call in the background."""
        self._step = Step(self.pid, self._threads.submit(self, call))
        return self._step

    def execute(self, statement: str) -> None:
        self.connection.execute(statement.encode())

    def begin(self, level: str = "READ COMMITTED") -> None:
        self.execute(f"BEGIN ISOLATION LEVEL {level}")

    def commit(self) -> None:
        self.execute("COMMIT")

    def rollback(self) -> None:
        self.execute("ROLLBACK")

    @property
    def busy(self) -> bool:
        return self._step is not None and not self._step.future.done()

    @property
    def in_transaction(self) -> bool:
        return self.connection.info.transaction_status != TransactionStatus.IDLE


class Stage:
    """Sessions on one database, which the tests use in turn, and a monitor."""

    def __init__(self, conninfo: str) -> None:
        self.conninfo = conninfo
        self._threads = ThreadPoolExecutor(max_workers=16)
        self._sessions: list[Session] = []
        self._monitor = psycopg.connect(conninfo, autocommit=True)

    def sessions(self, count: int) -> Sequence[Session]:
        """Return that many sessions, none in a transaction."""
        while len(self._sessions) < count:
            self._sessions.append(Session(self.conninfo, self._threads))
        return self._sessions[:count]

    @contextmanager
    def guest(self) -> Iterator[Session]:
        """One more session, whose connection may be lost."""
        guest = Session(self.conninfo, self._threads)
        self._sessions.append(guest)
        try:
            yield guest
        finally:
            self._sessions.remove(guest)
            guest.connection.close()

    def terminate(self, session: Session) -> None:
        """End the session's process; return when it is gone."""
        self._monitor.execute("SELECT pg_terminate_backend(%s)", [session.pid])
        while self._monitor.execute("SELECT FROM pg_stat_activity WHERE pid = %s", [session.pid]).fetchone():
            time.sleep(POLL_SECONDS)

    def waits(self, step: Step) -> bool:
        """Watch the step until it waits for another session or a prepared transaction (True) or has ended (False)."""
        pids = {PREPARED, *(session.pid for session in self._sessions)}
        while not step.future.done():
            if pids.intersection(self.blockers(step)):
                return True
            wait([step.future], POLL_SECONDS)
        return False

    def blockers(self, step: Step) -> set[int]:
        """The processes that the step waits for now."""
        row = self._monitor.execute("SELECT pg_blocking_pids(%s)", [step.pid]).fetchone()
        assert row
        return set(row[0])

    def ahead(self, milliseconds: float) -> datetime:
        """An instant that far ahead, by the database's clock."""
        row = self._monitor.execute("SELECT clock_timestamp() + %s * interval '1 ms'", [milliseconds]).fetchone()
        assert row
        instant: datetime = row[0]
        return instant

    def make_overdue(self, session: Session, run: Run, step: str, signal: str = GO, queue: str | None = None) -> None:
        """Register the step, live until its deadline; return when that has passed and no call has found it yet."""
        for milliseconds in (30, 100, 500, 5000):
            deadline = self.ahead(milliseconds)
            if session(run.register(step, signal, until=deadline, queue=queue)).startswith("waiting"):
                return self.await_passing(deadline)
        raise AssertionError("the machine is too slow for this test")

    def has_passed(self, instant: datetime) -> bool:
        return self.ahead(0) >= instant

    def await_passing(self, instant: datetime) -> None:
        """Return as soon as the database's clock has passed the instant."""
        while not self.has_passed(instant):
            time.sleep(POLL_SECONDS)

    def written(self) -> str:
        """How far the server's log is written."""
        row = self._monitor.execute("SELECT pg_current_wal_lsn()::text").fetchone()
        assert row
        return str(row[0])

    def await_replay(self, position: str) -> None:
        """Return as soon as this standby has replayed its primary's log up to there."""
        query = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
        while self._monitor.execute(query, [position]).fetchone() != (True,):
            time.sleep(POLL_SECONDS)

    def notify(self, channel: str, payload: str) -> None:
        self._monitor.execute("SELECT pg_notify(%s, %s)", [channel, payload])

    def broken_invariants(self, run: Run) -> list[str]:
        """What must never be true of a run, but is."""
        payloads = [payload for payload, _ in self.payloads(run)]
        doubled = [f"in two places: {payload}" for payload in set(payloads) if payloads.count(payload) > 1]
        return self.broken_rules(run.id) + doubled

    def broken_rules(self, run: UUID) -> list[str]:
        """The same as far as one row, or two of them, break a rule."""
        return [row[0] for row in self._monitor.execute(BROKEN_RULES, {"run": run})]

    def payloads(self, run: Run) -> list[tuple[str, str]]:
        """Each payload of the run, with its step or `buffered`."""
        return [(json.loads(text), place) for text, place in self._monitor.execute(PAYLOADS, {"run": run.id})]

    def contents(self, run: Run) -> list[str]:
        """The waiters of the run, with state, payload and signal if it is not GO; its buffered signals in order."""
        return [row[0] for row in self._monitor.execute(CONTENTS, {"run": run.id})]

    def tokens(self, run: Run) -> int:
        """How many tokens of the run are stored."""
        query = "SELECT count(*) FROM flow_signal.flow_signal_tokens WHERE run_id = %s"
        row = self._monitor.execute(query, [run.id]).fetchone()
        assert row
        return int(row[0])

    def steps_by_age(self, run: Run) -> list[str]:
        """The steps of the run, oldest first."""
        query = """
            SELECT w.step_key FROM flow_signal.flow_signal_waiters AS w
            WHERE w.run_id = %s ORDER BY w.created_at, w.step_key
        """
        return [row[0] for row in self._monitor.execute(query, [run.id])]

    def reset(self) -> None:
        """End all transactions and steps, as a test that failed leaves them."""
        while True:
            for session in self._sessions:
                if not session.busy and session.in_transaction:
                    session.rollback()
            if not any(session.busy for session in self._sessions):
                return
            time.sleep(POLL_SECONDS)

    def close(self) -> None:
        for session in self._sessions:
            session.connection.close()
        self._monitor.close()
        self._threads.shutdown()
