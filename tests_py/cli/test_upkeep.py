"""flow-signal broadcast, remove-run, stats, health and purge."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from importlib import metadata
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from flow_signal import FlowSignalStore, NewWaiter
from tests_py.cli.commands import DELIVERY, Command, Outcome
from tests_py.cli.test_output import on_terminal

HEALTH = (
    "checked_at",
    "version",
    "waiters_estimate",
    "buffered_signals_estimate",
    "total_bytes",
    "dead_rows_estimate",
    "oldest_due_at",
    "oldest_dead_at",
    "oldest_snapshot_xids",
    "notify_queue_usage",
    "receipts_estimate",
    "tokens_estimate",
    "lock_rows_estimate",
    "toast_bytes",
    "dead_bytes_estimate",
    "overdue_estimate",
    "oldest_overdue_at",
    "oldest_buffered_at",
    "oldest_settled_at",
    "oldest_snapshot_holder",
    "problems",
)
STATS = (
    "signal_name",
    "waiting",
    "overdue",
    "delivered",
    "buffered",
    "dead",
    "oldest_waiting_since",
    "wait_p50",
    "wait_p95",
)
LONG_AGO = datetime(2001, 1, 1, tzinfo=timezone.utc)


def documents(shown: Outcome) -> list[dict[str, Any]]:
    assert (shown.code, shown.err) == (0, "")
    return [json.loads(line) for line in shown.out.splitlines()]


@pytest.fixture
def overdue(connection: psycopg.Connection[Any]) -> int:
    """How many waiters expired long ago, besides one that waits; without lock rows, which a purge would count too."""
    waiters = [NewWaiter(uuid4(), "late", "go", expires_at=LONG_AGO) for _ in range(25)]
    FlowSignalStore(connection).register_waiters([*waiters, NewWaiter(uuid4(), "waiting", "go")])
    connection.execute("DELETE FROM flow_signal.flow_signal_locks")
    return len(waiters)


@pytest.mark.parametrize("source", ["argument", "file", "stdin"])
def test_broadcast(cli: Command, tmp_path: Path, source: str) -> None:
    runs = [str(UUID(int=n)) for n in range(3)]
    for run in runs:
        cli("register", run, "ask", "closing")
    file = tmp_path / "payload.json"
    file.write_text('{"n":  1}')
    payload = {"argument": ['{"n":  1}'], "file": ["--payload-file", str(file)], "stdin": ["-"]}[source]
    shown = documents(cli("broadcast", "closing", *payload, "--json", stdin=b'{"n":  1}'))
    assert [tuple(document) for document in shown] == [DELIVERY] * 3
    assert sorted(document["run_id"] for document in shown) == runs
    assert {document["status"] for document in shown} == {"delivered"}
    assert {cli("get", run, "ask", "--json").document["payload_json"] for run in runs} == {'{"n":  1}'}


def test_broadcast_in_words(cli: Command, run: str) -> None:
    assert cli("broadcast", "closing") == Outcome(0, "run_id  step_key\n", "")
    cli("register", run, "ask boss", "closing")
    heading, row = cli("broadcast", "closing").out.splitlines()
    assert heading.split() == ["run_id", "step_key"]
    assert row == f"{run}  ask boss"
    assert documents(cli("broadcast", "closing", "--json")) == []


def test_broadcast_refused(cli: Command) -> None:
    assert cli("broadcast", " ").code == 6
    assert cli("broadcast", "closing", "{", "--json").problem["sqlstate"] == "22P02"
    assert cli("broadcast", "closing", "1", "--payload-file", "x").code == 2


def test_remove_run(cli: Command, run: str) -> None:
    cli("register", run, "a", "go")
    cli("register", run, "b", "go")
    cli("deliver", run, "early", "--buffer-for", "1h")
    assert cli("remove-run", run, "--json").document == {"removed": 2}
    assert cli("remove-run", run) == Outcome(0, "removed       0\n", "")
    assert cli("list-buffered").out == "there are none\n"


def test_stats(cli: Command, run: str) -> None:
    cli("register", run, "a", "go now")
    waiting = cli("register", run, "b", "go now", "--json").document
    cli("register", run, "late", "paid", "--expires-in", "0s")
    cli("deliver", run, "go now")
    cli("deliver", run, "early", "--buffer-for", "1h")
    early, go, paid = documents(cli("stats", "--json"))
    assert [tuple(document) for document in (early, go, paid)] == [STATS] * 3
    assert early == dict.fromkeys(STATS, 0) | {
        "signal_name": "early",
        "buffered": 1,
        "oldest_waiting_since": None,
        "wait_p50": None,
        "wait_p95": None,
    }
    assert (go["waiting"], go["delivered"], go["oldest_waiting_since"]) == (1, 1, waiting["created_at"])
    assert type(go["wait_p50"]) is float
    assert 0 <= go["wait_p50"] == go["wait_p95"] < 3600
    assert (paid["signal_name"], paid["overdue"]) == ("paid", 1)

    heading, *rows = cli("stats").out.splitlines()
    assert tuple(heading.split()) == STATS
    assert rows[0].split() == ["early", "0", "0", "0", "1", "0", "-", "-", "-"]
    assert rows[1].startswith("go now  ")


def test_stats_on_a_narrow_terminal(cli: Command, run: str, database: str) -> None:
    cli("register", run, "a", "go")
    cli("register", run, "b", "paid")
    shown = on_terminal("stats", "--dsn", database, NO_COLOR="1")
    assert max(map(len, shown.splitlines())) <= 80
    assert [tuple(line.split()[0] for line in record.splitlines()) for record in shown.split("\n\n")] == [STATS] * 2


def test_stats_of_nothing(cli: Command) -> None:
    assert tuple(cli("stats").out.split()) == STATS
    assert cli("stats", "--json") == Outcome(0, "", "")


def test_health(cli: Command, run: str) -> None:
    document = cli("health", "--json").document
    assert tuple(document) == HEALTH
    assert document["version"] == metadata.version("flow-signal")
    assert type(document["total_bytes"]) is int
    assert type(document["notify_queue_usage"]) is float
    assert (document["oldest_due_at"], document["problems"]) == (None, [])
    assert datetime.fromisoformat(document["checked_at"]).utcoffset() == timedelta(0)

    shown = cli("health")
    assert (shown.code, shown.err) == (0, "")
    first, *values = shown.out.splitlines()
    assert first == "all is well"
    assert tuple(value.split()[0] for value in values) == HEALTH[:-1]
    assert ("oldest_due_at", "(none)") in {tuple(value.split()) for value in values}


def test_health_with_a_problem(cli: Command, run: str) -> None:
    cli("register", run, "late", "go", "--queue", "q", "--expires-at", "2001-01-01T00:00:00Z")
    shown = cli("health", "--json")
    assert shown.code == 10
    [problem] = shown.document["problems"]
    assert "q" in problem
    assert shown.document["oldest_due_at"] == "2001-01-01T00:00:00.000000+00:00"
    in_words = cli("health")
    assert (in_words.code, in_words.err) == (10, "")
    assert in_words.out.startswith(f"{problem}\nchecked_at ")


@pytest.mark.parametrize("before", ["30d", "2002-01-01T00:00:00Z", "2001-01-01T01:00:01+01:00"])
def test_purge(cli: Command, overdue: int, before: str) -> None:
    assert cli("purge", "--before", before, "--all", "--json").document["deleted"] >= overdue
    assert cli("purge", "--before", before) == Outcome(0, "deleted       0\n", "")
    assert len(documents(cli("list", "--json"))) == 1


@pytest.mark.parametrize("before", ["365000d", "2001-01-01T00:00:00Z"])
def test_purge_spares_what_was_settled_later(cli: Command, overdue: int, before: str) -> None:
    assert cli("purge", "--before", before, "--all") == Outcome(0, "deleted       0\n", "")


@pytest.fixture
def early(cli: Command, run: str, connection: psycopg.Connection[Any]) -> str:
    """A run with one buffered signal that is old, though still live, and one that is new."""
    cli("deliver", run, "go", '{"n":  1}', "--buffer-for", "1w", "--delivery-id", "first")
    connection.execute("UPDATE flow_signal.flow_signal_buffered_signals SET buffered_at = '2001-01-01Z'")
    cli("deliver", run, "go", "2", "--buffer-for", "1w")
    return run


def test_withdraw(cli: Command, early: str) -> None:
    first, second = documents(cli("list-buffered", "--json"))
    at = ("withdraw", early, "go", str(first["position"]))
    assert cli(*at, "--json").document == first
    again = cli(*at, "--json")
    assert again.code == 3
    assert again.problem["error"] == "not_found"
    shown = cli("withdraw", early, "go", str(second["position"]))
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.startswith('withdrawn: no waiter gets this signal "go"\n')
    assert re.search(r"^buffered_until  2\d+-.*^payload_json    2$", shown.out, re.M | re.S)
    assert cli("list-buffered").out == "there are none\n"


@pytest.mark.parametrize(("position", "code"), [("x", 2), ("0", 3), ("99999999999999999999", 6)])
def test_withdraw_what_is_not_there(cli: Command, early: str, position: str, code: int) -> None:
    shown = cli("withdraw", early, "go", position)
    assert (shown.code, shown.out) == (code, "")
    assert len(documents(cli("list-buffered", "--json"))) == 2


@pytest.mark.parametrize("before", ["30d", "2002-01-01T00:00:00Z"])
def test_purge_buffered(cli: Command, early: str, before: str) -> None:
    assert cli("purge-buffered", "--before", before, "--json").document == {"deleted": 1}
    assert cli("purge-buffered", "--before", before, "--all") == Outcome(0, "deleted       0\n", "")
    assert [document["payload_json"] for document in documents(cli("list-buffered", "--json"))] == ["2"]


def test_purge_a_part(cli: Command, overdue: int) -> None:
    assert cli("purge", "--before", "1d", "--limit", "10").out == "deleted       10\n"
    assert len(documents(cli("list", "--json"))) == 1 + overdue - 10
    cli("purge", "--before", "1d", "--limit", "10", "--all")
    assert cli("purge", "--before", "1d").out == "deleted       0\n"
    assert len(documents(cli("list", "--json"))) == 1


def test_an_age_counts_from_the_clock_of_the_database(
    cli: Command, run: str, monkeypatch: pytest.MonkeyPatch, connection: psycopg.Connection[Any]
) -> None:
    instants: list[datetime] = []
    purge = FlowSignalStore.purge

    def note(self: FlowSignalStore, settled_before: datetime, **kwargs: Any) -> int:
        instants.append(settled_before)
        return purge(self, settled_before, **kwargs)

    monkeypatch.setattr(FlowSignalStore, "purge", note)
    query = "SELECT clock_timestamp() - interval '90 minutes'"
    [[earliest]] = connection.execute(query, binary=True)
    cli("purge", "--before", "1h30m")
    [[latest]] = connection.execute(query, binary=True)
    assert [earliest <= instant <= latest for instant in instants] == [True]


def test_each_purge_is_a_transaction_of_its_own(
    cli: Command, overdue: int, monkeypatch: pytest.MonkeyPatch, connection: psycopg.Connection[Any]
) -> None:
    left: list[int] = []
    purge = FlowSignalStore.purge

    def note(*args: Any, **kwargs: Any) -> int:
        left.extend(*connection.execute("SELECT count(*) FROM flow_signal.flow_signal_waiters").fetchall())
        return purge(*args, **kwargs)

    monkeypatch.setattr(FlowSignalStore, "purge", note)
    cli("purge", "--before", "1d", "--limit", "10", "--all")
    assert left[:4] == [26, 16, 6, 1]


def test_purge_is_interrupted(cli: Command, overdue: int, monkeypatch: pytest.MonkeyPatch) -> None:
    purge = FlowSignalStore.purge
    calls = iter([True, False])

    def first_only(*args: Any, **kwargs: Any) -> int:
        if next(calls):
            return purge(*args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(FlowSignalStore, "purge", first_only)
    shown = cli("purge", "--before", "1d", "--limit", "10", "--all")
    assert shown == Outcome(130, "", "error: interrupted\ndetail: at least 10 are deleted\n")
    assert len(documents(cli("list", "--json"))) == overdue + 1 - 10


def test_a_bar_on_a_terminal(database: str, overdue: int) -> None:
    shown = on_terminal("purge", "--before", "1d", "--all", "--dsn", database)
    assert "\u2501" in shown
    deleted = re.search(r"deleted +\S*?(\d+)$", shown.splitlines()[-1])
    assert deleted
    assert int(deleted[1]) >= overdue


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "--before"),
        (["--before", "soon"], 2, "'soon' is neither an age nor an instant"),
        (["--before", "30"], 2, "'30' is no instant"),
        (["--before", "30x"], 2, "'30x' is no duration"),
        (["--before", "2030-01-31T12:00"], 2, "has no time zone"),
        (["--before", "1d", "--limit", "0"], 6, "limit 0 is out of range"),
        (["--before", "1d", "--limit", "100001"], 6, "limit 100001 is out of range"),
    ],
)
def test_purge_refused(cli: Command, overdue: int, arguments: list[str], code: int, message: str) -> None:
    shown = cli("purge", *arguments)
    assert (shown.code, shown.out) == (code, "")
    assert message in shown.err
    assert len(documents(cli("list", "--json"))) == overdue + 1


@pytest.mark.parametrize(
    ("arguments", "role"),
    [
        (["broadcast", "go"], "reader"),
        (["remove-run", "{run}"], "sender"),
        (["stats"], "sender"),
        (["health"], "sender"),
        (["list"], "sender"),
        (["list-buffered"], "sender"),
        (["purge", "--before", "1d"], "engine"),
        (["purge-buffered", "--before", "1d"], "engine"),
        (["withdraw", "{run}", "go", "1"], "sender"),
        (["extend", "{run}", "a", "--claim-id", "{run}", "--lease", "1m"], "sender"),
        (["deliver-step", "{run}", "a"], "reader"),
    ],
)
def test_a_role_without_the_right(bare: Command, run: str, database: str, arguments: list[str], role: str) -> None:
    at = f"{database} options='-c role=flow_signal_{role}'"
    shown = bare(*(argument.replace("{run}", run) for argument in arguments), "--dsn", at, "--json")
    assert shown.code == 1
    assert shown.problem["sqlstate"] == "42501"
