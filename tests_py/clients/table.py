"""Run every client of clients/ against PostgreSQL 15 and 18, directly and through PgBouncer in transaction mode.

python -m tests_py.clients.table [--write]

A client whose toolchain is missing is named and left out. --write puts the table into docs/clients.md.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psycopg

from flow_signal.embedded import EmbeddedServer
from sql.build import ROOT, read
from tests_py.wrapper.pgbouncer import pgbouncer
from tools.server import TEMPLATE, template_server

CLIENTS = ROOT / "clients"
PAGE = ROOT / "docs/clients.md"
MAJORS = (15, 18)
SECONDS = 600
SHOWN = """\
parked: waiting
delivered: 200 approve false
repeated: 200 approve true
nobody: 404
kept: 202
refused: WS002 409
taken at once: delivered 100.10
notified: 42
awaited: {"approved":true,"by":"Büro"}
run id: 573c4ba2-a62a-511a-9fb6-53fda28893fa
"""
"""What each example prints."""


@dataclass(frozen=True)
class Client:
    language: str
    folder: str
    """Below clients/, where all its commands run."""
    driver: list[str]
    """The command that prints the driver and its version, once it is set up."""
    toolchain: list[str]
    """The command that succeeds if the toolchain is there."""
    missing: str
    """What to install otherwise."""
    setup: list[list[str]]
    example: list[str]
    conformance: list[str]


JAVA = ["java", "-cp", "target/classes:target/dependency/*"]
NPM = [["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--silent"]]
ALL = [
    Client(
        "Python",
        "..",
        [sys.executable, "-c", "import psycopg; print('psycopg', psycopg.__version__)"],
        ["true"],
        "",
        [],
        [],
        [sys.executable, "-m", "tests_py.clients.runner"],
    ),
    Client(
        "Node.js",
        "node",
        ["node", "-p", "'pg ' + JSON.parse(fs.readFileSync('package.json')).dependencies.pg"],
        ["npm", "--version"],
        "Node.js 20 or later with npm",
        NPM,
        ["node", "pg.js"],
        ["node", "conformance.js", "pg"],
    ),
    Client(
        "Node.js",
        "node",
        ["node", "-p", "'postgres ' + JSON.parse(fs.readFileSync('package.json')).dependencies.postgres"],
        ["npm", "--version"],
        "Node.js 20 or later with npm",
        NPM,
        ["node", "postgres.js"],
        ["node", "conformance.js", "postgres"],
    ),
    Client(
        "Java",
        "java",
        ["sh", "-c", "cd target/dependency && ls postgresql-*.jar | sed 's/postgresql-\\(.*\\).jar/pgjdbc \\1/'"],
        ["sh", "-c", "java --version && mvn --version"],
        "a JDK of 17 or later and Maven",
        [
            ["mvn", "--batch-mode", "--quiet", "dependency:copy-dependencies"],
            ["javac", "-cp", "target/dependency/*", "-d", "target/classes", "Example.java", "Conformance.java"],
        ],
        [*JAVA, "Example"],
        [*JAVA, "Conformance"],
    ),
    Client(
        "Go",
        "go",
        ["go", "list", "-m", "-f", "pgx {{.Version}}", "github.com/jackc/pgx/v5"],
        ["go", "version"],
        "Go 1.25 or later",
        [["go", "build", "-buildvcs=false", "-o", "target/", "./..."]],
        ["target/example"],
        ["target/conformance"],
    ),
    Client(
        "Rust",
        "rust",
        ["sh", "-c", "cargo tree --depth 1 | sed -n 's/.* tokio-postgres v/tokio-postgres /p'"],
        ["cargo", "--version"],
        "Rust with cargo",
        [["cargo", "build", "--quiet"]],
        ["target/debug/example"],
        ["target/debug/conformance"],
    ),
    Client(
        "PHP",
        "php",
        ["php", "-r", "echo 'PDO of PHP ', PHP_VERSION;"],
        ["php", "-r", "exit(extension_loaded('pdo_pgsql') ? 0 : 1);"],
        "Debian's php-cli and php-pgsql",
        [],
        ["php", "example.php"],
        ["php", "conformance.php"],
    ),
    Client(
        "Ruby",
        "ruby",
        ["ruby", "-rpg", "-e", 'puts "pg #{PG::VERSION}"'],
        ["ruby", "-rpg", "-e", ""],
        "Debian's ruby and ruby-pg",
        [],
        ["ruby", "example.rb"],
        ["ruby", "conformance.rb"],
    ),
    Client(
        "Perl",
        "perl",
        ["perl", "-MDBD::Pg", "-e", 'print "DBD::Pg $DBD::Pg::VERSION"'],
        ["perl", "-MDBD::Pg", "-MJSON::PP", "-e", "1"],
        "Debian's libdbd-pg-perl",
        [],
        ["perl", "example.pl"],
        ["perl", "conformance.pl"],
    ),
    Client(
        "psql",
        "psql",
        ["sh", "-c", "psql --version | cut -d ' ' -f 1,3"],
        ["psql", "--version"],
        "Debian's postgresql-client",
        [],
        [],
        ["bash", "conformance.sh"],
    ),
]


@dataclass(frozen=True)
class Place:
    """Where a client connects to."""

    name: str
    server: EmbeddedServer
    port: int

    @contextmanager
    def environment(self) -> Iterator[dict[str, str]]:
        """How to reach a database of its own there, as libpq reads it; CONNINFO for drivers that read none of it."""
        name = f"clients_{uuid.uuid4().hex}"
        parameters = {"host": "127.0.0.1", "port": str(self.port), "user": "postgres", "dbname": name}
        parameters["password"] = self.server.password or ""
        variables = {"PG" + {"dbname": "database"}.get(key, key).upper(): value for key, value in parameters.items()}
        conninfo = " ".join(f"{key}={value}" for key, value in parameters.items())
        with psycopg.connect(self.server.conninfo(), autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}".encode())
            try:
                yield {**os.environ, **variables, "CONNINFO": conninfo, "LC_ALL": "C.UTF-8"}
            finally:
                admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


class Failed(Exception):
    pass


def run(client: Client, command: list[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        cwd=CLIENTS / client.folder,
        env=environment,
        timeout=SECONDS,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    if done.returncode:
        raise Failed(f"{client.folder}: {' '.join(command)}\n{done.stdout}")
    return done.stdout


def has_toolchain(client: Client) -> bool:
    try:
        run(client, client.toolchain)
    except (Failed, FileNotFoundError):
        return False
    return True


def row_of(client: Client, places: list[Place]) -> tuple[list[str], list[str]]:
    """The row of the table, and what failed."""
    cells, problems = [client.language, run(client, client.driver).strip()], []
    for place in places:
        with place.environment() as environment:
            try:
                said = run(client, client.conformance, environment)
            except Failed as error:
                said = str(error)
                problems.append(f"{place.name}: {error}")
            cells.append(" ".join(re.findall(r"^(\d+ of \d+) cases passed$", said, re.M)) or "failed")
        if client.example and place.port == place.server.port:
            with place.environment() as environment:
                shown = run(client, client.example, environment)
                if shown != SHOWN:
                    problems.append(f"{place.name}: {client.folder}: {' '.join(client.example)} printed\n{shown}")
    return cells, problems


@contextmanager
def all_places() -> Iterator[list[Place]]:
    places = []
    with ExitStack() as stack:
        for major in MAJORS:
            server = stack.enter_context(template_server(ROOT / f".tools/postgresql-{major}/bin", port=0))
            places.append(Place(f"PostgreSQL {major}", server, server.port))
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            stack.enter_context(pgbouncer(server, port))
            places.append(Place(f"{major} through PgBouncer", server, port))
        yield places


def table(places: list[Place], rows: list[list[str]]) -> str:
    head = ["language", "driver", *(place.name for place in places)]
    return "".join(f"| {' | '.join(row)} |\n" for row in [head, ["---"] * len(head), *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description="Run every client of clients/ and print what passed.")
    parser.add_argument("--write", action="store_true", help="put the table into docs/clients.md")
    write: bool = parser.parse_args().write
    present = [client for client in ALL if has_toolchain(client)]
    for missing in sorted({client.missing for client in ALL if client not in present}):
        print(f"left out: install {missing}")
    problems: list[str] = []
    for setup in {(client.folder, *map(tuple, client.setup)): client for client in present}.values():
        for command in setup.setup:
            print(f"{setup.folder}: {' '.join(command)}", flush=True)
            run(setup, command)
    with all_places() as places, ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda client: row_of(client, places), present))
        shown = table(places, [row for row, _ in results])
    problems = [problem for _, found in results for problem in found]
    print(shown, *problems, sep="\n")
    if write and not problems:
        text = re.sub(r"(?<=<!-- the table -->\n).*?(?=<!-- end -->)", lambda _: shown, read(PAGE), flags=re.S)
        PAGE.write_text(text, encoding="utf-8")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
