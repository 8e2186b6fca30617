"""The sync stores are what the generator makes of the async stores."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flow_signal import (
    AsyncFlowSignalStore,
    AsyncShardedFlowSignalStore,
    FlowSignalStore,
    ShardedFlowSignalStore,
)
from sql.build import ROOT

FOLDER = ROOT / "python_wrapper"


def generate(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "generate_sync.py"), *args]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_committed_files_are_fresh() -> None:
    done = generate(FOLDER, "--check")
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@pytest.mark.parametrize("stale", ["_sync_store.py", "_sync_sharded_store.py"])
def test_a_stale_file_is_shown_and_mended(tmp_path: Path, stale: str) -> None:
    (tmp_path / "flow_signal").mkdir()
    for name in ("generate_sync.py", *(f"flow_signal/{file.name}" for file in (FOLDER / "flow_signal").glob("*.py"))):
        shutil.copy(FOLDER / name, tmp_path / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    target = tmp_path / f"flow_signal/{stale}"
    fresh = target.read_text()
    target.write_text(fresh.replace("def version", "def release"))

    done = generate(tmp_path, "--check")
    assert done.returncode == 1
    assert re.search(r"^-    def release\(self\) -> .*\n\+    def version\(self\) -> ", done.stdout, re.M)
    assert done.stderr == f"{stale} stale: run `make format`\n"
    assert "def release" in target.read_text()

    target.unlink()
    assert generate(tmp_path, "--check").returncode == 1
    assert generate(tmp_path).returncode == 0
    assert target.read_text() == fresh
    assert "make format" in fresh.splitlines()[0]


def public(store: type) -> dict[str, inspect.Signature]:
    methods = {name: member for name, member in inspect.getmembers(store, callable) if not name.startswith("_")}
    assert all(method.__doc__ for method in methods.values())
    return {name: inspect.signature(method) for name, method in methods.items()}


@pytest.mark.parametrize(
    ("sync", "source"),
    [(FlowSignalStore, AsyncFlowSignalStore), (ShardedFlowSignalStore, AsyncShardedFlowSignalStore)],
)
def test_both_stores_have_the_same_documented_methods(sync: type, source: type) -> None:
    assert public(sync) == public(source)
    assert not any(inspect.iscoroutinefunction(member) for _, member in inspect.getmembers(sync))


def test_a_sharded_store_takes_what_a_store_takes() -> None:
    sharded = public(ShardedFlowSignalStore)
    for name, signature in public(FlowSignalStore).items():
        assert sharded[name].parameters.keys() == signature.parameters.keys()
    assert sharded.keys() - public(FlowSignalStore).keys() == {"shard_of", "new_run_id"}
