"""How much of the proof is run: FLOW_SIGNAL_PROOF=long makes it the long form, which `make soak` runs."""

from __future__ import annotations

import os
import random

LONG = os.environ.get("FLOW_SIGNAL_PROOF") == "long"


def scaled(short: int, factor: int = 50) -> int:
    return short * factor if LONG else short


def seed() -> int:
    """Chosen anew for each test, and named in what fails."""
    return random.randrange(2**32)
