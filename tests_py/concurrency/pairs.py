"""What a second call answers while a first one is not yet committed, for every pair of calls.

One table for each situation. A row is the first call, made in an open transaction, and its answer; a column is the
second call, in a transaction of its own. A cell is the second call's answer after the first commits / after it is
rolled back; one answer stands for both. `~`: the second call waits for the end of the first. The last column, late, is
remove at REPEATABLE READ and SERIALIZABLE, in a transaction that looked at the waiter before the first call was made.

The calls, in a run in which step v has waited for signal `other` before anything else happened:
    new      a step that is not registered waits for the signal (step a in the first transaction, b in the second)
    again    step w is registered for the signal, with a new deadline
    away     step w is registered for `other`
    hither   step v is registered for the signal
    send     a signal is sent (payload A by the first, B by the second)
    id       a signal is sent under an id, with payload S by both
    keep     like send, and kept while nobody waits
    keep id  like id, and kept while nobody waits
    get      look at step w
    remove   forget step w
    claim    claim what is over; only w has a queue
The answers:
    register, get, remove: W waiting, D delivered, E expired; the payload; o when it is for `other`; - for no row
    send: D delivered to, A already delivered to, E expired is, each with the step; B buffered, N not found, R replayed
    claim: as for get, with the step after the state; - for nothing
    WS001: the step holds the payload of another signal
    !: SQLSTATE 40001, the row has changed since the transaction looked (the first to come behind a head notes so there)

Why the answers are these:
* Whoever changes a line, or says something about it that a change could make untrue, holds it until the transaction
  ends; so most pairs wait, and the second call answers as if the first had ended before it began, or had never been.
* get waits for nobody and sees what is committed, claim skips what is locked.
* remove waits only for those that hold its row. Registering behind a head, or sending to a line with a head, locks
  that head's row; so does everything that changes the waiter.
* Nothing is held after a call that changed nothing and whose answer no one can make untrue without committing after it:
  remove, get and claim that find nothing, a repeat of a registration, and send to a line whose only waiter is settled.
* Lines are held apart: what is done to another signal of the run waits only for a waiter that moves between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SECONDS = ("new", "again", "away", "hither", "send", "id", "keep", "keep id", "get", "remove", "claim")


@dataclass(frozen=True)
class Cell:
    waits: bool
    after_commit: str
    after_rollback: str


@dataclass(frozen=True)
class FirstCall:
    answer: str
    seconds: Mapping[str, Cell]
    remove_in_snapshot: Cell


def parse(table: str) -> dict[str, FirstCall]:
    header, *lines = [[cell.strip() for cell in line.split("|")] for line in table.strip().splitlines()]
    assert tuple(header[2:-1]) == SECONDS
    rows = {}
    for first, answer, *cells in lines:
        *seconds, snapshot = [parse_cell(cell) for cell in cells]
        rows[first] = FirstCall(answer, dict(zip(SECONDS, seconds, strict=True)), snapshot)
    assert tuple(rows) == SECONDS
    return rows


def parse_cell(cell: str) -> Cell:
    after_commit, _, after_rollback = cell.removeprefix("~").partition("/")
    return Cell(cell.startswith("~"), after_commit, after_rollback or after_commit)


# Nobody waits for the signal.
EMPTY_LINE = """
        |    | new   | again | away | hither | send  | id    | keep  | keep id | get | remove | claim | late
