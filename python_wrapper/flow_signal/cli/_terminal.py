"""Text for people, printed with rich: colours on a terminal only, and never with NO_COLOR."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from ._stream import visible

GOOD, NOTABLE, BAD, FAINT, CODE = "bold green", "bold yellow", "bold red", "dim", "cyan"
LABEL_WIDTH = 14
GAP = "  "


class Terminal(Console):
    """A console of rich's that takes every text as it is."""

    def __init__(self, stream: TextIO) -> None:
        self._records = False
        super().__init__(
            file=stream,
            color_system=None if os.environ.get("NO_COLOR") else "auto",
            highlight=False,
            markup=False,
            emoji=False,
        )
        if self.width < 1:  # COLUMNS=0, where rich prints nothing
            self.width = 80

    @property
    def has_reader(self) -> bool:
        return bool(getattr(self.file, "has_reader", True))

    def say(self, *parts: str | tuple[str, str]) -> None:
        """Print one line of texts or (text, style) pairs.

        The terminal wraps it, so that what is copied comes in one piece.
        """
        shown = (visible(part) if isinstance(part, str) else (visible(part[0]), part[1]) for part in parts)
        self.print(Text.assemble(*shown), soft_wrap=True)

    def values(self, values: Mapping[str, object]) -> None:
        """Print names and values, a line each, the values in one column."""
        for name, value in values.items():
            self.value(name, value, width=max(LABEL_WIDTH, *(len(name) + len(GAP) for name in values)))

    def value(self, name: str, value: object, *, width: int = LABEL_WIDTH) -> None:
        """Print a name, padded to this width, and its value."""
        text = str(value).lower() if isinstance(value, bool) else str(value)
        shown = ("(none)", FAINT) if value is None else text
        self.say((name.ljust(width), FAINT), shown)

    def table(self, names: Sequence[str], rows: Iterable[Iterable[object]], *, heading: bool = True) -> None:
        """Print rows below the names of their columns, each row on one line.

        On a terminal that is too narrow for them, print each row as a record, a line for each value, and so each row of
        the tables that follow.
        """
        cells = [[_cell(value) for value in row] for row in rows]
        widths = [max(map(cell_len, column)) for column in zip(names, *cells, strict=True)]
        if cells and self.file.isatty() and sum(widths) + len(GAP) * (len(widths) - 1) > self.width:
            self._records = True
        if self._records:
            for number, row in enumerate(cells):
                if number or not heading:
                    self.say()
                self.values(dict(zip(names, row, strict=True)))
            return
        if heading:
            self.say((_line(names, widths), FAINT))
        if cells:
            self.say("\n".join(_line(row, widths) for row in cells))


def _line(row: Iterable[str], widths: Iterable[int]) -> str:
    return GAP.join(map(_padded, row, widths)).rstrip()


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%SZ}"
    return "-" if value is None else visible(str(value)).replace("\n", "\\n").replace("\t", "\\t")
