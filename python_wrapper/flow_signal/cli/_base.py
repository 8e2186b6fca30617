"""The commands of an installation without the extra `cli`, which has neither typer nor rich."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from typing import NoReturn

from .. import __version__
from ._connection import DSN_VARIABLE
from ._exit_code import ExitCode
from ._install import migrate, print_sql
from ._problem import Problem

EXTRA = 'pip install "flow-signal[cli]"'


class Parser(ArgumentParser):
    """A parser that raises Problem."""

    def error(self, message: str) -> NoReturn:
        raise Problem(code=ExitCode.USAGE, message=message, hint=f"{self.prog} --help")


def parser() -> Parser:
    """Return what reads the options of migrate and sql, which are those of _app."""
    parser = Parser(prog="flow-signal", epilog=f"For all other commands: {EXTRA}", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"flow-signal {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND")

    command = commands.add_parser("migrate", help="install flow-signal in a database, or upgrade it there")
    command.add_argument("--dsn", metavar="CONNINFO", default=os.environ.get(DSN_VARIABLE))
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=lambda options: migrate(options.dsn, options.json))

    command = commands.add_parser("sql", help="print the installation script")
    command.add_argument(
        "--no-transaction", action="store_true", help="for another tool, which runs it in its own transaction"
    )
    command.add_argument("--roles", action="store_true", help="print the script that makes the cluster's roles instead")
    command.add_argument("--uninstall", action="store_true", help="print the script that removes flow-signal instead")
    command.set_defaults(
        run=lambda options: print_sql(
            no_transaction=options.no_transaction, roles=options.roles, uninstall=options.uninstall
        )
    )
    return parser


def command() -> int:
    """Run the command of sys.argv; return its exit code."""
    name = next((argument for argument in sys.argv[1:2] if not argument.startswith("-")), "sql")
    if name not in ("migrate", "sql"):
        raise Problem(code=ExitCode.FAILED, message=f'the command "{name}" needs an extra: {EXTRA}')
    if len(sys.argv) == 1:
        parser().print_help()
        return ExitCode.USAGE
    options = parser().parse_args()
    options.run(options)
    return ExitCode.OK
