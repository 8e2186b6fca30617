"""The sync store is what the generator makes of the async store."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import sys
from pathlib import Path

from flow_signal import AsyncFlowSignalStore, FlowSignalStore
from sql.build import ROOT

FOLDER = ROOT / "python_wrapper"


def generate(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "generate_sync.py"), *args]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_committed_file_is_fresh() -> None:
    done = generate(FOLDER, "--check")
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_a_stale_file_is_shown_and_mended(tmp_path: Path) -> None:
    for name in ("generate_sync.py", "flow_signal/_async_store.py", "flow_signal/_sync_store.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(FOLDER / name, tmp_path / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    target = tmp_path / "flow_signal/_sync_store.py"
    fresh = target.read_text()
    target.write_text(fresh.replace("def version", "def release"))

    done = generate(tmp_path, "--check")
    assert done.returncode == 1
    assert "-    def release(self) -> str:\n+    def version(self) -> str:\n" in done.stdout
    assert "make format" in done.stderr
    assert "def release" in target.read_text()

    target.unlink()
    assert generate(tmp_path, "--check").returncode == 1
    assert generate(tmp_path).returncode == 0
    assert target.read_text() == fresh
    assert "make format" in fresh.splitlines()[0]


def test_both_stores_have_the_same_documented_methods() -> None:
    def public(store: type) -> dict[str, inspect.Signature]:
        methods = {name: member for name, member in vars(store).items() if not name.startswith("_")}
        assert all(method.__doc__ for method in methods.values())
        return {name: inspect.signature(method) for name, method in methods.items()}

    assert public(FlowSignalStore) == public(AsyncFlowSignalStore)
    assert not any(inspect.iscoroutinefunction(member) for member in vars(FlowSignalStore).values())
