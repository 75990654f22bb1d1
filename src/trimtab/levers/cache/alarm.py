"""Change detectors: has an answer changed, and has the whole route? They read labels against the verifier's forecast.

Light: no numpy, no statistics package. They know no questions.
"""

from __future__ import annotations

import math

SHIFTS = (0.06, 0.12, 0.25, 0.5)  # shares of answers that changed, of which one may be true
CHANGED = 0.8  # of a changed group's answers are wrong
LEAST, MOST = 0.01, 0.4  # a forecast below is not taken at its word, a label with one above tells nothing of a change
DOUBT = 1.5  # forecasts may be too good by this factor


def ratio(wrong: bool, forecast: float, shift: float) -> float:
    """Likelihood ratio of one label: P(wrong) = f + shift·(1 − f) against the forecast f."""
    f = LEAST + DOUBT * forecast
    if f > MOST:
        return 1.0
    return (f + shift * (1 - f)) / f if wrong else 1 - shift


class Alarm:
    """Shiryaev and Roberts' detectors on all labels of a route: R ← (1 + R)·ratio.

    One reads wrong answers against forecasts, the mean over `SHIFTS`. One counts groups that come to be held: when a
    few answers change, it sees them sooner. While nothing changes, E[labels until R >= limit] >= limit, however often
    anyone looks. J. Shin, A. Ramdas, A. Rinaldo (2022), "E-detectors: a nonparametric framework for sequential change
    detection".
    """

    LIMIT, HOLDS_LIMIT = 1e5, 1e5
    HOLDS, CROWD = 1 / 300, 1 / 20  # groups held per label: as ever, and when answers have changed

    def __init__(self) -> None:
        self.evidence = [0.0] * len(SHIFTS)
        self.holds = 0.0

    def feed(self, wrong: bool, forecast: float, held: bool) -> bool:
        """One label, and whether it made a group held; True if the alarm rings, and then it starts anew."""
        self.evidence = [(1 + r) * ratio(wrong, forecast, s) for r, s in zip(self.evidence, SHIFTS, strict=True)]
        self.holds = (1 + self.holds) * (self.CROWD / self.HOLDS if held else (1 - self.CROWD) / (1 - self.HOLDS))
        if sum(self.evidence) / len(SHIFTS) < self.LIMIT and self.holds < self.HOLDS_LIMIT:
            return False
        self.evidence, self.holds = [0.0] * len(SHIFTS), 0.0
        return True


class Watch:
    """One answer group's: the same test for 'most of its answers are wrong now', as a cumulative sum that never falls
    below 0 (E. S. Page 1954)."""

    HOLD, RETIRE = math.log(12), math.log(400)

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
