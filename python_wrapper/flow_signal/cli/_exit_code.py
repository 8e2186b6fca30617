"""How every command ends."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the exit code tells a script; the one list of them."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> ExitCode:
        code = int.__new__(cls, value)
        code._value_ = value
        code.meaning = meaning
        return code

    OK = 0, "done: registered, delivered, buffered, found, claimed or removed; health: all is well"
    FAILED = 1, "anything else went wrong; nothing was changed but what the error names"
    USAGE = 2, "the command line is wrong; nothing was sent"
    NOT_FOUND = 3, "no such waiter, claim, buffered signal or token, or nothing installed there"
    ALREADY_DELIVERED = 4, "deliver, redeem: a waiter of the signal has a payload already"
    EXPIRED = 5, "deliver, redeem, wait: the deadline of the waiter has passed"
    REFUSED = 6, "the input was refused; nothing was changed"
    NO_CONNECTION = 7, "cannot connect to the database; nothing was sent"
    CONNECTION_LOST = 8, "the connection broke: whether the call took effect is unknown"
    TIMED_OUT = 9, "wait: the timeout is over, and the step still waits, or the database does not answer"
    UNWELL = 10, "health: somebody should look at it"
    SOME_REFUSED = (
        11,
        "deliver --from, register --from, import-floworchestrator: some were refused, the others are applied",
    )
    NOT_PRINTED = 12, "done, but standard output failed: not everything that became of it was printed"
    INTERRUPTED = 130, "ended by Ctrl-C"
