"""The approvals example, served on 127.0.0.1 for all tests; each asks for approvals of its own."""

from __future__ import annotations

import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest

from examples.approvals.__main__ import install, settings, web_server
from examples.approvals.app import Settings
from examples.approvals.worker import resume_all
from examples.approvals.workflow import Request, ask, new_run_id
from flow_signal.embedded import EmbeddedServer
from tests_py.web.browsers import BINARIES, Browsers

PASSWORD = "correct horse"
PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Asked:
    """An approval that a test has asked for."""

    run_id: UUID
    title: str
    token: str

    @property
    def path(self) -> str:
        return f"/approvals/{self.run_id}/approve"

    @property
    def link(self) -> str:
        return f"/t/{self.token}"


class Site:
    """The running application, and the engine's side of it."""

    def __init__(self, address: str, conninfo: str, settings: Settings) -> None:
        self.address = address
        self.conninfo = conninfo
        self.settings = settings
        self.engine = psycopg.connect(conninfo, autocommit=True)

    def ask(
        self,
        patience: timedelta | None = timedelta(hours=1),
        title: str = "A new espresso machine",
        details: str = "890 EUR. The queue is long.",
        signal_name: str = "purchase",
    ) -> Asked:
        run_id = new_run_id()
        request = Request(
            step_key="approve",
            signal_name=signal_name,
            title=title,
            details=details,
            asked_by="Purchasing",
            patience=patience,
        )
        token = ask(self.engine, run_id, request, recipient="Finance")
        assert token
        return Asked(run_id, title, token)

    def outcome(self, asked: Asked) -> tuple[Any, ...]:
        """State, who, and comment of an approval."""
        query = "SELECT state, decided_by, comment FROM approvals.find_request(%s, 'approve')"
        row = self.engine.execute(query, [asked.run_id]).fetchone()
        assert row
        return row

    def payload(self, asked: Asked) -> Any:
        query = "SELECT payload_json FROM flow_signal_v1.get_waiter(%s, 'approve')"
        row = self.engine.execute(query, [asked.run_id]).fetchone()
        return row and row[0]

    @contextmanager
    def worker(self) -> Iterator[None]:
        """Answers are taken over while the block runs."""
        ends = threading.Event()

        def work() -> None:
            with psycopg.connect(self.conninfo, autocommit=True) as connection:
                while not ends.is_set():
                    resume_all(connection)
                    ends.wait(0.02)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            ends.set()
            thread.join()

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.address, timeout=PATIENCE_SECONDS)

    @contextmanager
    def approver(self, name: str = "manager") -> Iterator[httpx.Client]:
        """A client that is signed in."""
        with self.client() as client:
            csrf = hidden(client.get("/sign-in").text, "csrf")
            answer = client.post("/sign-in", data={"csrf": csrf, "name": name, "password": PASSWORD})
            assert (answer.status_code, answer.headers["location"]) == (303, "/")
            yield client


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", type=Path, help="keep the screenshots in this folder")


@pytest.fixture
def screenshots(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where screenshots go."""
    folder: Path | None = request.config.getoption("--screenshots")
    return folder or tmp_path


def hidden(page: str, name: str) -> str:
    """The value of a hidden field."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, page
    return found[1]


@pytest.fixture(scope="session")
def site(server: EmbeddedServer) -> Iterator[Site]:
    conninfo = install(server)
    web = settings(conninfo, PASSWORD)
    logging.getLogger("approvals").setLevel(logging.INFO)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        application = web_server(web)
        thread = threading.Thread(target=application.run, kwargs={"sockets": [listener]})
        thread.start()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not application.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        site = Site(f"http://127.0.0.1:{listener.getsockname()[1]}", conninfo, web)
        yield site
        site.engine.close()
        application.should_exit = True
        thread.join()
        with psycopg.connect(server.conninfo(), autocommit=True) as admin:
            admin.execute("DROP DATABASE approvals WITH (FORCE)")


@pytest.fixture(scope="session")
def browsers(site: Site) -> Iterator[Browsers]:
    assert all(path.exists() for path in BINARIES), "install the Debian packages chromium and chromium-driver"
    browsers = Browsers(site.address, PASSWORD)
    yield browsers
    browsers.close()