new     | W  | ~W    | ~W    | Wo   | ~W     | ~Da/N | ~Da/N | ~Da/B | ~Da/B   | -   | -      | -     | -
again   | W  | ~W    | ~W    | ~Wo  | ~W     | ~Dw/N | ~Dw/N | ~Dw/B | ~Dw/B   | -   | -      | -     | -
away    | Wo | W     | ~W    | ~Wo  | ~W     | N     | N     | B     | B       | -   | -      | -     | -
hither  | W  | ~W    | ~W    | ~Wo  | ~W     | ~Dv/N | ~Dv/N | ~Dv/B | ~Dv/B   | -   | -      | -     | -
send    | N  | ~W    | ~W    | Wo   | ~W     | ~N    | ~N    | ~B    | ~B      | -   | -      | -     | -
id      | N  | ~W    | ~W    | Wo   | ~W     | ~N    | ~N    | ~B    | ~B      | -   | -      | -     | -
keep    | B  | ~DA/W | ~DA/W | Wo   | ~DA/W  | ~N    | ~N    | ~B    | ~B      | -   | -      | -     | -
keep id | B  | ~DS/W | ~DS/W | Wo   | ~DS/W  | ~N    | ~RB/N | ~B    | ~RB/B   | -   | -      | -     | -
get     | -  | W     | W     | Wo   | W      | N     | N     | B     | B       | -   | -      | -     | -
remove  | -  | W     | W     | Wo   | W      | N     | N     | B     | B       | -   | -      | -     | -
claim   | -  | W     | W     | Wo   | W      | N     | N     | B     | B       | -   | -      | -     | -
"""

# w waits, and nobody else.
LIVE_HEAD = """
        |    | new | again | away      | hither | send   | id      | keep   | keep id | get | remove | claim | late
new     | W  | ~W  | ~W    | ~Wo       | ~W     | ~Dw    | ~Dw     | ~Dw    | ~Dw     | W   | ~W     | -     | ~!/W
again   | W  | ~W  | ~W    | ~Wo       | ~W     | ~Dw    | ~Dw     | ~Dw    | ~Dw     | W   | ~W     | -     | ~!/W
away    | Wo | ~W  | ~W    | ~Wo       | ~W     | ~N/Dw  | ~N/Dw   | ~B/Dw  | ~B/Dw   | W   | ~Wo/W  | -     | ~!/W
hither  | W  | ~W  | ~W    | ~Wo       | ~W     | ~Dv/Dw | ~Dv/Dw  | ~Dv/Dw | ~Dv/Dw  | W   | ~W     | -     | ~!/W
send    | Dw | ~W  | ~DA/W | ~WS001/Wo | ~W     | ~Aw/Dw | ~Aw/Dw  | ~B/Dw  | ~B/Dw   | W   | ~DA/W  | -     | ~!/W
id      | Dw | ~W  | ~DS/W | ~WS001/Wo | ~W     | ~Aw/Dw | ~RDw/Dw | ~B/Dw  | ~RDw/Dw | W   | ~DS/W  | -     | ~!/W
keep    | Dw | ~W  | ~DA/W | ~WS001/Wo | ~W     | ~Aw/Dw | ~Aw/Dw  | ~B/Dw  | ~B/Dw   | W   | ~DA/W  | -     | ~!/W
keep id | Dw | ~W  | ~DS/W | ~WS001/Wo | ~W     | ~Aw/Dw | ~RDw/Dw | ~B/Dw  | ~RDw/Dw | W   | ~DS/W  | -     | ~!/W
get     | W  | W   | W     | Wo        | W      | Dw     | Dw      | Dw     | Dw      | W   | W      | -     | W
remove  | W  | ~W  | ~W    | ~Wo       | ~W     | ~N/Dw  | ~N/Dw   | ~B/Dw  | ~B/Dw   | W   | ~-/W   | -     | ~!/W
claim   | -  | W   | W     | Wo        | W      | Dw     | Dw      | Dw     | Dw      | W   | W      | -     | W
"""

# w has got payload O, and nobody else is there.
SETTLED_HEAD = """
        |       | new   | again | away      | hither | send   | id     | keep  | keep id | get | remove | claim | late
