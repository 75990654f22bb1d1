"""Confidence intervals. Numbers in, numbers out: knows no traces."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple


class Interval(NamedTuple):
    """The closed interval [`low`, `high`]."""

    low: float
    high: float


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval for a share of `successes` in `n` independent trials; [0, 1] where n = 0.

    With p = successes/n and z the two-sided normal quantile:
    (p + z²/2n ± z·√(p(1 − p)/n + z²/4n²)) / (1 + z²/n).
    It stays inside [0, 1] and keeps its coverage at small n and at shares near 0 or 1.
    E. B. Wilson (1927), "Probable inference, the law of succession, and statistical inference", JASA 22:209-212.
    ValueError: counts that are not 0 <= successes <= n, or a confidence outside (0, 1).
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes in {n} trials: need 0 <= successes <= n")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence:g} is outside (0, 1)")
    if n == 0:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / n
    shrink = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / shrink
    half = z * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5 / shrink
    # At the ends the bound is exactly 0 or 1; floating point may miss it by a hair.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Interval(low, high)


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Clopper and Pearson's exact interval for a share: each end misses with at most (1 − confidence)/2, at any n.

    The low end is the p at which so many successes or more have that probability: P(X >= successes) = I_p(successes,
    n − successes + 1), the regularised incomplete beta function; the high end mirrors it. [0, 1] where n = 0.
    C. J. Clopper, E. S. Pearson (1934), "The use of confidence or fiducial limits", Biometrika 26:404-413.
    ValueError: counts that are not 0 <= successes <= n, or a confidence outside (0, 1).
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes in {n} trials: need 0 <= successes <= n")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence:g} is outside (0, 1)")
    tail = (1 - confidence) / 2
    return Interval(exact_low(successes, n, tail), 1 - exact_low(n - successes, n, tail))


def exact_low(successes: int, n: int, tail: float) -> float:
    """The share at which so many successes or more in `n` trials have probability `tail`: Clopper and Pearson's end."""
    if successes == 0:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if _at_least(successes, n, middle) > tail else (middle, high)
    return low


def _at_least(k: int, n: int, p: float) -> float:
    """P(X >= k) for X binomial, 0 < k <= n, 0 < p < 1: the terms are summed away from the mode, so that they fall."""
    if k > p * (n + 1):
        return _falling(k, n, p)
    return 1 - _falling(n - k + 1, n, 1 - p)


def _falling(k: int, n: int, p: float) -> float:
    """P(X >= k), for k at or above the mode."""
    log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    term = math.exp(log + k * math.log(p) + (n - k) * math.log1p(-p))
    total, odds = 0.0, p / (1 - p)
    while k <= n and term > total * 1e-17:
        total += term
        term *= (n - k) / (k + 1) * odds
        k += 1
    return total
