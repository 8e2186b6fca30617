"""flow-signal list and list-buffered: what they show, in which order, and when they stop."""

from __future__ import annotations

import json
import os
from typing import Any
from uuid import UUID

import psycopg
import pytest

from flow_signal import FlowSignalStore, NewSignal, NewWaiter
from tests_py.cli.commands import WAITER, Command, Outcome
from tests_py.cli.test_output import on_terminal
from tests_py.wrapper.pgbouncer import pgbouncer

BUFFERED = (
    "run_id",
    "signal_name",
    "position",
    "state",
    "buffered_at",
    "buffered_until",
    "delivery_id",
    "payload_json",
)
RUNS = [str(UUID(int=n)) for n in (1, 2)]
NONE = Outcome(0, "there are none\n", "")


@pytest.fixture
def store(connection: psycopg.Connection[Any]) -> FlowSignalStore:
    return FlowSignalStore(connection)


def documents(shown: Outcome) -> list[dict[str, Any]]:
    assert (shown.code, shown.err) == (0, "")
    return [json.loads(line) for line in shown.out.splitlines()]


@pytest.fixture
def parked(cli: Command) -> list[tuple[str, str]]:
    """Three waiters of one run and one of another, in the order of the list."""
    cli("register", RUNS[1], "a", "approval")
    cli("register", RUNS[0], "b b", "payment")
    cli("register", RUNS[0], "a", "approval", "--expires-at", "2001-01-01T00:00:00Z")
    cli("register", RUNS[0], "c", "approval")
    cli("deliver", RUNS[0], "payment", '{"n": 1}')
    return [(RUNS[0], "a"), (RUNS[0], "b b"), (RUNS[0], "c"), (RUNS[1], "a")]


def test_list(cli: Command, parked: list[tuple[str, str]]) -> None:
    shown = cli("list")
    assert (shown.code, shown.err) == (0, "")
    heading, *rows = shown.out.splitlines()
    assert heading.split() == ["state", "created_at", "expires_at", "run_id", "signal_name", "step_key"]
    assert [row.split()[0] for row in rows] == ["expired", "delivered", "waiting", "waiting"]
    assert [row[heading.index("expires_at") :].split()[0] for row in rows] == ["2001-01-01T00:00:00Z", "-", "-", "-"]
    assert [(row[heading.index("run_id") :].split()[0], row[heading.index("step_key") :]) for row in rows] == parked


def test_list_as_json(cli: Command, parked: list[tuple[str, str]]) -> None:
    listed = documents(cli("list", "--json"))
    assert [tuple(document) for document in listed] == [WAITER] * 4
    assert listed == [cli("get", run, step, "--json").document for run, step in parked]


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        (["--run", RUNS[0]], ["a", "b b", "c"]),
        (["--signal", "approval"], ["a", "c", "a"]),
        (["--state", "waiting"], ["c", "a"]),
        (["--state", "delivered"], ["b b"]),
        (["--state", "expired"], ["a"]),
        (["--run", RUNS[0], "--signal", "approval", "--state", "waiting"], ["c"]),
        (["--limit", "3"], ["a", "b b", "c"]),
        (["--all"], ["a", "b b", "c", "a"]),
        (["--run", RUNS[1], "--signal", "payment"], []),
    ],
)
def test_filters(cli: Command, parked: list[tuple[str, str]], options: list[str], steps: list[str]) -> None:
    assert [document["step_key"] for document in documents(cli("list", "--json", *options))] == steps


def test_it_says_that_there_are_more(cli: Command, parked: list[tuple[str, str]]) -> None:
    for limit, last in (("3", "there are more: --all shows them"), ("4", cli("list").out.splitlines()[-1])):
        assert cli("list", "--limit", limit).out.splitlines()[-1] == last


def test_nothing_to_list(cli: Command, run: str) -> None:
    assert cli("list") == cli("list-buffered") == cli("list", "--all", "--run", run) == NONE
    assert documents(cli("list", "--json")) == documents(cli("list-buffered", "--all", "--json")) == []


def test_all_pages(cli: Command, store: FlowSignalStore, run: str) -> None:
    steps = [f"{n:03}" for n in range(250)]
    store.register_waiters(NewWaiter(UUID(run), step, "go") for step in reversed(steps))
    assert [document["step_key"] for document in documents(cli("list", "--json", "--all"))] == steps
    assert len(documents(cli("list", "--json"))) == 100
    heading, *rows = cli("list", "--all").out.splitlines()
    assert heading.startswith("state")
    assert [row.split()[-1] for row in rows] == steps


