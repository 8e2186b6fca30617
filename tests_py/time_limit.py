"""A test that hangs fails with its name, whether it or its clean-up hangs, and the run goes on."""

from __future__ import annotations

import faulthandler
import signal
from collections.abc import Generator

import pytest

from tests_py.concurrency import soak
from tests_py.proof.soak import LONG

SECONDS = 5400 if LONG else 600 + 2 * soak.SECONDS  # some tests last as long as soak.py is told
CLEAN_UP_SECONDS = 30


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Raise in the test when its time is up, and again whenever its clean-up takes too long."""
    marker = item.get_closest_marker("time_limit")
    seconds = marker.args[0] if marker else SECONDS

    def fail(*_: object) -> None:
        __tracebackhide__ = True
        faulthandler.dump_traceback()  # the other threads; the report shows this one
        pytest.fail(f"not done within {seconds:g} s")

    signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, seconds, CLEAN_UP_SECONDS)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def pytest_unconfigure() -> None:
    """End the process even if a test left a thread that hangs, for which Python would wait."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(CLEAN_UP_SECONDS)
