"""deliver --from and register --from: what becomes of each line, of the others, and of an end before the last."""

from __future__ import annotations

import itertools
import json
import random
import re
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow_signal import FlowSignalStore
from flow_signal.cli import _bulk, _lines
from flow_signal.cli._lines import read_signal
from tests_py.cli.commands import DELIVERY, PROBLEM, WAITER, Command, Outcome, command_line, read_until, started
from tests_py.cli.test_output import on_terminal
from tests_py.embedded.owners import deadline, wait_until

PATIENCE_SECONDS = 60
MIB = 1024 * 1024


def lines(*documents: object) -> bytes:
    """JSON lines; a text stands as it is."""
    texts = (document if isinstance(document, str) else json.dumps(document) for document in documents)
    return "".join(f"{text}\n" for text in texts).encode()


def waiter(run: str, step: object = "ask", signal_name: object = "go", **more: object) -> dict[str, object]:
    return {"run_id": run, "step_key": step, "signal_name": signal_name, **more}


def sent(run: str, signal_name: object = "go", **more: object) -> dict[str, object]:
    return {"run_id": run, "signal_name": signal_name, **more}


def numbered(run: str) -> list[dict[str, object]]:
    """1,500 signals of two names, since the database keeps 1,000 of one for a waiter."""
    return [sent(run, f"go {n % 2}", payload=n) for n in range(1500)]


