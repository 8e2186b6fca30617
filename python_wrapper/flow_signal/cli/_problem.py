"""Why a command failed, in one form for all causes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from ._exit_code import ExitCode


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


def problem_of(error: psycopg.Error) -> Problem:
    """Return what the database has to say, or psycopg in its place."""
    hint = error.diag.message_hint
    if error.sqlstate == "3F000":
        hint = "install flow-signal in this database: flow-signal migrate"
    return Problem(
        code=_code_of(error),
        message=error.diag.message_primary or str(error).strip(),
        detail=error.diag.message_detail,
        hint=hint,
        sqlstate=error.sqlstate,
    )


@contextmanager
def telling(how_far: Callable[[], str]) -> Iterator[None]:
    """If the database, a file or Ctrl-C ends the block, tell how far it has come."""
    try:
        yield
    except (psycopg.Error, OSError, KeyboardInterrupt) as error:
        if isinstance(error, psycopg.Error):
            problem = problem_of(error)
        elif isinstance(error, OSError):
            problem = Problem(code=ExitCode.FAILED, message=str(error))
        else:
            problem = Problem(code=ExitCode.INTERRUPTED, message="interrupted")
        problem.detail = "; ".join(filter(None, [problem.detail, how_far()]))
        raise problem from None


def _code_of(error: psycopg.Error) -> ExitCode:
    sqlstate = error.sqlstate or ""
    if isinstance(error, psycopg.OperationalError) and (not sqlstate or sqlstate.startswith(("08", "57P"))):
        return ExitCode.CONNECTION_LOST
    if isinstance(error, psycopg.DataError) or sqlstate.startswith(("0A", "22", "54", "WS")):
        return ExitCode.REFUSED
    return ExitCode.FAILED
