"""Adapters for all the types of a call, none of which a store may use."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from psycopg.adapt import AdaptersMap, Dumper, Loader
from psycopg.pq import Format
from psycopg.types.numeric import Int8


class HostileLoader(Loader):
    def load(self, data: object) -> object:
        raise AssertionError("a loader of the caller was used")


class HostileBinaryLoader(HostileLoader):
    format = Format.BINARY


class HostileDumper(Dumper):
    def dump(self, obj: object) -> bytes:
        raise AssertionError("a dumper of the caller was used")


class HostileBinaryDumper(HostileDumper):
    format = Format.BINARY


def register(adapters: AdaptersMap) -> None:
    for name in ("uuid", "text", "text[]", "timestamptz", "json", "bool", "int8", "float8", "interval"):
        oid = adapters.types.get_oid(name)
        adapters.register_loader(oid, HostileLoader)
        adapters.register_loader(oid, HostileBinaryLoader)
    for cls in (str, int, Int8, UUID, datetime, timedelta, list):
        adapters.register_dumper(cls, HostileDumper)
        adapters.register_dumper(cls, HostileBinaryDumper)