new     | W     | ~W    | ~DO   | ~WS001    | ~W     | ~Da/Aw | ~Da/Aw | ~Da/B | ~Da/B   | DO  | ~DO    | -     | ~!/DO
again   | DO    | W     | DO    | WS001     | W      | Aw     | Aw     | B     | B       | DO  | DO     | DwO   | DO
away    | WS001 | W     | DO    | WS001     | W      | Aw     | Aw     | B     | B       | DO  | DO     | DwO   | DO
hither  | W     | ~W    | ~DO   | ~WS001    | ~W     | ~Dv/Aw | ~Dv/Aw | ~Dv/B | ~Dv/B   | DO  | ~DO    | -     | ~!/DO
send    | Aw    | W     | DO    | WS001     | W      | Aw     | Aw     | B     | B       | DO  | DO     | DwO   | DO
id      | Aw    | ~W    | ~DO   | ~WS001    | ~W     | ~Aw    | ~Aw    | ~B    | ~B      | DO  | ~DO    | -     | ~DO
keep    | B     | ~DA/W | ~DO   | ~WS001    | ~DA/W  | ~Aw    | ~Aw    | ~B    | ~B      | DO  | ~DO    | -     | ~DO
keep id | B     | ~DS/W | ~DO   | ~WS001    | ~DS/W  | ~Aw    | ~RB/Aw | ~B    | ~RB/B   | DO  | ~DO    | -     | ~DO
get     | DO    | W     | DO    | WS001     | W      | Aw     | Aw     | B     | B       | DO  | DO     | DwO   | DO
remove  | DO    | ~W    | ~W/DO | ~Wo/WS001 | ~W     | ~N/Aw  | ~N/Aw  | ~B    | ~B      | DO  | ~-/DO  | -     | ~!/DO
claim   | DwO   | ~W    | ~DO   | ~WS001    | ~W     | ~Aw    | ~Aw    | ~B    | ~B      | DO  | ~DO    | -     | ~!/DO
"""

# w waits behind a head that was removed: no row of the line can be locked as its head.
HEADLESS_LINE = """
        |    | new | again | away      | hither | send   | id      | keep   | keep id | get | remove | claim | late
new     | W  | ~W  | ~W    | ~Wo       | ~W     | ~Dw    | ~Dw     | ~Dw    | ~Dw     | W   | W      | -     | W
again   | W  | ~W  | ~W    | ~Wo       | ~W     | ~Dw    | ~Dw     | ~Dw    | ~Dw     | W   | ~W     | -     | ~!/W
away    | Wo | ~W  | ~W    | ~Wo       | ~W     | ~N/Dw  | ~N/Dw   | ~B/Dw  | ~B/Dw   | W   | ~Wo/W  | -     | ~!/W
hither  | W  | ~W  | ~W    | ~Wo       | ~W     | ~Dv/Dw | ~Dv/Dw  | ~Dv/Dw | ~Dv/Dw  | W   | W      | -     | W
send    | Dw | ~W  | ~DA/W | ~WS001/Wo | ~W     | ~Aw/Dw | ~Aw/Dw  | ~B/Dw  | ~B/Dw   | W   | ~DA/W  | -     | ~!/W
id      | Dw | ~W  | ~DS/W | ~WS001/Wo | ~W     | ~Aw/Dw | ~RDw/Dw | ~B/Dw  | ~RDw/Dw | W   | ~DS/W  | -     | ~!/W
keep    | Dw | ~W  | ~DA/W | ~WS001/Wo | ~W     | ~Aw/Dw | ~Aw/Dw  | ~B/Dw  | ~B/Dw   | W   | ~DA/W  | -     | ~!/W
keep id | Dw | ~W  | ~DS/W | ~WS001/Wo | ~W     | ~Aw/Dw | ~RDw/Dw | ~B/Dw  | ~RDw/Dw | W   | ~DS/W  | -     | ~!/W
get     | W  | W   | W     | Wo        | W      | Dw     | Dw      | Dw     | Dw      | W   | W      | -     | W
remove  | W  | W   | ~W    | ~Wo       | W      | ~N/Dw  | ~N/Dw   | ~B/Dw  | ~B/Dw   | W   | ~-/W   | -     | ~!/W
claim   | -  | W   | W     | Wo        | W      | Dw     | Dw      | Dw     | Dw      | W   | W      | -     | W
"""

# w waits behind h, which has got payload O.
BEHIND_A_SETTLED_HEAD = """
        |    | new | again | away      | hither | send   | id      | keep   | keep id | get | remove | claim | late
