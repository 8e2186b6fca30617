"""The SQL side of docs/postgrest.md: what PostgREST sends, in the roles that it takes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.types.json import Json

from sql.build import ROOT, read
from tests_py.clients.runner import SUITE

BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", read(ROOT / "docs/postgrest.md"), re.M | re.S)
ROLES = ("authenticator", "authenticated", "service_role", "signals_owner")
TYPES = SUITE["functions"]


class Service:
    """Makes calls as PostgREST does."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    def call(
        self, role: str, schema: str, function: str, body: dict[str, Any], method: str = "POST", **claims: Any
    ) -> Any:
        names = [sql.Identifier(name) for name in body]
        columns = [sql.SQL(f"{{}} {TYPES[function][name]}").format(sql.Identifier(name)) for name in body]
        arguments = [sql.SQL("{0} := body.{0}").format(name) for name in names]
        query = sql.SQL(
            "WITH source AS (SELECT call.* FROM (SELECT CAST({body} AS json) AS data) AS payload, "
            "LATERAL (SELECT {names} FROM json_to_record(payload.data) AS _ ({columns}) LIMIT 1) AS body, "
            "LATERAL {function}({arguments}) AS call) SELECT coalesce(json_agg(t), '[]') FROM source AS t"
        ).format(
            body=sql.Literal(Json(body)),
            names=sql.SQL(", ").join(names),
            columns=sql.SQL(", ").join(columns),
            function=sql.Identifier(schema, function),
            arguments=sql.SQL(", ").join(arguments),
        )
        with self.connection.transaction():
            if method == "GET":
                self.connection.execute("SET TRANSACTION READ ONLY")
            self.connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
            self.connection.execute("SELECT set_config('request.jwt.claims', %s, true)", [json.dumps(claims)])
            [(answer,)] = self.connection.execute(query).fetchall()
        return answer


@pytest.fixture
def service(database: str) -> Iterator[Service]:
    """What docs/postgrest.md sets up, by an owner that is no superuser; a login that may only change its role."""
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute("CREATE ROLE authenticator LOGIN NOINHERIT")
        admin.execute("CREATE ROLE authenticated")
        admin.execute("CREATE ROLE service_role")
        admin.execute("CREATE ROLE signals_owner LOGIN")
        try:
            admin.execute("GRANT authenticated, service_role TO authenticator")
            admin.execute("GRANT flow_signal_sender, flow_signal_reader TO signals_owner")
            admin.execute("GRANT flow_signal_engine TO service_role")
            [(name,)] = admin.execute("SELECT current_database()").fetchall()
            admin.execute(sql.SQL("GRANT CREATE ON DATABASE {} TO signals_owner").format(sql.Identifier(name)))
            with psycopg.connect(database, user="signals_owner") as owner:
                for language, block in BLOCKS:
                    if language == "sql":
                        owner.execute(block.encode())
            admin.execute("GRANT USAGE ON SCHEMA signals TO service_role")
            admin.execute("GRANT INSERT ON signals.run_owners TO service_role")
            with psycopg.connect(database, user="authenticator", autocommit=True) as connection:
                yield Service(connection)
        finally:
            for role in ROLES:
                admin.execute(f"DROP OWNED BY {role} CASCADE".encode())
                admin.execute(f"DROP ROLE {role}".encode())


def park(service: Service, owner: str) -> str:
    """A run of the owner with a parked step, as the backend makes it."""
    run_id = str(uuid4())
    body = {"p_run_id": run_id, "p_step_key": "approve", "p_signal_name": "approval", "p_expires_at": "2101-01-01"}
    [waiter] = service.call("service_role", "flow_signal_v1", "register_waiter", body)
    assert waiter["state"] == "waiting"
    with service.connection.transaction():
        service.connection.execute("SET LOCAL ROLE service_role")
        service.connection.execute("INSERT INTO signals.run_owners VALUES (%s, %s)", [run_id, owner])
    return run_id


