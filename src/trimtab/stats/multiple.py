"""Many levers at once: which of them ship."""

from __future__ import annotations

import math
from collections.abc import Sequence


def e_bh(e_values: Sequence[float], level: float) -> list[int]:
    """The indexes, ascending, that ship, so that the expected share of wrong ones among them is at most `level`.

    With the K e-values in falling order e_[1] >= ... >= e_[K]: ship the k largest, for the greatest k with
    e_[k] >= K/(level·k). Valid whatever the dependence between the levers, and with each e-value taken at any
    stopping time of its own process; but counting levers in and out by their e-values is not: K is all in flight.
    R. Wang, A. Ramdas (2022), "False discovery rate control with e-values", JRSS B 84:822-852.
    ValueError: a level outside (0, 1), an e-value that is negative or NaN.
    """
    if not 0 < level < 1:
        raise ValueError(f"level {level:g} is outside (0, 1)")
    if any(math.isnan(e) or e < 0 for e in e_values):
        raise ValueError("an e-value is negative or NaN")
    order = sorted(range(len(e_values)), key=lambda at: (-e_values[at], at))
    ship = 0
    for k, at in enumerate(order, 1):
        # Multiplied out, so that an infinite e-value does no harm.
        if e_values[at] * level * k >= len(e_values):
            ship = k
    return sorted(order[:ship])
