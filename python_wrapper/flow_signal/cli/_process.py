"""How the process runs its command and ends: always with an exit code of ExitCode, never with a traceback."""

from __future__ import annotations

import logging
import sys
import traceback
from importlib.util import find_spec

import psycopg

from ._exit_code import ExitCode
from ._output import Output
from ._problem import Problem, problem_of
from ._stream import NotPrinted, standard_streams


def run() -> None:
    """Run the command of sys.argv and end the process with its exit code."""
    # What goes wrong when a connection is given up is no news, and no JSON.
    logging.getLogger("psycopg").addHandler(logging.NullHandler())
    with standard_streams():
        try:
            code = _command()
        except (Exception, KeyboardInterrupt) as error:
            problem = _problem(error)
            Output("--json" in sys.argv).problem(problem)
            code = problem.code
    sys.exit(code)


def _command() -> int:
    try:
        if find_spec("typer") and find_spec("rich"):
            from ._app import command
        else:
            from ._base import command
        code = command()
    except SystemExit as ending:  # that is how typer's completion ends
        code = ending.code if isinstance(ending.code, int) else ExitCode.OK
    sys.stdout.flush()
    return code


def _problem(error: BaseException) -> Problem:
    if isinstance(error, UnicodeEncodeError):
        return Problem(code=ExitCode.USAGE, message="an argument is not encoded in UTF-8")
    if isinstance(error, (Problem, psycopg.Error, NotPrinted, OSError, KeyboardInterrupt)):
        return problem_of(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    return Problem(
        code=ExitCode.FAILED,
        message=f"{type(error).__name__}: {error}",
        detail=f"this is a fault of flow-signal, at line {place.lineno} of {place.filename}",
        hint="report these three lines and the command",
    )