def test_list_buffered(cli: Command, run: str, store: FlowSignalStore, connection: psycopg.Connection[Any]) -> None:
    until = ("--buffer-until", "2999-01-01T00:00:00Z")
    cli("deliver", run, "go", '{"n":  1}', "--delivery-id", "first", *until)
    cli("deliver", run, "go", *until)
    cli("deliver", run, "early", *until)
    connection.execute(
        "UPDATE flow_signal.flow_signal_buffered_signals SET buffered_until = '2001-01-01Z'"
        " WHERE signal_name = 'go' AND delivery_id IS NULL"
    )
    early, first, second = [signal.position for signal in store.list_buffered_signals()]
    assert first < second
    heading, *rows = cli("list-buffered").out.splitlines()
    assert heading.split() == ["state", "buffered_until", "run_id", "signal_name", "position", "delivery_id"]
    assert [row.split() for row in rows] == [
        ["buffered", "2999-01-01T00:00:00Z", run, "early", str(early), "-"],
        ["buffered", "2999-01-01T00:00:00Z", run, "go", str(first), "first"],
        ["dead", "2001-01-01T00:00:00Z", run, "go", str(second), "-"],
    ]
    listed = documents(cli("list-buffered", "--json"))
    assert [tuple(document) for document in listed] == [BUFFERED] * 3
    assert {**listed[1], "buffered_at": None} == {
        "run_id": run,
        "signal_name": "go",
        "position": first,
        "state": "buffered",
        "buffered_at": None,
        "buffered_until": "2999-01-01T00:00:00.000000+00:00",
        "delivery_id": "first",
        "payload_json": '{"n":  1}',
    }
    for options, positions in (
        (["--state", "dead"], [second]),
        (["--state", "buffered"], [early, first]),
        (["--signal", "go"], [first, second]),
        (["--run", RUNS[0]], []),
        (["--limit", "1"], [early]),
    ):
        assert [document["position"] for document in documents(cli("list-buffered", "--json", *options))] == positions
    store.deliver_signals(
        [NewSignal(UUID(run), "go")] * 200, buffer_until=store.list_buffered_signals()[0].buffered_until
    )
    _, *go = [document["position"] for document in documents(cli("list-buffered", "--json", "--all"))]
    assert (len(go), go) == (202, sorted(set(go)))


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_reader_that_has_left_ends_it(
    cli: Command, store: FlowSignalStore, run: str, monkeypatch: pytest.MonkeyPatch, form: list[str]
) -> None:
    """Else `list --all | head` would read the whole table."""
    store.register_waiters(NewWaiter(UUID(run), f"{n:05}", "go") for n in range(1000))
    page, pages = FlowSignalStore.list_waiters, []

    def list_waiters(*args: Any, **kwargs: Any) -> Any:
        pages.append(page(*args, **kwargs))
        return pages[-1]

    monkeypatch.setattr(FlowSignalStore, "list_waiters", list_waiters)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        assert cli("list", "--all", *form) == Outcome(0, "", "")
    assert len(pages) == 1


def test_names_do_not_break_the_table(cli: Command, run: str, database: str) -> None:
    cli("register", run, "a\nb\tc\x1b[2J", "\u4fe1\u53f7")
    cli("register", run, "b", "go")
    shown = cli("list")
    _, first, second = shown.out.splitlines()
    assert first.endswith("  \u4fe1\u53f7         a\\nb\\tc\\x1b[2J")
    assert second.endswith("  go           b")
    assert on_terminal("list", "--dsn", database, columns=200, NO_COLOR="1") == shown.out


def test_a_narrow_terminal_gets_a_record_for_each_row(cli: Command, store: FlowSignalStore, database: str) -> None:
    cli("register", RUNS[0], "a\nb", "go", "--expires-at", "2001-01-01T00:00:00Z")
    for number in range(149):
        store.register_waiter(UUID(RUNS[1]), f"{number:03}", "go")
    shown = on_terminal("list", "--all", "--dsn", database, NO_COLOR="1")
    assert max(map(len, shown.splitlines())) <= 80
    first, *others = shown.split("\n\n")
    names, values = zip(*(line.split() for line in first.splitlines()), strict=True)
    assert names == ("state", "created_at", "expires_at", "run_id", "signal_name", "step_key")
    assert (values[0], *values[2:]) == ("expired", "2001-01-01T00:00:00Z", RUNS[0], "go", "a\\nb")
    assert len({line.index(value) for line, value in zip(first.splitlines(), values, strict=True)}) == 1
    # across the pages
    assert [record.splitlines()[-1].split()[-1] for record in others] == [f"{number:03}" for number in range(149)]


def test_each_page_is_a_transaction_of_its_own(
    cli: Command, store: FlowSignalStore, run: str, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.register_waiters(NewWaiter(UUID(run), f"{n:03}", "go") for n in range(150))
    page, states = FlowSignalStore.list_waiters, []

    def list_waiters(*args: Any, **kwargs: Any) -> Any:
        query = "SELECT state FROM pg_stat_activity WHERE application_name = 'flow-signal'"
        states.append(connection.execute(query).fetchall())
        return page(*args, **kwargs)

    monkeypatch.setattr(FlowSignalStore, "list_waiters", list_waiters)
    cli("list", "--all")
    assert states == [[("idle",)]] * 3


def test_behind_a_transaction_pooler(server: Any, database: str, bare: Command, store: FlowSignalStore) -> None:
    store.register_waiters(NewWaiter(UUID(int=n), "a", "go") for n in range(1000))
    with pgbouncer(server) as folder:
        at = ("--dsn", f"{database} host={folder}")
        assert len(documents(bare("list", "--all", "--json", *at))) == 1000
        signals = "".join(json.dumps({"run_id": str(UUID(int=n)), "signal_name": "go"}) + "\n" for n in range(8000))
        for options in ([], ["--atomic"]):
            shown = bare("deliver", "--from", "-", *options, *at, stdin=signals.encode())
            assert shown.code == 0
    assert len(documents(bare("list", "--all", "--state", "delivered", "--json", "--dsn", database))) == 1000


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["list", "--limit", "0"], 6, "limit 0 is out of range"),
        (["list", "--limit", "10001"], 6, "limit 10001 is out of range"),
        (["list-buffered", "--limit", "10001"], 6, "limit 10001 is out of range"),
        (["list", "--signal", " "], 6, "signal name"),
        (["list", "--state", "dead"], 2, "--state"),
        (["list-buffered", "--state", "waiting"], 2, "--state"),
        (["list", "--run", "x"], 2, "--run"),
        (["list", "--limit", "1", "--all"], 2, "give one of --limit and --all, not both"),
        (["list-buffered", "--limit", "1", "--all"], 2, "give one of --limit and --all, not both"),
    ],
)
def test_what_is_refused(cli: Command, arguments: list[str], code: int, message: str) -> None:
    shown = cli(*arguments)
    assert (shown.code, shown.out) == (code, "")
    assert message in shown.err
