"""The contract as a program that nobody interrupts: one call after another, no database, no clock of its own.

`Model.rows` is what the database remembers: waiters, receipts and buffered signals by their keys. Each method is the
function of that name, its arguments without `p_`. It returns the rows of the answer, or it raises `Refused`; `call`
then leaves everything as it was. A call gets a `Moment`: the instant at which it decides, and what else the database is
free to choose. An instant, like a lease, is a number of microseconds.

While it decides, a call notes in `relies_on` whatever its answer depends on in such a way that a real call waits for
another transaction that has changed it and is not over yet; `transactions.py` explains how that is used.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

Key = tuple[Any, ...]
"""("waiter", run, step) | ("receipt", run, signal, delivery id) | ("buffered", run, signal, position)

And ("token", run, token); and ("notice", run, step, delivered_at), whose row is the channel: a NOTIFY that is sent by
COMMIT.
"""

DAY = 86_400_000_000
FIRST_INSTANT, LAST_INSTANT = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The years 1 to 9999, as microseconds since 1970."""

INFINITY, MINUS_INFINITY = 2**63 - 1, -(2**63)

MAX_PAYLOAD_BYTES = 1_048_576


class Refused(Exception):
    """The call ends with this SQLSTATE."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


class Moment(NamedTuple):
    """What a call does not decide itself: when it decides, when it began, and the name of its claim."""

    now: int
    created_at: int | None = None
    """Of a new waiter; it is read before the call waits for others, so it may lie before `now`."""
    claim_id: str | None = None
    position: int | None = None
    """Of a newly buffered signal, behind those that are there."""
    token: str | None = None
    """The text of a new one."""
    locked: frozenset[Key] = frozenset()
    """What claim_waiters and purge skip."""


class Waiter(NamedTuple):
    """A row of the table, `status` being 'expired' only when a call has acted on the passed deadline."""

    run_id: str
    step_key: str
    signal_name: str
    status: str
    created_at: int
    expires_at: int | None
    delivered_at: int | None
    payload_json: str | None
    wake_channel: str | None
    queue: str | None
    due_at: int | None
    claim_id: str | None
    attempt: int
    moves: int = 0
    """To another signal."""

    @property
    def registration(self) -> tuple[int, int]:
        """What a token is for: the step may be removed and registered anew, or moved to another signal."""
        return self.created_at, self.moves

    def state(self, now: int) -> str:
        return "expired" if self.status == "waiting" and self.is_overdue(now) else self.status

    def is_overdue(self, now: int) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    def answer(self, now: int) -> tuple[Any, ...]:
        """flow_signal_v1.waiter"""
        return (
            self.run_id,
            self.step_key,
            self.signal_name,
            self.state(now),
            self.created_at,
            self.expires_at,
            self.delivered_at,
            self.payload_json,
        )


class Receipt(NamedTuple):
    """What became of a delivery id; it outlives the waiter."""

    step_key: str
    delivered_at: int
    payload_json: str | None


class Token(NamedTuple):
    """A token, and what became of it; when it was redeemed, it outlives the waiter."""

    step_key: str
    signal_name: str
    registration: tuple[int, int]
    expires_at: int | None
    delivered_at: int | None = None
    payload_json: str | None = None


class Buffered(NamedTuple):
    """A signal that was there before its waiter; dead when its time is over."""

    run_id: str
    signal_name: str
    position: int
    buffered_at: int
    buffered_until: int
    delivery_id: str | None
    payload_json: str | None

    def answer(self, now: int) -> tuple[Any, ...]:
        """flow_signal_v1.buffered_signal"""
        state = "buffered" if self.buffered_until > now else "dead"
        return (*self[:3], state, *self[3:])


Answer = tuple[tuple[Any, ...], ...]


class Model:
    """The rows, and the functions that read and change them."""

    def __init__(self, rows: Mapping[Key, Any] | None = None, *, quota: int = 1000) -> None:
        self.rows: dict[Key, Any] = dict(rows or {})
        self.quota = quota
        self.changes: dict[Key, Any] = {}
        """What the calls wrote, None for a row that they deleted."""
        self.relies_on: set[Key] = set()
        """("row", *key) | ("id", run, signal, id) | ("registrations", run, signal) | ("bufferings", run, signal)

        And ("registration", run, step) | ("tokens", run, step) | ("token", run, token).
        """

    def call(self, function: str, moments: Sequence[Moment], arguments: Mapping[str, Any]) -> Answer:
        """Make one call; a batch has a moment for each of its inputs."""
        before, changes = dict(self.rows), dict(self.changes)
        try:
            if function in {"register_waiters", "deliver_signals"}:
                return tuple(getattr(self, function)(moments, **arguments))
            return tuple(getattr(self, function)(moments[0], **arguments))
        except Refused:
            self.rows, self.changes = before, changes
            raise

    # -- the engine registers

    def register_waiter(
        self,
        moment: Moment,
        run_id: str,
        step_key: str,
        signal_name: str,
        expires_at: int | None = None,
        wake_channel: str | None = None,
        queue: str | None = None,
    ) -> Answer:
        expires_at = None if expires_at == INFINITY else expires_at
        check_values(run_id, step_key, signal_name)
        check_names(step_key, signal_name, wake_channel, queue)
        check_channel(wake_channel)
        check_instants(expires_at)

        now = moment.now
        waiter = self.waiter(run_id, step_key)
        overdue = expires_at is not None and expires_at <= now
        passes, moves = False, 0
        if waiter is None:
            created_at = now if moment.created_at is None else moment.created_at
            # Amid the call: nobody has acted on that yet, unless a signal is buffered for such a step.
            passes = overdue and expires_at is not None and created_at < expires_at
            passes = passes and not self.buffered(run_id, signal_name)
        elif waiter.status == "delivered":
            if waiter.signal_name != signal_name:
                raise Refused("WS001")
            return (waiter.answer(now),)
        elif (waiter.signal_name, waiter.expires_at, waiter.queue) == (signal_name, expires_at, queue):
            # Nothing changes, or the wake channel alone, which leaves a lease as it is.
            if waiter.wake_channel != wake_channel:
                self.put(waiter._replace(wake_channel=wake_channel))
            return (waiter.answer(now),)
        else:
            created_at, moves = waiter.created_at, waiter.moves
            if waiter.signal_name != signal_name:
                moves += 1
                self.relies_on.add(("tokens", run_id, step_key))
        waiter = Waiter(
            run_id,
            step_key,
            signal_name,
            status="expired" if overdue and not passes else "waiting",
            created_at=created_at,
            expires_at=expires_at,
            delivered_at=None,
            payload_json=None,
            wake_channel=wake_channel,
            queue=queue,
            due_at=expires_at if queue is not None else None,
            claim_id=None,
            attempt=0,
            moves=moves,
        )
        self.put(waiter)
        if not overdue:
            self.relies_on.add(("bufferings", run_id, signal_name))
            kept = [signal for signal in self.buffered(run_id, signal_name) if signal.buffered_until > now]
            if kept:
                self.drop(("buffered", run_id, signal_name, kept[0].position))
                waiter = self.hand_over(waiter, kept[0].payload_json, kept[0].delivery_id, now)
        return (waiter.answer(now),)

    def register_waiters(
        self,
        moments: Sequence[Moment],
        run_ids: Sequence[str],
        step_keys: Sequence[str],
        signal_names: Sequence[str],
        expires_at: Sequence[int | None] | None = None,
        wake_channel: str | None = None,
        queue: str | None = None,
    ) -> Iterable[tuple[Any, ...]]:
        check_values(run_ids, step_keys, signal_names)
        deadlines = [None] * len(run_ids) if expires_at is None else expires_at
        check_lengths(run_ids, step_keys, signal_names, deadlines)
        for moment, run, step, name, deadline in zip(moments, run_ids, step_keys, signal_names, deadlines, strict=True):
            yield from self.register_waiter(moment, run, step, name, deadline, wake_channel, queue)

    # -- somebody sends

    def deliver_signal(
        self,
        moment: Moment,
        run_id: str,
        signal_name: str,
        payload_json: str | None = None,
        delivery_id: str | None = None,
        buffer_until: int | None = None,
    ) -> Answer:
        check_values(run_id, signal_name)
        check_names(signal_name, delivery_id)
        check_payload(payload_json)
        check_instants(buffer_until)

        now = moment.now
        known = self.known(run_id, signal_name, delivery_id, payload_json, now)
        if known:
            return known

        # The oldest live waiter gets it; those that are overdue before it are settled as expired.
        for waiter in self.waiters(run_id, signal_name, "waiting"):
            self.relies_on.add(("row", "waiter", run_id, waiter.step_key))
            if waiter.is_overdue(now):
                self.put(waiter._replace(status="expired"))
            else:
                self.hand_over(waiter, payload_json, delivery_id, now)
                return (delivery("delivered", run_id, waiter.step_key, now),)

        self.relies_on.add(("registrations", run_id, signal_name))
        if buffer_until is not None and buffer_until > now:
            kept = self.buffered(run_id, signal_name)
            if sum(signal.buffered_until > now for signal in kept) >= self.quota:
                raise Refused("WS004")
            position = moment.position or max([now, *(signal.position + 1 for signal in kept)])
            signal = Buffered(run_id, signal_name, position, now, buffer_until, delivery_id, payload_json)
            self.relies_on.add(("id", run_id, signal_name, delivery_id))
            self.write(("buffered", *signal[:3]), signal)
            return (delivery("buffered", run_id),)
        for waiter in self.waiters(run_id, signal_name, "delivered"):
            return (delivery("already_delivered", run_id, waiter.step_key, waiter.delivered_at),)
        for waiter in self.waiters(run_id, signal_name, "expired"):
            return (delivery("expired", run_id, waiter.step_key),)
        return (delivery("not_found", run_id),)

    def deliver_signals(
        self,
        moments: Sequence[Moment],
        run_ids: Sequence[str],
        signal_names: Sequence[str],
        payloads_json: Sequence[str | None] | None = None,
        delivery_ids: Sequence[str | None] | None = None,
        buffer_until: int | None = None,
    ) -> Iterable[tuple[Any, ...]]:
        check_values(run_ids, signal_names)
        payloads = [None] * len(run_ids) if payloads_json is None else payloads_json
        ids = [None] * len(run_ids) if delivery_ids is None else delivery_ids
        check_lengths(run_ids, signal_names, payloads, ids)
        for moment, run, name, payload, id in zip(moments, run_ids, signal_names, payloads, ids, strict=True):
            yield from self.deliver_signal(moment, run, name, payload, id, buffer_until)

    def deliver_to_step(
        self,
        moment: Moment,
        run_id: str,
        step_key: str,
        payload_json: str | None = None,
        delivery_id: str | None = None,
    ) -> Answer:
        check_values(run_id, step_key)
        check_names(step_key, delivery_id)
        check_payload(payload_json)

        now = moment.now
        waiter = self.waiter(run_id, step_key)
        if delivery_id is not None:
            # Known for this step under any signal, the latest first, or for the signal that the step waits for.
            receipts = [
                (row.delivered_at, key[2])
                for key, row in self.rows.items()
                if key[:2] == ("receipt", run_id) and key[3] == delivery_id and row.step_key == step_key
            ]
            signals = [signal for _, signal in sorted(receipts, reverse=True)]
            signals += [waiter.signal_name] if waiter else []
            for signal_name in signals:
                known = self.known(run_id, signal_name, delivery_id, payload_json, now)
                if known:
                    return known
        self.relies_on.add(("row", "waiter", run_id, step_key))
        if waiter is None:
            return (delivery("not_found", run_id),)
        if waiter.status == "delivered":
            return (delivery("already_delivered", run_id, step_key, waiter.delivered_at),)
        if waiter.status == "expired" or waiter.is_overdue(now):
            if waiter.status == "waiting":
                self.put(waiter._replace(status="expired"))
            return (delivery("expired", run_id, step_key),)
        self.hand_over(waiter, payload_json, delivery_id, now)
        return (delivery("delivered", run_id, step_key, now),)

    def broadcast_signal(self, moment: Moment, signal_name: str, payload_json: str | None = None) -> Answer:
        check_values(signal_name)
        check_names(signal_name)
        check_payload(payload_json)
        waiting = [row for row in self.all_waiters() if row.signal_name == signal_name and row.status == "waiting"]
        answers = []
        for waiter in waiting:
            self.relies_on.add(("row", "waiter", waiter.run_id, waiter.step_key))
            if not waiter.is_overdue(moment.now):
                self.hand_over(waiter, payload_json, None, moment.now)
                answers.append(delivery("delivered", waiter.run_id, waiter.step_key, moment.now))
        return tuple(answers)

    # -- a person answers

    def issue_token(self, moment: Moment, run_id: str, step_key: str, expires_at: int | None = None) -> Answer:
        expires_at = None if expires_at == INFINITY else expires_at
        check_values(run_id, step_key)
        check_names(step_key)
        check_instants(expires_at)
        waiter = self.waiter(run_id, step_key)
        if waiter is None:
            return ((None,),)
        self.relies_on.add(("registration", run_id, step_key))
        token = Token(step_key, waiter.signal_name, waiter.registration, expires_at)
        self.write(("token", run_id, moment.token), token)
        return ((moment.token,),)

    def redeem_token(self, moment: Moment, token: str, payload_json: str | None = None) -> Answer:
        check_values(token)
        check_payload(payload_json)
        now, run_id = moment.now, run_of_token(token)
        row, waiter = self.token(token, now)
        if row is None:
            return (("not_found", None, None, None, False),)
        if row.delivered_at is not None:
            refuse_if(row.payload_json != payload_json, "WS002")
            return (delivery("delivered", run_id, row.step_key, row.delivered_at, replayed=True),)
        self.relies_on |= {("row", "waiter", run_id, row.step_key), ("token", run_id, token)}
        assert waiter
        if waiter.status == "delivered":
            return (delivery("already_delivered", run_id, row.step_key, waiter.delivered_at),)
        if waiter.status == "expired" or waiter.is_overdue(now):
            if waiter.status == "waiting":
                self.put(waiter._replace(status="expired"))
            return (delivery("expired", run_id, row.step_key),)
        self.hand_over(waiter, payload_json, None, now)
        self.write(("token", run_id, token), row._replace(delivered_at=now, payload_json=payload_json))
        return (delivery("delivered", run_id, row.step_key, now),)

    def describe_token(self, moment: Moment, token: str) -> Answer:
        check_values(token)
        row, waiter = self.token(token, moment.now)
        if row is None:
            return ()
        if waiter is None:
            return ((row.signal_name, "redeemed", None),)
        ends = [instant for instant in (row.expires_at, waiter.expires_at) if instant is not None]
        return ((row.signal_name, waiter.state(moment.now), min(ends, default=None)),)

    def revoke_tokens(self, moment: Moment, run_id: str, step_key: str) -> Answer:
        check_values(run_id, step_key)
        check_names(step_key)
        if self.waiter(run_id, step_key):
            self.relies_on.add(("row", "waiter", run_id, step_key))
        keys = [
            key
            for key, row in self.rows.items()
            if key[:2] == ("token", run_id) and row.step_key == step_key and row.delivered_at is None
        ]
        for key in keys:
            self.drop(key)
        return ((len(keys),),)

    # -- the engine resumes

    def get_waiter(self, moment: Moment, run_id: str, step_key: str) -> Answer:
        check_values(run_id, step_key)
        check_names(step_key)
        waiter = self.waiter(run_id, step_key)
        return (waiter.answer(moment.now),) if waiter else ()

    def await_waiter(self, moment: Moment, run_id: str, step_key: str, max_wait: int) -> Answer:
        """The last look of the call; until then it sleeps. That a waiter is settled as expired is certain anyway."""
        check_values(max_wait)
        check_range(max_wait, 0, 300_000_000)
        waiter = self.waiter(run_id, step_key)
        if waiter and waiter.status == "waiting" and waiter.is_overdue(moment.now):
            self.relies_on.add(("row", "waiter", run_id, step_key))
        return self.get_waiter(moment, run_id, step_key)

    def remove_waiter(self, moment: Moment, run_id: str, step_key: str, claim_id: str | None = None) -> Answer:
        check_values(run_id, step_key)
        check_names(step_key)
        waiter = self.waiter(run_id, step_key)
        if waiter is None or claim_id not in (None, waiter.claim_id):
            return ()
        self.relies_on.add(("tokens", run_id, step_key))
        self.drop(("waiter", run_id, step_key))
        return (waiter.answer(moment.now),)

    def claim_waiters(self, moment: Moment, queue: str, limit: int = 100, lease: int = 60_000_000) -> Answer:
        check_values(queue, limit, lease)
        check_names(queue)
        check_range(limit, 1, 10_000)
        check_range(lease, 1, DAY)
        now = moment.now
        due = [
            (waiter.due_at, waiter.run_id, waiter.step_key, waiter)
            for waiter in self.all_waiters()
            if waiter.queue == queue and waiter.due_at is not None and waiter.due_at <= now
            if ("waiter", waiter.run_id, waiter.step_key) not in moment.locked
        ]
        answers = []
        for *_, waiter in sorted(due)[:limit]:
            claimed = waiter._replace(
                status="delivered" if waiter.status == "delivered" else "expired",
                due_at=now + lease,
                claim_id=moment.claim_id,
                attempt=waiter.attempt + 1,
            )
            self.put(claimed)
            answers.append((*claimed.answer(now), claimed.claim_id, claimed.attempt))
        return tuple(answers)

    def extend_claim(self, moment: Moment, run_id: str, step_key: str, claim_id: str, lease: int) -> Answer:
        check_values(run_id, step_key, claim_id, lease)
        check_names(step_key)
        check_range(lease, 0, DAY)
        waiter = self.waiter(run_id, step_key)
        if waiter is None or waiter.claim_id != claim_id:
            return ((False,),)
        self.put(waiter._replace(due_at=moment.now + lease, claim_id=claim_id if lease else None))
        return ((True,),)

    # -- housekeeping

    def remove_run(self, moment: Moment, run_id: str) -> Answer:
        check_values(run_id)
        keys = [key for key in self.rows if key[0] != "notice" and key[1] == run_id]
        for key in keys:
            if key[0] == "waiter":
                self.relies_on.add(("tokens", *key[1:]))
            self.drop(key)
        return ((sum(key[0] == "waiter" for key in keys),),)

    def purge(self, moment: Moment, settled_before: int, limit: int = 10_000) -> Answer:
        """Without a number, because it counts rows of which this model has none; `limit` is out of reach."""
        check_values(settled_before, limit)
        check_instants(settled_before)
        check_range(limit, 1, 100_000)
        for key in self.purgeable(min(settled_before, moment.now)):
            if key not in moment.locked:
                self.drop(key)
        return ()

    def purgeable(self, before: int) -> list[Key]:
        """Waiters settled, signals dead, receipts written and tokens redeemed before then, and tokens that are void.

        A receipt and a redeemed token stay while their waiter does.
        """
        found = []
        for key, row in self.rows.items():
            match key[0]:
                case "waiter":
                    settled_at = row.delivered_at if row.status == "delivered" else row.expires_at
                case "buffered":
                    settled_at = row.buffered_until
                case "receipt":
                    settled_at = row.delivered_at
                case _:
                    settled_at = None
            if settled_at is not None and settled_at < before:
                found.append(key)
        kept = [row for key, row in self.rows.items() if key[0] == "waiter" and key not in found]
        delivered = {(row.run_id, row.step_key, row.delivered_at) for row in kept}
        registered = {(row.run_id, row.step_key, row.registration) for row in kept}
        found = [
            key
            for key in found
            if key[0] != "receipt" or (key[1], self.rows[key].step_key, self.rows[key].delivered_at) not in delivered
        ]
        for key, row in self.rows.items():
            if key[0] == "token":
                has_ended = row.delivered_at is None and row.expires_at is not None and row.expires_at < before
                may_go = row.delivered_at is None or row.delivered_at < before
                if has_ended or (may_go and (key[1], row.step_key, row.registration) not in registered):
                    found.append(key)
        return found

    def purge_buffered(self, moment: Moment, buffered_before: int, limit: int = 10_000) -> Answer:
        check_values(buffered_before, limit)
        check_instants(buffered_before)
        check_range(limit, 1, 100_000)
        old = [row for key, row in self.rows.items() if key[0] == "buffered" and row.buffered_at < buffered_before]
        for row in old:
            self.drop(("buffered", *row[:3]))
        return ((len(old),),)

    def withdraw_signal(self, moment: Moment, run_id: str, signal_name: str, position: int) -> Answer:
        check_values(run_id, signal_name, position)
        check_names(signal_name)
        signal = self.rows.get(("buffered", run_id, signal_name, position))
        if signal is None:
            return ()
        self.drop(("buffered", run_id, signal_name, position))
        return (signal.answer(moment.now),)

    def list_waiters(
        self,
        moment: Moment,
        run_id: str | None = None,
        signal_name: str | None = None,
        state: str | None = None,
        after_run_id: str | None = None,
        after_step_key: str | None = None,
        limit: int = 100,
    ) -> Answer:
        after = (after_run_id or "", after_step_key or "")
        answers = [
            waiter.answer(moment.now) for waiter in self.all_waiters() if (waiter.run_id, waiter.step_key) > after
        ]
        asked = (run_id, None, signal_name, state)
        found = [row for row in answers if all(a is None or a == r for a, r in zip(asked, row, strict=False))]
        return tuple(found[:limit])

    def list_buffered_signals(self, moment: Moment, run_id: str, signal_name: str | None = None) -> Answer:
        keys = sorted(key for key in self.rows if key[:2] == ("buffered", run_id) and signal_name in (None, key[2]))
        return tuple(self.rows[key].answer(moment.now) for key in keys)

    # -- what several calls have in common

    def waiter(self, run_id: str, step_key: str) -> Waiter | None:
        return self.rows.get(("waiter", run_id, step_key))

    def waiters(self, run_id: str, signal_name: str, status: str) -> list[Waiter]:
        """Oldest first."""
        found = [
            row
            for key, row in self.rows.items()
            if key[0] == "waiter" and key[1] == run_id and row.signal_name == signal_name and row.status == status
        ]
        return sorted(found, key=lambda row: (row.created_at, row.step_key))

    def token(self, token: str, now: int) -> tuple[Token | None, Waiter | None]:
        """A token that is not void; its waiter, unless the token was redeemed."""
        run_id = run_of_token(token)
        row = self.rows.get(("token", run_id, token))
        if row is None or row.delivered_at is not None:
            return row, None
        waiter = self.waiter(run_id, row.step_key)
        is_over = row.expires_at is not None and row.expires_at <= now
        if is_over or waiter is None or waiter.registration != row.registration:
            return None, None
        return row, waiter

    def all_waiters(self) -> list[Waiter]:
        """By run and step."""
        return sorted(row for key, row in self.rows.items() if key[0] == "waiter")

    def buffered(self, run_id: str, signal_name: str) -> list[Buffered]:
        """In their order, dead ones included."""
        return sorted(row for key, row in self.rows.items() if key[:3] == ("buffered", run_id, signal_name))

    def known(
        self, run_id: str, signal_name: str, delivery_id: str | None, payload_json: str | None, now: int
    ) -> Answer | None:
        """What became of the signal that came under this id before; a dead one is forgotten."""
        if delivery_id is None:
            return None
        receipt = self.rows.get(("receipt", run_id, signal_name, delivery_id))
        if receipt:
            answer = delivery("delivered", run_id, receipt.step_key, receipt.delivered_at, replayed=True)
            recorded = receipt.payload_json
        else:
            kept = [s for s in self.buffered(run_id, signal_name) if s.delivery_id == delivery_id]
            kept = [s for s in kept if s.buffered_until > now]
            if not kept:
                return None
            answer = delivery("buffered", run_id, replayed=True)
            recorded = kept[0].payload_json
        if recorded != payload_json:
            raise Refused("WS002")
        return (answer,)

    def hand_over(self, waiter: Waiter, payload_json: str | None, delivery_id: str | None, now: int) -> Waiter:
        """The waiter gets the payload, its channel a notification, and the id its receipt."""
        waiter = waiter._replace(
            status="delivered",
            delivered_at=now,
            payload_json=payload_json,
            due_at=now if waiter.queue is not None else None,
        )
        self.put(waiter)
        if delivery_id is not None:
            receipt = Receipt(waiter.step_key, now, payload_json)
            self.relies_on.add(("id", waiter.run_id, waiter.signal_name, delivery_id))
            self.write(("receipt", waiter.run_id, waiter.signal_name, delivery_id), receipt)
        if waiter.wake_channel is not None:
            self.write(("notice", waiter.run_id, waiter.step_key, now), waiter.wake_channel)
        return waiter

    def put(self, waiter: Waiter) -> None:
        self.write(("waiter", waiter.run_id, waiter.step_key), waiter)

    def write(self, key: Key, row: Any) -> None:
        self.rows[key] = self.changes[key] = row

    def drop(self, key: Key) -> None:
        del self.rows[key]
        self.changes[key] = None


def delivery(
    status: str, run_id: str, step_key: str | None = None, delivered_at: int | None = None, *, replayed: bool = False
) -> tuple[Any, ...]:
    """flow_signal_v1.delivery"""
    return (status, run_id, step_key, delivered_at, replayed)


def run_of_token(token: str) -> str:
    """Empty for a text that is not a token."""
    try:
        return str(UUID(token[4:36]))
    except ValueError:
        return ""


# -- input that is refused


def check_values(*values: Any) -> None:
    refuse_if(any(value is None for value in values), "22004")


def check_names(*names: str | None) -> None:
    refuse_if(any(name is not None and (not name.strip() or len(name) > 256) for name in names), "22023")


def check_channel(channel: str | None) -> None:
    refuse_if(channel is not None and len(channel.encode()) > 63, "22023")


def check_instants(*instants: int | None) -> None:
    outside = (instant is not None and not FIRST_INSTANT <= instant <= LAST_INSTANT for instant in instants)
    refuse_if(any(outside), "22023")


def check_range(value: int, low: int, high: int) -> None:
    refuse_if(not low <= value <= high, "22023")


def check_lengths(*arrays: Sequence[Any]) -> None:
    refuse_if(len({len(array) for array in arrays}) > 1, "22023")


def check_payload(payload_json: str | None) -> None:
    if payload_json is None:
        return
    refuse_if(len(payload_json.encode()) > MAX_PAYLOAD_BYTES, "WS003")
    try:
        json.loads(payload_json, parse_constant=no_constant)
    except ValueError:
        raise Refused("22P02") from None
    except RecursionError:
        raise Refused("54001") from None


def no_constant(name: str) -> None:
    """JSON has neither NaN nor Infinity."""
    raise ValueError(name)


def refuse_if(wrong: bool, sqlstate: str) -> None:
    if wrong:
        raise Refused(sqlstate)
