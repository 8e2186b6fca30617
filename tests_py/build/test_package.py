"""What the wheel and the sdist contain, say and need; the scripts travel in them and with an editable install."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import psycopg
import pytest

import flow_signal
from flow_signal.cli import _base
from flow_signal.cli._app import app
from sql.build import ROOT, build, read, read_version
from tests_py.build.scripts import UNINSTALL
from tests_py.cli.commands import COMMANDS

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


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        return message_from_bytes(archive.read(f"flow_signal-{read_version(ROOT)}.dist-info/METADATA"))


def test_the_package_needs_psycopg_and_nothing_else(metadata: Message) -> None:
    needed = [text for text in metadata.get_all("Requires-Dist", []) if "extra ==" not in text]
    assert [re.split(r"[^\w-]", text)[0] for text in needed] == ["psycopg"]
    assert metadata.get_all("Provides-Extra") == ["binary", "cli", "embedded", "pool"]


def test_each_minor_version_of_python_has_its_classifier(metadata: Message) -> None:
    prefix = "Programming Language :: Python :: 3."
    minors = [text.removeprefix(prefix) for text in metadata.get_all("Classifier", []) if text.startswith(prefix)]
    lowest = metadata["Requires-Python"].removeprefix(">=3.")
    assert minors == [str(int(lowest) + number) for number in range(len(minors))]
    assert str(sys.version_info.minor) in minors


def test_the_description_reads_well_on_an_index_page(metadata: Message) -> None:
    """There, a relative link leads nowhere and a diagram stays source text."""
    description = str(metadata.get_payload())
    assert description.startswith("# flow-signal\n")
    assert re.findall(r"\]\((?!https://)", description) == []
    assert set(re.findall(r"^```(\w+)$", description, re.M)) == {"sh", "python"}
    assert all(extra in description for extra in metadata.get_all("Provides-Extra", []))


def test_the_version_is_that_of_the_package() -> None:
    assert flow_signal.__version__ == read_version(ROOT) == importlib.metadata.version("flow-signal")
    assert not hasattr(flow_signal, "nonsense")


@pytest.fixture(scope="module")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that `pip install flow-signal` brings, and with the libpq of psycopg[binary]."""
    folder = tmp_path_factory.mktemp("base")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    installed = Path(psycopg.__file__).parent.parent
    for name in ("psycopg", "psycopg_binary", "psycopg_binary.libs", "typing_extensions.py"):
        if (installed / name).exists():
            (folder / name).symlink_to(installed / name)
    return folder


def run_base(base: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line where nothing else is installed."""
    return subprocess.run(
        [sys.executable, "-S", "-m", "flow_signal", *arguments],
        env={**os.environ, "PYTHONPATH": str(base), **environment},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_the_base_install_prints_the_scripts(base: Path) -> None:
    for arguments, script in ((["sql"], build()), (["sql", "--uninstall"], UNINSTALL)):
        printed = run_base(base, *arguments)
        assert (printed.returncode, printed.stdout, printed.stderr) == (0, script, "")


def test_the_base_install_migrates(base: Path, empty_database: str) -> None:
    first = run_base(base, "migrate", "--dsn", empty_database)
    assert (first.returncode, first.stderr) == (0, "")
    last = f"{read_version(ROOT)} is installed in database"
    assert first.stdout.splitlines()[-1].startswith(last)
    again = run_base(base, "migrate", "--json", FLOW_SIGNAL_DSN=empty_database)
    assert again.returncode == 0
    assert f"flow-signal: {last}" in again.stdout


@pytest.mark.parametrize("command", [*sorted({*COMMANDS} - {"migrate", "sql"}), "gte"])
def test_the_base_install_says_which_extra_a_command_needs(base: Path, command: str) -> None:
    said = run_base(base, command, "--json" if command == "list" else "--all")
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.count("\n") == 1
    assert f'the command "{command}" needs an extra: pip install "flow-signal[cli]"' in said.stderr.replace("\\", "")


def test_the_base_install_has_the_same_errors(base: Path, tmp_path: Path) -> None:
    version = run_base(base, "--version")
    assert (version.returncode, version.stdout) == (0, f"flow-signal {read_version(ROOT)}\n")
    for arguments in ([], ["--help"]):
        helped = run_base(base, *arguments)
        assert (helped.returncode, "flow-signal[cli]" in helped.stdout) == (0 if arguments else 2, True)
    wrong = run_base(base, "migrate", "--all")
    assert (wrong.returncode, wrong.stderr.splitlines()[0]) == (2, "error: unrecognized arguments: --all")
    nowhere = run_base(base, "migrate", "--dsn", f"host={tmp_path}")
    assert nowhere.returncode == 7
    assert nowhere.stderr.startswith("error: no connection to the database\ndetail: ")


def test_the_base_install_reads_the_same_options() -> None:
    """The parser of the base install and that of the extra `cli` know each option of these two commands."""
    import typer.main

    commands = getattr(typer.main.get_command(app), "commands")  # noqa: B009
    parsers = next(action for action in _base.parser()._actions if action.dest == "==SUPPRESS==").choices
    assert isinstance(parsers, dict)
    for name, parser in parsers.items():
        options = {option for parameter in commands[name].params for option in parameter.opts}
        assert {option for action in parser._actions for option in action.option_strings} - {"-h", "--help"} == options


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