def documents(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_register(cli: Command, run: str) -> None:
    text = lines(waiter(run, "a"), waiter(run, "b", expires_at=None), waiter(run, "c", expires_at="2001-01-01T00:00Z"))
    shown = cli("register", "--from", "-", stdin=text)
    assert shown == Outcome(
        0,
        "all lines are applied\nlines         3\nrefused       0\nwaiting       2\nexpired       1\n",
        "",
    )
    again = cli("register", "--from", "-", "--json", stdin=text)
    assert again.code == 0
    first, second, third = documents(again.out)
    assert tuple(first) == ("line", *WAITER)
    assert [first["line"], second["line"], third["line"]] == [1, 2, 3]
    assert first == {"line": 1, **cli("get", run, "a", "--json").document}
    assert second["expires_at"] is None
    assert third["expires_at"] == "2001-01-01T00:00:00.000000+00:00"
    assert documents(again.err) == [{"lines": 3, "refused": 0, "waiting": 2, "expired": 1}]


def test_wake_channel_and_queue_are_those_of_all_lines(
    cli: Command, run: str, connection: psycopg.Connection[Any]
) -> None:
    options = ("--wake-channel", "here", "--queue", "mine")
    for text in (lines(waiter(run, "a"), waiter(run, "b")), lines(waiter(run, "c"))):
        assert cli("register", "--from", "-", *options, stdin=text).code == 0
    kept = connection.execute("SELECT wake_channel, queue FROM flow_signal.flow_signal_waiters").fetchall()
    assert kept == [("here", "mine")] * 3


def test_deliver(cli: Command, run: str, tmp_path: Path) -> None:
    cli("register", "--from", "-", stdin=lines(waiter(run, "a"), waiter(run, "b"), waiter(run, "c", "paid")))
    file = tmp_path / "signals.jsonl"
    file.write_bytes(
        lines(
            sent(run, delivery_id="one", payload={"n": 1}),
            sent(run, payload=None),
            sent(run, "unknown"),
            sent(run, delivery_id="one", payload={"n": 1}),
            sent(run, payload_json="[ 1]", delivery_id=None),
            sent(run, "paid"),
        )
    )
    shown = cli("deliver", "--from", str(file), "--json")
    assert shown.code == 0
    assert {tuple(document) for document in documents(shown.out)} == {("line", *DELIVERY)}
    assert [(each["line"], each["status"], each["step_key"], each["replayed"]) for each in documents(shown.out)] == [
        (1, "delivered", "a", False),
        (2, "delivered", "b", False),
        (3, "not_found", None, False),
        (4, "delivered", "a", True),
        (5, "already_delivered", "a", False),
        (6, "delivered", "c", False),
    ]
    assert documents(shown.err) == [
        {"lines": 6, "refused": 0, "delivered": 3, "not_found": 1, "replayed": 1, "already_delivered": 1}
    ]
    assert [cli("get", run, step, "--json").document["payload_json"] for step in "abc"] == ['{"n": 1}', "null", None]


@pytest.mark.parametrize("until", [["--buffer-for", "1h"], ["--buffer-until", "2999-01-01T00:00:00Z"]])
def test_signals_are_buffered(cli: Command, run: str, until: list[str]) -> None:
    for text in (lines(sent(run, payload=1), sent(run, payload=2)), lines(sent(run, payload=3))):
        assert "buffered" in cli("deliver", "--from", "-", *until, stdin=text).out
    cli("register", "--from", "-", stdin=lines(*(waiter(run, step) for step in "abc")))
    assert [cli("get", run, step, "--json").document["payload_json"] for step in "abc"] == ["1", "2", "3"]


@pytest.mark.parametrize(
    "payload",
    [
        '{ "b":1.50, "a": [1e3,12345678901234567890], "a":"\\u00e4\xe9\u20ac\\ud800" }',
        "1e400",
        "-0.0",
        "9" * 5000,
        "[[], {}]",
        '"{:,}"',
        "\t[1 , 2]  ",
    ],
)
def test_a_payload_is_kept_byte_for_byte(cli: Command, run: str, payload: str) -> None:
    cli("register", "--from", "-", stdin=lines(waiter(run, "a"), waiter(run, "b")))
    as_value = f' {{"payload" :{payload}, "signal_name": "go","run_id":"{run}" }} '
    shown = cli("deliver", "--from", "-", stdin=lines(as_value, sent(run, payload_json=payload)))
    assert shown.code == 0
    assert cli("get", run, "a", "--json").document["payload_json"] == payload.strip()
    assert cli("get", run, "b", "--json").document["payload_json"] == payload


BAD_LINES = [
    ("nonsense", "it is no JSON object"),
    ("[1]", "it is no JSON object"),
    ('"text"', "it is no JSON object"),
    ("{", "it is no JSON: Expecting value: character 3"),
    ("{1: 2}", "it is no JSON: Expecting a name and a colon: character 3"),
    ('{"run_id"}', "it is no JSON: Expecting a name and a colon: character 10"),
    ('{"run_id": "x",}', "it is no JSON: Expecting value: character 16"),
    ('{"run_id": "x" "y"}', "it is no JSON: Expecting a comma or the end: character 16"),
    ("{} {}", "it is no JSON: Extra data: character 4"),
    ('{"run_id": "a\nb"}', "it is no JSON: Invalid control character at: character 14"),
    ('{"payload": NaN}', "it is no JSON: NaN"),
    ('{"payload": [Infinity]}', "it is no JSON: Infinity"),
    ('{"payload": ' + "[" * 100_000, "it is nested too deeply"),
    ("{}", 'key "run_id" is missing'),
    ('{"run_id": "{run}"}', 'key "signal_name" is missing'),
    ('{"run_id": "x", "signal_name": "go"}', 'run_id "x" is no UUID'),
    ('{"run_id": 1, "signal_name": "go"}', "run_id is no string"),
    ('{"run_id": "{run}", "signal_name": null}', "signal_name is no string"),
    ('{"run_id": "{run}", "signal_name": "\\ud800"}', "signal_name has half of a surrogate pair"),
    ('{"run_id": "{run}", "signal_name": "go", "delivery_id": 7}', "delivery_id is no string"),
    ('{"run_id": "{run}", "signal_name": "go", "payload_json": {}}', "payload_json is no string"),
    (
        '{"run_id": "{run}", "signal_name": "go", "payload": 1, "payload_json": "1"}',
        "payload and payload_json are two forms of one payload",
    ),
    (
        '{"run_id": "{run}", "signal_name": "go", "p_payload": 1}',
        'key "p_payload" is unknown: there are run_id, signal_name, payload, payload_json, delivery_id',
    ),
    ('{"run_id": "{run}", "run_id": "{run}", "signal_name": "go"}', 'key "run_id" stands there twice'),
    ('{"run_id": "{run}", "signal_name": " "}', 'signal name " " is blank (22023)\ndetail: '),
    (
        '{"run_id": "{run}", "signal_name": "a\\u0000"}',
        "signal_name has a NUL character, which no text of PostgreSQL holds",
    ),
    ('{"run_id": "{run}", "signal_name": "go", "delivery_id": ""}', 'delivery id "" is blank (22023)\ndetail: '),
    (
        '{"run_id": "{run}", "signal_name": "go", "payload_json": "{"}',
        "payload is not valid JSON (22P02)\ndetail: ",
    ),
    (
        '{"run_id": "{run}", "signal_name": "go", "payload": "' + "x" * MIB + '"}',
        f"payload of {MIB + 2} bytes is too large (WS003)\ndetail: ",
    ),
    (
        '{"run_id": "{run}", "signal_name": "go", "payload_json": "' + "[" * 100_000 + '"}',
        "payload is nested too deeply (54001)\ndetail: ",
    ),
    (
        '{"run_id": "{run}", "signal_name": "used", "payload": 2, "delivery_id": "id"}',
        'delivery id "id" was used with another payload (WS002)\ndetail: ',
    ),
]


@pytest.mark.parametrize(("bad", "reason"), [pytest.param(*each, id=each[1][:40]) for each in BAD_LINES])
def test_a_bad_line_is_reported_and_the_others_are_applied(cli: Command, run: str, bad: str, reason: str) -> None:
    cli("register", "--from", "-", stdin=lines(waiter(run, "a"), waiter(run, "b"), waiter(run, "used", "used")))
    cli("deliver", run, "used", "1", "--delivery-id", "id")
    first, last = reason.count("\n") + 1, 3 + bad.count("\n")
    text = lines(sent(run, payload=1), bad.replace("{run}", run), sent(run, payload=2))

    refused = cli("deliver", "--from", "-", "--atomic", stdin=text)
    assert refused.code == 6
    assert refused.err.startswith(f"error: line 2: {reason}")
    assert refused.out.startswith("no line is applied, since some were refused\n")
    assert cli("get", run, "a", "--json").document["state"] == "waiting"
    refused = cli("deliver", "--from", "-", "--atomic", "--json", stdin=text)
    assert [(problem["line"], problem["error"]) for problem in documents(refused.out)] == [
        (number, "refused") for number in range(2, last)
    ]
    assert documents(refused.err) == [{"lines": last, "refused": last - 2}]

    shown = cli("deliver", "--from", "-", "--json", stdin=text)
    assert shown.code == 11
    one, problem, *_, three = documents(shown.out)
    assert (one["line"], one["step_key"], three["line"], three["step_key"]) == (1, "a", last, "b")
    [counts] = documents(shown.err)
    assert tuple(problem) == ("line", *PROBLEM)
    assert (problem["line"], problem["error"]) == (2, "refused")
    assert problem["message"].startswith(reason.splitlines()[0].partition(" (")[0])
    assert bool(problem["sqlstate"] and problem["detail"]) is (first > 1)
    assert counts["delivered"] == 2
    assert [cli("get", run, step, "--json").document["payload_json"] for step in "ab"] == ["1", "2"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"expires_at": "soon"}, "'soon' is no instant"),
        ({"expires_at": "2030-01-31T12:00"}, "'2030-01-31T12:00' has no time zone"),
        ({"expires_at": 1}, "expires_at is no string"),
        ({"expires_at": "9999-12-31T23:59:59-01:00"}, "deadline"),
        ({"step_key": None}, "step_key is no string"),
        ({"step_key": ""}, 'step key "" is blank (22023)'),
        ({"step_key": "used"}, 'step "used"'),
        ({"payload": 1}, 'key "payload" is unknown: there are run_id, step_key, signal_name, expires_at'),
    ],
)
def test_a_bad_waiter(cli: Command, run: str, bad: dict[str, object], reason: str) -> None:
    cli("register", run, "used", "other")
    cli("deliver", run, "other")
    shown = cli("register", "--from", "-", stdin=lines(waiter(run, "a"), {**waiter(run), **bad}, waiter(run, "b")))
    assert shown.code == 11
    assert shown.err.startswith(f"error: line 2: {reason}")
    assert shown.out == (
        "some lines were refused, the others are applied\nlines         3\nrefused       1\nwaiting       2\n"
    )
    assert [cli("get", run, step).code for step in ("a", "b", "ask")] == [0, 0, 3]


