"""Text for people, printed with rich: colours on a terminal only, and never with NO_COLOR."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from ._stream import discard

GOOD, NOTABLE, BAD, FAINT, CODE = "bold green", "bold yellow", "bold red", "dim", "cyan"
LABEL_WIDTH = 14


class Terminal(Console):
    """A console of rich's that takes every text as it is."""

    def __init__(self, stream: TextIO) -> None:
        self.has_reader = True
        self._stream = stream
        super().__init__(
            file=stream,
            color_system=None if os.environ.get("NO_COLOR") else "auto",
            highlight=False,
            markup=False,
            emoji=False,
        )

    def on_broken_pipe(self) -> None:
        self.has_reader = False
        discard(self._stream)

    def say(self, *parts: str | tuple[str, str]) -> None:
        """Print one line of texts or (text, style) pairs.

        The terminal wraps it, so that what is copied comes in one piece.
        """
        shown = (visible(part) if isinstance(part, str) else (visible(part[0]), part[1]) for part in parts)
        self.print(Text.assemble(*shown), soft_wrap=True)

    def value(self, name: str, value: object, *, width: int = LABEL_WIDTH) -> None:
        """Print a name, padded to this width, and its value."""
        text = str(value).lower() if isinstance(value, bool) else str(value)
        shown = ("(none)", FAINT) if value is None else text
        self.say((name.ljust(width), FAINT), shown)

    def table(self, names: Iterable[str], rows: Iterable[Iterable[object]], *, heading: bool = True) -> None:
        """Print rows below the names of their columns, each row on one line."""
        cells = [[*names], *([_cell(value) for value in row] for row in rows)]
        widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
        head, *lines = ("  ".join(map(_padded, row, widths)).rstrip() for row in cells)
        if heading:
            self.say((head, FAINT))
        if lines:
            self.say("\n".join(lines))


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%SZ}"
    return "-" if value is None else visible(str(value)).replace("\n", "\\n").replace("\t", "\\t")


def visible(text: str) -> str:
    """Escape what a terminal would act on rather than show."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
