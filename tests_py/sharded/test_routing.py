"""A run id tells its shard, today and for ever."""

from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import RFC_4122, UUID, uuid4, uuid5

import psycopg
import psycopg_pool
import pytest

from flow_signal import AsyncShardedFlowSignalStore, AsyncShardedWaitHub, ShardedFlowSignalStore
from flow_signal._routing import shard_of_token
from tests_py.sharded.conftest import Databases
from tests_py.wrapper.conftest import Connecting

PAGE = Path(__file__).resolve().parents[2] / "docs/scaleout.md"
NOWHERE = "dbname=nowhere"


def over(shards: int) -> ShardedFlowSignalStore:
    """A store that is never called."""
    return ShardedFlowSignalStore([Connecting(f"{NOWHERE} port={shard + 1}") for shard in range(shards)])


def test_the_shard_of_a_run_id_never_changes() -> None:
    known = {
        UUID("0d9c6f3e-7d0a-4b3c-9a57-0f6f5a1f7a10"): {1: 0, 2: 0, 3: 2, 4: 2, 7: 0, 64: 30, 4096: 670},
        UUID("0193672f-0000-7000-8000-000000000001"): {1: 0, 2: 1, 3: 0, 4: 1, 7: 3, 64: 61, 4096: 3453},
    }
    for run_id, shards in known.items():
        assert {count: over(count).shard_of(run_id) for count in shards} == shards
        assert over(4).shard_of(str(run_id).upper()) == shards[4]


def test_sql_finds_the_same_shard(databases: Databases) -> None:
    """By the statement of docs/scaleout.md."""
    [query] = re.findall(r"^```sql\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    store = over(4)
    run_ids = [
        *(uuid4() for _ in range(200)),
        *(store.new_run_id() for _ in range(50)),
        UUID(int=0),
        UUID(int=2**128 - 1),
    ]
    with psycopg.connect(databases.conninfos[0]) as connection:
        for run_id in run_ids:
            written = query.replace("0d9c6f3e-7d0a-4b3c-9a57-0f6f5a1f7a10", str(run_id))
            assert connection.execute(written).fetchall() == [(store.shard_of(run_id),)]


@pytest.mark.parametrize(
    "run_ids",
    [
        [UUID(int=number, version=4) for number in map(random.Random(1).getrandbits, [128] * 8000)],
        [UUID(int=number) for number in range(8000)],
        [uuid5(UUID(int=1), str(number)) for number in range(8000)],
    ],
    ids=["random", "counted", "named"],
)
@pytest.mark.parametrize("shards", [2, 3, 4, 10])
def test_runs_are_spread_evenly(run_ids: list[UUID], shards: int) -> None:
    store = over(shards)
    spread = Counter(map(store.shard_of, run_ids))
    assert len(spread) == shards
    assert max(spread.values()) < 1.15 * len(run_ids) / shards


def test_a_new_run_id_carries_its_shard_whatever_their_number() -> None:
    store = over(4096)
    run_ids = {shard: store.new_run_id(shard) for shard in (0, 2, 255, 4095)}
    for shard, run_id in run_ids.items():
        assert (run_id.version, run_id.variant, store.shard_of(run_id)) == (8, RFC_4122, shard)
        assert str(run_id)[14:18] == f"8{shard:03x}"
        assert over(shard + 1).shard_of(run_id) == shard


def test_new_run_ids_are_new_and_begin_with_the_time() -> None:
    store = over(4)
    run_ids = [store.new_run_id() for _ in range(1000)]
    assert len(set(run_ids)) == 1000
    assert set(map(store.shard_of, run_ids)) == {0, 1, 2, 3}
    times = [run_id.int >> 80 for run_id in run_ids]
    assert times == sorted(times)
    assert times[-1] - times[0] < 60_000
    assert times[0] > 1_700_000_000_000


def test_a_shard_that_is_not_there() -> None:
    store = over(4)
    foreign = over(5).new_run_id(4)
    with pytest.raises(ValueError, match=f"^run_id {foreign} names shard 4, but there are 4: .* new_run_id$"):
        store.shard_of(foreign)
    for shard in (4, -1):
        with pytest.raises(ValueError, match=f"^shard {shard} is not one of 0 to 3$"):
            store.new_run_id(shard)
    with pytest.raises(TypeError, match=r"^shard: expected an int, got str$"):
        store.new_run_id("1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^run_id 'x' is not a UUID$"):
        store.shard_of("x")


def test_another_variant_of_uuid_is_hashed() -> None:
    """Its digits look like a version 8 that names shard 4095."""
    assert over(4).shard_of("00000000-0000-8fff-0000-000000000000") in range(4)


@pytest.mark.parametrize("text", ["", "fst_", "no token", "fst_" + "f" * 12 + "8fff" + "8" * 16 + "_" + "0" * 64])
def test_a_text_that_is_no_token_has_a_shard_too(text: str) -> None:
    assert shard_of_token(text, 4) == 0


def test_what_is_not_a_list_of_pools(databases: Databases) -> None:
    pool = Connecting(NOWHERE)
    wrong: list[tuple[Any, type[Exception], str]] = [
        ([], ValueError, "pools: expected 1 to 4096, got 0"),
        ([Connecting(f"{NOWHERE} port={port}") for port in range(1, 4098)], ValueError, "expected 1 to 4096, got 4097"),
        (
            [pool, Connecting(NOWHERE), pool],
            ValueError,
            r"pools\[2\] is pools\[0\]: each shard is a database",
        ),
        (NOWHERE, TypeError, "pools: expected a list with one for each database, got str"),
        ([pool, None], TypeError, r"pools\[1\]: .* got None"),
    ]
    for pools, error, text in wrong:
        with pytest.raises(error, match=text):
            ShardedFlowSignalStore(pools)
    text = r"pools\[1\]: expected a pool, got Connection: .* commits each call"
    with psycopg.connect(databases.conninfos[0]) as connection, pytest.raises(TypeError, match=text):
        ShardedFlowSignalStore([pool, connection])  # type: ignore[list-item]
    sync_pool = psycopg_pool.ConnectionPool(NOWHERE, open=False)
    with pytest.raises(TypeError, match=r"pools\[0\]: .*: use FlowSignalStore"):
        AsyncShardedFlowSignalStore([sync_pool])  # type: ignore[list-item]


def test_what_is_not_a_list_to_connect_to() -> None:
    for connects, error, text in [
        (NOWHERE, TypeError, "connects: expected a list with one for each database, got str"),
        ([], ValueError, "connects: expected 1 to 4096, got 0"),
        ([NOWHERE, NOWHERE], ValueError, r"connects\[1\] is connects\[0\]"),
    ]:
        with pytest.raises(error, match=text):
            AsyncShardedWaitHub(connects)