def test_a_line_that_is_not_utf8(cli: Command, run: str) -> None:
    shown = cli("deliver", "--from", "-", stdin=b'{"a": "\xe9"}\n' + lines(sent(run)))
    assert (shown.code, shown.out.splitlines()[1:]) == (11, ["lines         2", "refused       1", "not_found     1"])
    assert shown.err.startswith("error: line 1: it is not encoded in UTF-8: ")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n \t\r\n\n"])
def test_byte_order_mark_line_ends_and_blank_lines(cli: Command, run: str, mark: bytes, end: bytes) -> None:
    text = mark + end.join(json.dumps(sent(run, payload=n)).encode() for n in range(3))
    for whole in (text, text + end):
        shown = cli("deliver", "--from", "-", "--json", stdin=whole)
        assert shown.code == 0
        step = end.count(b"\n")
        assert [document["line"] for document in documents(shown.out)] == [1, 1 + step, 1 + 2 * step]


def test_a_byte_order_mark_elsewhere_is_refused(cli: Command, run: str) -> None:
    shown = cli("deliver", "--from", "-", stdin=lines(sent(run)) + b"\xef\xbb\xbf" + lines(sent(run)))
    assert shown.code == 11
    assert shown.err == "error: line 2: it is no JSON object\n"


@pytest.mark.parametrize("command", ["deliver", "register"])
@pytest.mark.parametrize("text", [b"", b"\n", b"\xef\xbb\xbf", b" \r\n\t\n"])
@pytest.mark.parametrize("options", [(), ("--atomic",)])
def test_an_empty_file(cli: Command, command: str, text: bytes, options: tuple[str, ...]) -> None:
    shown = cli(command, "--from", "-", *options, stdin=text)
    assert shown == Outcome(0, "all lines are applied\nlines         0\nrefused       0\n", "")


