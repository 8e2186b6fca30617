"""What several transactions may be answered that use one database at the same time.

`State` is the committed rows and, for each transaction that is not over, its changes. An operation takes place in one
instant: a call reads the committed rows with its own transaction's changes on top, as READ COMMITTED does, and adds to
these changes; COMMIT makes them everybody's. So that an answer is true whatever becomes of the other transactions, a
call takes place only in an instant in which none of them has changed what the answer relies on:

* a row that the call changes as well;
* a live or overdue waiter that deliver_signal or broadcast_signal looks at, but a settled one may be in removal;
* for a refusal or a buffering also a registration of the same signal, and for a registration a buffering;
* the id under which it delivers or buffers; for deliver_to_step, redeem_token, revoke_tokens and an `expired` from
  await_waiter the waiter of the step;
* for issue_token that the step is removed or moved, and for these an issue.

That a call finds a waiter past its deadline and settles it is a mark of its own, ("settled", run, step): it comes in
nobody's way. A call that has been answered in an interval without such an instant has not waited, as the contract says
it must.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, islice, product
from typing import Any, NamedTuple

from tests_py.proof.history import NEVER, NO_EFFECT, UNKNOWN, Operation
from tests_py.proof.model import Key, Model, Moment, Refused, Waiter

MANY, FEW = 300, 7

Rows = Mapping[Key, Any]
Changes = dict[Key, Any]


class State(NamedTuple):
    rows: Rows
    open: Mapping[str, tuple[Changes, ...]]
    """By client: the changes up to each savepoint, and up to now."""
    quota: int = 1000

    def view(self, client: str) -> dict[Key, Any]:
        """The rows as the client sees them."""
        rows = dict(self.rows)
        for key, row in self.open.get(client, ({},))[-1].items():
            if row is None:
                rows.pop(key, None)
            else:
                rows[key] = row
        return rows

    def shown(self, client: str) -> dict[Key, Any]:
        """The same for the model, to which a settled waiter is one that is expired."""
        rows = self.view(client)
        for key in [key for key in rows if key[0] == "settled"]:
            of_waiter = ("waiter", *key[1:])
            waiter = rows.get(of_waiter)
            if waiter and waiter.status == "waiting" and waiter.expires_at == rows[key]:
                rows[of_waiter] = waiter._replace(status="expired")
            del rows[key]
        return rows

    def after_error(self, client: str) -> State:
        """The same, but the server has undone the transaction up to its last savepoint, and let go of its locks."""
        *earlier, current = self.open.get(client, ({},))
        saved = earlier[-1] if earlier else {}
        if current == saved:
            return self
        return self._replace(open={**self.open, client: (*earlier, saved)})

    def others(self, client: str) -> list[Changes]:
        return [changes[-1] for other, changes in self.open.items() if other != client]

    def fingerprint(self) -> object:
        """Equal for states from which the same can follow."""
        transactions = [(client, *map(freeze, changes)) for client, changes in self.open.items()]
        return freeze(self.rows), frozenset(transactions)


def freeze(rows: Rows) -> frozenset[Any]:
    return frozenset(rows.items())


def following(state: State, operation: Operation, busy: bool, hints: Hints) -> Iterator[State]:
    """The states in which the operation may leave this one if it takes place here; none if it cannot.

    busy: Somebody else was at work meanwhile, and may have held locks that nobody sees.
    """
    client, changes = operation.client, state.open.get(operation.client)
    match operation.function:
        case "begin":
            yield state._replace(open={**state.open, client: ({},)})
        case "commit":
            without = {other: stack for other, stack in state.open.items() if other != client}
            yield state._replace(rows=state.view(client), open=without)
            if operation.answer is UNKNOWN:
                yield state._replace(open=without)
        case "rollback":
            yield state._replace(open={other: stack for other, stack in state.open.items() if other != client})
        case "savepoint":
            assert changes
            yield state._replace(open={**state.open, client: (*changes, changes[-1])})
        case "rollback to":
            assert changes
            yield state._replace(open={**state.open, client: changes[:-1]})
        case "release":
            assert changes
            yield state._replace(open={**state.open, client: (*changes[:-2], changes[-1])})
        case _ if operation.function == "failed" or operation.answer in NO_EFFECT:
            yield state.after_error(client)
        case _:
            yield from following_call(state, operation, busy, hints)


def following_call(state: State, operation: Operation, busy: bool, hints: Hints) -> Iterator[State]:
    client = operation.client
    view, others = state.shown(client), state.others(client)
    for moments in possible_moments(operation, view, others, busy, hints):
        model = Model(view, quota=state.quota)
        answer: Any
        try:
            answer = model.call(operation.function, moments, operation.arguments)
        except Refused as refused:
            answer = refused.sqlstate
        if operation.answer is not UNKNOWN and not agree(operation, answer):
            continue
        is_refused = isinstance(operation.answer, str)  # it may have seen that before it would have waited
        if not is_refused and any(must_wait(model, state.rows, other) for other in others):
            continue
        if not in_time(operation, model.changes, view):
            continue
        changes: Changes = {}
        for key, row in model.changes.items():
            if settles(view.get(key), row):
                changes["settled", key[1], key[2]] = row.expires_at
            else:
                changes[key] = row
        if is_refused:
            yield state.after_error(client)
        elif not changes:
            yield state
        elif client in state.open:
            *earlier, current = state.open[client]
            yield state._replace(open={**state.open, client: (*earlier, {**current, **changes})})
        else:
            rows = {**state.rows, **changes}
            yield state._replace(rows={key: row for key, row in rows.items() if row is not None})


def agree(operation: Operation, answer: Any) -> bool:
    match operation.function:
        case "purge" | "await_waiter" if isinstance(operation.answer, str) or isinstance(answer, str):
            return bool(operation.answer == answer)
        case "purge":
            return True
        case "broadcast_signal" if not isinstance(answer, str) and not isinstance(operation.answer, str):
            return sorted(operation.answer) == sorted(answer)
    return bool(operation.answer == answer)


def in_time(operation: Operation, changes: Changes, view: Rows) -> bool:
    """Whether what the call wrote has plausible times."""
    earliest, latest = operation.invoked, operation.returned + operation.inputs
    for key, row in changes.items():
        old = view.get(key)
        if not isinstance(row, Waiter):
            continue
        if old is None and not earliest <= row.created_at <= latest:
            return False
        if row.delivered_at is None or (old is not None and old.delivered_at is not None):
            continue
        if not max(earliest, row.created_at) <= row.delivered_at <= latest:
            return False
    return True


# -- waiting for one another


def must_wait(model: Model, rows: Rows, other: Changes) -> bool:
    """Whether the call must not take place before the other transaction, which made these changes, is over."""
    if not other:
        return False
    if any(key in other for key in model.changes):
        return True
    return any(touches(other, rows, thing) for thing in model.relies_on)


def touches(other: Changes, rows: Rows, thing: Key) -> bool:
    match thing:
        case ("row", *key):
            return tuple(key) in other and matters(rows.get(tuple(key)), other[tuple(key)])
        case ("id", run, signal, delivery_id):
            if other.get(("receipt", run, signal, delivery_id)):
                return True
            return any(
                key[:3] == ("buffered", run, signal) and row and row.delivery_id == delivery_id
                for key, row in other.items()
            )
        case ("bufferings", run, signal):
            return any(key[:3] == ("buffered", run, signal) and row for key, row in other.items())
        case ("registrations", run, signal):
            return any(
                key[:2] == ("waiter", run) and row and row.signal_name == signal and is_registration(rows.get(key), row)
                for key, row in other.items()
            )
        case ("registration", *key):
            old, new = rows.get(("waiter", *key)), other.get(("waiter", *key))
            return old is not None and ("waiter", *key) in other and (not new or new.registration != old.registration)
        case ("tokens", run, step):
            return any(key[:2] == ("token", run) and row and row.step_key == step for key, row in other.items())
        case ("token", *key):
            return ("token", *key) in other
    raise ValueError(thing)


def matters(old: Waiter | None, new: Waiter | None) -> bool:
    """Whether a change is more than a lease."""
    if old is None or new is None:
        return old is not new
    return new._replace(due_at=old.due_at, claim_id=old.claim_id, attempt=old.attempt) != old


def settles(old: Any, new: Any) -> bool:
    """Whether a change only notes that the deadline has passed, which is true in any order."""
    return isinstance(old, Waiter) and old.status == "waiting" and new == old._replace(status="expired")


def is_registration(old: Waiter | None, new: Waiter) -> bool:
    """Whether a signal may find the waiter; one that is expired at once has nothing to wait for."""
    if new.status == "expired":
        return False
    return old is None or old.signal_name != new.signal_name or old.expires_at != new.expires_at


# -- what the database chooses


Place = tuple[int, int]
"""The position of a buffered signal, and when it was buffered."""


class Hints(NamedTuple):
    """What a call is not told of that which it writes, and the history shows elsewhere."""

    created_at: Mapping[str, frozenset[int]]
    """By step; like the next for calls of unknown outcome."""
    delivered_at: frozenset[int]
    buffered: Mapping[Key, Sequence[Place]]
    """By run, name, deadline, id and payload."""

    def places(self, operation: Operation, view: Rows) -> list[Place | None]:
        """For each signal that the operation delivers: its place if it is shown later and not there yet."""
        if not operation.function.startswith("deliver_signal"):
            return [None] * operation.inputs
        free = {
            signal: [place for place in places if ("buffered", *signal[:2], place[0]) not in view]
            for signal, places in self.buffered.items()
        }
        found: list[Place | None] = []
        for n in range(operation.inputs):
            verdict = operation.answer[n] if isinstance(operation.answer, tuple) else ("buffered", False)
            places = free.get(operation.signal(n)) if verdict[0] == "buffered" and not verdict[-1] else None
            found.append(places.pop(0) if places else None)
        return found


def possible_moments(
    operation: Operation, view: Rows, others: Sequence[Changes], busy: bool, hints: Hints
) -> Iterator[list[Moment]]:
    """What the call may have found when it decided; a batch has one for each input."""
    answer = operation.answer
    rows: Sequence[Any] = answer if isinstance(answer, tuple) else ()
    refused = isinstance(answer, str)
    inputs = operation.inputs
    instants = turning_points(operation, view)
    if answer is UNKNOWN:
        yield from guesses(operation, instants, hints, view)
        return
    match operation.function:
        case (
            "register_waiter"
            | "register_waiters"
            | "deliver_signal"
            | "deliver_signals"
            | "deliver_to_step"
            | "redeem_token"
        ):
            if refused:
                yield from ([Moment(now)] * inputs for now in instants)
            else:
                places = hints.places(operation, view)
                together = [
                    [moment_of(operation.function, row, place, now) for row, place in zip(rows, places, strict=True)]
                    for now in instants
                ]
                yield from together
                # A deadline may pass between two elements of a batch.
                each = (dict.fromkeys(moments) for moments in zip(*together, strict=True))
                yield from map(list, islice(product(*each), MANY))
        case "issue_token":
            yield [Moment(instants[0], token=(rows[0][0] if rows else None) or "one that nobody was given")]
        case "broadcast_signal" if rows:
            yield [Moment(rows[0][3])]
        case "claim_waiters":
            locked = {key for other in others for key in other}
            if busy or others:
                claimed = {("waiter", row[0], row[1]) for row in rows}
                locked.update(key for key in view if key not in claimed)
            for now in dict.fromkeys([*instants, operation.returned]):
                yield [Moment(now, claim_id=rows[0][8] if rows else None, locked=frozenset(locked))]
        case "await_waiter" if rows and rows[0][3] == "waiting" and (busy or others):
            # Past the deadline it says so as well while another transaction holds the row, changed or not.
            yield from ([Moment(now)] for now in (*instants, rows[0][4]))
        case "purge":
            locked = {key for other in others for key in other}
            for now in instants:
                found = set(Model(view).purgeable(min(operation.arguments["settled_before"], now))) - locked
                for skipped in subsets(sorted(found)) if busy or others else [()]:
                    yield [Moment(now, locked=frozenset(locked.union(skipped)))]
        case "extend_claim":
            for now in dict.fromkeys([*instants, operation.returned]):
                yield [Moment(now)]
        case _:
            for now in instants:
                yield [Moment(now)]


def moment_of(function: str, row: Sequence[Any], place: Place | None, now: int) -> Moment:
    """The moment of a row of an answer: where it has an instant, that one."""
    if function.startswith("register"):
        created_at, delivered_at = row[4], row[6]
        return Moment(now if delivered_at is None else delivered_at, created_at=created_at)
    status, *_, delivered_at, replayed = row
    if status == "delivered" and not replayed:
        return Moment(delivered_at)
    if place:
        return Moment(place[1], position=place[0])
    return Moment(now)


def turning_points(operation: Operation, view: Rows) -> list[int]:
    """Instants of the operation's interval, one of each stretch in which no deadline passes."""
    passing: set[Any] = {operation.arguments.get("expires_at"), operation.arguments.get("buffer_until")}
    if isinstance(operation.arguments.get("expires_at"), tuple):
        passing = set(operation.arguments["expires_at"])
    for key, row in view.items():
        if key[0] == "waiter":
            passing.update((row.expires_at, row.due_at))
        elif key[0] == "token":
            passing.add(row.expires_at)
        elif key[0] == "buffered":
            passing.add(row.buffered_until)
    within = sorted(i for i in passing if i is not None and operation.invoked < i <= operation.returned)
    return [operation.invoked, *within]


