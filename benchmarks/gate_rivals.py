"""The rules that others promote by, on the same simulated work: naive, repeated Wald, Mann-Whitney canary."""

from __future__ import annotations

import numpy as np

TOLERANCE = 0.01  # naive: candidate >= baseline - 1 point
Z = 1.6448536269514722
FIRST_LOOK = 100  # items; before it neither rule decides
PER_MINUTE = 20  # requests that make one of the canary's data points
BASELINE = 0.9  # success of the canary's baseline
CANARY_TOLERANCE, CANARY_Z = 0.25, 1.959963984540054  # as the best-known judge of canaries has them by default


class Rivals:
    """Whether the naive rule and Wald's non-inferiority test would have promoted at any look so far: a look an item."""

    def __init__(self, margin, runs: int) -> None:
        self.margin, self._n = margin, 0
        self._sum, self._squares = np.zeros(runs), np.zeros(runs)
        self.naive, self.wald = np.zeros(runs, dtype=bool), np.zeros(runs, dtype=bool)

    def feed(self, x: np.ndarray) -> None:
        self._n += 1
        self._sum += x
        self._squares += x * x
        if self._n >= FIRST_LOOK:
            self.naive |= self._sum >= -TOLERANCE * self._n - 1e-9
            above = self._sum / self._n + self.margin
            variance = np.maximum(self._squares / self._n - (self._sum / self._n) ** 2, 1e-12)
            self.wald |= above >= Z * np.sqrt(variance / self._n)


def canary(rng: np.random.Generator, difference: float, n: int, runs: int) -> float:
    """Share of runs that a Mann-Whitney canary passes: two arms of `n` requests each, success by the minute.

    It passes unless the 95 % interval of the shift (Hodges and Lehmann's, from the ranks of all the differences) lies
    wholly below a tolerance of a quarter of the estimate: no evidence of harm counts as none.
    """
    minutes = max(5, n // PER_MINUTE)
    pairs = minutes * minutes
    rank = pairs / 2 - CANARY_Z * np.sqrt(pairs * (2 * minutes + 1) / 12)
    low = int(max(0, np.floor(rank)))
    passed = 0
    for begun in range(0, runs, 50):
        size = (min(50, runs - begun), minutes)
        before = rng.binomial(PER_MINUTE, BASELINE, size) / PER_MINUTE
        after = rng.binomial(PER_MINUTE, BASELINE + difference, size) / PER_MINUTE
        shifts = (after[:, :, None] - before[:, None, :]).reshape(size[0], pairs)
        shifts = np.partition(shifts, (pairs // 2, pairs - 1 - low), axis=1)
        estimate, high = shifts[:, pairs // 2], shifts[:, pairs - 1 - low]
        passed += int((high >= -CANARY_TOLERANCE * np.abs(estimate) - 1e-12).sum())
    return passed / runs