@pytest.mark.parametrize("command", ["deliver", "register"])
def test_what_cannot_be_read(bare: Command, tmp_path: Path, command: str) -> None:
    missing = bare(command, "--from", str(tmp_path / "missing"), "--json")
    assert missing.code == 2
    assert missing.problem["message"] == f"Invalid value for --from: {tmp_path}/missing: No such file or directory"
    folder = bare(command, "--from", str(tmp_path))
    assert (folder.code, folder.out) == (2, "")
    assert f"{tmp_path}: Is a directory" in folder.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["deliver", "--from", "-", "{run}"], "with --from, RUN comes from the file"),
        (["deliver", "--from", "-", "--payload-file", "x"], "with --from, --payload-file comes from the file"),
        (["deliver", "--from", "-", "--delivery-id", "x"], "with --from, --delivery-id comes from the file"),
        (["register", "--from", "-", "{run}"], "with --from, RUN comes from the file"),
        (["register", "--from", "-", "--expires-in", "1h"], "with --from, --expires-in comes from the file"),
        (["deliver", "{run}", "go", "--atomic"], "--atomic goes with --from"),
        (["register", "{run}", "ask", "go", "--atomic"], "--atomic goes with --from"),
        (["deliver"], "Missing argument 'RUN'"),
        (["deliver", "{run}"], "Missing argument 'SIGNAL'"),
        (["register", "{run}", "ask"], "Missing argument 'SIGNAL'"),
    ],
)
def test_wrong_usage(bare: Command, run: str, arguments: list[str], message: str) -> None:
    shown = bare(*(argument.replace("{run}", run) for argument in arguments))
    assert (shown.code, shown.out) == (2, "")
    assert message in shown.err


