"""Put the installation script into the package before hatchling packs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class InstallationScriptHook(BuildHookInterface[Any]):
    """Run sql/build.py for every target, an editable install included."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        target = "python_wrapper/flow_signal/flow_signal.sql"
        root = Path(self.root)
        subprocess.run([sys.executable, root / "sql/build.py", "-o", root / target], check=True)
