"""What was asked and answered: the operations of several clients, each with the interval in which it took place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tests_py.proof.model import run_of_token

UNKNOWN = object()
"""The answer of an operation whose connection was lost."""

NO_EFFECT = ("40P01", "55P03", "57014")
"""SQLSTATEs with which PostgreSQL may end any call: it has done nothing, and its answer says nothing."""

NEVER = 2**63

CONTROLS = ("begin", "commit", "rollback", "savepoint", "rollback to", "release", "failed")
"""The last stands for a call that was refused for another run's sake."""


class Operation(NamedTuple):
    """A call, or one of CONTROLS. A call outside `begin` and its end is a transaction of its own."""

    client: str
    function: str
    arguments: Mapping[str, Any]
    answer: Any
    """The rows; the SQLSTATE of an error; or UNKNOWN."""
    invoked: int
    returned: int
    """Both by the database's clock; NEVER after UNKNOWN."""

    @property
    def inputs(self) -> int:
        """How many verdicts the call gives: a batch one for each element."""
        return len(self.arguments["run_ids"]) if "run_ids" in self.arguments else 1

    def signal(self, n: int) -> tuple[Any, ...]:
        """The n-th signal that a call delivers: its run and name, until when it is kept, its id and payload."""
        arguments = self.arguments
        until = arguments.get("buffer_until")
        if "run_ids" not in arguments:
            id, payload = arguments.get("delivery_id"), arguments.get("payload_json")
            return arguments["run_id"], arguments.get("signal_name"), until, id, payload
        ids, payloads = arguments.get("delivery_ids"), arguments.get("payloads_json")
        return arguments["run_ids"][n], arguments["signal_names"][n], until, ids and ids[n], payloads and payloads[n]

    def __str__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        answer = "?" if self.answer is UNKNOWN else self.answer
        return f"[{self.invoked}, {self.returned}] {self.client}: {self.function}({arguments}) -> {answer}"


BATCHES = {"register_waiters": ("run_ids", "step_keys", "signal_names", "expires_at")}
BATCHES["deliver_signals"] = ("run_ids", "signal_names", "payloads_json", "delivery_ids")


def runs_of(operation: Operation) -> set[str]:
    arguments = operation.arguments
    if "token" in arguments:
        return {run_of_token(arguments["token"])}
    return {arguments["run_id"]} if "run_id" in arguments else set(arguments.get("run_ids", ()))


def split_by_run(operations: Iterable[Operation], run_of_queue: Mapping[str, str]) -> dict[str, list[Operation]]:
    """The history of each run: its calls, its part of calls for several runs, and the transactions around them."""
    operations = list(operations)
    histories: dict[str, list[Operation]] = {}
    runs = set().union(*map(runs_of, operations)) if operations else set()
    for run in runs:
        part = [found for operation in operations if (found := part_of(operation, run, run_of_queue))]
        histories[run] = without_empty_transactions(part)
    return histories


def part_of(operation: Operation, run: str, run_of_queue: Mapping[str, str]) -> Operation | None:
    arguments, answer = operation.arguments, operation.answer
    rows = isinstance(answer, tuple)
    if operation.function in CONTROLS or operation.function == "purge":
        return operation
    if operation.function == "broadcast_signal":
        return operation._replace(answer=tuple(row for row in answer if row[1] == run)) if rows else operation
    failed = operation._replace(function="failed", arguments={}) if isinstance(answer, str) else None
    if operation.function == "claim_waiters":
        return operation if run_of_queue[arguments["queue"]] == run else failed
    if "run_ids" not in arguments:
        return operation if run in runs_of(operation) else failed
    kept = [n for n, run_id in enumerate(arguments["run_ids"]) if run_id == run]
    if failed and 0 < len(kept) < len(arguments["run_ids"]):
        return failed._replace(arguments=arguments)
    if not kept:
        return failed
    return elements(operation, kept)


def elements(operation: Operation, kept: Sequence[int]) -> Operation:
    """The batch with some of its elements."""
    arguments, answer = operation.arguments, operation.answer
    arrays = {
        name: tuple(value[n] for n in kept)
        for name, value in arguments.items()
        if name in BATCHES[operation.function] and value is not None
    }
    answer = tuple(answer[n] for n in kept) if isinstance(answer, tuple) else answer
    return operation._replace(arguments={**arguments, **arrays}, answer=answer)


def parts(operation: Operation) -> list[Operation]:
    """The operation as those that may take place in instants of their own.

    deliver_signals looks for the receipts of all ids, locks the waiters of one signal after the other, and refuses or
    buffers in the end, one after the other; purge deletes row by row.
    """
    if operation.function == "purge":
        return [operation] * 3
    if operation.function != "deliver_signals" or not isinstance(operation.answer, tuple) or operation.inputs < 2:
        return [operation]
    names, answer, numbers = operation.arguments["signal_names"], operation.answer, range(operation.inputs)
    now = {row[3] for row in answer if row[0] == "delivered" and not row[4]}
    known = [n for n in numbers if answer[n][0] == "delivered" and answer[n][3] not in now]
    delivered = [n for n in numbers if answer[n][0] == "delivered" and n not in known]
    groups = [[n for n in delivered if names[n] == name] for name in sorted({*names})]
    refused = sorted((n for n in numbers if answer[n][0] != "delivered"), key=lambda n: (names[n], n))
    return [elements(operation, part) for part in [known, *groups, *([n] for n in refused)] if part]


def without_empty_transactions(operations: Sequence[Operation]) -> list[Operation]:
    """Leave out each transaction in which nothing was called, and what failed on other runs by itself."""
    kept: list[Operation] = []
    pending: dict[str, list[Operation]] = {}
    for operation in operations:
        client = operation.client
        if operation.function == "begin":
            pending[client] = [operation]
        elif client not in pending:
            if operation.function != "failed" or operation.arguments:
                kept.append(operation)
        else:
            pending[client].append(operation)
            if operation.function in ("commit", "rollback"):
                transaction = pending.pop(client)
                if any(part.function not in CONTROLS or part.arguments for part in transaction):
                    kept += transaction
    for transaction in pending.values():
        kept += transaction
    return sorted(kept, key=lambda operation: operation.invoked)
