"""sql/build.py assembles the parts in their order and refuses what breaks a rule."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sql.build import ROOT, BuildError, build, read_version

FUNCTION = "CREATE OR REPLACE FUNCTION {} RETURNS int LANGUAGE sql AS 'SELECT 1';\n"
TABLE = "CREATE TABLE flow_signal.a ();\n"

TREE = {
    "pyproject.toml": '[project]\nversion = "1.2.3"\n',
    "sql/install/begin.sql": "-- begin @VERSION@\n",
    "sql/install/check.sql": "-- check\nSELECT 'check';\n",
    "sql/install/no_transaction.sql": "-- begun\nDO $script$\n@STATEMENTS@\n$script$; -- @VERSION@\n",
    "sql/install/settings.sql": "-- settings\n",
    "sql/roles.sql": "-- roles\n",
    "sql/install/owner.sql": "-- owner\n",
    "sql/install/former.sql": "-- former @SIGNATURES@\n",
    "sql/install/rights.sql": "-- rights @GRANTS@\n",
    "sql/install/end.sql": "-- end @VERSION@ @PARTS@\n",
    "sql/install/commit.sql": "-- commit\n",
    "sql/migrations/frozen.sha256": f"{hashlib.sha256(TABLE.encode()).hexdigest()}  0001_a.sql\n",
    "sql/migrations/0001_a.sql": TABLE,
    "sql/migrations/0002_b.sql": "CREATE TABLE flow_signal.b ();\n",
    "sql/functions/flow_signal/zeta.sql": FUNCTION.format("flow_signal.zeta()"),
    "sql/functions/flow_signal_v1/alpha.sql": "-- of @VERSION@\n"
    + FUNCTION.format("flow_signal_v1.alpha()")
    + "GRANT EXECUTE ON FUNCTION flow_signal_v1.alpha() TO flow_signal_reader,\n    flow_signal_sender;\n",
    "sql/views/flow_signal_v1/health.sql": "CREATE OR REPLACE VIEW flow_signal_v1.health AS SELECT 1 AS a;\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small project that keeps every rule."""
    for name, text in TREE.items():
        write(tmp_path / name, text.encode())
    return tmp_path


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_parts_come_in_order_between_the_frame(root: Path) -> None:
    marks = re.findall(
        r"^-- (?:begin|check|settings|roles|owner|former|rights|end|commit).*$|p_part => '.*'|p_once => \w+",
        build(root),
        re.M,
    )
    assert marks == [
        "-- begin 1.2.3",
        "-- check",
        "-- settings",
        "-- roles",
        "-- owner",
        "-- former ('functions/flow_signal/zeta.sql', '{}', '{}', 0, false, 'int'),",
        *("p_part => 'migrations/0001_a.sql'", "p_once => true"),
        *("p_part => 'migrations/0002_b.sql'", "p_once => true"),
        *("p_part => 'functions/flow_signal/zeta.sql'", "p_once => false"),
        *("p_part => 'functions/flow_signal_v1/alpha.sql'", "p_once => false"),
        *("p_part => 'views/flow_signal_v1/health.sql'", "p_once => false"),
        "-- rights ('functions/flow_signal_v1/alpha.sql', 'EXECUTE', 'flow_signal_reader'),",
        "-- end 1.2.3 migrations/0001_a.sql,migrations/0002_b.sql,functions/flow_signal/zeta.sql,"
        "functions/flow_signal_v1/alpha.sql,views/flow_signal_v1/health.sql",
        "-- commit",
    ]


def test_a_part_stands_there_whole_with_the_version_and_its_checksum(root: Path) -> None:
    body = TREE["sql/functions/flow_signal_v1/alpha.sql"].replace("@VERSION@", "1.2.3")
    definition, grant = body.split("GRANT")
    assert grant
    assert f"""\
CALL flow_signal.apply_part(
    p_part => 'functions/flow_signal_v1/alpha.sql',
    p_checksum => '{hashlib.sha256(body.encode()).hexdigest()}',
    p_once => false,
    p_statements => ARRAY[$part$
{definition.strip()}
$part$]);
""" in build(root)


def test_a_part_is_given_statement_by_statement(root: Path) -> None:
    statements = [
        "CREATE TABLE flow_signal.c (a text DEFAULT ';', \"b;\" int /* ; */);",
        "-- one; two\nSELECT E'\\';', $$;$$, $a$ $$ ; $b$ $a$;",
        "SELECT 1;",
    ]
    write(root / "sql/migrations/0003_c.sql", "\n".join(statements).encode() + b"\n-- the end;\n")
    assert "ARRAY[" + ", ".join(f"$part$\n{statement}\n$part$" for statement in statements) + "]);" in build(root)


