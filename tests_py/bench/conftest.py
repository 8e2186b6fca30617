"""A server to measure on. Of pgbench, which measures, not every build of PostgreSQL has a copy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.rivals.site import Site
from flow_signal.embedded import EmbeddedServer


@pytest.fixture(scope="package")
def site() -> Iterator[Site]:
    with EmbeddedServer() as server:
        site = Site(server)
        if not site.pgbench.exists():
            pytest.skip(f"no pgbench in {server.bin_dir}")
        yield site