new     | W  | ~W  | ~W    | ~Wo       | ~W     | ~Dw    | ~Dw     | ~Dw    | ~Dw     | W   | W      | -     | W
again   | W  | ~W  | ~W    | ~Wo       | ~W     | ~Dw    | ~Dw     | ~Dw    | ~Dw     | W   | ~W     | -     | ~!/W
away    | Wo | ~W  | ~W    | ~Wo       | ~W     | ~Ah/Dw | ~Ah/Dw  | ~B/Dw  | ~B/Dw   | W   | ~Wo/W  | -     | ~!/W
hither  | W  | ~W  | ~W    | ~Wo       | ~W     | ~Dv/Dw | ~Dv/Dw  | ~Dv/Dw | ~Dv/Dw  | W   | W      | -     | W
send    | Dw | ~W  | ~DA/W | ~WS001/Wo | ~W     | ~Ah/Dw | ~Ah/Dw  | ~B/Dw  | ~B/Dw   | W   | ~DA/W  | -     | ~!/W
id      | Dw | ~W  | ~DS/W | ~WS001/Wo | ~W     | ~Ah/Dw | ~RDw/Dw | ~B/Dw  | ~RDw/Dw | W   | ~DS/W  | -     | ~!/W
keep    | Dw | ~W  | ~DA/W | ~WS001/Wo | ~W     | ~Ah/Dw | ~Ah/Dw  | ~B/Dw  | ~B/Dw   | W   | ~DA/W  | -     | ~!/W
keep id | Dw | ~W  | ~DS/W | ~WS001/Wo | ~W     | ~Ah/Dw | ~RDw/Dw | ~B/Dw  | ~RDw/Dw | W   | ~DS/W  | -     | ~!/W
get     | W  | W   | W     | Wo        | W      | Dw     | Dw      | Dw     | Dw      | W   | W      | -     | W
remove  | W  | W   | ~W    | ~Wo       | W      | ~Ah/Dw | ~Ah/Dw  | ~B/Dw  | ~B/Dw   | W   | ~-/W   | -     | ~!/W
claim   | -  | W   | W     | Wo        | W      | Dw     | Dw      | Dw     | Dw      | W   | W      | -     | W
"""

# w waits, and z behind it: a signal that waits for the fate of another one's waiter must not pass on to the next.
TWO_WAIT = """
        |    | new | again | away      | hither | send   | id      | keep   | keep id | get | remove | claim | late
new     | W  | ~W  | ~W    | ~Wo       | ~W     | ~Dw    | ~Dw     | ~Dw    | ~Dw     | W   | ~W     | -     | ~W
again   | W  | ~W  | ~W    | ~Wo       | ~W     | ~Dw    | ~Dw     | ~Dw    | ~Dw     | W   | ~W     | -     | ~!/W
away    | Wo | ~W  | ~W    | ~Wo       | ~W     | ~Dz/Dw | ~Dz/Dw  | ~Dz/Dw | ~Dz/Dw  | W   | ~Wo/W  | -     | ~!/W
hither  | W  | ~W  | ~W    | ~Wo       | ~W     | ~Dv/Dw | ~Dv/Dw  | ~Dv/Dw | ~Dv/Dw  | W   | ~W     | -     | ~W
send    | Dw | ~W  | ~DA/W | ~WS001/Wo | ~W     | ~Dz/Dw | ~Dz/Dw  | ~Dz/Dw | ~Dz/Dw  | W   | ~DA/W  | -     | ~!/W
id      | Dw | ~W  | ~DS/W | ~WS001/Wo | ~W     | ~Dz/Dw | ~RDw/Dw | ~Dz/Dw | ~RDw/Dw | W   | ~DS/W  | -     | ~!/W
keep    | Dw | ~W  | ~DA/W | ~WS001/Wo | ~W     | ~Dz/Dw | ~Dz/Dw  | ~Dz/Dw | ~Dz/Dw  | W   | ~DA/W  | -     | ~!/W
keep id | Dw | ~W  | ~DS/W | ~WS001/Wo | ~W     | ~Dz/Dw | ~RDw/Dw | ~Dz/Dw | ~RDw/Dw | W   | ~DS/W  | -     | ~!/W
get     | W  | W   | W     | Wo        | W      | Dw     | Dw      | Dw     | Dw      | W   | W      | -     | W
remove  | W  | ~W  | ~W    | ~Wo       | ~W     | ~Dz/Dw | ~Dz/Dw  | ~Dz/Dw | ~Dz/Dw  | W   | ~-/W   | -     | ~!/W
claim   | -  | W   | W     | Wo        | W      | Dw     | Dw      | Dw     | Dw      | W   | W      | -     | W
"""

# w is past its deadline, and a sender has found that; nobody else is there.
EXPIRED_HEAD = """
        |    | new   | again | away | hither | send   | id     | keep  | keep id | get | remove | claim | late
