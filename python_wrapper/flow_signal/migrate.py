"""Install flow-signal in a database, or upgrade it there; and the script that removes it."""

from __future__ import annotations

from importlib import resources

import psycopg


def script(*, transaction: bool = True) -> str:
    """Return the one SQL script that installs this release, upgrades an earlier one, and changes nothing on its own.

    :param transaction: False: the script for another tool, which runs it in its own transaction and commits.
    :raises FileNotFoundError: this is a checkout of the sources in which the script was not built yet.
    """
    name, option = ("flow_signal.sql", "") if transaction else ("flow_signal_no_transaction.sql", "--no-transaction ")
    file = resources.files(__package__).joinpath(name)
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileNotFoundError(f"{file} is not built: run `python sql/build.py {option}-o {file}`") from None


def roles_script() -> str:
    """Return the SQL script that makes the roles of the cluster, for a role that may create and grant them."""
    return resources.files(__package__).joinpath("roles.sql").read_text(encoding="utf-8")


def uninstall_script() -> str:
    """Return the SQL script that says what it drops and drops it, but not while somebody waits."""
    return resources.files(__package__).joinpath("uninstall.sql").read_text(encoding="utf-8")


def migrate(conninfo: str) -> list[str]:
    """Run the script in the database and return its notices, in order.

    The script is one transaction, so that an error leaves nothing behind; it waits at most 10 s for each lock.

    :param conninfo: connection string or URI of libpq.
    :raises psycopg.Error: what the database refused.
    """
    notices: list[str] = []
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        connection.execute(script())
    return notices
