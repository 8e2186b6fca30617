"""What a store works over, and what to pass instead of what it does not."""

from __future__ import annotations

import inspect
from typing import Any

from psycopg import AsyncConnection, AsyncCursor, Connection, Cursor


def refuse_wrong_kind(given: object, kind: type[AsyncConnection[Any]] | type[Connection[Any]]) -> None:
    """Refuse what is neither a connection of this kind nor a pool of such."""
    is_async = kind is AsyncConnection
    if isinstance(given, kind) or _is_pool(given, is_async=is_async):
        return
    got = "None" if given is None else type(given).__name__
    wanted = "an AsyncConnection" if is_async else "a Connection"
    raise TypeError(f"expected {wanted} of psycopg 3 or a pool of such, got {got}{_use(given, is_async=is_async)}")


def _is_pool(given: object, *, is_async: bool) -> bool:
    if _made_by(given) & {"sqlalchemy", "django"}:  # their attributes of that name connect, or raise
        return False
    lend = getattr(given, "connection", None)
    if not callable(lend):
        return False
    function = inspect.unwrap(lend)
    if is_async:
        return not inspect.isgeneratorfunction(function)
    return not (inspect.isasyncgenfunction(function) or inspect.iscoroutinefunction(function))


def _use(given: object, *, is_async: bool) -> str:
    makers = _made_by(given)
    if inspect.iscoroutine(given):
        return ": await it first"
    if isinstance(given, Cursor | AsyncCursor):
        return ": pass its connection"
    if isinstance(given, str):
        return f": pass what psycopg.{'AsyncConnection.' if is_async else ''}connect returns for it"
    if "sqlalchemy" in makers:
        raw = "(await connection.get_raw_connection())" if is_async else "connection.connection"
        return (
            f": pass the connection of psycopg below it, {raw}.driver_connection, where connection is "
            f"{'await ' if is_async else ''}session.connection() for a session"
        )
    if "django" in makers:
        return ": pass connection.connection, after connection.ensure_connection()"
    if isinstance(given, Connection) or _is_pool(given, is_async=False):
        return ": use FlowSignalStore"
    if isinstance(given, AsyncConnection) or _is_pool(given, is_async=True):
        return ": use AsyncFlowSignalStore"
    if makers & {"psycopg2", "asyncpg", "aiopg"}:
        return ": with other drivers call the SQL functions"
    return ""


def _made_by(given: object) -> set[str]:
    return {base.__module__.partition(".")[0] for base in type(given).__mro__}