new     | W  | ~W    | ~W    | ~Wo  | ~W     | ~Da/Ew | ~Da/Ew | ~Da/B | ~Da/B   | E   | ~E     | -     | ~!/E
again   | W  | ~W    | ~W    | ~Wo  | ~W     | ~Dw/Ew | ~Dw/Ew | ~Dw/B | ~Dw/B   | E   | ~W/E   | -     | ~!/E
away    | Wo | ~W    | ~W    | ~Wo  | ~W     | ~N/Ew  | ~N/Ew  | ~B    | ~B      | E   | ~Wo/E  | -     | ~!/E
hither  | W  | ~W    | ~W    | ~Wo  | ~W     | ~Dv/Ew | ~Dv/Ew | ~Dv/B | ~Dv/B   | E   | ~E     | -     | ~!/E
send    | Ew | W     | W     | Wo   | W      | Ew     | Ew     | B     | B       | E   | E      | Ew    | E
id      | Ew | ~W    | ~W    | ~Wo  | ~W     | ~Ew    | ~Ew    | ~B    | ~B      | E   | ~E     | -     | ~E
keep    | B  | ~DA/W | ~DA/W | ~Wo  | ~DA/W  | ~Ew    | ~Ew    | ~B    | ~B      | E   | ~E     | -     | ~E
keep id | B  | ~DS/W | ~DS/W | ~Wo  | ~DS/W  | ~Ew    | ~RB/Ew | ~B    | ~RB/B   | E   | ~E     | -     | ~E
get     | E  | W     | W     | Wo   | W      | Ew     | Ew     | B     | B       | E   | E      | Ew    | E
remove  | E  | ~W    | ~W    | ~Wo  | ~W     | ~N/Ew  | ~N/Ew  | ~B    | ~B      | E   | ~-/E   | -     | ~!/E
claim   | Ew | ~W    | ~W    | ~Wo  | ~W     | ~Ew    | ~Ew    | ~B    | ~B      | E   | ~E     | -     | ~!/E
"""

# w is past its deadline, and nobody has looked since; so the sender that finds it writes that down.
OVERDUE_HEAD = """
        |    | new   | again | away | hither | send   | id     | keep  | keep id | get | remove | claim | late
