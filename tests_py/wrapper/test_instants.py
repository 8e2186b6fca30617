"""Instants go in with a time zone and come out in UTC, exact to the microsecond from year 1 to year 9999."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone, tzinfo
from uuid import uuid4
from zoneinfo import ZoneInfo

import psycopg
import pytest

from flow_signal import AsyncFlowSignalStore

UTC = timezone.utc


@pytest.mark.parametrize(
    "deadline",
    [
        datetime.min.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
        datetime(1, 1, 1, 12, tzinfo=timezone(timedelta(hours=12))),
        datetime(1899, 12, 31, 23, 59, 59, 1, tzinfo=UTC),
        datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
        datetime(2040, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=53, seconds=28, microseconds=3))),
    ],
)
async def test_a_deadline_comes_back_in_utc(store: AsyncFlowSignalStore, deadline: datetime) -> None:
    waiter = await store.register_waiter(uuid4(), "step", "approved", expires_at=deadline)
    assert waiter.expires_at is not None
    assert waiter.expires_at == deadline.astimezone(UTC)
    assert waiter.expires_at.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "deadline",
    [
        datetime.max.replace(tzinfo=timezone(-timedelta(minutes=1))),
        datetime.min.replace(tzinfo=timezone(timedelta(minutes=1))),
    ],
)
async def test_an_instant_out_of_range_is_refused_by_the_database(
    store: AsyncFlowSignalStore, deadline: datetime
) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="deadline"):
        await store.register_waiter(uuid4(), "step", "approved", expires_at=deadline)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="buffer time"):
        await store.deliver_signal(uuid4(), "approved", buffer_until=deadline)


class Undecided(tzinfo):
    def utcoffset(self, _: datetime | None) -> None:
        return None

    dst = utcoffset
    tzname = utcoffset


@pytest.mark.parametrize("naive", [datetime(2040, 1, 1), datetime.max, datetime(2040, 1, 1, tzinfo=Undecided())])
async def test_a_naive_datetime_is_refused(store: AsyncFlowSignalStore, naive: datetime) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        await store.register_waiter(uuid4(), "step", "approved", expires_at=naive)
    with pytest.raises(ValueError, match="no time zone"):
        await store.deliver_signal(uuid4(), "approved", buffer_until=naive)
