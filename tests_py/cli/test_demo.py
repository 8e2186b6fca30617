"""`demo`: the whole story, and nothing left of it however it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import flow_signal.cli._demo as demo
from tests_py.cli.commands import Command, read_until, started
from tests_py.cli.test_output import on_terminal
from tests_py.embedded.owners import deadline, runs, wait_until

STORY = [
    ("worker", "waiting"),
    ("sender", "delivered"),
    ("worker", "delivered"),
    ("sender", "already_delivered"),
    ("sender", "delivered, replayed"),
    ("sender", "buffered"),
    ("worker", "delivered"),
    ("worker", "expired"),
    ("sender", "expired"),
    ("worker", "waiting"),
    ("sender", "refused, 22P02"),
    ("worker", "waiting"),
]


def test_story(bare: Command, temporary_folder: Path) -> None:
    outcome = bare("demo", "--json")
    assert outcome.code == 0
    document = outcome.document
    assert tuple(document) == ("run_id", "steps", "kept", "dsn")
    assert [(step["who"], step["verdict"]) for step in document["steps"]] == STORY
    assert document["kept"] is True
    assert all(step["kept"] and step["milliseconds"] > 0 for step in document["steps"])
    refusal = document["steps"][10]["notes"]
    assert [note.partition(":")[0] for note in refusal] == ["MESSAGE", "DETAIL", "HINT"]
    assert "None" not in " ".join(refusal)
    assert list(temporary_folder.iterdir()) == []


def test_story_for_people(bare: Command, temporary_folder: Path) -> None:
    outcome = bare("demo")
    assert (outcome.code, outcome.err) == (0, "")
    rows = [re.split(" {2,}", line.strip()) for line in outcome.out.splitlines() if re.match(r"[ 1]\d  ", line)]
    assert [(who, verdict) for _, who, _, verdict, _ in rows] == STORY
    assert "Every step ended as the contract promises.\n" in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 80


@pytest.mark.parametrize("columns", [30, 68, 200])
def test_no_terminal_is_too_narrow(temporary_folder: Path, columns: int) -> None:
    shown = on_terminal("demo", columns=columns, NO_COLOR="1")
    for word in ("already_delivered", "replayed", "22P02", "wakes", '"ship"', "ms"):
        assert re.search(rf"(?<!\S){word}(?![^\s,])", shown), word
    assert re.search(r"run_id +[0-9a-f-]{36}\n", shown)


def test_broken_promise_is_told(bare: Command, temporary_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "BROKEN_PAYLOAD", "{}")
    outcome = bare("demo")
    assert outcome.code == 1
    assert re.search(r"delivered, not +\d+\.\d ms\n +refused, 22P02", outcome.out)
    assert "Not every step ended as the contract promises.\n" in outcome.out
    assert bare("demo", "--json").document["kept"] is False


def test_other_payload_breaks_the_promise(
    bare: Command, temporary_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "payload_of", lambda _: '{"approved":true}')
    document = bare("demo", "--json").document
    assert [step["kept"] for step in document["steps"]].count(False) == 2


def test_actor_that_dies_ends_the_demo(bare: Command, temporary_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    problem = bare("demo", "--json").problem
    assert problem["message"] == "the worker process of the demo has ended"
    assert "encodings" in problem["detail"]
    assert list(temporary_folder.iterdir()) == []


@pytest.mark.parametrize("waits", [False, True])
def test_actor_ends_with_its_parent(cli: Command, run: str, database: str, waits: bool) -> None:
    cli("register", run, "ask", "approval")
    order: dict[str, object] = {"call": "get", "run_id": run, "step_key": "ask"}
    if waits:
        order |= {"call": "wait", "channel": "c", "poll_seconds": 600}
    command = [sys.executable, "-m", "flow_signal.cli._actor", database]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as actor:
        assert actor.stdin
        assert actor.stdout
        try:
            print(json.dumps(order), file=actor.stdin, flush=True)
            with deadline(actor):
                answer = json.loads(actor.stdout.readline())
            assert ("waits" in answer) == waits
            actor.stdin.close()
            assert actor.wait(60) == 0
        finally:
            actor.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_ended_in_the_middle(temporary_folder: Path, number: signal.Signals) -> None:
    with started("demo", start_new_session=True) as process:
        cast = read_until(process, "sender ")
        process.send_signal(signal.SIGSTOP)
        pids = [int(pid) for pid in re.findall(r"process (\d+)", cast)]
        [file] = temporary_folder.glob("*/data/postmaster.pid")
        pids.append(int(file.read_text().split()[0]))
        assert len(pids) == 3
        assert all(map(runs, pids))
        if number is signal.SIGINT:
            os.killpg(process.pid, number)  # as the terminal does
        else:
            process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == {signal.SIGINT: 130}.get(number, -number)
        assert err == ("error: interrupted\n" if number is signal.SIGINT else "")
        wait_until(lambda: not any(map(runs, pids)) and not any(temporary_folder.iterdir()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_keep(temporary_folder: Path, bare: Command, number: signal.Signals) -> None:
    with started("demo", "--keep", "--json", start_new_session=True) as process:
        document = json.loads(read_until(process, "{"))
        at = ("--dsn", document["dsn"])
        assert bare("get", document["run_id"], "confirm", *at, "--json").document["state"] == "waiting"
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "", "")
        assert list(temporary_folder.iterdir()) == []


def test_keep_killed(temporary_folder: Path) -> None:
    with started("demo", "--keep", "--json") as process:
        read_until(process, "{")
        [file] = temporary_folder.glob("*/data/postmaster.pid")
        postmaster = int(file.read_text().split()[0])
        assert runs(postmaster)
        process.kill()
        wait_until(lambda: not runs(postmaster) and not any(temporary_folder.iterdir()))


def test_keep_says_what_to_try(temporary_folder: Path) -> None:
    with started("demo", "--keep") as process:
        text = read_until(process, "The server runs until Ctrl-C.")
        commands = text.partition("Try it in another terminal:")[2].partition("Any other language")[0]
        outcome = subprocess.run(["sh", "-ec", commands], capture_output=True, text=True, check=False)
        assert outcome.returncode == 0, outcome.stderr
        assert "{'from': 'psql'}" in outcome.stdout
