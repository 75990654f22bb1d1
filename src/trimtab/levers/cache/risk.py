"""The threshold: the lowest score above which the bound on wrong hits holds. Numbers in, numbers out."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

from trimtab.levers.cache.verifier import newton

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

HALF = 2500  # labels, after which one counts half: features were weaker when the cache was young
LOWEST = -1.0  # scores below tell nothing of hits
CEILING = 5.5  # log-odds above which scores are not believed further, unless failures show up there
TOP = 5  # failures above the ceiling


class Curve(NamedTuple):
    """P(wrong | score) = σ(−(a + b·min(score, 5.5))), and the covariance of (a, b)."""

    a: float
    b: float
    ceiling: float
    cover: tuple[float, float, float]  # var a, cov(a, b), var b

    def wrong(self, score: float) -> float:
        """The forecast of one request."""
        return 1 / (1 + math.exp(min(self.a + self.b * min(score, self.ceiling), 30.0)))

    def threshold(self, recent: Array, alpha: float, confidence: float) -> float:
        """The lowest score above which the bound on the share of wrong hits holds; infinity if none.

        `recent` (m,) are the scores of all requests of late. The share above a threshold is the mean of `wrong` over
        those; its logarithm is bounded by the delta method.
        """
        import numpy as np

        r = np.sort(recent)[::-1]
        capped = np.minimum(r, self.ceiling)
        wrong = 1 / (1 + np.exp(self.a + self.b * capped))
        slope = wrong * (1 - wrong)
        count = np.arange(1, len(r) + 1)
        rate = np.cumsum(wrong) / count
        by_a, by_b = np.cumsum(slope) / count, np.cumsum(slope * capped) / count
        spread = self.cover[0] * by_a**2 + 2 * self.cover[1] * by_a * by_b + self.cover[2] * by_b**2
        factor = np.exp(NormalDist().inv_cdf(confidence) * np.sqrt(np.maximum(spread, 0)) / rate)
        fits = np.flatnonzero(rate * factor <= alpha)
        return float(r[fits[-1]]) if len(fits) else math.inf


def curve(scores: Array, right: Array) -> Curve:
    """Fitted to labels `right` (n,) of 0 and 1 at held-out scores (n,), both in the order of time."""
    import numpy as np

    keep = scores > LOWEST
    weights = (0.5 ** (np.arange(len(scores))[::-1] / HALF))[keep]
    failed = np.sort(scores[right == 0])
    ceiling = max(CEILING, float(failed[-TOP])) if len(failed) >= TOP else CEILING
    s = np.minimum(scores[keep], ceiling)
    terms = np.stack([np.ones_like(s), s], 1)
    beta = newton(terms, right[keep], weights, np.array([0.0, 1.0]), 1e-3, 20)
    p = 1 / (1 + np.exp(-(terms @ beta)))
    bend = terms.T @ ((weights * p * (1 - p))[:, None] * terms)
    cover = np.linalg.inv(bend + 1e-9 * np.eye(2))
    return Curve(float(beta[0]), float(beta[1]), ceiling, (float(cover[0, 0]), float(cover[0, 1]), float(cover[1, 1])))
