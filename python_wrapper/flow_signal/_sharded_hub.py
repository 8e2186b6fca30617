"""One process waits for thousands of waiters in several databases, over one connection to each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, Error

from ._hub import AsyncWaitHub
from ._routing import checked_shards, each_async, name_shards, shard_of
from .errors import HubClosedError, ShardsFailedError
from .inputs import as_uuid
from .results import FlowSignalWaiter

logger = logging.getLogger("flow_signal")


class AsyncShardedWaitHub:
    """Waits for any number of waiters of an `AsyncShardedFlowSignalStore`, by an `AsyncWaitHub` for each database.

    ::

        async with AsyncShardedWaitHub(conninfos) as hub:
            await store.register_waiter(run_id, "approval", "approved", wake_channel=hub.channel)
            waiter = await hub.wait(run_id, "approval", timeout=3600)

    What holds for that hub holds for each. A database that is away holds up only the waits for its runs, also while
    the hub is entered: the hub connects to it later, as after a loss of the connection.
    """

    channel: str | None
    """What to register waiters with as their wake_channel, in all databases; None if the hub does not listen."""

    def __init__(
        self,
        connects: Sequence[str | Callable[[], Awaitable[AsyncConnection[Any]]]],
        *,
        listen: bool = True,
        channel: str | None = None,
        look_interval: float | timedelta | None = None,
        answer_within: float | timedelta | None = None,
    ) -> None:
        """Make a hub, to be entered by `async with`.

        :param connects: for each database, in the order of the store's pools, what `AsyncWaitHub` takes. The other
            parameters are those of `AsyncWaitHub`.
        """
        hubs: list[AsyncWaitHub] = []
        for connect in checked_shards(connects, "connects"):
            hub = AsyncWaitHub(
                connect, listen=listen, channel=channel, look_interval=look_interval, answer_within=answer_within
            )
            channel = hub.channel  # the first hub may have named it
            hubs.append(hub)
        self.channel = channel if listen else None
        self._hubs = tuple(hubs)

    @property
    def closed(self) -> HubClosedError | None:
        """Why the waits of all databases, or of one, are not served; None while all are."""
        return next((hub.closed for hub in self._hubs if hub.closed), None)

    async def __aenter__(self) -> AsyncShardedWaitHub:
        """Connect to all databases and listen.

        :raises psycopg.Error: there is no connection to be had to any.
        """
        try:
            await each_async(lambda shard: self._hubs[shard].__aenter__(), range(len(self._hubs)))
        except ShardsFailedError as failed:
            if not failed.results:
                raise
            for shard, error in failed.errors.items():
                logger.warning("a hub begins without shard %d: %s", shard, error)
                self._hubs[shard]._start(None)
        except BaseException:
            await _leave(hub for hub in self._hubs if not hub.closed)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End all waits with HubClosedError and close the connections."""
        await _leave(self._hubs)

    async def wait(
        self, run_id: UUID | str, step_key: str, *, timeout: float | timedelta | None = None
    ) -> FlowSignalWaiter:
        """Return the waiter of a step as soon as it is delivered, as `AsyncWaitHub.wait` does."""
        run_id = as_uuid("run_id", run_id)
        shard = shard_of(run_id, len(self._hubs))
        try:
            return await self._hubs[shard].wait(run_id, step_key, timeout=timeout)
        except (Error, TimeoutError) as error:
            name_shards(error, [shard])
            raise


async def _leave(hubs: Iterable[AsyncWaitHub]) -> None:
    await asyncio.gather(*(hub.__aexit__(None, None, None) for hub in hubs))
