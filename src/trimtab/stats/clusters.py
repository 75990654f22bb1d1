"""How alike the items of one cluster are, and what that costs in sample size."""

from __future__ import annotations

import math
from collections.abc import Sequence

Clusters = Sequence[Sequence[float]]


def icc(clusters: Clusters) -> float:
    """Intraclass correlation: the share of the scores' variance that lies between clusters; 0.0 where none varies.

    The one-way analysis of variance, for unequal sizes: (B − W)/(B + (m₀ − 1)W), with B and W the mean squares between
    and within the k clusters and m₀ = (N − Σm²/N)/(k − 1). It can be negative. P. E. Shrout, J. L. Fleiss (1979),
    "Intraclass correlations", Psychological Bulletin 86:420-428, their ICC(1).
    ValueError: fewer than two clusters, an empty one, no cluster with two items, or a score that is not finite.
    """
    sizes = [len(cluster) for cluster in clusters]
    total, k = sum(sizes), len(sizes)
    if k < 2 or min(sizes) < 1 or total == k:
        raise ValueError(f"{total} items in {k} clusters: need two clusters, none empty, one with two items")
    means = [math.fsum(cluster) / len(cluster) for cluster in clusters]
    grand = math.fsum(x for cluster in clusters for x in cluster) / total
    if not math.isfinite(grand):
        raise ValueError("a score is not finite: leave out what is missing")
    between = math.fsum(m * (mean - grand) ** 2 for m, mean in zip(sizes, means, strict=True)) / (k - 1)
    within = math.fsum((x - mean) ** 2 for cluster, mean in zip(clusters, means, strict=True) for x in cluster)
    within /= total - k
    typical = (total - sum(m * m for m in sizes) / total) / (k - 1)
    scale = between + (typical - 1) * within
    return (between - within) / scale if scale > 0 else 0.0


def design_effect(clusters: Clusters) -> float:
    """By how much clustering multiplies the items needed: 1 + (m − 1)·ICC, m = Σm²/Σm; at least 1/m.

    L. Kish (1965), "Survey Sampling", section 5.4. ValueError: as `icc`.
    """
    sizes = [len(cluster) for cluster in clusters]
    correlation = icc(clusters)
    size = sum(m * m for m in sizes) / sum(sizes)
    return max(1 / size, 1 + (size - 1) * correlation)


def effective_n(clusters: Clusters) -> float:
    """How many independent items would tell as much: items/design effect. ValueError: as `icc`."""
    return sum(len(cluster) for cluster in clusters) / design_effect(clusters)