@pytest.mark.parametrize("extra", [-1, 0, 1, 40, 80, 81])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_long_line(cli: Command, run: str, monkeypatch: pytest.MonkeyPatch, extra: int, end: bytes) -> None:
    line = lines(sent(run)).rstrip()
    monkeypatch.setattr(_lines, "LONGEST_LINE", len(line) + 1)
    long = line + b" " * (extra + 1) + end
    shown = cli("deliver", "--from", "-", "--json", stdin=lines(sent(run)) + long)
    assert [("status" in document) for document in documents(shown.out)] == [True, extra + len(end) <= 0]
    if end:
        shown = cli("deliver", "--from", "-", "--json", stdin=long + lines(sent(run)))
        assert [("status" in document) for document in documents(shown.out)] == [extra + len(end) <= 0, True]
        assert [document["line"] for document in documents(shown.out)] == [1, 2]


def test_a_huge_line_is_not_held_in_memory(run: str, database: str) -> None:
    def limit_memory() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (200 * MIB, 200 * MIB))

    command = command_line("deliver", "--from", "-", "--json", "--dsn", database)
    with (
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=limit_memory
        ) as process,
        deadline(process),
    ):
        assert process.stdin
        process.stdin.write(lines(sent(run)))
        for _ in range(300):
            process.stdin.write(b"x" * MIB)
        out, _ = process.communicate(b"\n" + lines(sent(run)))
    assert process.returncode == 11
    first, second, third = documents(out.decode())
    assert (first["status"], third["line"], third["status"]) == ("not_found", 3, "not_found")
    assert second["message"] == f"it is longer than {8 * MIB} bytes"


def test_a_batch_ends_at_so_many_bytes(cli: Command, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_bulk, "BATCH_BYTES", 1000)
    sizes: list[int] = []
    count_calls(monkeypatch, sizes)
    shown = cli("deliver", "--from", "-", stdin=lines(*(sent(run, payload="x" * 400) for _ in range(7))))
    assert "lines         7\n" in shown.out
    assert sizes == [3, 3, 1]


def count_calls(monkeypatch: pytest.MonkeyPatch, sizes: list[int]) -> None:
    """Note how many signals each call sends."""
    one, many = FlowSignalStore.deliver_signal, FlowSignalStore.deliver_signals

    def deliver_signal(*args: Any, **kwargs: Any) -> Any:
        sizes.append(1)
        return one(*args, **kwargs)

    def deliver_signals(self: FlowSignalStore, signals: Any, **kwargs: Any) -> Any:
        sizes.append(len(signals))
        return many(self, signals, **kwargs)

    monkeypatch.setattr(FlowSignalStore, "deliver_signal", deliver_signal)
    monkeypatch.setattr(FlowSignalStore, "deliver_signals", deliver_signals)


@pytest.mark.parametrize("bad", [0, 1, 511, 998, 999])
def test_a_refused_line_costs_few_calls(cli: Command, run: str, monkeypatch: pytest.MonkeyPatch, bad: int) -> None:
    sizes: list[int] = []
    count_calls(monkeypatch, sizes)
    signals = [sent(run, payload=n) for n in range(1000)]
    signals[bad]["delivery_id"] = ""
    shown = cli("deliver", "--from", "-", "--buffer-for", "1h", stdin=lines(*signals))
    assert shown.code == 11
    assert "buffered      999\n" in shown.out
    assert len(sizes) <= 21


