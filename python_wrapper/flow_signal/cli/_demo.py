"""The story of the demo: what is told, by whom it is played, and how it is shown."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any
from uuid import UUID, uuid4

from psycopg.conninfo import make_conninfo
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..embedded import EmbeddedServer
from ._exit_code import ExitCode
from ._output import Output
from ._problem import Problem
from ._server import catch_the_end, running, server_version, show_what_to_try, stay, uri
from ._stream import visible
from ._terminal import BAD, FAINT, GOOD, Terminal

CHANNEL = "flow_signal_demo"
PAYLOAD = '{"approved": true}'
BROKEN_PAYLOAD = '{"approved": tru'
# A notification ends a wait at once; the poll is for one that is lost, and for deadlines.
POLL_SECONDS = 5.0
DEADLINE_SECONDS = 0.05

# The columns of the table; the third takes more where the terminal has more.
NUMBER, WHO, WHAT, VERDICT, TIME, GAP = 2, 6, 24, 19, 9, 2
TABLE_WIDTH = NUMBER + WHO + WHAT + VERDICT + TIME + 4 * GAP


class Actor:
    """Another process, with a connection and a role of its own."""

    def __init__(self, name: str, conninfo: str, role: str) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "flow_signal.cli._actor", make_conninfo(conninfo, options=f"-c role={role}")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def __enter__(self) -> Actor:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._process:
            self._process.kill()

    def start(self, call: str, **arguments: Any) -> None:
        assert self._process.stdin
        with suppress(BrokenPipeError):  # the answer will be missing
            print(json.dumps({"call": call, **arguments}), file=self._process.stdin, flush=True)

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            _, trace = self._process.communicate()
            raise Problem(code=ExitCode.FAILED, message=f"the {self.name} process of the demo has ended", detail=trace)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def call(self, call: str, **arguments: Any) -> dict[str, Any]:
        self.start(call, **arguments)
        return self.answer()


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of the story, and whether it ended as promised."""

    who: str
    does: str
    promised: str
    verdict: str
    kept: bool
    milliseconds: float
    notes: list[str]


def play(keep: bool, output: Output) -> bool:
    """Tell the story; return whether every promise was kept."""
    if not output.as_json:
        output.terminal.say(("A step of a workflow waits for a signal from another process", "bold"))
    # The default of a temporary server is not to flush, which would flatter the times.
    server = EmbeddedServer(port=0 if keep else None, settings={"fsync": "on"})
    with running(server):
        run_id = uuid4()
        steps = []
        with (
            Actor("worker", server.conninfo(), "flow_signal_engine") as worker,
            Actor("sender", server.conninfo(), "flow_signal_sender") as sender,
        ):
            if not output.as_json:
                show_cast(server, worker, sender, run_id, output.terminal)
            for step in story(worker, sender, str(run_id)):
                steps.append(step)
                if not output.as_json:
                    show_step(len(steps), step, output.terminal)
        end = catch_the_end() if keep else None
        kept = all(step.kept for step in steps)
        if output.as_json:
            output.json(
                {
                    "run_id": str(run_id),
                    "steps": [asdict(step) for step in steps],
                    "kept": kept,
                    "dsn": uri(server) if keep else None,
                }
            )
        else:
            show_end(kept, output.terminal)
        if end is not None:
            if not output.as_json:
                show_what_to_try(server, run_id, output.terminal)
                output.terminal.say("The server runs until Ctrl-C.")
            stay(server, end)
    return kept


def story(worker: Actor, sender: Actor, run_id: str) -> Iterator[Step]:
    """Have the story played, step by step."""
    approve = {"run_id": run_id, "step_key": "approve"}
    approval = {"run_id": run_id, "signal_name": "approval"}
    answer = worker.call("register", **approve, signal_name="approval", wake_channel=CHANNEL)
    yield told(worker, 'parks step "approve" for "approval"', "waiting", answer)

    worker.start("wait", **approve, channel=CHANNEL, poll_seconds=POLL_SECONDS)
    worker.answer()
    sent = sender.call("deliver", **approval, payload_json=PAYLOAD, delivery_id="request-1")
    woken = worker.answer()
    yield told(sender, f"sends {PAYLOAD}", "delivered", sent)
    yield told(
        worker,
        "wakes up with this very payload",
        "delivered",
        woken,
        since=sent["committing"],
        kept=payload_of(woken) == PAYLOAD,
        notes=["time: from the sender's COMMIT until the worker has the payload"],
    )
    answer = sender.call("deliver", **approval, payload_json=PAYLOAD)
    yield told(sender, "sends the signal once more", "already_delivered", answer)
    answer = sender.call("deliver", **approval, payload_json=PAYLOAD, delivery_id="request-1")
    yield told(sender, "repeats call 2 with its delivery id", "delivered, replayed", answer)

    shipped = {"run_id": run_id, "signal_name": "shipped"}
    answer = sender.call("deliver", **shipped, payload_json=PAYLOAD, buffer_for=3600)
    yield told(sender, 'sends "shipped", nobody waits yet', "buffered", answer)
    answer = worker.call("register", **shipped, step_key="ship")
    yield told(worker, 'parks step "ship", has it at once', "delivered", answer, kept=payload_of(answer) == PAYLOAD)

    pay = {"run_id": run_id, "step_key": "pay"}
    worker.call("register", **pay, signal_name="paid", expires_in=DEADLINE_SECONDS)
    worker.start("wait", **pay, channel=CHANNEL, poll_seconds=DEADLINE_SECONDS)
    worker.answer()
    answer = worker.answer()
    yield told(worker, f'parks step "pay" for {DEADLINE_SECONDS * 1000:.0f} ms', "expired", answer)
    answer = sender.call("deliver", run_id=run_id, signal_name="paid", payload_json=PAYLOAD)
    yield told(sender, 'sends "paid" too late', "expired", answer)

    confirm = {"run_id": run_id, "step_key": "confirm"}
    parked = worker.call("register", **confirm, signal_name="confirmation")
    yield told(worker, 'parks step "confirm"', "waiting", parked)
    answer = sender.call("deliver", run_id=run_id, signal_name="confirmation", payload_json=BROKEN_PAYLOAD)
    yield told(sender, f"sends {BROKEN_PAYLOAD}", "refused, 22P02", answer, notes=error_notes(answer))
    answer = worker.call("get", **confirm)
    yield told(worker, "sees that nothing has changed", "waiting", answer, kept=answer["result"] == parked["result"])


