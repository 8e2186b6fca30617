"""A line as anybody would write it who has no concurrency to fear: what the calls must look like in some order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tests_py.concurrency.calls import GO
from tests_py.concurrency.situations import PAST, SITUATIONS


@dataclass
class Waiter:
    signal: str
    age: int
    until: datetime | None
    state: str = "waiting"
    payload: str | None = None
    id: str | None = None

    def __str__(self) -> str:
        words = [self.state, self.payload, None if self.signal == GO else f"for {self.signal}"]
        return " ".join(word for word in words if word)


class Model:
    """A run; its calls answer as those of `Run` do. No deadline passes while it is in use."""

    def __init__(self, situation: str) -> None:
        self.queue = "q"
        self.waiters: dict[str, Waiter] = {}
        self.buffered: list[tuple[str, str | None]] = []
        self._registered = 0
        self.register("v", "other")
        for make in SITUATIONS[situation]:
            make(self)

    def register(self, step: str, signal: str = GO, *, until: datetime | None = None, queue: str | None = None) -> str:
        waiter = self.waiters.get(step)
        if waiter is None:
            self._registered += 1
            waiter = self.waiters[step] = Waiter(signal, self._registered, until)
        elif waiter.state == "delivered":
            return str(waiter) if waiter.signal == signal else "WS001"
        else:
            waiter.signal, waiter.until = signal, until
        waiter.state = "expired" if until == PAST else "waiting"
        if waiter.state == "waiting" and waiter.signal == GO and self.buffered:
            waiter.state = "delivered"
            waiter.payload, waiter.id = self.buffered.pop(0)
        return str(waiter)

    def deliver(self, payload: str, *, id: str | None = None, buffer_until: datetime | None = None) -> str:
        line = sorted((waiter.age, step) for step, waiter in self.waiters.items() if waiter.signal == GO)
        steps = {
            state: [step for _, step in line if self.waiters[step].state == state]
            for state in ("waiting", "delivered", "expired")
        }
        for step in steps["delivered"]:
            if id and self.waiters[step].id == id:
                return f"replayed delivered {step}"
        if id and any(known == id for _, known in self.buffered):
            return "replayed buffered"
        if steps["waiting"]:
            waiter = self.waiters[steps["waiting"][0]]
            waiter.state, waiter.payload, waiter.id = "delivered", payload, id
            return f"delivered {steps['waiting'][0]}"
        if buffer_until:
            self.buffered.append((payload, id))
            return "buffered"
        if steps["delivered"]:
            return f"already_delivered {steps['delivered'][0]}"
        return f"expired {steps['expired'][0]}" if steps["expired"] else "not_found"

    def get(self, step: str) -> str:
        return str(self.waiters.get(step, "none"))

    def remove(self, step: str) -> str:
        return str(self.waiters.pop(step, "none"))

    def claim(self) -> str:
        raise NotImplementedError

    def contents(self) -> list[str]:
        """The waiters, and the buffered signals in their order."""
        waiters = [f"{step} {waiter}" for step, waiter in sorted(self.waiters.items())]
        return waiters + [payload for payload, _ in self.buffered]
