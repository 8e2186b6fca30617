"""What a release cannot replace in place it drops first, and not while objects of others depend on it."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from flow_signal.embedded import EmbeddedServer
from sql.build import build
from tests_py.build.scripts import execute, run, set_version, snapshot

FUNCTION = """\
CREATE OR REPLACE FUNCTION flow_signal_v1.fetch_it({parameters})
RETURNS {result}
LANGUAGE sql
IMMUTABLE
AS $function$
SELECT {body}
$function$;
REVOKE ALL ON FUNCTION flow_signal_v1.fetch_it FROM public;
GRANT EXECUTE ON FUNCTION flow_signal_v1.fetch_it TO flow_signal_reader;
"""
VIEW = """\
CREATE OR REPLACE VIEW flow_signal_v1.things
AS
SELECT
    {columns}
FROM flow_signal.made_up AS w;
REVOKE ALL ON flow_signal_v1.things FROM public;
GRANT SELECT ON flow_signal_v1.things TO flow_signal_reader;
"""
FETCH_IT = """
SELECT pg_get_function_arguments(p.oid), pg_get_function_result(p.oid),
    has_function_privilege('flow_signal_reader', p.oid, 'EXECUTE')
FROM pg_proc AS p WHERE p.proname = 'fetch_it'
"""
OID = "SELECT 'flow_signal_v1.fetch_it'::regproc::oid::int"


def write_function(sources: Path, parameters: str = "", result: str = "integer", body: str = "1") -> None:
    path = sources / "sql/functions/flow_signal_v1/fetch_it.sql"
    path.write_text(FUNCTION.format(parameters=parameters, result=result, body=body))


def write_view(sources: Path, *columns: str) -> None:
    path = sources / "sql/views/flow_signal_v1/things.sql"
    path.write_text(VIEW.format(columns=",\n    ".join(columns)))


def write_migration(sources: Path, text: str) -> None:
    folder = sources / "sql/migrations"
    (folder / f"{len(list(folder.glob('*.sql'))) + 1:04}_made_up.sql").write_text(text)


@pytest.fixture(autouse=True)
def _earlier(sources: Path) -> None:
    set_version(sources, "0.0.1")


@pytest.mark.parametrize(
    ("former", "present", "shown"),
    [
        pytest.param({}, {"result": "SETOF integer"}, ("", "SETOF integer"), id="set"),
        pytest.param({}, {"result": "text", "body": "'a'"}, ("", "text"), id="type"),
        pytest.param(
            {"parameters": "p_a uuid"},
            {"parameters": "p_a uuid, p_b text DEFAULT NULL"},
            ("p_a uuid, p_b text DEFAULT NULL::text", "integer"),
            id="more parameters",
        ),
        pytest.param(
            {"parameters": "p_a timestamptz, p_b text"},
            {"parameters": "p_a timestamptz"},
            ("p_a timestamp with time zone", "integer"),
            id="fewer parameters",
        ),
        pytest.param(
            {"parameters": "p_a text"}, {"parameters": "p_b text"}, ("p_b text", "integer"), id="parameter renamed"
        ),
        pytest.param(
            {"parameters": "p_a text DEFAULT NULL"},
            {"parameters": "p_a text"},
            ("p_a text", "integer"),
            id="no default",
        ),
    ],
)
def test_a_former_signature_makes_room(
    sources: Path, empty_database: str, former: dict[str, str], present: dict[str, str], shown: tuple[str, str]
) -> None:
    write_function(sources, **former)
    run(build(sources), empty_database)
    write_function(sources, **present)
    assert any(
        message.startswith("flow-signal: function flow_signal_v1.fetch_it")
        for message in run(build(sources), empty_database)
    )
    assert execute(empty_database, FETCH_IT) == [(*shown, True)]
    assert len(run(build(sources), empty_database)) == 1


def test_a_function_with_the_same_signature_is_replaced_and_keeps_what_depends_on_it(
    sources: Path, empty_database: str
) -> None:
    write_function(sources, "p_a timestamptz[], p_b text")
    run(build(sources), empty_database)
    execute(empty_database, "CREATE VIEW mine AS SELECT flow_signal_v1.fetch_it(NULL, NULL)")
    before = execute(empty_database, OID)
    write_function(sources, "p_a timestamptz[], p_b text DEFAULT NULL", body="2")
    assert "flow-signal: functions/flow_signal_v1/fetch_it.sql replaced" in run(build(sources), empty_database)
    assert execute(empty_database, OID) == before
    assert execute(empty_database, "SELECT * FROM mine") == [(2,)]


def test_a_view_may_get_columns_and_lose_them(sources: Path, empty_database: str) -> None:
    columns = "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = '{}'::regclass"
    things = columns.format("flow_signal_v1.things")
    write_migration(sources, "CREATE TABLE flow_signal.made_up (a text, b text, c text);\n")
    write_view(sources, "w.a", "w.b")
    run(build(sources), empty_database)
    execute(empty_database, "CREATE VIEW mine AS SELECT * FROM flow_signal_v1.things")
    write_view(sources, "w.a", "w.b", "w.c")
    run(build(sources), empty_database)
    assert execute(empty_database, things) == [("a b c",)]
    execute(empty_database, "DROP VIEW mine")
    write_view(sources, "w.a", "w.c")
    assert "flow-signal: view flow_signal_v1.things dropped" in run(build(sources), empty_database)
    assert execute(empty_database, things) == [("a c",)]
    assert len(run(build(sources), empty_database)) == 1


def test_a_migration_may_drop_what_a_view_shows_and_views_on_it_stay(sources: Path, empty_database: str) -> None:
    write_migration(sources, 'CREATE TABLE flow_signal.made_up (a text COLLATE "C", b numeric(9, 2)[]);\n')
    write_view(sources, "w.a", "w.b")
    run(build(sources), empty_database)
    execute(empty_database, "CREATE VIEW mine AS SELECT * FROM flow_signal_v1.things")
    write_migration(
        sources,
        "ALTER TABLE flow_signal.made_up DROP b;\n"
        "ALTER TABLE flow_signal.made_up ADD c numeric(9, 2)[];\n"
        "INSERT INTO flow_signal.made_up VALUES ('x', '{2}');\n",
    )
    write_view(sources, "w.a", "w.c AS b")
    run(build(sources), empty_database)
    assert execute(empty_database, "SELECT a, b::text FROM mine") == [("x", "{2.00}")]
    assert len(run(build(sources), empty_database)) == 1


OBJECTS = {
    "view public.mine": "CREATE VIEW mine WITH (security_barrier=true) AS SELECT fetch_it() AS a;"
    " GRANT SELECT ON mine TO flow_signal_reader, PUBLIC",
    'view public."on mine"': 'CREATE VIEW "on mine" AS SELECT a FROM mine',
    "function public.takes(public.mine)": "CREATE FUNCTION takes(v mine) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "function public.calls(integer)": "CREATE FUNCTION calls(i int) RETURNS int BEGIN ATOMIC SELECT fetch_it(); END;"
    " REVOKE ALL ON FUNCTION calls FROM public; GRANT EXECUTE ON FUNCTION calls TO flow_signal_sender",
    "materialized view public.kept": "CREATE MATERIALIZED VIEW kept AS SELECT fetch_it() AS a",
    "index public.kept_idx": "CREATE INDEX kept_idx ON kept (a)",
    "column c of table public.t": "CREATE TABLE t (i int, c int GENERATED ALWAYS AS (fetch_it() + i) STORED)",
    "default value for column d of table public.u": "CREATE TABLE u (d int DEFAULT fetch_it())",
    "constraint c on table public.u": "ALTER TABLE u ADD CONSTRAINT c CHECK (d <> fetch_it()) NOT VALID",
    "constraint n": "CREATE DOMAIN n AS int CONSTRAINT n CHECK (value > fetch_it())",
    "index public.u_idx": "CREATE UNIQUE INDEX u_idx ON u ((d + fetch_it())) WHERE d > fetch_it()",
    "statistics object public.s": "CREATE STATISTICS s ON (d + fetch_it()), d FROM u",
    "policy p on table public.u": "CREATE POLICY p ON u AS RESTRICTIVE FOR UPDATE TO flow_signal_reader, PUBLIC"
    " USING (d = fetch_it()) WITH CHECK (d > fetch_it())",
    "rule r on table public.u": "CREATE RULE r AS ON DELETE TO u WHERE old.d = fetch_it() DO INSTEAD NOTHING",
    "trigger g on table public.u": "CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END';"
    " CREATE TRIGGER g AFTER UPDATE ON u FOR EACH ROW WHEN (new.d > fetch_it()) EXECUTE FUNCTION g()",
}
PATH = "-c search_path=public,flow_signal_v1"


def test_objects_of_others_stop_it_and_the_hint_can_be_followed(
    server: EmbeddedServer, sources: Path, empty_database: str
) -> None:
    write_function(sources)
    run(build(sources), empty_database)
    for statement in OBJECTS.values():
        run(statement, empty_database, PATH)
    before = snapshot(server, empty_database)
    write_function(sources, "p_more integer DEFAULT 0", body="p_more")
    with pytest.raises(psycopg.errors.DependentObjectsStillExist) as refusal:
        run(build(sources), empty_database)
    diagnostics = refusal.value.diag
    message, names = (diagnostics.message_primary or "").split(": ", 1)
    assert message == "other objects depend on objects that this release replaces"
    assert set(names.split(", ")) == OBJECTS.keys()
    assert diagnostics.message_detail == "nothing was changed"
    assert snapshot(server, empty_database) == before
    hint, statements = (diagnostics.message_hint or "").split("\n", 1)
    assert hint == "drop them, run this script again, then make them anew:"
    removal, remaking = statements.split("-- now the script\n")
    run(removal, empty_database)
    run(build(sources), empty_database)
    run(remaking, empty_database)
    write_function(sources)
    with pytest.raises(psycopg.errors.DependentObjectsStillExist) as again:
        run(build(sources), empty_database)
    assert again.value.diag.message_primary == diagnostics.message_primary
    assert (again.value.diag.message_hint or "").replace("fetch_it(0)", "fetch_it()") == diagnostics.message_hint


def test_a_view_on_a_view_that_loses_a_column_stops_it(sources: Path, empty_database: str) -> None:
    write_migration(sources, "CREATE TABLE flow_signal.made_up (a text, b text);\n")
    write_view(sources, "w.a", "w.b")
    run(build(sources), empty_database)
    execute(empty_database, "CREATE VIEW mine AS SELECT a FROM flow_signal_v1.things")
    write_view(sources, "w.b")
    with pytest.raises(psycopg.errors.DependentObjectsStillExist, match=r"replaces: view public\.mine\n"):
        run(build(sources), empty_database)


def test_a_former_helper_that_others_use_stops_it(sources: Path, empty_database: str) -> None:
    helper = sources / "sql/functions/flow_signal/former.sql"
    helper.write_text("CREATE OR REPLACE FUNCTION flow_signal.former() RETURNS int LANGUAGE sql AS 'SELECT 1';\n")
    run(build(sources), empty_database)
    execute(empty_database, "CREATE VIEW mine AS SELECT flow_signal.former()")
    helper.unlink()
    with pytest.raises(psycopg.errors.DependentObjectsStillExist, match=r"replaces: view public\.mine\n"):
        run(build(sources), empty_database)


def test_a_function_of_others_beside_one_of_the_same_name_is_refused(
    server: EmbeddedServer, sources: Path, database: str
) -> None:
    theirs = "CREATE FUNCTION flow_signal_v1.version(i int) RETURNS int LANGUAGE sql AS 'SELECT 1'"
    execute(database, f"SET ROLE flow_signal_owner; {theirs}")
    before = snapshot(server, database)
    set_version(sources, "9.9.9")
    for script in (build(), build(sources)):
        with pytest.raises(psycopg.errors.DuplicateFunction) as refusal:
            run(script, database)
        diagnostics = refusal.value.diag
        assert diagnostics.message_primary == "functions with names of the API: flow_signal_v1.version(integer)"
        assert diagnostics.message_hint == "run: DROP FUNCTION flow_signal_v1.version(integer)"
        assert snapshot(server, database) == before
    execute(database, "DROP FUNCTION flow_signal_v1.version(integer)")
    run(build(sources), database)