def test_without_a_transaction_each_statement_is_executed_by_one(root: Path) -> None:
    frame = [path for path in (root / "sql/install").glob("*.sql") if path.name not in ("begin.sql", "commit.sql")]
    for path in (*frame, root / "sql/roles.sql"):
        if path.name not in ("check.sql", "no_transaction.sql"):
            path.write_text(f"SELECT '{path.stem};';\n")
    script = build(root, "no transaction")
    assert script.startswith("-- begun\nDO $script$\nEXECUTE $statement$\n-- check\nSELECT 'check';\n$statement$;\n")
    assert script.endswith("\nEXECUTE $statement$\nSELECT 'end;';\n$statement$;\n$script$; -- 1.2.3\n")
    executed = re.findall(r"EXECUTE \$statement\$\n.*?\n\$statement\$;\n", script, re.S)
    assert [re.findall(r"(?:SELECT|part =>) '([\w/.]+)", text)[0] for text in executed] == [
        *("check", "settings", "roles", "owner", "former", "migrations/0001_a.sql", "migrations/0002_b.sql"),
        *("functions/flow_signal/zeta.sql", "functions/flow_signal_v1/alpha.sql", "views/flow_signal_v1/health.sql"),
        *("rights", "end"),
    ]
    write(root / "sql/migrations/0003_c.sql", b"SELECT $script$1$script$;\n")
    with pytest.raises(BuildError, match=r"no_transaction.sql: the script contains \$script\$ or \$statement\$"):
        build(root, "no transaction")


@pytest.mark.parametrize(
    ("name", "definition", "row"),
    [
        (
            "sql/functions/flow_signal/zeta.sql",
            "CREATE OR REPLACE FUNCTION flow_signal.zeta(\n    p_a uuid,\n    p_b text [] DEFAULT '{a, b}',\n"
            "    p_c timestamp with time zone DEFAULT now()\n)\nRETURNS SETOF flow_signal_v1.waiter\n"
            "LANGUAGE sql\nAS 'SELECT 1';\n",
            "('functions/flow_signal/zeta.sql', '{p_a,p_b,p_c}', '{uuid,text [],timestamp with time zone}', 2, true,"
            " 'flow_signal_v1.waiter')",
        ),
        (
            "sql/views/flow_signal_v1/health.sql",
            "CREATE OR REPLACE VIEW flow_signal_v1.health AS\nWITH x AS (SELECT 1 AS no, 2)\n\nSELECT\n    x.a,\n"
            "    ARRAY[1, 2] AS b, -- c,\n    (SELECT f(3, 4)) AS c\nFROM x;\n",
            "('views/flow_signal_v1/health.sql', '{a,b,c}', NULL, NULL, NULL, NULL)",
        ),
    ],
)
def test_the_script_knows_what_can_be_replaced(root: Path, name: str, definition: str, row: str) -> None:
    write(root / name, definition.encode())
    assert row in build(root)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param(
            "sql/functions/flow_signal/other.sql",
            FUNCTION.format("flow_signal.zeta()").encode(),
            "other.sql: must create flow_signal.other and nothing else, creates flow_signal.zeta$",
            id="function of another name",
        ),
        pytest.param(
            "sql/functions/flow_signal_v1/alpha.sql",
            FUNCTION.format("flow_signal.alpha()").encode(),
            "must create flow_signal_v1.alpha and nothing else, creates flow_signal.alpha$",
            id="function in another schema",
        ),
        pytest.param(
            "sql/functions/flow_signal_v1/alpha.sql",
            2 * FUNCTION.format("flow_signal_v1.alpha()").encode(),
            "creates flow_signal_v1.alpha, flow_signal_v1.alpha$",
            id="two functions in a file",
        ),
        pytest.param(
            "sql/functions/flow_signal_v1/beta.sql", b"SELECT 1;\n", "creates nothing$", id="no function in a file"
        ),
        pytest.param(
            "sql/functions/gamma.sql",
            FUNCTION.format("flow_signal.gamma()").encode(),
            "must create functions.gamma",
            id="function outside its schema's folder",
        ),
        pytest.param(
            "sql/views/flow_signal_v1/stats.sql",
            b"CREATE VIEW flow_signal_v1.health AS SELECT 1;\n",
            "must create flow_signal_v1.stats",
            id="view of another name",
        ),
        pytest.param(
            "sql/migrations/0004_d.sql",
            b"",
            "0004_d.sql: the next migration is 0003_<words>.sql$",
            id="number left out",
        ),
        pytest.param(
            "sql/migrations/0002_c.sql",
            b"",
            "0002_c.sql: the next migration is 0003_<words>.sql$",
            id="number used twice",
        ),
        pytest.param("sql/migrations/fix.sql", b"", "the next migration is 0003_", id="migration without a number"),
        pytest.param(
            "sql/migrations/0003_c.sql",
            b"SELECT '@VERSION@';\n",
            "@VERSION@ would change a migration with each release$",
            id="version in a migration",
        ),
        pytest.param(
            "sql/migrations/0001_a.sql", TABLE.encode() + b"\n", "0001_a.sql: released", id="released migration changed"
        ),
        pytest.param("sql/migrations/0003_c.sql", b"SELECT '\xff';\n", "0003_c.sql: .*utf-8", id="not UTF-8"),
        pytest.param(
            "sql/migrations/0003_c.sql", b"SELECT 1;\n  \\gexec\n;\n", "psql backslash command$", id="backslash command"
        ),
        pytest.param(
            "sql/migrations/0003_c.sql",
            b"DO $part$ BEGIN END $part$;\n",
            r"contains \$part\$, the quote around every statement$",
            id="the script's own dollar quote",
        ),
        pytest.param(
            "sql/migrations/0003_c.sql", b"SELECT 1;\nSELECT 2\n", "a statement ends with a semicolon$", id="no end"
        ),
        pytest.param("sql/migrations/0003_c.sql", b"-- ;\n", "a statement ends with a semicolon$", id="no statement"),
        pytest.param(
            "sql/functions/flow_signal/zeta.sql",
            FUNCTION.format("flow_signal.zeta(uuid)").encode(),
            "parameters are written p_name type DEFAULT value, then comes RETURNS type$",
            id="parameter without a name",
        ),
        pytest.param(
            "sql/views/flow_signal_v1/health.sql",
            b"CREATE OR REPLACE VIEW flow_signal_v1.health AS SELECT 1;\n",
            "each column of a view has a name, written last$",
            id="column without a name",
        ),
        pytest.param(
            "sql/functions/flow_signal/zeta.sql",
            FUNCTION.format("flow_signal.zeta()").encode()
            + b"GRANT EXECUTE ON FUNCTION flow_signal.zeta() TO flow_signal_reader;\n",
            "grants EXECUTE or SELECT on flow_signal_v1.zeta, nothing else$",
            id="grant on a helper",
        ),
        pytest.param(
            "sql/migrations/0003_c.sql",
            b"GRANT SELECT ON flow_signal.b TO PUBLIC;\n",
            "0003_c.sql: grants",
            id="grant in a migration",
        ),
        pytest.param("pyproject.toml", b"[project]\n", "pyproject.toml: no line version", id="no version"),
    ],
)
def test_refused(root: Path, name: str, content: bytes, message: str) -> None:
    build(root)
    write(root / name, content)
    with pytest.raises(BuildError, match=message):
        build(root)


