"""A ratio of sums over clusters with its interval. Numbers in, numbers out: knows no traces."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from statistics import NormalDist

from trimtab.stats.intervals import Interval


def ratio(parts: Iterable[tuple[Hashable, float, float]], confidence: float = 0.95) -> tuple[float, Interval]:
    """Σ above / Σ below of (cluster, above, below), with an interval that takes clusters for what is independent.

    By linearisation: with r the ratio and dᵢ = aboveᵢ − r·belowᵢ the k clusters' residues, its variance is
    k/(k − 1)·Σdᵢ²/(Σ below)². W. G. Cochran (1977), "Sampling techniques", section 6.5. Nothing below: (0, [0, 0]); of
    fewer than two clusters the interval is (−∞, ∞): nothing is known.
    """
    sums: dict[Hashable, tuple[float, float]] = {}
    for cluster, above, below in parts:
        held = sums.get(cluster, (0.0, 0.0))
        sums[cluster] = held[0] + above, held[1] + below
    total = math.fsum(below for _, below in sums.values())
    if total <= 0:
        return 0.0, Interval(0.0, 0.0)
    r = math.fsum(above for above, _ in sums.values()) / total
    k = len(sums)
    if k < 2:
        return r, Interval(-math.inf, math.inf)
    residues = math.fsum((above - r * below) ** 2 for above, below in sums.values())
    half = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(k / (k - 1) * residues) / total
    return r, Interval(r - half, r + half)
