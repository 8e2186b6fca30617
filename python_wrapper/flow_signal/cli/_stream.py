"""Standard output and standard error, which the reader may close at any time."""

from __future__ import annotations

import os
from typing import TextIO


def write(text: str, stream: TextIO) -> None:
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        discard(stream)


def discard(stream: TextIO) -> None:
    """Drop all that is still written: that the reader has left is no reason to fail."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, stream.fileno())
    os.close(devnull)
