"""Random ids. They have to differ, not to be unguessable: the system's randomness seeds them, once in each process."""

from __future__ import annotations

import os
import random

# Digits are drawn so many at a time: a draw costs as much for few as for many.
_DRAWN = 8192
_RANDOM = random.Random()


class _Supply:
    """Digits that nobody has had yet."""

    def __init__(self) -> None:
        self.digits = ""
        self.at = 0

    def draw(self) -> None:
        self.digits, self.at = f"{_RANDOM.getrandbits(4 * _DRAWN):0{_DRAWN}x}", 0


_SUPPLY = _Supply()


def digits(count: int) -> str:
    """`count` random hexadecimal digits, up to some thousand. For one thread."""
    supply = _SUPPLY
    begin = supply.at
    end = supply.at = begin + count
    if end > len(supply.digits):
        supply.draw()
        begin, end = 0, count
        supply.at = count
    return supply.digits[begin:end]


def _forked() -> None:
    _RANDOM.seed()
    _SUPPLY.draw()


os.register_at_fork(after_in_child=_forked)
