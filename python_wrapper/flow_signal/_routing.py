"""Which database has a run, and one call made on several databases: everything but the stores."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import Any, Generic, TypeVar
from uuid import UUID

import psycopg
from psycopg import AsyncConnection, Connection

from ._calls import Call
from ._connections import refuse_wrong_kind
from .errors import ShardsFailedError, shards_named
from .inputs import as_int4, wrong_type

P = TypeVar("P")
T = TypeVar("T")

logger = logging.getLogger("flow_signal")

MOST_SHARDS = 4096
"""What the 12 bits of a run id hold."""


def shard_of(run_id: UUID, shards: int) -> int:
    """The 12 bits behind the version of a UUID version 8; of any other the first 4 bytes of its SHA-256, modulo shards.

    It must never change: the rows are where it has sent them.
    """
    number = run_id.int
    if number >> 76 & 0xF != 8 or number >> 62 & 0b11 != 0b10:
        return int.from_bytes(sha256(run_id.bytes).digest()[:4], "big") % shards
    shard = number >> 64 & 0xFFF
    if shard >= shards:
        raise ValueError(
            f"run_id {run_id} names shard {shard}, but there are {shards}: make UUIDs of version 8 by new_run_id"
        )
    return shard


def shard_of_token(token: str, shards: int) -> int:
    """The shard of the run that is written in a token; of any other text, which no database knows, the first."""
    try:
        return shard_of(UUID(token[4:36]), shards)
    except ValueError:
        return 0


def shard_of_call(call: Call[Any], shards: int) -> int:
    run_id = call.arguments.get("run_id")
    return shard_of_token(call.arguments["token"], shards) if run_id is None else shard_of(run_id, shards)


def new_run_id(shard: int | None, shards: int) -> UUID:
    """A UUID that begins with the time, as one of version 7 does; the shard is in place of its first random bits."""
    number = secrets.randbelow(shards) if shard is None else as_int4("shard", shard)
    if not 0 <= number < shards:
        raise ValueError(f"shard {number} is not one of 0 to {shards - 1}")
    milliseconds = time.time_ns() // 1_000_000
    return UUID(int=milliseconds << 80 | 8 << 76 | number << 64 | 0b10 << 62 | secrets.randbits(62))


def checked_pools(pools: Sequence[P], kind: type[AsyncConnection[Any]] | type[Connection[Any]]) -> tuple[P, ...]:
    """Refuse what is not a list of pools of this kind, each with a database of its own."""
    checked = checked_shards(pools, "pools")
    for number, pool in enumerate(checked):
        if isinstance(pool, kind):
            raise wrong_type(f"pools[{number}]", pool, "a pool", ": a sharded store commits each call")
        try:
            refuse_wrong_kind(pool, kind)
        except TypeError as error:
            raise TypeError(f"pools[{number}]: {error}") from None
    return checked


def checked_shards(shards: Iterable[P], name: str) -> tuple[P, ...]:
    """Refuse too few, too many, and the same one twice."""
    if isinstance(shards, str):
        raise wrong_type(name, shards, "a list with one for each database")
    checked = tuple(shards)
    if not 0 < len(checked) <= MOST_SHARDS:
        raise ValueError(f"{name}: expected 1 to {MOST_SHARDS}, got {len(checked)}")
    places: dict[object, int] = {}
    for number, shard in enumerate(checked):
        first = places.setdefault(shard if isinstance(shard, str) else id(shard), number)
        if first != number:
            raise ValueError(f"{name}[{number}] is {name}[{first}]: each shard is a database of its own")
    return checked


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """What one database does of a batch."""

    places: list[int]
    """Those of its rows in the batch."""
    call: Call[T]


def split(call: Call[T], shards: int) -> dict[int, Part[T]]:
    """A batch as one call for each database that has a run of it."""
    places: dict[int, list[int]] = {}
    for place, run_id in enumerate(call.arguments["run_ids"]):
        places.setdefault(shard_of(run_id, shards), []).append(place)
    return {shard: Part(rows, _only(call, rows)) for shard, rows in sorted(places.items())}


def _only(call: Call[T], places: list[int]) -> Call[T]:
    """The call with these rows; what is not a list concerns them all."""
    arguments = {
        name: [value[place] for place in places] if isinstance(value, list) else value
        for name, value in call.arguments.items()
    }
    return replace(call, arguments=arguments)


def joined(parts: Mapping[int, Part[T]], answers: Mapping[int, Sequence[T]]) -> list[T]:
    """The answers to a batch in the order of its rows."""
    rows: dict[int, T] = {}
    for shard, answer in answers.items():
        rows.update(zip(parts[shard].places, answer, strict=True))
    return [rows[place] for place in range(len(rows))]


def merged(pages: Iterable[Iterable[T]], limit: int) -> list[T]:
    """The first rows of pages that are each in order. A run is in one page, so that its id alone decides."""
    return list(islice(merge(*pages, key=attrgetter("run_id")), limit))


async def each_async(ask: Callable[[int], Coroutine[Any, Any, T]], shards: Collection[int]) -> dict[int, T]:
    """Ask all these databases at once; return their answers, in the order of shards, if none has failed."""
    answers = await asyncio.gather(*map(ask, shards), return_exceptions=True)
    return settled(dict(zip(shards, answers, strict=True)))


def each(ask: Callable[[int], T], shards: Collection[int]) -> dict[int, T]:
    """Ask all these databases, one after another; return their answers if none has failed."""
    answers: dict[int, T | BaseException] = {}
    for shard in shards:
        try:
            answers[shard] = ask(shard)
        except Exception as error:
            answers[shard] = error
    return settled(answers)


def settled(answers: Mapping[int, T | BaseException]) -> dict[int, T]:
    """Return the answers; raise the error that all databases agree on, else one that says which have failed."""
    results: dict[int, T] = {}
    errors: dict[int, Exception] = {}
    for shard, answer in answers.items():
        if isinstance(answer, Exception):
            errors[shard] = answer
        elif isinstance(answer, BaseException):
            raise answer
        else:
            results[shard] = answer
    if not errors:
        return results
    first = next(iter(errors.values()))
    if results or len({type(error) for error in errors.values()}) > 1:
        raise ShardsFailedError(errors, results) from first
    if isinstance(first, psycopg.Error):
        name_shards(first, errors)
    raise first


def pass_over(shard: int, error: Exception) -> None:
    """Tell of a database that a claim does not get an answer from."""
    logger.warning("a claim passes over shard %d: %s", shard, error)


def name_shards(error: psycopg.Error | TimeoutError, shards: Collection[int]) -> None:
    """Say in the text of an error where it comes from; its class, SQLSTATE and diag stay."""
    error.args = (f"{shards_named(shards)}: {error}",)
