"""One caller with no manners: any value for any parameter, in every protocol, under settings of its own choice.

Each answer is judged at once, by `Caller.objections`: a result, or an SQLSTATE that docs/api.md names for the function
or docs/errors.md lists as PostgreSQL's own; after an error the tables as they were; texts that are short and have
nothing of a payload in them.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg import pq
from psycopg.pq import DiagnosticField, ExecStatus

from sql.build import ROOT, read
from tests_py.proof.hostile import OIDS, SECRET, Value, Values, encode, shown

API = read(ROOT / "docs/api.md")
ERRORS = read(ROOT / "docs/errors.md")

OWN = set(re.findall(r"^\| (\w{5}) \|", ERRORS.split("## PostgreSQL's own")[1].split("\n## ")[0], re.M))
OWN.add("22P02")  # "PostgreSQL raises the same code" for what is no UUID
RAISED = {
    name: set(re.findall(r"\[(\w{5})\]\(errors.md", errors))
    for name, errors in re.findall(r"^## (\w+)\n(?:(?!## ).*\n)*?\* Errors: (.*)\n", API, re.M)
}
IMPOSSIBLE = {"40P01", "40001", "3F000", "57P01"}
"""Documented, but not for a lonely caller."""

MOST_CHARACTERS = 1_000
"""Of MESSAGE, DETAIL and HINT together, when a function of ours has raised it."""

TABLES = ["waiters", "locks", "receipts", "buffered_signals", "settings"]
CONTENTS = "SELECT " + ", ".join(
    f"(SELECT coalesce(sum(hashtextextended(t::text, 0)), 0)::text FROM flow_signal.flow_signal_{name} AS t)"
    for name in TABLES
)
UNSOUND = """
SELECT format('waiter %s %s', run_id, octet_length(step_key)) FROM flow_signal.flow_signal_waiters
WHERE length(step_key) NOT BETWEEN 1 AND 256 OR length(signal_name) NOT BETWEEN 1 AND 256
    OR length(queue) NOT BETWEEN 1 AND 256 OR octet_length(wake_channel) NOT BETWEEN 1 AND 63
    OR btrim(step_key) = '' OR btrim(signal_name) = '' OR btrim(queue) = '' OR btrim(wake_channel) = ''
    OR expires_at NOT BETWEEN '0001-01-01 00:00:00+00' AND '9999-12-31 23:59:59.999999+00'
    OR created_at NOT BETWEEN '0001-01-01 00:00:00+00' AND '9999-12-31 23:59:59.999999+00'
    OR delivered_at >= expires_at OR octet_length(payload_json::text) > 1048576
    OR (status = 'delivered') <> (delivered_at IS NOT NULL) OR status NOT IN ('waiting', 'delivered', 'expired')
    OR (queue IS NULL AND due_at IS NOT NULL) OR due_at > clock_timestamp() + '1 day' AND due_at <> expires_at
UNION ALL
SELECT format('buffered %s %s', run_id, position) FROM flow_signal.flow_signal_buffered_signals
WHERE length(signal_name) NOT BETWEEN 1 AND 256 OR length(delivery_id) NOT BETWEEN 1 AND 256
    OR btrim(signal_name) = '' OR btrim(delivery_id) = '' OR octet_length(payload_json::text) > 1048576
    OR buffered_until NOT BETWEEN '0001-01-01 00:00:00+00' AND '9999-12-31 23:59:59.999999+00'
