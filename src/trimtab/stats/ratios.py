"""Ratios and means over clusters, with intervals that know that the items of a cluster are alike. Knows no traces."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from statistics import NormalDist
from typing import NamedTuple

from trimtab.stats.intervals import wilson

_Z = NormalDist().inv_cdf(0.975)


class Ratio(NamedTuple):
    """`value` is None where the denominators sum to 0, the ends are None with fewer than two clusters; `n` clusters."""

    value: float | None
    low: float | None
    high: float | None
    n: int


def ratio(clusters: Iterable[tuple[float, float]]) -> Ratio:
    """Σy/Σx of (y, x) pairs, one a cluster, with a 95 % interval; a mean is the ratio with x = 1.

    R ± t·√(G/(G − 1)·Σ(y − Rx)²)/Σx over the G clusters with x or y other than 0, t at G − 1 degrees of freedom: the
    linearised variance of a ratio of cluster totals, W. G. Cochran (1977), "Sampling Techniques", section 6.4 and 9A.
    """
    pairs = [(y, x) for y, x in clusters if x or y]
    over, under = math.fsum(y for y, _ in pairs), math.fsum(x for _, x in pairs)
    n = len(pairs)
    if not under:
        return Ratio(None, None, None, n)
    value = over / under
    if n < 2:
        return Ratio(value, None, None, n)
    spread = math.fsum((y - value * x) ** 2 for y, x in pairs)
    half = _t(n - 1) * math.sqrt(n / (n - 1) * spread) / abs(under)
    return Ratio(value, value - half, value + half, n)


def summed(parts: Iterable[tuple[Hashable, float, float]]) -> list[tuple[float, float]]:
    """The (y, x) pair of every cluster, from (cluster, y, x) in any order."""
    sums: dict[Hashable, tuple[float, float]] = {}
    for cluster, over, under in parts:
        held = sums.get(cluster, (0.0, 0.0))
        sums[cluster] = held[0] + over, held[1] + under
    return list(sums.values())


def share(clusters: Iterable[tuple[float, float]]) -> Ratio:
    """As `ratio`, of shares: inside [0, 1]; Wilson's interval over the clusters where all or none have it."""
    pairs = list(clusters)
    value, low, high, n = ratio(pairs)
    if value is None:
        return Ratio(None, None, None, n)
    if value <= 0 or value >= 1:
        low, high = wilson(0 if value <= 0 else n, n)
    if low is None or high is None:
        return Ratio(value, None, None, n)
    return Ratio(value, max(0.0, low), min(1.0, high), n)


def _t(degrees: int) -> float:
    """Student's 97.5 % quantile: exact for 1 and 2 degrees, else Fisher and Cornish's expansion (within 0.5 %)."""
    if degrees == 1:
        return 12.706204736
    if degrees == 2:
        return 4.30265273
    z = _Z
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / float(degrees**power) for power, term in enumerate(terms, 1))
