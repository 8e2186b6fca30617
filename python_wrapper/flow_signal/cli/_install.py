"""What `migrate` and `sql` do, with and without the extra `cli`."""

from __future__ import annotations

import sys

from .. import migrate as migration
from ._connection import reachable
from ._output import Output
from ._problem import problem_of, telling
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


def print_sql(uninstall: bool) -> None:
    """Print a script."""
    write(migration.uninstall_script() if uninstall else migration.script(), sys.stdout)