UNION ALL
SELECT format('receipt %s', run_id) FROM flow_signal.flow_signal_receipts
WHERE length(delivery_id) NOT BETWEEN 1 AND 256 OR btrim(delivery_id) = ''
"""

SETTINGS = {
    "DateStyle": ["German, DMY", "SQL, MDY", "Postgres, YMD", "ISO, DMY"],
    "IntervalStyle": ["sql_standard", "iso_8601", "postgres_verbose"],
    "TimeZone": ["Pacific/Apia", "<x>+15", "Asia/Kathmandu", "-15:59", "Europe/Dublin"],
    "client_encoding": ["LATIN1", "SQL_ASCII", "SJIS", "EUC_JP", "WIN1252", "GB18030", "UHC", "BIG5", "KOI8R"],
    "standard_conforming_strings": ["off"],
    "escape_string_warning": ["on"],
    "backslash_quote": ["off", "on"],
    "array_nulls": ["off"],
    "transform_null_equals": ["on"],
    "quote_all_identifiers": ["on"],
    "extra_float_digits": ["-15", "3"],
    "search_path": ['""', "pg_temp", "flow_signal, public"],
    "row_security": ["off"],
    "plan_cache_mode": ["force_generic_plan", "force_custom_plan"],
    "enable_indexscan": ["off"],
    "enable_nestloop": ["off"],
    "work_mem": ["64kB"],
    "default_transaction_isolation": ["serializable", "repeatable read", "read uncommitted"],
    "default_transaction_read_only": ["on"],
    "default_transaction_deferrable": ["on"],
    "xmloption": ["document"],
    "bytea_output": ["escape"],
    "jit": ["off"],
    "statement_timeout": ["1", "20"],
    "flow_signal.purge_block": ["-1", "99999999999999999999", "x", "9999999999", "", "0"],
    "plpgsql.extra_errors": ["all"],
    "plpgsql.check_asserts": ["off"],
    "check_function_bodies": ["off"],
    "default_toast_compression": ["pglz"],
    "lc_messages": ["C"],
    "role": ["flow_signal_sender", "flow_signal_reader", "flow_signal_engine", "none"],
}
REFILL = """
DELETE FROM flow_signal.flow_signal_waiters;
DELETE FROM flow_signal.flow_signal_locks;
DELETE FROM flow_signal.flow_signal_receipts;
DELETE FROM flow_signal.flow_signal_buffered_signals;
SELECT flow_signal_v1.register_waiter(r::uuid, 'live', 'go', p_wake_channel => 'c'),
    flow_signal_v1.register_waiter(r::uuid, 'overdue', 'stop', '2001-01-01', p_queue => 'q'),
    flow_signal_v1.register_waiter(r::uuid, 'delivered', 'done'),
    flow_signal_v1.register_waiter(r::uuid, 'queued', 'go', p_queue => 'q')
FROM unnest(%(runs)s::text[]) AS r;
SELECT flow_signal_v1.deliver_signal(r::uuid, 'done', '{"%(secret)s": 1}', 'id-1'),
    flow_signal_v1.deliver_signal(r::uuid, 'early', '{"%(secret)s": 2}', 'id-2', '2999-01-01')
FROM unnest(%(runs)s::text[]) AS r;
"""

SCENE = f"""
UPDATE flow_signal.flow_signal_settings SET max_buffered = 1;
CREATE SCHEMA engine;
CREATE TABLE engine.flow_signal_waiters (run_id uuid, step_key text, signal_name text, created_at timestamptz,
    expires_at timestamptz, delivered_at timestamptz, payload_json text, PRIMARY KEY (run_id, step_key));
INSERT INTO engine.flow_signal_waiters VALUES
    (gen_random_uuid(), 's', 'go', '2001-01-01', NULL, NULL, NULL),
    (gen_random_uuid(), ' ', 'go', 'infinity', '-infinity', '4713-01-01 BC', '{{"{SECRET}"'),
    (gen_random_uuid(), '', NULL, NULL, NULL, NULL, NULL), (gen_random_uuid(), 's', 'go', now(), now(), now(), '1'),
    (gen_random_uuid(), 's', repeat('x', 300), now(), 'infinity', now(), repeat('[', 100000)),
    (gen_random_uuid(), 's', 'go', now(), '2001-01-01', now(), '"{SECRET}');
