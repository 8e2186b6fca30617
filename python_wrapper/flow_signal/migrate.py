"""Install flow-signal in a database, or upgrade it there; and the script that removes it."""

from __future__ import annotations

from importlib import resources

import psycopg


def script() -> str:
    """Return the one SQL script that installs this release, upgrades an earlier one, and changes nothing on its own.

    :raises FileNotFoundError: this is a checkout of the sources in which the script was not built yet.
    """
    file = resources.files(__package__).joinpath("flow_signal.sql")
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileNotFoundError(f"{file} is not built: run `python sql/build.py -o {file}`") from None


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
