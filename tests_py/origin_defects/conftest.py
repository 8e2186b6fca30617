"""The sessions of the concurrency tests."""

from tests_py.concurrency.conftest import a, b, c, d, run, shared_stage, stage

__all__ = ["a", "b", "c", "d", "run", "shared_stage", "stage"]
