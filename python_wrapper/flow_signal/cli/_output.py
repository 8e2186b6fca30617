"""What a command prints: text for people, or JSON for scripts.

Only the first needs rich, which is imported for it alone.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..results import BufferedSignal, FlowSignalWaiter, SignalDeliveryResult, SignalDeliveryStatus, WaiterState
from ._exit_code import ExitCode
from ._problem import Problem
from ._stream import visible, write

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from ._terminal import Terminal


@dataclass(frozen=True)
class Output:
    """Where one command prints."""

    as_json: bool

    @cached_property
    def terminal(self) -> Terminal:
        """Standard output, for people."""
        from ._terminal import Terminal

        return Terminal(sys.stdout)

    @cached_property
    def errors(self) -> Terminal:
        """Standard error, for people: one object, so that a progress bar makes room for what is printed."""
        from ._terminal import Terminal

        return Terminal(sys.stderr)

    def json(self, document: object) -> bool:
        """Print a JSON document on one line; return whether the reader was still there."""
        return write(json.dumps(document) + "\n", sys.stdout)

    def result(self, result: FlowSignalWaiter | SignalDeliveryResult | BufferedSignal) -> None:
        """Print what a call returned."""
        values = document(result)
        if self.as_json:
            self.json(values)
            return
        from ._terminal import GOOD, NOTABLE

        terminal = self.terminal
        terminal.say((headline(result), GOOD if is_good(result) else NOTABLE))
        terminal.values(values)

    def problem(self, problem: Problem) -> None:
        """Print to standard error why the command, or one line of its input, failed."""
        if self.as_json:
            write(json.dumps(problem.document()) + "\n", sys.stderr)
            return
        try:
            from ._terminal import BAD, FAINT
        except ModuleNotFoundError:  # an installation without the extra `cli`
            for name, text in problem.texts().items():
                write(f"{name}: {visible(text)}\n", sys.stderr)
            return
        for name, text in problem.texts().items():
            self.errors.say((f"{name}: ", BAD if name == "error" else FAINT), text)


def if_somebody_reads() -> None:
    """Raise Problem if what was printed has no reader any more, so that the transaction is rolled back."""
    if not write("", sys.stdout):
        raise Problem(
            code=ExitCode.FAILED,
            message="nobody reads standard output any more",
            detail="what was not read stays as it was: nothing was changed",
        )


def document(result: DataclassInstance) -> dict[str, Any]:
    """Return a result as JSON values, named as the columns of the SQL; instants as ISO 8601 in UTC, spans in seconds.

    payload_json stays the text that was sent: readers of JSON round numbers and drop repeated keys.
    """
    return {field.name: _plain(getattr(result, field.name)) for field in fields(result)}


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value if value is None or isinstance(value, (bool, int, float, tuple)) else str(value)


def is_good(result: FlowSignalWaiter | SignalDeliveryResult | BufferedSignal) -> bool:
    """Whether the signal has come or still can, or has reached someone or still can."""
    if isinstance(result, BufferedSignal):
        return True
    if isinstance(result, FlowSignalWaiter):
        return result.state is not WaiterState.EXPIRED
    return result.status in (SignalDeliveryStatus.DELIVERED, SignalDeliveryStatus.BUFFERED)


def headline(result: FlowSignalWaiter | SignalDeliveryResult | BufferedSignal) -> str:
    """Return a sentence for what a call returned."""
    if isinstance(result, BufferedSignal):
        return f'withdrawn: no waiter gets this signal "{result.signal_name}"'
    if isinstance(result, FlowSignalWaiter):
        return {
            WaiterState.WAITING: f'waiting for signal "{result.signal_name}"',
            WaiterState.DELIVERED: f'delivered: signal "{result.signal_name}" has come',
            WaiterState.EXPIRED: f'expired: signal "{result.signal_name}" did not come before the deadline',
        }[result.state]
    sentence = {
        SignalDeliveryStatus.DELIVERED: f'delivered to step "{result.step_key}"',
        SignalDeliveryStatus.BUFFERED: "buffered: nobody waits now, the next waiter gets it",
        SignalDeliveryStatus.ALREADY_DELIVERED: f'already delivered: step "{result.step_key}" has a payload',
        SignalDeliveryStatus.EXPIRED: f'expired: step "{result.step_key}" is past its deadline',
        SignalDeliveryStatus.NOT_FOUND: "not found: "
        + ("the run has no such waiter" if result.run_id else "this token is void, or was never issued"),
    }[result.status]
    return f"{sentence} (by this delivery id or token, before)" if result.replayed else sentence
