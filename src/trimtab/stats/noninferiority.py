"""Fixed-n tests and intervals for results that are all in: paired right-or-wrong answers, clustered scores.

One look only: a test that is looked at as results come belongs in stats.sequential.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from trimtab.errors import require
from trimtab.stats.intervals import Interval, wilson


def tango(gains: int, losses: int, n: int, margin: float) -> float:
    """p value of Tango's score test of H0: candidate − baseline <= −margin, from `n` independent pairs.

    `gains`: only the candidate is right; `losses`: only the baseline is. With D = −margin and q̂ the maximum-likelihood
    share of losses under H0, z = (gains − losses − nD)/√(n(2q̂ + D(1 − D))), p = 1 − Φ(z). Unlike Wald's test it keeps
    its level where flips are few. A negative margin asks for a gain; `tango(losses, gains, n, -h)` tests for harm,
    H0: candidate − baseline >= −h.
    T. Tango (1998), "Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design", Statistics in Medicine 17:891-908. ValueError: counts that cannot be, or a margin outside (−1, 1).
    """
    _counts(gains, losses, n)
    if not -1 < margin < 1:
        raise ValueError(f"a margin of {margin:g} is outside (-1, 1): 0.02 means two points")
    if n == 0:
        return 1.0
    d = -margin
    a, b, c = 2 * n, (2 * n - gains + losses) * d - gains - losses, -losses * d * (1 - d)
    q = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    variance = n * (2 * q + d * (1 - d))
    above = gains - losses - n * d
    if variance <= 0:
        return 0.0 if above > 0 else 1.0
    return 1 - NormalDist().cdf(above / math.sqrt(variance))


def newcombe(gains: int, losses: int, n: int, both_right: int, confidence: float = 0.95) -> Interval:
    """Newcombe's interval for candidate − baseline in `n` independent pairs of right-or-wrong answers.

    Wilson's intervals of the two shares, put together as squares and with their correlation φ, corrected for
    continuity: method 10 of R. G. Newcombe (1998), "Improved confidence intervals for the difference between binomial
    proportions based on paired data", Statistics in Medicine 17:2635-2650. [−1, 1] of no pairs.
    ValueError: counts that cannot be, or a confidence outside (0, 1).
    """
    _counts(gains + both_right, losses, n)
    _counts(gains, losses, n)
    if n == 0:
        return Interval(-1.0, 1.0)
    both_wrong = n - gains - losses - both_right
    candidate, baseline = both_right + gains, both_right + losses
    low1, high1 = wilson(candidate, n, confidence)
    low2, high2 = wilson(baseline, n, confidence)
    p1, p2 = candidate / n, baseline / n
    product = candidate * (n - candidate) * baseline * (n - baseline)
    excess = both_right * both_wrong - gains * losses
    phi = (max(excess - n / 2, 0.0) if excess > 0 else excess) / math.sqrt(product) if product else 0.0
    down1, up1, down2, up2 = p1 - low1, high1 - p1, p2 - low2, high2 - p2
    below = math.sqrt(max(0.0, down1 * down1 - 2 * phi * down1 * up2 + up2 * up2))
    over = math.sqrt(max(0.0, up1 * up1 - 2 * phi * up1 * down2 + down2 * down2))
    return Interval(max(-1.0, p1 - p2 - below), min(1.0, p1 - p2 + over))


def clustered_bootstrap(
    clusters: Sequence[Sequence[float]], confidence: float = 0.95, seed: int = 0, resamples: int = 10_000
) -> Interval:
    """Bootstrap interval for the mean of the clusters' means: whole clusters are drawn again, never items.

    Bias-corrected and accelerated: B. Efron (1987), "Better bootstrap confidence intervals", JASA 82:171-185.
    Trust it from about 30 clusters on; a sample in which no cluster differs has an interval of no width.
    The same seed gives the same interval. Needs numpy. ValueError: fewer than two clusters, an empty cluster, a score
    that is not finite, or a confidence outside (0, 1).
    """
    require("gate", "numpy")
    import numpy as np

    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence:g} is outside (0, 1)")
    if len(clusters) < 2 or any(not len(cluster) for cluster in clusters):
        raise ValueError(f"{len(clusters)} clusters: need at least two, none of them empty")
    means = np.array([math.fsum(cluster) / len(cluster) for cluster in clusters])
    if not np.isfinite(means).all():
        raise ValueError("a score is not finite: leave out what is missing")
    n, centre = len(means), float(means.mean())
    largest = float(np.abs(means - centre).max())
    if largest == 0:
        return Interval(centre, centre)
    residuals = (means - centre) / largest
    rng = np.random.default_rng(seed)
    rows = max(1, 2_000_000 // n)
    drawn = np.concatenate(
        [
            means[rng.integers(0, n, (min(rows, resamples - begun), n))].mean(axis=1)
            for begun in range(0, resamples, rows)
        ]
    )
    normal = NormalDist()
    below = float((drawn < centre).sum() + (drawn == centre).sum() / 2)
    bias = normal.inv_cdf((below + 0.5) / (resamples + 1))
    acceleration = float((residuals**3).sum() / (6 * (residuals**2).sum() ** 1.5))

    def end(tail: float) -> float:
        z = bias + normal.inv_cdf(tail)
        return float(np.quantile(drawn, normal.cdf(bias + z / max(1e-9, 1 - acceleration * z))))

    return Interval(end((1 - confidence) / 2), end((1 + confidence) / 2))


def _counts(gains: int, losses: int, n: int) -> None:
    if min(gains, losses) < 0 or gains + losses > n:
        raise ValueError(f"{gains} and {losses} of {n} pairs cannot be")