new     | W  | ~W    | ~W    | ~Wo  | ~W     | ~Da/Ew | ~Da/Ew | ~Da/B | ~Da/B   | E   | ~E     | -     | ~!/E
again   | W  | ~W    | ~W    | ~Wo  | ~W     | ~Dw/Ew | ~Dw/Ew | ~Dw/B | ~Dw/B   | E   | ~W/E   | -     | ~!/E
away    | Wo | ~W    | ~W    | ~Wo  | ~W     | ~N/Ew  | ~N/Ew  | ~B    | ~B      | E   | ~Wo/E  | -     | ~!/E
hither  | W  | ~W    | ~W    | ~Wo  | ~W     | ~Dv/Ew | ~Dv/Ew | ~Dv/B | ~Dv/B   | E   | ~E     | -     | ~!/E
send    | Ew | ~W    | ~W    | ~Wo  | ~W     | ~Ew    | ~Ew    | ~B    | ~B      | E   | ~E     | -     | ~!/E
id      | Ew | ~W    | ~W    | ~Wo  | ~W     | ~Ew    | ~Ew    | ~B    | ~B      | E   | ~E     | -     | ~!/E
keep    | B  | ~DA/W | ~DA/W | ~Wo  | ~DA/W  | ~Ew    | ~Ew    | ~B    | ~B      | E   | ~E     | -     | ~!/E
keep id | B  | ~DS/W | ~DS/W | ~Wo  | ~DS/W  | ~Ew    | ~RB/Ew | ~B    | ~RB/B   | E   | ~E     | -     | ~!/E
get     | E  | W     | W     | Wo   | W      | Ew     | Ew     | B     | B       | E   | E      | Ew    | E
remove  | E  | ~W    | ~W    | ~Wo  | ~W     | ~N/Ew  | ~N/Ew  | ~B    | ~B      | E   | ~-/E   | -     | ~!/E
claim   | Ew | ~W    | ~W    | ~Wo  | ~W     | ~Ew    | ~Ew    | ~B    | ~B      | E   | ~E     | -     | ~!/E
"""

# A signal with payload O is kept, and nobody waits.
BUFFERED_SIGNAL = """
        |    | new   | again | away      | hither | send  | id    | keep | keep id | get | remove | claim | late
new     | DO | ~W/DO | ~W/DO | Wo        | ~W/DO  | ~Aa/N | ~Aa/N | ~B   | ~B      | -   | -      | -     | -
again   | DO | ~W/DO | ~DO   | ~WS001/Wo | ~W/DO  | ~Aw/N | ~Aw/N | ~B   | ~B      | -   | -      | -     | -
away    | Wo | DO    | ~DO   | ~Wo       | ~DO    | N     | N     | B    | B       | -   | -      | -     | -
hither  | DO | ~W/DO | ~W/DO | ~Wo       | ~DO    | ~Av/N | ~Av/N | ~B   | ~B      | -   | -      | -     | -
send    | N  | ~DO   | ~DO   | Wo        | ~DO    | ~N    | ~N    | ~B   | ~B      | -   | -      | -     | -
id      | N  | ~DO   | ~DO   | Wo        | ~DO    | ~N    | ~N    | ~B   | ~B      | -   | -      | -     | -
keep    | B  | ~DO   | ~DO   | Wo        | ~DO    | ~N    | ~N    | ~B   | ~B      | -   | -      | -     | -
keep id | B  | ~DO   | ~DO   | Wo        | ~DO    | ~N    | ~RB/N | ~B   | ~RB/B   | -   | -      | -     | -
get     | -  | DO    | DO    | Wo        | DO     | N     | N     | B    | B       | -   | -      | -     | -
remove  | -  | DO    | DO    | Wo        | DO     | N     | N     | B    | B       | -   | -      | -     | -
claim   | -  | DO    | DO    | Wo        | DO     | N     | N     | B    | B       | -   | -      | -     | -
"""

TABLES = {
    "empty line": parse(EMPTY_LINE),
    "live head": parse(LIVE_HEAD),
    "settled head": parse(SETTLED_HEAD),
    "headless line": parse(HEADLESS_LINE),
    "behind a settled head": parse(BEHIND_A_SETTLED_HEAD),
    "two wait": parse(TWO_WAIT),
    "expired head": parse(EXPIRED_HEAD),
    "overdue head": parse(OVERDUE_HEAD),
    "buffered signal": parse(BUFFERED_SIGNAL),
}