@pytest.mark.parametrize(
    "name", ["sql/migrations/0001_a.sql", "sql/migrations/frozen.sha256", "sql/roles.sql", "sql/install/end.sql"]
)
def test_a_missing_file_is_refused(root: Path, name: str) -> None:
    (root / name).unlink()
    (root / "sql/migrations/0002_b.sql").unlink()  # so that no gap in the numbers is found first
    with pytest.raises(BuildError, match=Path(name).name):
        build(root)


def test_the_script_does_not_depend_on_where_and_when_it_is_built(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for name, text in reversed(TREE.items()):
        write(elsewhere / name, text.encode())
    assert build(elsewhere) == build(root)


def test_the_command_writes_the_script_to_a_file_or_to_standard_output(tmp_path: Path) -> None:
    output = tmp_path / "out.sql"
    subprocess.run([sys.executable, ROOT / "sql/build.py", "-o", output], check=True)
    printed = subprocess.run(
        [sys.executable, ROOT / "sql/build.py"], check=True, capture_output=True, encoding="utf-8"
    ).stdout
    assert printed == output.read_text(encoding="utf-8") == build()
    assert list(tmp_path.iterdir()) == [output]
    assert f"flow-signal {read_version(ROOT)}" in printed


def test_the_command_names_what_is_wrong_and_writes_nothing(root: Path) -> None:
    write(root / "sql/build.py", (ROOT / "sql/build.py").read_bytes())
    (root / "sql/functions/flow_signal/zeta.sql").write_text("SELECT 1;\n")
    command: list[str | Path] = [sys.executable, root / "sql/build.py", "-o", root / "out.sql"]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("sql/build.py: ")
    assert "zeta.sql: must create flow_signal.zeta" in result.stderr
    assert not (root / "out.sql").exists()
