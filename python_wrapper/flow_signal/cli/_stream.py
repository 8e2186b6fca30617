"""The standard streams, which may be closed, full, left by their reader, or of any encoding."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any, TextIO


class NotPrinted(Exception):
    """Standard output has failed, other than by its reader leaving."""


class Stream(io.TextIOBase):
    """Standard output or standard error.

    Once it has failed, each call raises NotPrinted if must_arrive, since typer swallows the first; else what is written
    is dropped. That the reader has left is not an error: has_reader tells it.
    """

    def __init__(self, stream: TextIO, *, must_arrive: bool) -> None:
        self._stream = stream
        self._must_arrive = must_arrive
        self._failure: str | None = None
        self.has_reader = True

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def close(self) -> None:
        """Leave the stream open: Python calls this at the end, and reports what it raises."""

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    def _try(self, write: Callable[[], object]) -> None:
        try:
            write()
        except BrokenPipeError:
            self.has_reader = False
            self._drop()
        except OSError as error:
            self._failure = error.strerror or str(error)
            self._drop()
        if self._failure and self._must_arrive:
            raise NotPrinted(self._failure)

    def _drop(self) -> None:
        """Let all that is still in a buffer go nowhere: else Python fails when it ends."""
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, self._stream.fileno())
        os.close(devnull)


@contextmanager
def standard_streams() -> Iterator[None]:
    """Print through Streams until the block ends."""
    _open_what_is_closed()
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            _wait_for(stream)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what cannot be encoded is shown as \\u1234
    output, errors = Stream(sys.stdout, must_arrive=True), Stream(sys.stderr, must_arrive=False)
    with redirect_stdout(output), redirect_stderr(errors):
        yield
        with suppress(NotPrinted):  # it was told before
            output.flush()


def _open_what_is_closed() -> None:
    """Give a closed stream a descriptor on which each read or write fails, before another file gets its number."""
    for name, flags, mode in (("stdin", os.O_WRONLY, "r"), ("stdout", os.O_RDONLY, "w"), ("stderr", os.O_WRONLY, "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, flags), mode))


def _wait_for(stream: TextIO) -> None:
    """Have reads and writes wait: a pipe may have been left non-blocking by another program."""
    try:
        if not os.get_blocking(stream.fileno()):
            os.set_blocking(stream.fileno(), True)
    except (OSError, AttributeError):  # it has no descriptor; Windows has no such call before Python 3.12
        pass


def write(text: str, stream: Any) -> bool:
    """Write the text; return whether the reader was still there."""
    stream.write(text)
    stream.flush()
    return bool(getattr(stream, "has_reader", True))


def visible(text: str) -> str:
    """Escape what a terminal would act on rather than show."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
