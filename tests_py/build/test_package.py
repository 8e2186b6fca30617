"""The scripts that install and uninstall travel in the wheel, in the sdist and with an editable install."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from sql.build import ROOT, build, read, read_version
from tests_py.build.scripts import UNINSTALL

SCRIPT = "flow_signal/flow_signal.sql"
UNINSTALL_SCRIPT = "flow_signal/uninstall.sql"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project as git has it: with no script built yet."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("pyproject.toml", "hatch_build.py", "LICENSE", "README.md", ".gitignore"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, copy)
    for folder in ("sql", "python_wrapper"):
        ignore = shutil.ignore_patterns("flow_signal*.sql", "__pycache__")
        shutil.copytree(ROOT / folder, copy / folder, symlinks=True, ignore=ignore)
    return copy


@pytest.fixture(scope="module")
def sdist(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hatchling("build_sdist", checkout, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hatchling("build_wheel", checkout, tmp_path_factory.mktemp("wheel"))


def hatchling(hook: str, project: Path, output: Path) -> Path:
    """Call a hook of the build backend as pip does, in this environment; return what it built."""
    code = f"from hatchling.build import {hook}; {hook}({str(output)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=project, check=True, stdout=subprocess.DEVNULL)
    (built,) = output.iterdir()
    return built


def test_the_wheel_contains_the_scripts_and_nothing_but_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read(SCRIPT).decode() == build()
        assert archive.read("flow_signal/flow_signal_no_transaction.sql").decode() == build(kind="no transaction")
        assert archive.read(UNINSTALL_SCRIPT).decode() == UNINSTALL
        assert archive.read("flow_signal/roles.sql").decode() == read(ROOT / "sql/roles.sql")
        names = archive.namelist()
    assert "flow_signal/py.typed" in names
    tops = {name.split("/")[0] for name in names}
    assert tops == {"flow_signal", f"flow_signal-{read_version(ROOT)}.dist-info"}


def test_the_wheel_names_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        entry_points = archive.read(f"flow_signal-{read_version(ROOT)}.dist-info/entry_points.txt")
    assert "flow-signal = flow_signal.cli:main" in entry_points.decode().splitlines()


def test_the_sdist_contains_the_script_and_builds_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = tmp_path / sdist.name.removesuffix(".tar.gz")
    output = tmp_path / "output"
    output.mkdir()
    assert (unpacked / "python_wrapper" / SCRIPT).read_text(encoding="utf-8") == build()
    assert (unpacked / "python_wrapper" / UNINSTALL_SCRIPT).read_text(encoding="utf-8") == UNINSTALL
    assert contents(hatchling("build_wheel", unpacked, output)) == contents(wheel)


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_an_editable_install_finds_the_script(checkout: Path, tmp_path: Path) -> None:
    script = checkout / "python_wrapper" / SCRIPT
    script.unlink(missing_ok=True)
    with zipfile.ZipFile(hatchling("build_editable", checkout, tmp_path)) as archive:
        (path_file,) = (name for name in archive.namelist() if name.endswith(".pth"))
        assert archive.read(path_file).decode().split() == [str(checkout / "python_wrapper")]
    assert script.read_text(encoding="utf-8") == build()


def test_a_broken_part_stops_the_package(checkout: Path, tmp_path: Path) -> None:
    project, output = tmp_path / "project", tmp_path / "output"
    shutil.copytree(checkout, project)
    output.mkdir()
    (project / "sql/functions/flow_signal/broken.sql").write_text("SELECT 1;\n")
    with pytest.raises(subprocess.CalledProcessError):
        hatchling("build_wheel", project, output)
    assert not any(output.iterdir())
