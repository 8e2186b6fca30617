"""Put the installation scripts into the package before hatchling packs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class InstallationScriptHook(BuildHookInterface[Any]):
    """Run sql/build.py for every target, an editable install included."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        package = root / "python_wrapper/flow_signal"
        build: list[str | Path] = [sys.executable, root / "sql/build.py"]
        subprocess.run([*build, "-o", package / "flow_signal.sql"], check=True)
        subprocess.run([*build, "--no-transaction", "-o", package / "flow_signal_no_transaction.sql"], check=True)
