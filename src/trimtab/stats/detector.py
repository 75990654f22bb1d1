"""A detector of change that never ends: has a promoted candidate turned worse than its margin?"""

from __future__ import annotations

import math
from typing import Any

from trimtab.errors import require

BETS = (0.1, 0.2, 0.3, 0.4, 0.9)  # shares of the largest bet
EXCEEDING = 150  # simulated detectors that would alarm
FEWEST = 30  # below so many a simulation says too little
MOST_PAIRS = 2 * 10**8
SEED = 205


class ShiryaevRoberts:
    """An e-detector on x = candidate − baseline in [−1, 1], pair by pair, at a margin M in (0, 1).

    R_t = mean over λ of R_{λ,t}, R_{λ,t} = (R_{λ,t−1} + 1)(1 − λ(x_t + M)), R_0 = 0; alarm when R reaches `threshold`.
    As long as E[x_t | past] >= −M, R_t − t is a supermartingale, so the mean time to a false alarm is at least the
    threshold, and P(alarm within T pairs) <= T/threshold.
    J. Shin, A. Ramdas, A. Rinaldo (2024), "E-detectors: a nonparametric framework for sequential change detection",
    New England Journal of Statistics in Data Science 2:229-260.
    """

    def __init__(self, margin: float, threshold: float, runs: int | None = None) -> None:
        if not 0 < margin < 1:
            raise ValueError(f"a margin of {margin:g} is outside (0, 1): 0.02 means two points")
        if not threshold > 1:
            raise ValueError(f"a threshold of {threshold:g} is not above 1: see detector.threshold")
        self.margin, self.threshold, self.runs, self.n = margin, threshold, runs, 0
        self.alarm: Any = False
        zero: Any = 0.0
        self._least: Any = min
        if runs is not None:
            require("gate", "numpy")
            import numpy as np

            self.alarm, zero, self._least = np.zeros(runs, dtype=bool), np.zeros(runs), np.minimum
        self._sums: list[Any] = [zero] * len(BETS)

    @property
    def value(self) -> Any:
        """R_t: evidence of a change at some time up to now."""
        return sum(self._sums) / len(self._sums)

    def feed(self, x: Any) -> None:
        """One pair (or an array, one for each run). ValueError: NaN, or outside [−1, 1]."""
        fits = -1 <= x <= 1 if self.runs is None else bool((abs(x) <= 1).all())
        if not fits:
            raise ValueError(f"a score of {x} is outside [-1, 1]: leave out what is missing")
        if self.runs is None:
            x = float(x)
        loss = (x + self.margin) / (1 + self.margin)
        for at, bet in enumerate(BETS):
            self._sums[at] = self._least((self._sums[at] + 1) * (1 - bet * loss), 1e300)
        self.n += 1
        if self.runs is None:
            self.alarm = self.alarm or self.value >= self.threshold
        else:
            self.alarm |= self.value >= self.threshold

    def state(self) -> dict[str, Any]:
        """What `resume` needs, as JSON can hold it."""
        return {
            "margin": self.margin,
            "threshold": self.threshold,
            "n": self.n,
            "alarm": bool(self.alarm),
            "sums": list(self._sums),
        }

    @classmethod
    def resume(cls, state: dict[str, Any]) -> ShiryaevRoberts:
        """The detector as it stood. KeyError, ValueError: not a state."""
        detector = cls(state["margin"], state["threshold"])
        if len(state["sums"]) != len(BETS):
            raise ValueError("the state is of another version of the detector: start it anew")
        detector.n, detector.alarm, detector._sums = state["n"], state["alarm"], list(state["sums"])
        return detector


def threshold(false_alarms: float, per: int, margin: float | None = None, flips: float | None = None) -> float:
    """The threshold at which at most a share `false_alarms` of detectors alarm within `per` healthy pairs.

    Alone: per/false_alarms, proven for whatever is no worse than the margin, and slow. With `margin` and `flips`:
    for healthy pairs that are each lost or gained with probability flips/2, as of a model beside itself (A/A), found by
    a seeded simulation of the detector itself, and several times lower. It is the order statistic that is above
    the wanted quantile with probability 99.9 %, and never more than the proven threshold, which also stands where the
    budget is too small to simulate (per/false_alarms above about 7e6). Seconds; needs numpy.
    ValueError: a share outside (0, 1), no pair, margin or flips outside (0, 1) or (0, 1].
    """
    if not 0 < false_alarms < 1 or per < 1:
        raise ValueError(f"{false_alarms:g} false alarms per {per}: need a share in (0, 1) and at least one pair")
    proven = per / false_alarms
    if margin is None or flips is None:
        return proven
    if not 0 < flips <= 1:
        raise ValueError(f"flips of {flips:g} are outside (0, 1]")
    runs = min(math.ceil(EXCEEDING / false_alarms), MOST_PAIRS // per)
    expected = runs * false_alarms
    detector = ShiryaevRoberts(margin, math.inf, runs=runs)
    if expected < FEWEST:
        return proven
    import numpy as np

    rng = np.random.default_rng(SEED)
    highest = np.zeros(runs)
    for _ in range(per):
        draw = rng.random(runs)
        detector.feed((draw < flips / 2).astype(float) - (draw > 1 - flips / 2))
        np.maximum(highest, detector.value, out=highest)
    allowed = math.floor(expected - 3.09 * math.sqrt(expected * (1 - false_alarms)))
    return max(1.0 + 1e-9, min(proven, float(np.sort(highest)[runs - 1 - allowed])))
