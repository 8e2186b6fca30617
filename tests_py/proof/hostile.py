"""Values that no caller should send, for each type of SQL, as the protocols carry them.

A value has two forms: its text, and its bytes in PostgreSQL's binary format (None where there are none). `Values`
makes them from a random generator alone, so that a seed repeats them.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

SECRET = "s3cr3t"
"""Is in every payload, and so must be in no text."""

EPOCH_OF_2000 = 946_684_800_000_000
MIB = 1_048_576

OIDS = {"uuid": 2950, "text": 25, "timestamp with time zone": 1184, "interval": 1186, "integer": 23, "bigint": 20}
OIDS |= {"boolean": 16, "uuid[]": 2951, "text[]": 1009, "timestamp with time zone[]": 1185}

BLANKS = [
    *("", " ", "\t", "\n", "\v", "\f", "\r", "\x1c", "\x1f", "\x85", "\u00a0", "\u1680", "\u180e", "\u2003", "\u2007"),
    *("\u200b", "\u2028", "\u2029", "\u202f", "\u205f", "\u2060", "\u3000", "\ufeff", " \u00a0\u3000\t"),
]
ODD_TEXTS = [
    *("'", "''", '"', "\\", "\\'", "$1", "%s %I %L %%", "$function$", "--", "/*", ";", "a\0b", "\0", "\x01", "\x7f"),
    *("NULL", "null", "{}", "{NULL}", "[]", "0", "*", "pg_temp", "İ", "ß", "ﬀ", "e\u0301", "\u202eabc", "\U0001f600"),
    *("\U0010ffff", "\ufffe", "\ud800", "\udfff\ud800", "Ω", "あ", "é", "\x80", "x" * 255, "x" * 256, "x" * 257),
    *("é" * 256, "あ" * 256, "\U0001f600" * 256, "\U0001f600" * 257, " " * 256 + "x", "x" * 63, "x" * 64, "é" * 32),
    *("x" * 100_000, "é" * 63, "\n".join("ab"), "'; SELECT 1; --", "waiting", "delivered", "WAITING", "expired"),
]
INSTANTS = [
    *("infinity", "-infinity", "now", "today", "tomorrow", "epoch", "allballs", "0001-01-01 00:00:00+00"),
    *("0001-12-31 23:59:59.999999+00 BC", "4713-01-01 00:00:00+00 BC", "9999-12-31 23:59:59.999999+00", "2000-02-30"),
    *("10000-01-01 00:00:00+00", "294276-12-31 23:59:59.999999+00", "294277-01-01", "99999999-01-01", "soon", ""),
    *("2030-01-01 00:00:00 Nowhere/City", "2030-01-01 24:00:00+00", "2030-06-31", "2016-12-31 23:59:60+00", "J2451187"),
    *("2030-01-01 00:00:00+15:59:59", "2030-01-01 00:00:00+16", "1/2/3", "2030-01-01T00:00:00.0000005Z", "20300101"),
    *("2000-01-01", "2999-01-01", "-1-01-01", "infinity BC", "y2001m02d04", "2030-01-01 America/New_York"),
]
INTERVALS = [
    *(
        "0",
        "1 minute",
        "-1 second",
        "1 microsecond",
        "00:00:00.000001",
        "12 mon -360 days",
        "-12 mon 366 days",
        "1 day",
    ),
    *("1 mon -30 days", "-1 mon 32 days", "1 day 00:00:00.000001", "24:00:00", "1 day -24:00:00", "178000000 years"),
    *(
        "-178000000 years",
        "5 minutes",
        "00:05:00.000001",
        "2147483647 days",
        "-2147483648 days",
        "infinity",
        "soon",
        "",
    ),
    *(
        "2147483647 mon",
        "1 mon -1 mon",
        "2562047788:00:54.775807",
        "-infinity",
        "P1Y-1D",
        "1 century ago",
        "@ 1 minute",
    ),
    *("1000000 hours -41666 days", "1 year -12 mons 00:00:10", "99999999999999999999 s", "1e300 s", "-0.0000001 s"),
]
NUMBERS = ["0", "1", "-1", "2", "10", "100", "1000", "10000", "10001", "100000", "100001", "2147483647", "-2147483648"]
NUMBERS += [
    "2147483648",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "1e3",
    "",
    " 5 ",
    "0x10",
]
UUIDS = ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "", "x", "{", "c0ffee"]
UUIDS += [
    "{C0FFEE00-0000-4000-8000-000000000000}",
    "c0ffee000000400080000000000000000",
    "c0ffee00-0000-4000-8000-00000000000g",
]
BOOLEANS = ["true", "false", "yes", "off", "1", "t", "2", "", "maybe", " T "]

STEPS = ["s", "t", "live", "overdue", "delivered", "queued"]
SIGNALS = ["go", "stop", "early"]
IDS = ["id-1", "id-2", "id-3"]


class Value(NamedTuple):
    text: str | None
    binary: bytes | None = None
    has_binary: bool = False

    @property
    def is_null(self) -> bool:
        return self.text is None and not self.has_binary


NULL = Value(None)


def encode(text: str) -> bytes:
    """In UTF-8, lone surrogates included, which makes it invalid."""
    return text.encode("utf-8", "surrogatepass")


def of_text(text: str) -> Value:
    return Value(text, encode(text), True)


class Values:
    """Values for the parameters of the API, good ones and hostile ones."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.runs = [str(UUID(int=dice.getrandbits(128))) for _ in range(3)]
        self.hostile_of: dict[str, Callable[[], Value]] = {
            "uuid": self.uuid,
            "text": self.any_text,
            "timestamp with time zone": self.instant,
            "interval": self.interval,
            "integer": lambda: self.number(">i"),
            "bigint": lambda: self.number(">q"),
            "boolean": lambda: Value(dice.choice(BOOLEANS)),
        }

    # -- what a caller should send

    def good(self, name: str, type_name: str) -> Value:
        dice = self.dice
        if type_name.endswith("[]"):
            element = type_name[:-2]
            singular = {"p_step_keys": "p_step_key", "p_signal_names": "p_signal_name", "p_run_ids": "p_run_id"}
            singular |= {"p_payloads_json": "p_payload_json", "p_delivery_ids": "p_delivery_id"}
            return self.array_of([self.good(singular.get(name, name), element) for _ in range(2)], element)
        if type_name == "uuid":
            run = dice.choice(self.runs)
            return Value(run, UUID(run).bytes, True)
        if type_name == "text":
            choices = {"p_step_key": STEPS, "p_signal_name": SIGNALS, "p_delivery_id": IDS, "p_queue": ["q"]}
            choices |= {"p_after_step_key": STEPS, "p_state": ["waiting", "delivered", "expired"]}
            choices |= {"p_wake_channel": ["c"], "p_schema": ["engine"], "p_payload_json": [self.payload()]}
            return of_text(dice.choice(choices.get(name, ["x"])))
        texts = {"timestamp with time zone": ["2999-01-01 00:00:00+00", "2001-01-01 00:00:00+00"], "boolean": ["false"]}
        texts |= {"interval": ["0", "00:00:00.01"], "integer": ["1", "10"], "bigint": ["1"]}
        return Value(dice.choice(texts[type_name]))

    def payload(self) -> str:
        return json.dumps({SECRET: self.dice.randrange(10**6)})

    # -- what it should not

    def hostile(self, name: str, type_name: str) -> Value:
        if self.dice.random() < 0.08:
            return NULL
        if type_name.endswith("[]"):
            return self.array(name, type_name[:-2])
        if "payload" in name:
            return of_text(self.json())
        return self.hostile_of[type_name]()

    def any_text(self) -> Value:
        dice = self.dice
        match dice.randrange(6):
            case 0:
                return of_text("".join(dice.choices(BLANKS, k=dice.randint(1, 3))))
            case 1 | 2:
                return of_text(dice.choice(ODD_TEXTS))
            case 3:
                return of_text("".join(dice.choices(ODD_TEXTS[:40] + BLANKS, k=dice.randint(1, 6))))
            case 4:
                return Value("x", dice.randbytes(dice.randint(0, 20)), True)
            case _:
                return of_text("".join(chr(dice.randrange(1, 0x110000)) for _ in range(dice.randint(1, 300))))

    def json(self) -> str:
        """Each has the secret in it, where a parser that complains could show it."""
        dice = self.dice
        good = self.payload()
        depth = dice.choice([10, 500, 3_000, 6_000, 20_000, 200_000])
        wrong = [
            *(good[:-1], good + ",", good + good, f"{{{SECRET}: 1}}", f"'{SECRET}'", f'"{SECRET}', f'"{SECRET}\\u12"'),
            *(
                f'"{SECRET}\\x"',
                f'{{"a" "{SECRET}"}}',
                f'{{"{SECRET}":}}',
                f'["{SECRET}",]',
                f"[{SECRET}",
                SECRET,
                "NaN",
            ),
            *(
                "Infinity",
                "-",
                "01",
                "1.",
                ".5",
                "+1",
                "1e",
                "tru",
                "TRUE",
                "nul",
                "",
                " ",
                "\t\n",
                "{",
                "]",
                "\\",
                '"\\',
            ),
            *(f'"{SECRET}\n{SECRET}"', f'"{SECRET}\x01"', f"\u00a0{good}", f"\ufeff{good}", f"{good}\u3000"),
            *(f'"{SECRET}\\ud800"', f'"{SECRET}\ud800"', f'"{SECRET}\\u0000"', f'"{SECRET}\0"', f"/*{SECRET}*/1"),
            *("\n" * 50 + f"[{SECRET}]", f'["{SECRET}", ' + "x" * 5000, '{"a":' * 30 + SECRET),
        ]
        odd = [
            *("1e999999", "-0", "1" * 5_000, f'"{SECRET}\\u0041"', f'{{"{SECRET}":1,"{SECRET}":2}}', "[]", "null"),
            *("1", '""', f' \t\r\n"{SECRET}" ', f'["{SECRET}", "\U0001f600\u2028"]', '{"":{"":""}}', "1E-999999"),
        ]
        huge = [
            *("[" * depth + f'"{SECRET}"' + "]" * depth, '{"a":' * depth + f'"{SECRET}"' + "}" * depth),
            *("[" * depth + f'"{SECRET}"', "[" * depth + f"{SECRET}"),
            *('"' + SECRET.ljust(MIB - 2, "x") + '"', '"' + SECRET.ljust(MIB - 1, "x") + '"', SECRET.ljust(2 * MIB)),
            *('"' + SECRET + "é" * (MIB // 2 - 4) + '"', '"' + SECRET + "é" * (MIB // 2) + '"'),
        ]
        kind = dice.random()
        return dice.choice(wrong if kind < 0.6 else odd if kind < 0.92 else huge)

    def uuid(self) -> Value:
        if self.dice.random() < 0.5:
            return Value(self.dice.choice(UUIDS))
        return Value(self.runs[0], self.dice.randbytes(self.dice.choice([0, 1, 15, 16, 17])), True)

    def instant(self) -> Value:
        dice = self.dice
        if dice.random() < 0.6:
            return Value(dice.choice(INSTANTS))
        microseconds = dice.choice(
            [2**63 - 1, -(2**63), 2**63 - 2, -(2**63) + 1, 0, -1, dice.getrandbits(63), -dice.getrandbits(63)]
            + [year_1 + off for year_1 in (-62_135_596_800_000_000, 253_402_300_800_000_000) for off in (-1, 0, 1)]
        )
        if abs(microseconds) < 2**62:
            microseconds -= EPOCH_OF_2000
        return Value("now", cut(dice, struct.pack(">q", microseconds)), True)

    def interval(self) -> Value:
        dice = self.dice
        if dice.random() < 0.6:
            return Value(dice.choice(INTERVALS))
        whole = [0, 1, -1, 12, -12, 30, -30, 360, -360, 2**31 - 1, -(2**31)]
        times = [0, 1, -1, 86_400_000_000, -86_400_000_000, 2**63 - 1, -(2**63), dice.getrandbits(40)]
        packed = struct.pack(">qii", dice.choice(times), dice.choice(whole), dice.choice(whole))
        return Value("1 minute", cut(dice, packed), True)

    def number(self, form: str) -> Value:
        dice = self.dice
        if dice.random() < 0.7:
            return Value(dice.choice(NUMBERS))
        bits = 8 * struct.calcsize(form)
        return Value("1", cut(dice, struct.pack(form, dice.getrandbits(bits) - 2 ** (bits - 1))), True)

    # -- arrays

    def array(self, name: str, element: str) -> Value:
        dice = self.dice

        def one() -> Value:
            plural = name.removeprefix("p_")
            singular = {"step_keys": "step_key", "signal_names": "signal_name", "delivery_ids": "delivery_id"}
            good_name = "p_" + singular.get(plural, "payload_json" if "payload" in plural else plural)
            kind = dice.random()
            if kind < 0.08:
                return NULL
            return self.good(good_name, element) if kind < 0.7 else self.hostile(name, element)

        length = dice.choice([0, 0, 1, 2, 2, 2, 3, 5])
        elements = [one() for _ in range(length)]
        match dice.randrange(8):
            case 0:  # odd bounds
                low = dice.choice([-3, 0, 2, 100, -(2**31), 2**31 - 1 - length])
                return self.array_of(elements, element, low=low)
            case 1:  # more dimensions
                return self.array_of(elements or [one()], element, dimensions=dice.choice([2, 3, 6, 7]))
            case 2 if "payload" not in name:
                return Value(
                    dice.choice(["", "{", "}", "{{}", "{a", "{a,{b}}", "{{a},{b,c}}", "[0:1]={a}", '{"a}', "{,}"])
                )
            case 3:
                return Value("{}", dice.randbytes(dice.choice([0, 4, 12, 20, 40])), True)
            case 4 if dice.random() < 0.05:
                return self.array_of([self.good(name, element)] * 3_000, element)
            case _:
                return self.array_of(elements, element)

    def array_of(self, elements: Sequence[Value], element: str, *, low: int = 1, dimensions: int = 1) -> Value:
        text = "{" * dimensions + ",".join(quoted(value.text) for value in elements) + "}" * dimensions
        if low != 1 and elements:
            text = f"[{low}:{low + len(elements) - 1}]={text}"
        elif not elements:
            text = "{}"
        binary = [b"" if value.binary is None else value.binary for value in elements]
        has_binary = all(value.has_binary or value.is_null for value in elements)
        if not has_binary:
            return Value(text)
        bounds = [(1, 1)] * (dimensions - 1) + [(len(elements), low)] if elements else []
        head = struct.pack(">iiI", len(bounds), int(any(v.is_null for v in elements)), OIDS[element])
        head += b"".join(struct.pack(">ii", *bound) for bound in bounds)
        body = b"".join(
            struct.pack(">i", -1) if value.is_null else struct.pack(">i", len(data)) + data
            for value, data in zip(elements, binary, strict=True)
        )
        return Value(text, head + body, True)


def cut(dice: random.Random, data: bytes) -> bytes:
    """Now and then too short or too long."""
    kind = dice.random()
    return data[:-1] if kind < 0.03 else data + b"x" if kind < 0.06 else data


def quoted(text: str | None) -> str:
    """An element of an array's text."""
    if text is None:
        return "NULL"
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def shown(value: Any) -> str:
    """For a report: short, and one line."""
    text = ascii(value)
    return text if len(text) <= 120 else f"{text[:80]}...{len(text)}"
