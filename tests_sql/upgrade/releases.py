"""The releases that the tests upgrade from: the first one, the newest of each minor, and one made up for the tests.

The folder releases/ has every script, since the extension is updated from each of them.

Nobody ever had the made-up one. It has today's tables and none of today's functions: each has another body, other
settings, rights and another comment there, and beside them is a helper that is gone. The views have other comments.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from sql.build import RELEASES, ROOT, build
from tools.release import numbers

MADE_UP = "made-up"

FORMER_HELPER = """\
CREATE OR REPLACE FUNCTION flow_signal.former_helper(p_value text)
RETURNS text
LANGUAGE sql
IMMUTABLE
AS $function$
SELECT p_value
$function$;
"""

FORMER_FACTS = """
ALTER FUNCTION {name} SET work_mem = '1MB';
COMMENT ON FUNCTION {name} IS 'What it was.';
"""

DATA = """
SELECT flow_signal_v1.register_waiter(md5(r::text)::uuid, 'step ' || s, 'go', CASE s WHEN 3 THEN now() END)
FROM generate_series(1, 50) AS r, generate_series(1, 4) AS s;
SELECT flow_signal_v1.deliver_signal(md5(r::text)::uuid, 'go', '{"run" : ' || r || '}', 'id ' || r)
FROM generate_series(1, 100) AS r;
SELECT flow_signal_v1.deliver_signal(md5(r::text)::uuid, 'early', NULL, NULL, now() + interval '1 day')
FROM generate_series(1, 50) AS r;
"""
"""Calls that every release answers: lines with each kind of waiter, and buffered signals."""

CONTENTS = """
SELECT to_jsonb(w) FROM flow_signal_v1.list_waiters(p_limit => 1000) AS w
UNION ALL SELECT to_jsonb(b) FROM flow_signal_v1.list_buffered_signals(p_limit => 1000) AS b
ORDER BY 1
"""
"""The 250 rows that they leave."""


def releases() -> dict[str, str]:
    """The installation script of each of them."""
    scripts = {path.stem: path for path in (ROOT / RELEASES).glob("*.psql")}
    tried = to_try(scripts)
    return {MADE_UP: made_up("0.0.1"), **{version: scripts[version].read_text(encoding="utf-8") for version in tried}}


def to_try(versions: Iterable[str]) -> list[str]:
    """The first version and the newest of each minor, in their order."""
    ordered = sorted(versions, key=numbers)
    newest = {tuple(numbers(version)[:2]): version for version in ordered}
    return sorted({*ordered[:1], *newest.values()}, key=numbers)


def made_up(version: str) -> str:
    """The script of a release that differs from all others in every function, and from today's in every view."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shutil.copytree(ROOT / "sql", root / "sql")
        (root / "pyproject.toml").write_text(f'version = "{version}"\n')
        functions = root / "sql/functions"
        for path in functions.rglob("*.sql"):
            text = path.read_text(encoding="utf-8").replace("$function$\n", f"$function$\n-- {version}\n", 1)
            name = f"{path.parent.name}.{path.stem}"
            facts = FORMER_FACTS.format(name=name)
            if path.parent.name != "flow_signal":
                facts += f"GRANT EXECUTE ON FUNCTION {name} TO flow_signal_sender, flow_signal_reader;\n"
            path.write_text(text + facts, encoding="utf-8")
        for path in (root / "sql/views").rglob("*.sql"):
            name = f"{path.parent.name}.{path.stem}"
            facts = f"COMMENT ON VIEW {name} IS 'What it was.';\n"
            path.write_text(path.read_text(encoding="utf-8") + facts, encoding="utf-8")
        (functions / "flow_signal/former_helper.sql").write_text(FORMER_HELPER, encoding="utf-8")
        return build(root)