def body_of_the_page(run_id: str, payload: Any) -> dict[str, Any]:
    [request] = [block for language, block in BLOCKS if language == "http"]
    return {**json.loads(request.partition("\n\n")[2]), "p_run_id": run_id, "p_payload_json": payload}


def test_the_request_of_the_page_gets_the_answer_of_the_page(service: Service) -> None:
    run_id = park(service, "ann")
    [request] = [block for language, block in BLOCKS if language == "http"]
    payload = json.loads(request.partition("\n\n")[2])["p_payload_json"]
    answer = service.call("authenticated", "signals", "deliver_signal", body_of_the_page(run_id, payload), sub="ann")
    [[shown]] = [json.loads(block) for language, block in BLOCKS if language == "json"]
    assert [{**row, "delivered_at": shown["delivered_at"]} for row in answer] == [shown]


def test_a_run_of_somebody_else_has_no_row(service: Service) -> None:
    run_id = park(service, "ann")
    for claims in ({"sub": "bob"}, {}):
        assert service.call("authenticated", "signals", "deliver_signal", body_of_the_page(run_id, "1"), **claims) == []
    key = {"p_run_id": run_id, "p_step_key": "approve"}
    assert service.call("authenticated", "signals", "await_waiter", key, sub="bob") == []
    assert service.call("service_role", "flow_signal_v1", "get_waiter", key)[0]["state"] == "waiting"


def test_people_cannot_reach_the_functions_behind_the_wrappers(service: Service) -> None:
    run_id = park(service, "ann")
    with pytest.raises(errors.InsufficientPrivilege):
        service.call("authenticated", "flow_signal_v1", "deliver_signal", body_of_the_page(run_id, "1"), sub="ann")
    with pytest.raises(errors.InsufficientPrivilege):
        service.call("authenticator", "signals", "deliver_signal", body_of_the_page(run_id, "1"), sub="ann")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ('{"approved":  true}', '{"approved":  true}'),
        ({"approved": True}, '{"approved": true}'),
        ("true", "true"),
        ('"true"', '"true"'),
        (None, None),
    ],
)
def test_what_becomes_of_a_payload(service: Service, sent: Any, kept: str | None) -> None:
    run_id = park(service, "ann")
    service.call("authenticated", "signals", "deliver_signal", body_of_the_page(run_id, sent), sub="ann")
    key = {"p_run_id": run_id, "p_step_key": "approve"}
    [waiter] = service.call("authenticated", "signals", "await_waiter", key, sub="ann")
    assert waiter == {"state": "delivered", "payload_json": kept}


def test_a_bare_string_is_no_json(service: Service) -> None:
    run_id = park(service, "ann")
    with pytest.raises(errors.InvalidTextRepresentation):
        service.call("authenticated", "signals", "deliver_signal", body_of_the_page(run_id, "yes"), sub="ann")


def test_a_get_may_not_write(service: Service) -> None:
    run_id = park(service, "ann")
    with pytest.raises(errors.ReadOnlySqlTransaction):
        service.call("authenticated", "signals", "deliver_signal", body_of_the_page(run_id, "1"), "GET", sub="ann")
    key = {"p_run_id": run_id, "p_step_key": "approve"}
    assert service.call("service_role", "flow_signal_v1", "get_waiter", key, "GET")[0]["state"] == "waiting"


def test_a_wait_beyond_the_timeout_of_the_role_is_cancelled(service: Service) -> None:
    key = {"p_run_id": park(service, "ann"), "p_step_key": "approve"}
    service.connection.execute("SET statement_timeout = '100ms'")
    with pytest.raises(errors.QueryCanceled):
        service.call("service_role", "flow_signal_v1", "await_waiter", {**key, "p_max_wait": "5 seconds"})
    service.connection.execute("SET statement_timeout = '8s'")
    body = {**key, "p_max_wait": "0.1 seconds"}
    assert service.call("service_role", "flow_signal_v1", "await_waiter", body)[0]["state"] == "waiting"