@pytest.mark.parametrize("options", [(), ("--atomic",)])
@pytest.mark.parametrize("seed", range(5))
def test_lines_are_decided_as_if_one_after_another(
    cli: Command, database: str, monkeypatch: pytest.MonkeyPatch, seed: int, options: tuple[str, ...]
) -> None:
    """Some refused, some replayed, some of one line in one batch and some not."""
    choice = random.Random(seed)
    runs = [str(UUID(int=choice.getrandbits(128))) for _ in range(3)]
    refused = {"delivery_id": ""}
    signals = [
        sent(
            choice.choice(runs),
            choice.choice(["go", "paid"]),
            payload=choice.randrange(3),
            **(refused if not options and choice.random() < 0.1 else {"delivery_id": f"id {choice.randrange(20)}"}),
        )
        for _ in range(100)
    ]
    waiters = [waiter(run, str(n), choice.choice(["go", "paid"])) for n in range(10) for run in runs]
    expected: list[tuple[str, str | None, bool]] = []
    with psycopg.connect(database, autocommit=True) as connection:
        store = FlowSignalStore(connection)
        for each in waiters:
            store.register_waiter(UUID(str(each["run_id"])), str(each["step_key"]), str(each["signal_name"]))
        for each in signals:
            try:
                result = store.deliver_signal(
                    UUID(str(each["run_id"])),
                    str(each["signal_name"]),
                    each["payload"],
                    delivery_id=str(each["delivery_id"]),
                )
                expected.append((result.status, result.step_key, result.replayed))
            except psycopg.Error as error:
                expected.append((str(error.sqlstate), None, False))
        for run in runs:
            store.remove_run(UUID(run))

    accepted = signals
    if options:
        accepted = [each for each, (status, *_) in zip(signals, expected, strict=True) if not status.startswith("WS")]
        expected = [each for each in expected if not each[0].startswith("WS")]
    monkeypatch.setattr(_bulk, "BATCH_LINES", 16)
    assert cli("register", "--from", "-", stdin=lines(*waiters)).code == 0
    shown = cli("deliver", "--from", "-", "--json", *options, stdin=lines(*accepted))
    assert shown.code == (0 if options else 11)
    assert [
        (each.get("status", each.get("sqlstate")), each.get("step_key"), each.get("replayed", False))
        for each in documents(shown.out)
    ] == expected


def test_the_numbers_of_the_summary_are_in_one_column(cli: Command, run: str) -> None:
    cli("register", run, "ask", "go")
    shown = cli("deliver", "--from", "-", stdin=lines(*[sent(run)] * 3))
    assert shown.out.splitlines()[1:] == [
        "lines              3",
        "refused            0",
        "delivered          1",
        "already_delivered  2",
    ]


def test_all_or_none_spans_batches(cli: Command, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_bulk, "BATCH_LINES", 2)
    waiters = [waiter(run, str(n)) for n in range(7)]
    bad = [*waiters[:4], waiter(run, ""), *waiters[4:], "{}"]
    shown = cli("register", "--from", "-", "--atomic", stdin=lines(*bad))
    assert shown.code == 6
    assert [line.partition(":")[2][:8] for line in shown.err.splitlines() if line.startswith("error")] == [
        " line 5:",
        " line 9:",
    ]
    assert shown.out.endswith("applied, since some were refused\nlines         9\nrefused       2\n")
    assert cli("list", "--run", run).out == "there are none\n"
    shown = cli("register", "--from", "-", "--atomic", "--json", stdin=lines(*waiters))
    assert shown.code == 0
    assert [document["step_key"] for document in documents(shown.out)] == list("0123456")


def test_the_isolation_of_the_database_does_not_matter(
    cli: Command, run: str, database: str, connection: psycopg.Connection[Any]
) -> None:
    name = connection.info.dbname
    connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_isolation = serializable')
    assert cli("register", "--from", "-", stdin=lines(waiter(run, "a"), waiter(run, "b"))).code == 0


def test_a_role_without_the_right(bare: Command, run: str, database: str) -> None:
    at = f"{database} options='-c role=flow_signal_reader'"
    shown = bare("deliver", "--dsn", at, "--from", "-", "--json", stdin=lines(*[sent(run)] * 5))
    assert shown.code == 1
    assert shown.problem["sqlstate"] == "42501"
    assert shown.problem["detail"] == "no line is applied"


