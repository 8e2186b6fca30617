"""Four databases of one server, and a store over them: each test for both kinds of store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast
from uuid import UUID

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from flow_signal import AsyncShardedFlowSignalStore, ShardedFlowSignalStore
from flow_signal._routing import new_run_id
from flow_signal.embedded import EmbeddedServer
from flow_signal.testing import forget_everything
from tests_py.wrapper.conftest import AsyncConnecting, Connecting, Coroutines
from tools.server import TEMPLATE

SHARDS = 4


class Databases:
    """The databases, by shard."""

    def __init__(self, server: EmbeddedServer, conninfos: list[str]) -> None:
        self.conninfos = conninfos
        self._server = server

    def rows(self, shard: int, query: str) -> list[Any]:
        with psycopg.connect(self.conninfos[shard]) as connection:
            return connection.execute(query).fetchall()

    def steps(self) -> list[set[tuple[UUID, str]]]:
        """The waiters of each database."""
        query = "SELECT run_id, step_key FROM flow_signal.flow_signal_waiters"
        return [set(self.rows(shard, query)) for shard in range(len(self.conninfos))]

    @contextmanager
    def away(self, *shards: int) -> Iterator[None]:
        """Let these databases take no connection and end those that they have."""
        names = [str(conninfo_to_dict(self.conninfos[shard])["dbname"]) for shard in shards]
        with psycopg.connect(self._server.conninfo(), autocommit=True) as admin:
            for name in names:
                admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
                admin.execute(
                    "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = %s", [name]
                )
            try:
                yield
            finally:
                for name in names:
                    admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


@contextmanager
def four_databases(server: EmbeddedServer) -> Iterator[Databases]:
    names = [f"test_shard_{shard}" for shard in range(SHARDS)]
    with psycopg.connect(server.conninfo(), autocommit=True) as admin:
        for name in names:
            admin.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        yield Databases(server, [server.conninfo(name) for name in names])
        for name in names:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def all_databases(server: EmbeddedServer) -> Iterator[Databases]:
    with four_databases(server) as databases:
        yield databases


@pytest.fixture
def databases(all_databases: Databases) -> Databases:
    """The databases, empty."""
    for conninfo in all_databases.conninfos:
        with psycopg.connect(conninfo) as connection:
            forget_everything(connection)
    return all_databases


Over = Callable[[list[str]], AsyncShardedFlowSignalStore]


@pytest.fixture(params=["async", "sync"])
def over(request: pytest.FixtureRequest) -> Over:
    """Makes a store over databases."""

    def make(conninfos: list[str]) -> AsyncShardedFlowSignalStore:
        if request.param == "async":
            return AsyncShardedFlowSignalStore([AsyncConnecting(conninfo) for conninfo in conninfos])
        sync = ShardedFlowSignalStore([Connecting(conninfo) for conninfo in conninfos])
        return cast(AsyncShardedFlowSignalStore, Coroutines(sync))

    return make


@pytest.fixture
def store(over: Over, databases: Databases) -> AsyncShardedFlowSignalStore:
    return over(databases.conninfos)


def run_of(shard: int) -> UUID:
    """A new run of that shard."""
    return new_run_id(shard, SHARDS)
