"""Why a command failed, in one form for all causes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from ._exit_code import ExitCode
from ._stream import NotPrinted

MOST_CHARACTERS = 1000
"""Of a message: what it quotes of the command line may be as long as that."""


@dataclass(kw_only=True, eq=False)
class Problem(Exception):
    """Raised: the command ends here, with this exit code."""

    code: ExitCode
    message: str
    detail: str | None = None
    hint: str | None = None
    sqlstate: str | None = None
    line: int | None = None
    """Of the file of --from: the problem is that of this line alone."""

    def __post_init__(self) -> None:
        if len(self.message) > MOST_CHARACTERS:
            self.message = f"{self.message[:MOST_CHARACTERS]}... ({len(self.message)} characters)"

    def texts(self) -> dict[str, str]:
        """Return the parts of the problem that are there, for people."""
        line = "" if self.line is None else f"line {self.line}: "
        sqlstate = f" ({self.sqlstate})" if self.sqlstate else ""
        parts = {"error": f"{line}{self.message}{sqlstate}", "detail": self.detail, "hint": self.hint}
        return {name: text for name, text in parts.items() if text}

    def document(self) -> dict[str, Any]:
        """Return the problem as --json prints it."""
        return {
            **({} if self.line is None else {"line": self.line}),
            "error": self.code.name.lower(),
            "sqlstate": self.sqlstate,
            "message": self.message,
            "detail": self.detail,
            "hint": self.hint,
        }


def problem_of(error: BaseException) -> Problem:
    """Return what the database has to say, or psycopg, the system, or the user by Ctrl-C."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, psycopg.Error):
        return _refusal(error)
    if isinstance(error, NotPrinted):
        return Problem(code=ExitCode.FAILED, message=f"standard output: {error}")
    if isinstance(error, KeyboardInterrupt):
        return Problem(code=ExitCode.INTERRUPTED, message="interrupted")
    return Problem(code=ExitCode.FAILED, message=str(error))


def _refusal(error: psycopg.Error) -> Problem:
    hint = {
        "3F000": "install flow-signal in this database: flow-signal migrate",
        "42883": "an earlier release may be installed in this database: flow-signal version, flow-signal migrate",
    }.get(error.sqlstate or "", error.diag.message_hint)
    return Problem(
        code=_code_of(error),
        message=error.diag.message_primary or str(error).strip(),
        detail=error.diag.message_detail,
        hint=hint,
        sqlstate=error.sqlstate,
    )


@contextmanager
def telling(how_far: Callable[[], str], *, unprinted: ExitCode = ExitCode.NOT_PRINTED) -> Iterator[None]:
    """If the database, a file, standard output or Ctrl-C ends the block, tell how far it has come.

    :param unprinted: the exit code if it is standard output.
    """
    try:
        yield
    except (Problem, psycopg.Error, NotPrinted, OSError, KeyboardInterrupt) as error:
        problem = problem_of(error)
        if isinstance(error, NotPrinted):
            problem.code = unprinted
        problem.detail = "; ".join(filter(None, [problem.detail, how_far()]))
        raise problem from None


def _code_of(error: psycopg.Error) -> ExitCode:
    sqlstate = error.sqlstate or ""
    if isinstance(error, psycopg.OperationalError) and (not sqlstate or sqlstate.startswith(("08", "57P"))):
        return ExitCode.CONNECTION_LOST
    if sqlstate == "3F000":
        return ExitCode.NOT_FOUND
    if isinstance(error, psycopg.DataError) or sqlstate.startswith(("0A", "22", "54", "WS")):
        return ExitCode.REFUSED
    return ExitCode.FAILED