def told(
    actor: Actor,
    does: str,
    promised: str,
    answer: dict[str, Any],
    *,
    since: float | None = None,
    kept: bool = True,
    notes: Sequence[str] = (),
) -> Step:
    verdict = verdict_of(answer)
    return Step(
        who=actor.name,
        does=does,
        promised=promised,
        verdict=verdict,
        kept=kept and verdict == promised,
        milliseconds=round(1000 * (answer["ended"] - (since or answer["began"])), 3),
        notes=list(notes),
    )


def verdict_of(answer: dict[str, Any]) -> str:
    """Return the state, the status or the SQLSTATE that a call ended with."""
    if error := answer["error"]:
        return f"{error['error']}, {error['sqlstate']}"
    result = answer["result"] or {}
    verdict = str(result.get("state") or result.get("status"))
    return f"{verdict}, replayed" if result.get("replayed") else verdict


def payload_of(answer: dict[str, Any]) -> object:
    return (answer["result"] or {}).get("payload_json")


def error_notes(answer: dict[str, Any]) -> list[str]:
    return [f"{name.upper()}: {(answer['error'] or {}).get(name)}" for name in ("message", "detail", "hint")]


def show_cast(server: EmbeddedServer, worker: Actor, sender: Actor, run_id: UUID, terminal: Terminal) -> None:
    terminal.value("server", f"PostgreSQL {server_version(server)}, started for this demo alone")
    terminal.value("worker", f"process {worker.pid}, role flow_signal_engine")
    terminal.value("sender", f"process {sender.pid}, role flow_signal_sender")
    terminal.value("run_id", run_id)
    terminal.say()
    if terminal.width >= TABLE_WIDTH:
        terminal.print(row(terminal, "", "who", "what", "verdict", "time", style=FAINT))


def show_step(number: int, step: Step, terminal: Terminal) -> None:
    """Print a row of the table, or a few lines where the terminal is too narrow for one."""
    does = Text(visible(step.does))
    verdict = Text(step.verdict, GOOD) if step.kept else Text(f"{step.verdict}, not {step.promised}", BAD)
    time = f"{step.milliseconds:.1f} ms"
    notes = [Text(visible(note), FAINT) for note in step.notes]
    if terminal.width >= TABLE_WIDTH:
        terminal.print(row(terminal, str(number), step.who, does, verdict, time))
        indent = NUMBER + GAP + WHO + GAP
    else:
        line = Table.grid(padding=(0, 1, 0, 0))
        line.add_row(f"{number:>{NUMBER}}", Text.assemble(f"{step.who} ", does))
        terminal.print(line)
        indent = NUMBER + 1
        notes.insert(0, Text.assemble(verdict, f", {time}"))
    for note in notes:
        terminal.print(Padding(note, (0, 0, 0, indent)))


def row(
    terminal: Terminal, number: str, who: str, what: str | Text, verdict: str | Text, time: str, style: str = ""
) -> Table:
    """Return one row, with the widths that every other row has: the story is shown as it goes on."""
    table = Table.grid(padding=(0, GAP, 0, 0))
    table.add_column(width=NUMBER, justify="right")
    table.add_column(width=WHO)
    table.add_column(width=min(terminal.width, 100) - (TABLE_WIDTH - WHAT), overflow="fold")
    table.add_column(width=VERDICT, overflow="fold")
    table.add_column(width=TIME, justify="right")
    table.add_row(number, who, what, verdict, time, style=style)
    return table


def show_end(kept: bool, terminal: Terminal) -> None:
    terminal.say()
    if kept:
        terminal.say(("Every step ended as the contract promises.", GOOD))
    else:
        terminal.say(("Not every step ended as the contract promises.", BAD))
    terminal.say(("Times: one call with its COMMIT (fsync on), on this machine, once.", FAINT))