@contextmanager
def fed(database: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own, reading from a pipe."""
    with started("deliver", "--from", "-", "--dsn", database, *options, stdin=subprocess.PIPE) as process:
        yield process


def feed(process: subprocess.Popen[str], *documents: object) -> None:
    assert process.stdin
    process.stdin.write(lines(*documents).decode())
    process.stdin.flush()


def outcome(process: subprocess.Popen[str]) -> Outcome:
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    return Outcome(process.returncode, out, err)


def kept(connection: psycopg.Connection[Any]) -> list[int]:
    query = "SELECT payload_json::text::int FROM flow_signal.flow_signal_buffered_signals ORDER BY 1"
    return [payload for (payload,) in connection.execute(query)]


def test_interrupted_while_it_reads(run: str, database: str, connection: psycopg.Connection[Any]) -> None:
    """The first batch is applied before the second is there."""
    with fed(database, "--buffer-for", "1h", "--json") as process:
        feed(process, *numbered(run))
        read_until(process, '"line": 1000,')
        process.send_signal(signal.SIGINT)
        shown = outcome(process)
    assert (shown.code, shown.out) == (130, "")
    assert shown.problem["message"] == "interrupted"
    assert shown.problem["detail"] == "lines up to 1000 are done, later ones are not"
    assert kept(connection) == [*range(1000)]


def test_interrupted_while_it_reads_all_or_none(run: str, database: str, connection: psycopg.Connection[Any]) -> None:
    with fed(database, "--buffer-for", "1h", "--atomic", "--json") as process:
        feed(process, *numbered(run))
        query = "SELECT FROM pg_stat_activity WHERE state = 'idle in transaction' AND query LIKE 'RELEASE%'"
        wait_until(lambda: connection.execute(query).fetchall() != [])
        process.send_signal(signal.SIGINT)
        shown = outcome(process)
    assert (shown.code, shown.out) == (130, "")
    assert shown.problem["detail"] == "no line is applied"
    assert kept(connection) == []


class Blocked:
    """A command whose second batch waits for a signal that another session has locked."""

    def __init__(self, process: subprocess.Popen[str], run: str, connection: psycopg.Connection[Any]) -> None:
        self.process = process
        self._connection = connection
        feed(process, *(sent(run, payload=n) for n in range(1000)))
        wait_until(lambda: len(kept(connection)) == 1000)
        feed(process, *(sent(run, "locked", payload=n) for n in range(1000, 2000)))
        wait_until(self._pid)

    def _pid(self) -> int | None:
        query = "SELECT pid FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"
        row = self._connection.execute(query).fetchone()
        return row and row[0]

    def end(self, function: str) -> None:
        self._connection.execute(f"SELECT {function}(%s)", [self._pid()])


@pytest.fixture
def blocked(cli: Command, run: str, database: str, connection: psycopg.Connection[Any]) -> Iterator[Blocked]:
    cli("register", run, "ask", "locked")
    with psycopg.connect(database) as lock, fed(database, "--buffer-for", "1h") as process:
        lock.execute("SELECT FROM flow_signal.flow_signal_waiters FOR UPDATE")
        yield Blocked(process, run, connection)


def test_interrupted_in_a_batch(blocked: Blocked, connection: psycopg.Connection[Any]) -> None:
    blocked.process.send_signal(signal.SIGINT)
    assert outcome(blocked.process) == Outcome(
        130, "", "error: interrupted\ndetail: lines up to 1000 are done, later ones are not\n"
    )
    assert kept(connection) == [*range(1000)]


@pytest.mark.parametrize(("function", "code"), [("pg_terminate_backend", 8), ("pg_cancel_backend", 1)])
def test_ended_in_a_batch(blocked: Blocked, connection: psycopg.Connection[Any], function: str, code: int) -> None:
    blocked.end(function)
    shown = outcome(blocked.process)
    assert (shown.code, shown.out) == (code, "")
    assert shown.err.endswith("\ndetail: lines up to 1000 are done, later ones are not\n")
    assert kept(connection) == [*range(1000)]


def end_session(connection: psycopg.Connection[Any]) -> None:
    """End the session of the command and wait until it is gone."""
    query = "FROM pg_stat_activity WHERE application_name = 'flow-signal'"
    connection.execute(f"SELECT pg_terminate_backend(pid) {query}")
    wait_until(lambda: connection.execute(f"SELECT {query}").fetchall() == [])


def test_the_connection_is_lost_before_a_commit(
    cli: Command, run: str, monkeypatch: pytest.MonkeyPatch, connection: psycopg.Connection[Any]
) -> None:
    many, batches = FlowSignalStore.deliver_signals, itertools.count(1)

    def deliver_signals(*args: Any, **kwargs: Any) -> Any:
        results = many(*args, **kwargs)
        if next(batches) == 2:
            end_session(connection)
        return results

    monkeypatch.setattr(FlowSignalStore, "deliver_signals", deliver_signals)
    shown = cli("deliver", "--from", "-", "--buffer-for", "1h", stdin=lines(*numbered(run)))
    assert shown.code == 8
    assert "detail: whether lines 1001 to 1500 are done is unknown, later ones are not\n" in shown.err
    assert kept(connection) == [*range(1000)]


def test_the_connection_is_lost_before_the_commit_of_all(
    cli: Command, run: str, monkeypatch: pytest.MonkeyPatch, connection: psycopg.Connection[Any]
) -> None:
    apply = _bulk.Bulk._apply

    def and_end(*args: Any) -> None:
        apply(*args)
        end_session(connection)

    monkeypatch.setattr(_bulk.Bulk, "_apply", and_end)
    shown = cli("deliver", "--from", "-", "--buffer-for", "1h", "--atomic", stdin=lines(*numbered(run)))
    assert (shown.code, shown.out) == (8, "")
    assert "detail: whether the lines are applied is unknown\n" in shown.err
    assert kept(connection) == []


def test_the_connection_is_lost_before_the_rollback_of_all(
    cli: Command, run: str, monkeypatch: pytest.MonkeyPatch, connection: psycopg.Connection[Any]
) -> None:
    apply = _bulk.Bulk._apply

    def and_end(*args: Any) -> None:
        apply(*args)
        end_session(connection)

    monkeypatch.setattr(_bulk.Bulk, "_apply", and_end)
    shown = cli("deliver", "--from", "-", "--buffer-for", "1h", "--atomic", stdin=lines(*numbered(run), "{}"))
    assert shown.code == 6
    assert shown.out.startswith("no line is applied, since some were refused\n")
    assert kept(connection) == []


def test_a_reader_that_has_left_does_not_stop_the_work(
    run: str, database: str, connection: psycopg.Connection[Any]
) -> None:
    with fed(database, "--buffer-for", "1h", "--json") as process:
        assert process.stdout
        process.stdout.close()
        process.stdout = None
        feed(process, *numbered(run))
        assert outcome(process).code == 0
    assert len(kept(connection)) == 1500


def test_a_bar_on_a_terminal(run: str, database: str, tmp_path: Path, cli: Command) -> None:
    file = tmp_path / "signals.jsonl"
    file.write_bytes(lines(*[sent(run)] * 3, "{}"))
    command = ("deliver", "--from", str(file), "--dsn", database)
    shown = on_terminal(*command)
    assert "━" in shown
    # on a line of its own, above the bar
    assert re.search(r"\x1b\[2K(\x1b\[1;31m)?error: .*line 4: key \"run_id\" is missing\n", shown)
    assert "━" not in on_terminal(*command, "--json")
    assert "━" not in (plain := cli(*command[:3])).out + plain.err


def test_a_bar_beside_the_documents(run: str, database: str, tmp_path: Path) -> None:
    file, out = tmp_path / "signals.jsonl", tmp_path / "out"
    file.write_bytes(lines(*[sent(run)] * 3))
    with out.open("wb") as stdout:
        shown = on_terminal("deliver", "--from", str(file), "--dsn", database, "--json", stdout=stdout)
    assert "━" in shown
    assert [document["line"] for document in documents(out.read_text())] == [1, 2, 3]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=5,
)


@given(
    payload=json_values,
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, " ", "\t"]),
    before=st.booleans(),
)
def test_any_payload_is_found_in_its_line(payload: object, ascii_only: bool, indent: str | None, before: bool) -> None:
    text = json.dumps(payload, ensure_ascii=ascii_only, indent=indent)
    names = f'"run_id": "{uuid4()}", "signal_name": "go"'
    line = f'{{"payload": {text} ,{names}}}' if before else f'{{{names} , "payload":{text}}}'
    assert read_signal(line).payload_json == text


@given(st.text(alphabet='{}[]:,"ab1 \\\t', max_size=12))
def test_what_is_no_object_is_refused_as_json_does(text: str) -> None:
    try:
        is_object = isinstance(json.loads(text), dict)
    except ValueError:
        is_object = False
    reason = "^key" if is_object else "^it is no JSON|char"
    with pytest.raises(ValueError, match=reason):
        read_signal(text)
