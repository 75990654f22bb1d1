"""Admission: how much one caller may put where others will find it. Against who fills the cache, or poisons it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

_MOST_CALLERS = 10_000


class Admission:
    """A bucket for each caller: `per_hour` new entries, of which a caller new to it has a tenth at once.

    In each process by itself, so that with several workers the limit is as many times as high.
    """

    def __init__(self, per_hour: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_hour / 3600
        self._most = max(1.0, per_hour / 10)
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}
        self.refused = 0

    def admits(self, caller: str) -> bool:
        """Whether the caller may add one more; it counts as added."""
        if math.isinf(self._per_s):
            return True
        now = self._clock()
        left, at = self._left.pop(caller, (self._most, now))
        left = min(self._most, left + (now - at) * self._per_s)
        if len(self._left) >= _MOST_CALLERS:
            self._left.pop(next(iter(self._left)))
        self._left[caller] = (left - 1 if left >= 1 else left, now)
        if left < 1:
            self.refused += 1
        return left >= 1
