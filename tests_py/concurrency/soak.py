"""Settings of the randomised tests, from the environment.

FLOW_SIGNAL_SOAK_SECONDS: how long the stress of test_stress.py lasts in all, by default 20.
FLOW_SIGNAL_SOAK_SEED: repeats the choices of a run that printed this seed; not what the sessions make of them.
"""

from __future__ import annotations

import os
import random

SECONDS = float(os.environ.get("FLOW_SIGNAL_SOAK_SECONDS", 20))


def choose_seed() -> int:
    """Return the seed of this run, and print it."""
    seed = int(os.environ.get("FLOW_SIGNAL_SOAK_SEED", random.randrange(2**32)))
    print(f"FLOW_SIGNAL_SOAK_SEED={seed}")
    return seed
