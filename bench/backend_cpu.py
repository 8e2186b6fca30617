"""The CPU time of a server process, which is steadier than wall time on a shared machine. Linux only."""

from __future__ import annotations

from pathlib import Path

import psycopg


def backend_cpu(conn: psycopg.Connection[tuple[object, ...]]) -> float:
    """Microseconds of CPU that the connection's server process has used."""
    return int(Path(f"/proc/{conn.info.backend_pid}/schedstat").read_text().split()[0]) / 1000
