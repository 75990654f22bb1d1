"""Random ids. They have to differ, not to be unguessable: the system's randomness seeds them, once in each process."""

from __future__ import annotations

import os
import random

_RANDOM = random.Random()
os.register_at_fork(after_in_child=_RANDOM.seed)


def digits(count: int) -> str:
    """`count` random hexadecimal digits."""
    return f"{_RANDOM.getrandbits(4 * count):0{count}x}"
