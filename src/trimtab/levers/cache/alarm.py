"""Change detectors: has an answer changed, and has the whole route? They read labels against the verifier's forecast.

Light: no numpy, no statistics package. They know no questions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

SHIFTS = (0.03, 0.06, 0.12, 0.25, 0.5)  # shares of answers that changed, of which one may be true
CHANGED = 0.8  # of a changed group's answers are wrong
BELIEVED = (0.004, 0.9)  # a forecast beyond these is not taken at its word


def ratio(wrong: bool, forecast: float, shift: float) -> float:
    """Likelihood ratio of one label: P(wrong) = f + shift·(1 − f) against the forecast f."""
    f = min(max(forecast, BELIEVED[0]), BELIEVED[1])
    return (f + shift * (1 - f)) / f if wrong else 1 - shift


class Alarm:
    """Shiryaev and Roberts' detector on all labels of a route: R ← (1 + R)·ratio, the mean over `SHIFTS`.

    While forecasts are right, E[labels until R >= `limit`] >= `limit`, however often anyone looks.
    J. Shin, A. Ramdas, A. Rinaldo (2022), "E-detectors: a nonparametric framework for sequential change detection".
    """

    def __init__(self, limit: float = 2000.0, evidence: Sequence[float] | None = None) -> None:
        self.limit = limit
        self.evidence = list(evidence) if evidence is not None else [0.0] * len(SHIFTS)

    @property
    def value(self) -> float:
        """Evidence that the route changed; rings at `limit`."""
        return sum(self.evidence) / len(SHIFTS)

    def feed(self, wrong: bool, forecast: float) -> bool:
        """One label; True if the alarm rings, and then it starts anew."""
        self.evidence = [(1 + r) * ratio(wrong, forecast, s) for r, s in zip(self.evidence, SHIFTS, strict=True)]
        if self.value < self.limit:
            return False
        self.evidence = [0.0] * len(SHIFTS)
        return True


class Watch:
    """One answer group's: the same test for 'most of its answers are wrong now', as a cumulative sum that never falls
    below 0 (E. S. Page 1954)."""

    HOLD, RETIRE = math.log(8), math.log(400)

    def __init__(self) -> None:
        self.evidence: list[float] = []
        self.held: list[bool] = []

    def grow(self) -> None:
        """One more group, trusted."""
        self.evidence.append(0.0)
        self.held.append(False)

    def suspect(self) -> None:
        """Every group must prove itself anew."""
        self.evidence = [max(e, self.HOLD) for e in self.evidence]
        self.held = [True] * len(self.held)

    def feed(self, slot: int, wrong: bool, forecast: float) -> bool:
        """One label of a group; True if its answer is to be deleted. A group is held until the evidence is gone."""
        self.evidence[slot] = max(0.0, self.evidence[slot] + math.log(ratio(wrong, forecast, CHANGED)))
        if self.evidence[slot] >= self.HOLD:
            self.held[slot] = True
        elif self.evidence[slot] == 0.0:
            self.held[slot] = False
        return self.evidence[slot] >= self.RETIRE
