"""The demo: a PostgreSQL of its own, the worker, and the web application, until Ctrl-C."""

from __future__ import annotations

import argparse
import base64
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import uvicorn
from psycopg.conninfo import make_conninfo

from examples.approvals.app import Settings, create_app
from examples.approvals.sign_in import hash_password
from examples.approvals.workflow import Connection, Request, ask, new_run_id
from flow_signal.embedded import EmbeddedServer
from flow_signal.migrate import migrate

HERE = Path(__file__).parent
DATABASE = "approvals"
USERS = ("manager", "deputy")
STORIES = [
    ("Finance", "purchase", "A second espresso machine", "The queue at ten o'clock is 14 people long. 890 EUR."),
    ("Security", "release", "Release 5.0 to everybody", "All checks are green; 40 people have used it for two weeks."),
]


def install(server: EmbeddedServer) -> str:
    """Make the database; return its conninfo."""
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
    conninfo = server.conninfo(DATABASE)
    migrate(conninfo)
    with psycopg.connect(conninfo) as connection:
        connection.execute((HERE / "schema.sql").read_bytes())
    return conninfo


def settings(conninfo: str, password: str) -> Settings:
    return Settings(
        desk_dsn=make_conninfo(conninfo, user="approvals_desk"),
        link_dsn=make_conninfo(conninfo, user="approvals_link"),
        webhook_secret=f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}",
        users=dict.fromkeys(USERS, hash_password(password)),
    )


def web_server(settings: Settings) -> uvicorn.Server:
    """The application's server; the one that logs requests is the application, which leaves out tokens."""
    app = create_app(settings)
    options: dict[str, Any] = {"access_log": False, "server_header": False, "timeout_graceful_shutdown": 5}
    return uvicorn.Server(uvicorn.Config(app, log_level="warning", **options))


def ask_for_links(connection: Connection) -> list[tuple[str, str | None]]:
    """Ask two people by a link; return who they are, and their tokens."""
    return [
        (
            recipient,
            ask(
                connection,
                new_run_id(),
                Request(
                    step_key="approve",
                    signal_name=signal_name,
                    title=title,
                    details=details,
                    asked_by="Purchasing",
                    patience=timedelta(days=1),
                ),
                recipient,
            ),
        )
        for recipient, signal_name, title, details in STORIES
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.approvals", description=__doc__)
    parser.add_argument(
        "--port", type=int, default=0, help="the TCP port on 127.0.0.1; 0, the default, takes a free one"
    )
    port = parser.parse_args().port
    # as Ctrl-C
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    password = secrets.token_urlsafe(6)
    with EmbeddedServer() as server, socket.create_server(("127.0.0.1", port)) as listener:
        conninfo = install(server)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        worker_login = make_conninfo(conninfo, user="approvals_worker")
        with psycopg.connect(worker_login, autocommit=True) as connection:
            links = ask_for_links(connection)
        worker = subprocess.Popen(
            [sys.executable, "-m", "examples.approvals.worker", worker_login, str(os.getpid())],
            cwd=HERE.parent.parent,
            start_new_session=True,  # so that Ctrl-C reaches only this process, which ends it
        )
        try:
            web = settings(conninfo, password)
            print(f"The desk: {address}/")
            print(f"  sign in as {' or '.join(USERS)}, password {password}")
            for recipient, token in links:
                print(f"A link for {recipient}: {address}/t/{token}")
            print("Ctrl-C ends it.", flush=True)
            web_server(web).run(sockets=[listener])
        except KeyboardInterrupt:
            pass
        finally:
            worker.terminate()
            worker.wait()
    print("ended")


if __name__ == "__main__":
    main()