GRANT USAGE ON SCHEMA engine TO public;
GRANT SELECT ON engine.flow_signal_waiters TO public;
"""


class Function(NamedTuple):
    name: str
    parameters: Sequence[tuple[str, str, bool]]
    """Name, type, and whether it has a default."""


class Answer(NamedTuple):
    sqlstate: str | None
    """None for a result."""
    texts: dict[str, str]


FIELDS = {
    "message": DiagnosticField.MESSAGE_PRIMARY,
    "detail": DiagnosticField.MESSAGE_DETAIL,
    "hint": DiagnosticField.MESSAGE_HINT,
    "context": DiagnosticField.CONTEXT,
    "query": DiagnosticField.INTERNAL_QUERY,
}


def functions(connection: psycopg.Connection[Any]) -> list[Function]:
    rows = connection.execute(
        """
        SELECT p.proname, p.proargnames[:p.pronargs], p.proargtypes::regtype[]::text[], p.pronargs - p.pronargdefaults
        FROM pg_proc AS p WHERE p.pronamespace = 'flow_signal_v1'::regnamespace ORDER BY p.proname
        """
    ).fetchall()
    return [
        Function(name, [(n, t, i >= needed) for i, (n, t) in enumerate(zip(names or [], types, strict=True))])
        for name, names, types, needed in rows
    ]


class Tables:
    """What is stored, as somebody else sees it."""

    def __init__(self, conninfo: str, runs: Sequence[str]) -> None:
        self.connection = psycopg.connect(conninfo, autocommit=True, client_encoding="UTF8")
        self.runs = runs

    def refill(self) -> Any:
        """Begin anew from a few rows of each kind."""
        runs = "'{" + ",".join(self.runs) + "}'"
        self.connection.execute((REFILL % {"runs": runs, "secret": SECRET}).encode())
        return self.contents()

    def contents(self) -> Any:
        """Something that changes with every row."""
        return self.connection.execute(CONTENTS.encode()).fetchone()

    def unsound(self) -> list[str]:
        """Rows that should not be possible."""
        return [f"stored: {text}" for (text,) in self.connection.execute(UNSOUND.encode())]


class Caller:
    """A connection of a login that may call everything, and the tables."""

    def __init__(self, conninfo: str, login: str, seed: object) -> None:
        self.dice = random.Random(str(seed))
        self.values = Values(self.dice)
        self.tables = Tables(conninfo, self.values.runs)
        self.functions = functions(self.tables.connection)
        self.conninfo = psycopg.conninfo.make_conninfo(conninfo, user=login, client_encoding="UTF8")
        self.settings: dict[str, str] = {}
        self.counts: Counter[str] = Counter()
        self.notices: list[Any] = []
        self.connect()
        self.contents = self.tables.refill()

    def connect(self) -> None:
        self.connection = psycopg.connect(self.conninfo, autocommit=True)
        self.pgconn = self.connection.pgconn
        self.pgconn.notice_handler = self.notices.append
        self.settings = {}

    def close(self) -> None:
        self.connection.close()
        self.tables.connection.close()

    def round(self, inputs: int) -> list[str]:
        """Make that many calls; return what is wrong."""
        found = []
        for number in range(inputs):
            if number % 50 == 0:
                found += self.tables.unsound()
                self.contents = self.tables.refill()
            found += self.one()
            if len(found) > 20:
                break
        return found

    def one(self) -> list[str]:
        dice = self.dice
        self.change_settings()
        function = dice.choice(self.functions)
        arguments = self.choose(function)
        begin = dice.choice(BEGINNINGS) if dice.random() < 0.1 else ""
        if begin:
            self.pgconn.exec_(begin.encode())
        how, answer = self.send(function, arguments)
        if begin:
            self.pgconn.exec_(b"ROLLBACK")
        self.counts[answer.sqlstate or "result"] += 1
        objections = list(self.objections(function.name, answer, bool(begin)))
        if not objections:
            return []
        given = ", ".join(f"{name} => {shown(value.text)}/{shown(value.binary)}" for name, _, value in arguments)
        texts = {name: shown(text) for name, text in answer.texts.items()}
        where = f"{how} {begin} {self.settings}"
        return [f"{text}: {function.name}({given}) [{where}] {answer.sqlstate} {texts}" for text in objections]

    def change_settings(self) -> None:
        if self.dice.random() < 0.1:
            self.pgconn.exec_(b"RESET ALL")
            self.pgconn.exec_(b"RESET role")
            self.settings = {}
        if self.dice.random() < 0.3:
            name = self.dice.choice(list(SETTINGS))
            value = self.dice.choice(SETTINGS[name])
            result = self.pgconn.exec_(f"SET {name} = '{value}'".encode())
            if result.status == ExecStatus.COMMAND_OK:
                self.settings[name] = value

    def choose(self, function: Function) -> list[tuple[str, str, Value]]:
        """One or two hostile arguments among good ones, defaults left out or not."""
        dice = self.dice
        names = [name for name, _, _ in function.parameters]
        hostile = set(dice.sample(names, min(len(names), dice.choice([0, 1, 1, 1, 2, 2, 8]))))
        chosen = []
        for name, type_name, has_default in function.parameters:
            if name in hostile:
                chosen.append((name, type_name, self.values.hostile(name, type_name)))
            elif not has_default or dice.random() < 0.4:
                chosen.append((name, type_name, self.values.good(name, type_name)))
        if len(chosen) > 1 and dice.random() < 0.01:
            chosen.pop(dice.randrange(len(chosen)))
        return chosen

    def send(self, function: Function, arguments: list[tuple[str, str, Value]]) -> tuple[str, Answer]:
        """In one of the protocols; say which."""
        dice = self.dice
        protocol = dice.choice(["simple", "text", "binary", "binary", "prepared", "unknown"])
        timeout = b"300" if "await" in function.name else b"20000"
        if "statement_timeout" not in self.settings:
            self.pgconn.exec_(b"SET statement_timeout = " + timeout)
        if protocol == "simple":
            listed = ", ".join(f"{name} => {self.literal(value)}::{type_name}" for name, type_name, value in arguments)
            result = self.pgconn.exec_(encode(self.query(function.name, listed)).replace(b"\0", b""))
            return protocol, self.answer(result)
        markers = [f"${number}" for number in range(1, len(arguments) + 1)]
        if protocol == "unknown":
            markers = [f"{m}::{type_name}" for m, (_, type_name, _) in zip(markers, arguments, strict=True)]
        listed = ", ".join(f"{name} => {m}" for m, (name, _, _) in zip(markers, arguments, strict=True))
        query = self.query(function.name, listed).encode()
        oids = [OIDS[type_name] for _, type_name, _ in arguments]
        if protocol == "unknown":
            oids = [0] * len(oids)
        elif oids and dice.random() < 0.02:
            oids[dice.randrange(len(oids))] = dice.choice(list(OIDS.values()))
        wants_binary = protocol == "binary"
        formats = [int(v.has_binary and (wants_binary or v.text is None)) for _, _, v in arguments]
        data: list[bytes | None] = []
        for (_, _, value), form in zip(arguments, formats, strict=True):
            given = value.binary if form else None if value.text is None else encode(value.text)
            data.append(given)
        result_format = dice.choice([0, 1])
        if protocol == "prepared":
            result = self.pgconn.prepare(b"", query, oids)
            if result.status == ExecStatus.COMMAND_OK:
                result = self.pgconn.exec_prepared(b"", data, formats, result_format)  # type: ignore[arg-type]  # None is a NULL
        else:
            result = self.pgconn.exec_params(query, data, oids, formats, result_format)
        return protocol, self.answer(result)

    def query(self, name: str, arguments: str) -> str:
        call = f"flow_signal_v1.{name}({arguments})"
        return self.dice.choice([f"SELECT f.* FROM {call} AS f", f"SELECT {call}", f"SELECT f FROM {call} AS f"])

    def literal(self, value: Value) -> str:
        if value.text is None:
            return "NULL"
        text = value.text.replace("'", "''")
        return "'" + (text.replace("\\", "\\\\") if "standard_conforming_strings" in self.settings else text) + "'"

    def answer(self, result: pq.abc.PGresult) -> Answer:
        if result.status in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            return Answer(None, {})
        texts = {name: decoded(result.error_field(field)) for name, field in FIELDS.items()}
        return Answer(decoded(result.error_field(DiagnosticField.SQLSTATE)) or "none", texts)

    def objections(self, function: str, answer: Answer, in_transaction: bool) -> Any:
        notices = [decoded(notice.error_field(field)) for notice in self.notices for field in FIELDS.values()]
        self.notices.clear()
        if any(SECRET in text for text in notices):
            yield "a payload in a notice"
        contents = self.tables.contents()
        if self.pgconn.status != pq.ConnStatus.OK:
            yield "the session has ended"
            self.connect()
        if answer.sqlstate is None:
            if in_transaction and contents != self.contents:
                yield "a rollback leaves something"
            self.contents = contents
            return
        if contents != self.contents:
            yield "an error changes the tables"
            self.contents = contents
        if answer.sqlstate not in RAISED.get(function, set()) | OWN or answer.sqlstate in IMPOSSIBLE:
            yield "not documented"
        elif answer.sqlstate == "57014" and "statement_timeout" not in self.settings and "await" not in function:
            yield "does not end"
        if any(SECRET in text for text in answer.texts.values()) and "malformed array" not in answer.texts["message"]:
            yield "a payload in a text"
        ours = "flow_signal" in answer.texts["context"]
        if ours and sum(len(answer.texts[name]) for name in ("message", "detail", "hint")) > MOST_CHARACTERS:
            yield "too long a text"


BEGINNINGS = [
    *("BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ", "BEGIN ISOLATION LEVEL SERIALIZABLE", "BEGIN READ ONLY"),
    *("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE", "BEGIN ISOLATION LEVEL READ UNCOMMITTED"),
]


def decoded(field: bytes | None) -> str:
    return (field or b"").decode("utf-8", "replace")
