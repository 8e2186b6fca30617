"""Live pages: one hub waits for all that is open, and tells each page that shows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import UUID

import psycopg
from psycopg_pool import AsyncConnectionPool

from flow_signal import AsyncWaitHub, WaiterExpiredError, WaiterNotFoundError

Key = tuple[UUID, str]

LOOK_SECONDS = 0.5
"""How soon a new approval is on the desk; an answer is there within milliseconds."""
PING_SECONDS = 15.0


class Page:
    """An open page, which shows one approval or, without a key, the desk."""

    def __init__(self, key: Key | None) -> None:
        self.key = key
        self.has_changed = asyncio.Event()


class Live:
    """What the pages are told. A page that is slow misses nothing: it asks for all of its content anew."""

    def __init__(self, hub: AsyncWaitHub, pool: AsyncConnectionPool) -> None:
        self._hub = hub
        self._pool = pool
        self._pages: set[Page] = set()
        self._waits: dict[Key, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Find what is new, until cancelled."""
        try:
            while True:
                with suppress(psycopg.OperationalError):  # the database does not answer: look again
                    await self._look()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            for task in self._waits.values():
                task.cancel()

    async def _look(self) -> None:
        async with self._pool.connection() as connection:
            query = "SELECT run_id, step_key FROM approvals.requests WHERE outcome IS NULL"
            keys = await (await connection.execute(query)).fetchall()
        for key in {*keys} - self._waits.keys():
            self._waits[key] = asyncio.create_task(self._wait(key))
            self._tell(key)

    async def _wait(self, key: Key) -> None:
        with suppress(WaiterExpiredError, WaiterNotFoundError):
            await self._hub.wait(*key)
        self._tell(key)
        await asyncio.sleep(60)  # until the worker has taken it over, it is not new
        del self._waits[key]

    def _tell(self, key: Key) -> None:
        for page in self._pages:
            if page.key in (None, key):
                page.has_changed.set()

    async def events(self, key: Key | None) -> AsyncIterator[str]:
        """Server-sent events for a page: that it has changed, and now and then a comment that keeps it open."""
        page = Page(key)
        self._pages.add(page)
        try:
            yield "retry: 1000\n\n"
            while True:
                try:
                    await asyncio.wait_for(page.has_changed.wait(), PING_SECONDS)
                except asyncio.TimeoutError:
                    yield ": ping\n\n"
                    continue
                page.has_changed.clear()
                yield "event: change\ndata:\n\n"
        finally:
            self._pages.remove(page)
