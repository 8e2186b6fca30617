"""docs/monitoring with Debian's Prometheus and postgres_exporter: metrics are there, alerts fire when staged."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import psycopg
import pytest
import yaml  # type: ignore[import-untyped]

from sql.build import ROOT

FOLDER = ROOT / "docs/monitoring"
PROGRAMS = {"promtool": "prometheus", "prometheus-postgres-exporter": "prometheus-postgres-exporter"}
MISSING = sorted({package for program, package in PROGRAMS.items() if not shutil.which(program)})

needs_programs = pytest.mark.skipif(
    bool(MISSING) and os.environ.get("CI") != "true", reason=f"install the Debian packages {' '.join(MISSING)}"
)

SAMPLE = re.compile(r"^(flow_signal_\w+)(\{[^}]*\})? (\S+)$", re.M)
RULES = [rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
QUERIES = yaml.safe_load((FOLDER / "queries.yml").read_text())
COLLECTORS = [yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.collector.yml"))]
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())

Metrics = dict[str, float]

WAITER = "INSERT INTO flow_signal.flow_signal_waiters (run_id, step_key, signal_name, status, created_at"
SIGNAL = (
    "INSERT INTO flow_signal.flow_signal_buffered_signals (run_id, signal_name, position, buffered_at, buffered_until) "
    "SELECT gen_random_uuid(), 'go', 1, "
)
STAGED = {
    "FlowSignalQueueNotClaimed": f"{WAITER}, queue, due_at) "
    "VALUES (gen_random_uuid(), 's', 'go', 'delivered', now(), 'q', now() - interval '6 minutes')",
    "FlowSignalOverdueWaiters": f"{WAITER}, expires_at) "
    "VALUES (gen_random_uuid(), 's', 'go', 'waiting', now(), now() - interval '25 hours')",
    "FlowSignalDeadLetters": f"{SIGNAL} now(), now() - interval '8 days'",
    "FlowSignalOldBufferedSignal": f"{SIGNAL} now() - interval '31 days', '2990-01-01'",
    "FlowSignalManyBufferedSignals": f"{SIGNAL} now(), '2990-01-01' FROM generate_series(1, 100001)",
    "FlowSignalNothingPurges": "INSERT INTO flow_signal.flow_signal_receipts VALUES "
    "(gen_random_uuid(), 'id', 'go', 's', now() - interval '91 days')",
}
"""What a database has when the alert of this name fires, and FlowSignalProblem with it."""

FIGURES: dict[str, Metrics] = {
    "FlowSignalNothingPurges": {"flow_signal_health_lock_rows": 1_000_001},
    "FlowSignalDeadRows": {"flow_signal_health_dead_bytes": 2.0**28 + 1, "flow_signal_health_total_bytes": 2.0**29},
    "FlowSignalOldSnapshot": {"flow_signal_health_snapshot_xids": 1_000_001},
    "FlowSignalNotifyQueueFull": {"flow_signal_health_notify_queue_ratio": 0.51},
    "FlowSignalProblem": {"flow_signal_health_problems": 1},
}
"""What would take gigabytes or a million transactions: a figure of the healthy database is replaced."""

HEALTHY = """
SELECT flow_signal_v1.register_waiter(md5(n::text)::uuid, 's', 'go', now() + interval '1 day', NULL, 'q')
FROM generate_series(1, 20) AS n;
SELECT flow_signal_v1.deliver_signal(md5(n::text)::uuid, 'go', '1', 'id') FROM generate_series(1, 10) AS n;
SELECT flow_signal_v1.deliver_signal(md5(n::text)::uuid, 'early', NULL, NULL, now() + interval '1 day')
FROM generate_series(1, 10) AS n;
SELECT flow_signal_v1.register_waiter(md5('late')::uuid, 's', 'go', now() - interval '1 hour');
"""


class Exporter:
    """postgres_exporter on a database, as a login with flow_signal_reader."""

    def __init__(self, conninfo: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.process = subprocess.Popen(
            [
                *("prometheus-postgres-exporter", f"--extend.query-path={FOLDER / 'queries.yml'}"),
                *("--disable-default-metrics", "--disable-settings-metrics", "--no-collector.database"),
                *("--no-collector.bgwriter", f"--web.listen-address={self.address}"),
            ],
            env={**os.environ, "DATA_SOURCE_NAME": conninfo},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def scrape(self) -> str:
        until = time.monotonic() + 30
        while True:
            try:
                with urlopen(f"http://{self.address}/metrics", timeout=20) as answer:
                    return str(answer.read().decode())
            except (URLError, ConnectionError):
                assert self.process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.05)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(HEALTHY)
        yield connection


@pytest.fixture
def exporter(database: str, connection: psycopg.Connection[Any]) -> Iterator[Exporter]:
    login = f"monitor_{connection.info.dbname}"
    connection.execute(f"CREATE ROLE {login} LOGIN IN ROLE flow_signal_reader".encode())
    facts = psycopg.conninfo.conninfo_to_dict(database)
    conninfo = f"host={facts['host']} port={facts['port']} dbname={facts['dbname']} user={login} sslmode=disable"
    exporter = Exporter(conninfo)
    yield exporter
    exporter.close()
    connection.execute(f"DROP ROLE {login}".encode())


def health(text: str) -> Metrics:
    return {name: float(value) for name, _, value in SAMPLE.findall(text) if name.startswith("flow_signal_health_")}


def named(expressions: Iterator[str]) -> set[str]:
    return {name for expression in expressions for name in re.findall(r"\bflow_signal_\w+", expression)}


def firing(cases: dict[str, Metrics], folder: Path) -> dict[str, list[str]]:
    """Which alerts fire two hours later if the figures stay as they are; promtool is asked about each alert."""
    names = [rule["alert"] for rule in RULES]
    found = {}
    for title, metrics in cases.items():
        series = [
            {"series": f'{name}{{instance="i"}}', "values": f"{value:.17g}x120"} for name, value in metrics.items()
        ]
        test = {
            "interval": "1m",
            "input_series": series,
            "promql_expr_test": [
                {"expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}})', "eval_time": "119m"}
                for name in names
            ],
        }
        document = {"rule_files": [str(FOLDER / "alerts.yml")], "evaluation_interval": "1m", "tests": [test]}
        path = folder / "test.yml"
        path.write_text(json.dumps(document))  # JSON is YAML
        done = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False)
        # No sample is expected: each alert that fires is a failure, which names it.
        found[title] = sorted(re.findall(r'alertname=\\"(\w+)\\"', done.stdout + done.stderr))
        assert done.returncode == (1 if found[title] else 0), done.stdout + done.stderr
    return found


@needs_programs
def test_the_rules_are_sound() -> None:
    subprocess.run(["promtool", "check", "rules", str(FOLDER / "alerts.yml")], check=True)


def test_each_rule_has_its_reason_and_what_to_do() -> None:
    for rule in RULES:
        assert set(rule["annotations"]) == {"summary", "reason", "action"}, rule["alert"]
        assert rule["labels"]["severity"] in {"warning", "critical"}
    page = (FOLDER / "README.md").read_text()
    assert re.findall(r"^\| (FlowSignal\w+) ", page, re.M) == [rule["alert"] for rule in RULES]


@needs_programs
def test_each_metric_is_there(exporter: Exporter) -> None:
    """Those of the rules, of the dashboard and of the file itself, by a login that may only read."""
    text = exporter.scrape()
    exported = {name for name, *_ in SAMPLE.findall(text)}
    assert named(rule["expr"] for rule in RULES) <= exported
    assert named(target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]) <= exported
    columns = {(name, *column) for name, query in QUERIES.items() for column in query["metrics"]}
    labels = {("flow_signal_release", "version"), ("flow_signal_stats", "signal_name")}
    assert exported - {f"{name}_{column}" for name, column in columns - labels} == set()
    assert {f"{name}_{column}" for name, column in columns - labels} <= exported
    assert "flow_signal_stats_buffered{server=" in text or 'signal_name="early"' in text
    assert health(text)["flow_signal_health_overdue_waiters"] == 1
    assert 3500 < health(text)["flow_signal_health_overdue_age_seconds"] < 3700


@needs_programs
def test_each_alert_fires_in_its_case_and_no_other(
    exporter: Exporter, connection: psycopg.Connection[Any], tmp_path: Path
) -> None:
    healthy = health(exporter.scrape())
    cases = {"healthy": healthy, "FlowSignalNotRead": {}}
    expected = {"healthy": [], "FlowSignalNotRead": ["FlowSignalNotRead"]}
    for name, figures in FIGURES.items():
        assert set(figures) <= set(healthy)
        cases[f"{name}, figures"] = {**healthy, **figures}
        expected[f"{name}, figures"] = [name]
    for name, statement in STAGED.items():
        connection.execute("BEGIN")
        connection.execute(statement.encode())
        connection.execute("COMMIT")
        connection.execute("ANALYZE flow_signal.flow_signal_buffered_signals")
        cases[name] = health(exporter.scrape())
        expected[name] = sorted([name, "FlowSignalProblem"])
        connection.execute("TRUNCATE flow_signal.flow_signal_waiters, flow_signal.flow_signal_receipts")
        connection.execute("TRUNCATE flow_signal.flow_signal_buffered_signals")
    assert firing(cases, tmp_path) == expected
    assert {alert for alerts in expected.values() for alert in alerts} == {rule["alert"] for rule in RULES}


def test_sql_exporter_has_the_same(connection: psycopg.Connection[Any]) -> None:
    """The same queries under the same names; each value and label is a column."""
    queries = {query["query_name"]: query["query"] for collector in COLLECTORS for query in collector["queries"]}
    assert queries == {name: query["query"] for name, query in QUERIES.items()}
    metrics = [metric for collector in COLLECTORS for metric in collector["metrics"]]
    assert {metric["metric_name"] for metric in metrics} == {
        f"{name}_{column}"
        for name, query in QUERIES.items()
        for entry in query["metrics"]
        for column, facts in entry.items()
        if facts["usage"] == "GAUGE"
    }
    connection.execute("SET ROLE flow_signal_reader")
    for metric in metrics:
        cursor = connection.execute(queries[metric["query_ref"]].encode())
        columns = {column.name for column in cursor.description or ()}
        assert {*metric["values"], *metric.get("key_labels", [])} <= columns


def test_the_dashboard_is_one() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["title"]
        assert panel["description"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert all('{instance=~"$instance"}' in target["expr"] for target in panel["targets"])
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource", "instance"]
