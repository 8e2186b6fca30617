"""import flow_signal needs psycopg alone: no pool, no command line, no server."""

from __future__ import annotations

import subprocess
import sys


def test_the_import_takes_neither_pool_nor_command_line() -> None:
    code = (
        "import sys; sys.modules['psycopg_pool'] = sys.modules['typer'] = None\n"
        "import flow_signal, flow_signal.migrate\n"
        "print([name for name in sys.modules if name.startswith('flow_signal.')])"
    )
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert "flow_signal._sync_store" in loaded
    assert "flow_signal.cli" not in loaded
    assert "flow_signal.embedded" not in loaded
