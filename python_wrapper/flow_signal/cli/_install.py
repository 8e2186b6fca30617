"""What `migrate` and `sql` do, with and without the extra `cli`."""

from __future__ import annotations

import sys

from .. import migrate as migration
from ._connection import reachable
from ._exit_code import ExitCode
from ._output import Output
from ._problem import Problem, problem_of, telling
from ._stream import visible, write


def migrate(dsn: str | None, as_json: bool) -> None:
    """Run the installation script and print what it has to say."""
    conninfo = reachable(dsn)  # so that nothing was sent if there is no connection
    try:
        notices = migration.migrate(conninfo)
    except KeyboardInterrupt as error:
        problem = problem_of(error)
        problem.detail = "the script is one transaction, which may have been committed: repeat it"
        raise problem from None
    with telling(lambda: "the script has run"):
        if as_json:
            Output(as_json).json({"notices": notices})
            return
        for notice in notices:
            write(visible(notice.removeprefix("flow-signal: ")) + "\n", sys.stdout)


def print_sql(*, no_transaction: bool, roles: bool, uninstall: bool) -> None:
    """Print a script."""
    if no_transaction + roles + uninstall > 1:
        raise Problem(code=ExitCode.USAGE, message="one of --no-transaction, --roles and --uninstall at a time")
    if roles:
        write(migration.roles_script(), sys.stdout)
    elif uninstall:
        write(migration.uninstall_script(), sys.stdout)
    else:
        write(migration.script(transaction=not no_transaction), sys.stdout)
