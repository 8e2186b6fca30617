"""A waiter that is re-registered under another signal gets no payload of the old one.

The renaming is uncommitted when the sender meets the waiter; the sender has to look again once it has waited.
"""

from __future__ import annotations

import pytest

from tests_py.concurrency.calls import Run
from tests_py.concurrency.stage import Session, Stage

LATER_MS = 3_600_000


@pytest.mark.parametrize("id", [None, "id-1"])
def test_alone(stage: Stage, run: Run, a: Session, b: Session, id: str | None) -> None:
    a(run.register("w"))
    a.begin()
    assert a(run.register("w", "other")) == "waiting for other"
    step = b.start(run.deliver("B", id=id))
    assert stage.waits(step)
    a.commit()
    assert step.answer() == "not_found"
    assert a(run.get("w")) == "waiting for other"


@pytest.mark.parametrize("id", [None, "id-1"])
def test_behind_a_delivered_waiter(stage: Stage, run: Run, a: Session, b: Session, id: str | None) -> None:
    a(run.register("h"))
    a(run.deliver("A"))
    a(run.register("w"))
    a.begin()
    assert a(run.register("w", "other")) == "waiting for other"
    step = b.start(run.deliver("B", id=id))
    assert stage.waits(step)
    a.commit()
    assert step.answer() == "already_delivered h"
    assert a(run.get("w")) == "waiting for other"


@pytest.mark.parametrize("id", [None, "id-1"])
def test_behind_a_removed_waiter(stage: Stage, run: Run, a: Session, b: Session, id: str | None) -> None:
    a(run.register("h"))
    a(run.register("w"))
    a(run.remove("h"))
    a.begin()
    assert a(run.register("w", "other")) == "waiting for other"
    step = b.start(run.deliver("B", id=id))
    assert stage.waits(step)
    a.commit()
    assert step.answer() == "not_found"
    assert a(run.get("w")) == "waiting for other"


@pytest.mark.parametrize("id", [None, "id-1"])
def test_overdue_and_revived_elsewhere(stage: Stage, run: Run, a: Session, b: Session, id: str | None) -> None:
    stage.make_overdue(a, run, "w")
    a.begin()
    assert a(run.register("w", "other", until=stage.ahead(LATER_MS))) == "waiting for other"
    step = b.start(run.deliver("B", id=id))
    assert stage.waits(step)
    a.commit()
    assert step.answer() == "not_found"
    assert a(run.get("w")) == "waiting for other"


@pytest.mark.parametrize("id", [None, "id-1"])
def test_expired_and_revived_elsewhere(stage: Stage, run: Run, a: Session, b: Session, id: str | None) -> None:
    """The sender need not wait: until the commit, the waiter is expired."""
    a(run.register("w", until=stage.ahead(-1)))
    a.begin()
    assert a(run.register("w", "other", until=stage.ahead(LATER_MS))) == "waiting for other"
    assert b(run.deliver("B", id=id)) == "expired w"
    a.commit()
    assert b(run.deliver("B", id=id)) == "not_found"
    assert a(run.get("w")) == "waiting for other"
