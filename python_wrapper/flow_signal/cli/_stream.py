"""Standard output and standard error, which the reader may close at any time."""

from __future__ import annotations

import os
from typing import IO


def write(text: str, stream: IO[str]) -> bool:
    """Write the text; return whether the reader was still there."""
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        discard(stream)
        return False
    return True


def discard(stream: IO[str]) -> None:
    """Drop all that is still written: that the reader has left is no reason to fail."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, stream.fileno())
    os.close(devnull)
