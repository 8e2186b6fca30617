"""Whether a history can be explained: the search of Wing and Gong, with memory.

A history is explained if its operations can be put in an order in which each takes place within its interval and the
model answers it as the database did. The search tries, from each state, every operation that may be the next: one that
was invoked before any other that is left has returned. States that failed once, with the same operations left, are not
tried again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tests_py.proof.history import CONTROLS, NEVER, UNKNOWN, Operation, parts
from tests_py.proof.model import Model, Moment, Refused
from tests_py.proof.transactions import Hints, Place, State, following, turning_points

SENT_TO_ONE = {"deliver_signal", "deliver_signals", "deliver_to_step", "redeem_token"}
DELIVERIES = {*SENT_TO_ONE, "broadcast_signal"}
WAITERS = {"register_waiter", "register_waiters", "get_waiter", "await_waiter", "remove_waiter", "claim_waiters"}
WAITERS |= {"list_waiters"}
BUFFERED = {"list_buffered_signals", "withdraw_signal"}

PATIENCE = 200_000
"""What the judge has not explained by then it never will: histories of a few hundred operations take a few thousand."""

READERS = {"get_waiter", "await_waiter", "describe_token", "list_waiters", "list_buffered_signals", "begin"}
FINDERS = {"remove_waiter", "claim_waiters", "extend_claim", "withdraw_signal", "broadcast_signal"}
FINDERS |= {"issue_token", "revoke_tokens"}
"""They change nothing if they find nothing."""
NOTHING = ((), ((False,),), ((0,),), ((None,),))


class Judge:
    """The search in one history of one run."""

    def __init__(self, history: Iterable[Operation], *, quota: int = 1000) -> None:
        self.clients: dict[str, list[Operation]] = {}
        begun: set[str] = set()
        for operation in sorted(history, key=lambda operation: operation.invoked):
            client, among = operation.client, parts(operation)
            if len(among) > 1 and client not in begun and operation.function != "purge":
                begin, commit = (operation._replace(function=f, arguments={}, answer=()) for f in ("begin", "commit"))
                among = [begin, *among, commit]
            self.clients.setdefault(client, []).extend(part._replace() for part in among)
            if operation.function == "begin":
                begun.add(client)
            elif operation.function in ("commit", "rollback"):
                begun.discard(client)
        self.names = sorted(self.clients)
        self.queues = [self.clients[name] for name in self.names]
        self.hints = hints([operation for queue in self.queues for operation in queue])
        self.busy = {id(operation): self.overlaps(operation) for queue in self.queues for operation in queue}
        self.settling = {id(operation) for queue in self.queues for operation in queue if self.may_settle(operation)}
        self.quota = quota
        self.tried = 0
        self.furthest: tuple[int, tuple[int, ...], State] = (-1, (), State({}, {}))

    def overlaps(self, operation: Operation) -> bool:
        return any(
            other.invoked <= operation.returned and operation.invoked <= other.returned
            for name, queue in self.clients.items()
            if name != operation.client
            for other in queue
        )

    def may_settle(self, delivery: Operation) -> bool:
        """Whether a waiter becomes overdue meanwhile, which the delivery settles if it takes place after that."""
        if delivery.function not in SENT_TO_ONE:
            return False
        return any(
            at is not None
            and at <= delivery.returned
            and operation.invoked <= delivery.returned
            and max(at, operation.returned) >= delivery.invoked
            for queue in self.queues
            for operation in queue
            for at in deadlines(operation)
        )

    def objection(self) -> str | None:
        """None if the history is explained, else what was not."""
        start = ((0,) * len(self.queues), State({}, {}, self.quota))
        stack = [start]
        failed: set[object] = set()
        while stack:
            if self.tried > PATIENCE:
                return f"undecided after {self.tried} operations tried\n{self.report()}"
            done, state = stack.pop()
            fingerprint = (done, state.fingerprint())
            if fingerprint in failed:
                continue
            failed.add(fingerprint)
            if sum(done) > self.furthest[0]:
                self.furthest = (sum(done), done, state)
            if self.complete(done):
                return None
            stack += self.successors(done, state)
        return self.report()

    def complete(self, done: tuple[int, ...]) -> bool:
        return all(n == len(queue) or queue[n].returned == NEVER for n, queue in zip(done, self.queues, strict=True))

    def candidates(self, done: tuple[int, ...]) -> list[int]:
        """The clients whose next operation may be the next of all, the one to return first as the last."""
        left = [n for n, queue in enumerate(self.queues) if done[n] < len(queue)]
        first = min(self.queues[n][done[n]].returned for n in left)
        found = [n for n in left if self.queues[n][done[n]].invoked <= first]
        return sorted(found, key=lambda n: -self.queues[n][done[n]].returned)

    def successors(self, done: tuple[int, ...], state: State) -> list[tuple[tuple[int, ...], State]]:
        found = []
        for n in self.candidates(done):
            operation = self.queues[n][done[n]]
            after = (*done[:n], done[n] + 1, *done[n + 1 :])
            self.tried += 1
            for following_state in following(state, operation, self.busy[id(operation)], self.hints):
                if following_state is state and reads(operation) and id(operation) not in self.settling:
                    return [(after, state)]  # it could only take place later, with the same effect
                found.append((after, following_state))
            if operation.answer is UNKNOWN and operation.function not in CONTROLS:
                found.append((after, state))  # it never took place
        return found

    def report(self) -> str:
        """The operations that nothing explains, where the search got furthest, and what the model says."""
        _, done, state = self.furthest
        lines = ["Nothing explains one of these operations:"]
        for n in self.candidates(done):
            operation = self.queues[n][done[n]]
            lines += [f"  {operation}", f"      model: {self.answers(state, operation)}"]
        lines.append("committed rows:")
        lines += [f"  {key}: {row}" for key, row in sorted(state.rows.items())]
        for client, changes in state.open.items():
            lines += [f"changes of {client}:", *(f"  {key}: {row}" for key, row in changes[-1].items())]
        lines.append("before:")
        lines += [f"  {queue[i]}" for n, queue in enumerate(self.queues) for i in range(max(0, done[n] - 4), done[n])]
        return "\n".join(lines)

    @staticmethod
    def answers(state: State, operation: Operation) -> object:
        if operation.function in CONTROLS:
            return "-"
        view = state.view(operation.client)
        now = turning_points(operation, view)[-1]
        try:
            return Model(view).call(operation.function, [Moment(now)] * operation.inputs, operation.arguments)
        except Refused as refused:
            return refused.sqlstate


def deadlines(operation: Operation) -> Sequence[int | None]:
    """Those that the call gives to steps."""
    until = operation.arguments.get("expires_at")
    return until if isinstance(until, tuple) else (until,)


def reads(operation: Operation) -> bool:
    """Whether a call that was answered so has changed nothing, wherever it took place."""
    answer = operation.answer
    if isinstance(answer, str) or operation.function in READERS:
        return True
    if operation.function in SENT_TO_ONE and answer is not UNKNOWN:
        return all(row[0] not in ("delivered", "buffered") or row[4] for row in answer)
    return operation.function in FINDERS and answer in NOTHING


def hints(history: Sequence[Operation]) -> Hints:
    created: dict[str, set[int]] = {}
    delivered: set[int] = set()
    buffered: dict[tuple[Any, ...], set[Place]] = {}
    for operation in history:
        if isinstance(operation.answer, tuple):
            for row in operation.answer:
                if operation.function in BUFFERED:
                    run_id, signal_name, position, _, buffered_at, *signal = row
                    buffered.setdefault((run_id, signal_name, *signal), set()).add((position, buffered_at))
                elif operation.function in DELIVERIES:
                    delivered.add(row[3])
                elif operation.function in WAITERS:
                    created.setdefault(row[1], set()).add(row[4])
                    delivered.add(row[6])
    known = frozenset(instant for instant in delivered if instant is not None)
    return Hints(
        {step: frozenset(instants) for step, instants in created.items()},
        known,
        {signal: sorted(places) for signal, places in buffered.items()},
    )


def objections(histories: Iterable[Sequence[Operation]]) -> list[str]:
    """What the judge has to say against each history that nothing explains."""
    return [text for history in histories if (text := Judge(history).objection())]
