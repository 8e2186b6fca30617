# Generated from _async_sharded_store.py, so change that and run `make format`.

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import chain, count
from typing import TypeVar
from uuid import UUID

from psycopg import Connection, Error, OperationalError

from ._calls import Call
from ._routing import (
    checked_pools,
    each,
    joined,
    merged,
    name_shards,
    new_run_id,
    pass_over,
    settled,
    shard_of,
    shard_of_call,
    split,
)
from ._sync_store import FlowSignalStore, Pool, RunCalls
from .inputs import NO_PAYLOAD, Dumps, as_uuid
from .results import (
    BufferedSignal,
    BufferedSignalState,
    ClaimedWaiter,
    FlowSignalWaiter,
    Health,
    SignalDeliveryResult,
    SignalStats,
    WaiterState,
)

T = TypeVar("T")

PAGE = 100
"""The limit of a list in SQL, when none is given."""


class ShardedFlowSignalStore(RunCalls):
    """Waiters and signals in several databases, each run in one of them: its shard.

    A shard is the number of a pool in the list, from 0. The list must never become shorter, longer or reordered: a
    database moves by a change of its pool's connection string. `shard_of` says how a run id is routed.

    A call that names a run is the call of `FlowSignalStore` on the run's database, and costs what it costs there.
    The text of a psycopg error begins with the shard: `shard 2: ...`. All calls are committed before they return; to
    join a transaction take a connection of the pool of `shard_of` and give it to a `FlowSignalStore`.

    Nothing is atomic over databases. `register_waiters`, `deliver_signals` and `import_waiters` are all or nothing on
    each of them, and so is each call without a run id. When such a call fails on some databases only, it raises
    ShardsFailedError, which has the results of the others; what all refuse alike is raised as by
    `FlowSignalStore`.

    A call on a database that is away ends when its pool gives up: give the pools a short timeout.
    """

    shards: tuple[FlowSignalStore, ...]
    """The store of each database, for what concerns one of them."""

    def __init__(self, pools: Sequence[Pool], *, dumps: Dumps | None = None) -> None:
        """Make a store.

        :param pools: one for each database, at most 4096; each takes as many connections as it likes.
        :param dumps: as in `FlowSignalStore`.
        """
        self._dumps = dumps
        self.shards = tuple(FlowSignalStore(pool, dumps=dumps) for pool in checked_pools(pools, Connection))
        self._turns = count()

    def shard_of(self, run_id: UUID | str) -> int:
        """Return the shard of a run.

        It is written in the run ids that `new_run_id` makes. Of any other it is a hash: the first 4 bytes of the
        SHA-256 of the 16 bytes of the UUID, as an unsigned number, the highest byte first, modulo the number of shards.

        :raises ValueError: a UUID of version 8 names a shard that is not there; it is not of `new_run_id`.
        """
        return shard_of(as_uuid("run_id", run_id), len(self.shards))

    def new_run_id(self, shard: int | None = None) -> UUID:
        """Return a new run id, a UUID of version 8 that carries its shard, whatever the number of shards is.

        It begins with the time, as version 7 does; the 12 bits behind the version are the shard, so that the third
        group of digits reads 8002 for shard 2.

        :param shard: where the run is to be: beside others, for a batch that is all or nothing. None: anywhere.
        """
        return new_run_id(shard, len(self.shards))

    def wait(
        self,
        run_id: UUID | str,
        step_key: str,
        *,
        timeout: float | timedelta | None = None,
        wake_channel: str | None = None,
    ) -> FlowSignalWaiter:
        """Return the waiter of a step as soon as it is delivered, as `FlowSignalStore.wait` does."""
        shard = self.shard_of(run_id)
        try:
            return self.shards[shard].wait(run_id, step_key, timeout=timeout, wake_channel=wake_channel)
        except (Error, TimeoutError) as error:
            name_shards(error, [shard])
            raise

    def claim_waiters(
        self, queue: str, *, limit: int | None = None, lease: timedelta | None = None
    ) -> list[ClaimedWaiter]:
        """Return waits of a queue that are over, from the first database that has any.

        Each call begins with the next database. One that fails with an OperationalError is passed over, with a warning
        of logger flow_signal; the call raises only if all do.

        :param limit: as in `FlowSignalStore.claim_waiters`, like lease.
        """
        turn = next(self._turns)
        failed: dict[int, list[ClaimedWaiter] | BaseException] = {}
        for number in range(len(self.shards)):
            shard = (turn + number) % len(self.shards)
            try:
                claimed = self.shards[shard].claim_waiters(queue, limit=limit, lease=lease)
            except OperationalError as error:
                pass_over(shard, error)
                failed[shard] = error
            except Error as error:
                name_shards(error, [shard])
                raise
            else:
                if claimed:
                    return claimed
        if len(failed) == len(self.shards):
            settled(failed)
        return []

    def broadcast_signal(
        self, signal_name: str, payload: object = NO_PAYLOAD, *, payload_json: str | bytes | bytearray | None = None
    ) -> list[SignalDeliveryResult]:
        """Send a signal to every live waiter of that name in every run; return who got it, database by database.

        A waiter that is registered meanwhile may be reached in one database and not in another.
        """
        results = each(
            lambda shard: self.shards[shard].broadcast_signal(signal_name, payload, payload_json=payload_json),
            range(len(self.shards)),
        )
        return [*chain.from_iterable(results.values())]

    def list_waiters(
        self,
        *,
        run_id: UUID | str | None = None,
        signal_name: str | None = None,
        state: WaiterState | None = None,
        after: tuple[UUID | str, str] | None = None,
        limit: int = PAGE,
    ) -> list[FlowSignalWaiter]:
        """Return waiters, ordered by run id and step key, whatever database they are in.

        Each database is asked for a page; with run_id its own alone. The other parameters are those of
        `FlowSignalStore.list_waiters`.
        """
        pages = each(
            lambda shard: self.shards[shard].list_waiters(
                run_id=run_id, signal_name=signal_name, state=state, after=after, limit=limit
            ),
            self._shards_of(run_id),
        )
        return merged(pages.values(), limit)

    def list_buffered_signals(
        self,
        *,
        run_id: UUID | str | None = None,
        signal_name: str | None = None,
        state: BufferedSignalState | None = None,
        after: tuple[UUID | str, str, int] | None = None,
        limit: int = PAGE,
    ) -> list[BufferedSignal]:
        """Return buffered signals, dead letters included, ordered by run id, signal name and position.

        Each database is asked for a page; with run_id its own alone. The other parameters are those of
        `FlowSignalStore.list_buffered_signals`.
        """
        pages = each(
            lambda shard: self.shards[shard].list_buffered_signals(
                run_id=run_id, signal_name=signal_name, state=state, after=after, limit=limit
            ),
            self._shards_of(run_id),
        )
        return merged(pages.values(), limit)

    def purge(
        self,
        settled_before: datetime | None = None,
        *,
        older_than: timedelta | None = None,
        limit: int | None = None,
    ) -> list[int]:
        """Purge each database; return how many rows each has deleted. Repeat it while any has.

        The parameters are those of `FlowSignalStore.purge`; limit is for each database.
        """
        deleted = each(
            lambda shard: self.shards[shard].purge(settled_before, older_than=older_than, limit=limit),
            range(len(self.shards)),
        )
        return [*deleted.values()]

    def purge_buffered(
        self,
        buffered_before: datetime | None = None,
        *,
        older_than: timedelta | None = None,
        limit: int | None = None,
    ) -> list[int]:
        """Purge the buffered signals of each database; return how many each has deleted. Repeat it while any has.

        The parameters are those of `FlowSignalStore.purge_buffered`; limit is for each database.
        """
        deleted = each(
            lambda shard: self.shards[shard].purge_buffered(buffered_before, older_than=older_than, limit=limit),
            range(len(self.shards)),
        )
        return [*deleted.values()]

    def signal_stats(self) -> list[list[SignalStats]]:
        """Return the numbers of each signal name in each database."""
        stats = each(lambda shard: self.shards[shard].signal_stats(), range(len(self.shards)))
        return [*stats.values()]

    def health(self) -> list[Health]:
        """Return what monitoring needs to know of each database.

        :raises ShardsFailedError: some databases do not answer; its `results` are those of the others, by shard.
        """
        health = each(lambda shard: self.shards[shard].health(), range(len(self.shards)))
        return [*health.values()]

    def version(self) -> list[str]:
        """Return the release of flow-signal that is installed in each database."""
        versions = each(lambda shard: self.shards[shard].version(), range(len(self.shards)))
        return [*versions.values()]

    def _shards_of(self, run_id: UUID | str | None) -> Sequence[int]:
        return range(len(self.shards)) if run_id is None else [self.shard_of(run_id)]

    def _fetch(self, call: Call[T]) -> list[T]:
        if "run_ids" not in call.arguments:
            return self._fetch_from(shard_of_call(call, len(self.shards)), call)
        parts = split(call, len(self.shards))
        if len(parts) == 1:
            [(shard, part)] = parts.items()
            return self._fetch_from(shard, part.call)
        answers = each(lambda shard: self.shards[shard]._fetch(parts[shard].call), parts)
        return joined(parts, answers)

    def _fetch_from(self, shard: int, call: Call[T]) -> list[T]:
        try:
            return self.shards[shard]._fetch(call)
        except Error as error:
            name_shards(error, [shard])
            raise