def guesses(operation: Operation, instants: Sequence[int], hints: Hints, view: Rows) -> Iterator[list[Moment]]:
    nows = [*(i for i in instants if i < NEVER), *(i for i in hints.delivered_at if i >= operation.invoked)]
    steps = operation.arguments.get("step_keys", (operation.arguments.get("step_key"),) * operation.inputs)
    created = [
        next((i for i in sorted(hints.created_at.get(step, ())) if i >= operation.invoked), operation.invoked)
        for step in steps
    ]
    for now in dict.fromkeys(nows):
        new = f"unknown {operation.invoked}"  # a claim or a token
        yield [Moment(max(now, at), created_at=at, claim_id=new, token=new) for at in created]
    places = hints.places(operation, view)
    if any(places):
        yield [Moment(place[1], position=place[0]) if place else Moment(operation.invoked) for place in places]


def subsets(keys: Sequence[Key]) -> Iterator[tuple[Key, ...]]:
    """All of a few keys; of many only those with all receipts and tokens or none."""
    many: tuple[Key, ...] = ()
    if len(keys) > FEW:
        many = tuple(key for key in keys if key[0] in ("receipt", "token"))
    single = [key for key in keys if key not in many][:FEW]
    together = dict.fromkeys([(), many])
    for number in range(len(single) + 1):
        for chosen in combinations(single, number):
            yield from (chosen + more for more in together)
