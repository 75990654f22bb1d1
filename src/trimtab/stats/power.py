"""How many clusters a comparison needs, and what so many can certify: shown before a run starts."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

from trimtab.stats.sequential import Process

CAP = 1.6  # the sequential test gives up at this many times the fixed size


def fixed_n(margin: float, flips: float, power: float = 0.9, alpha: float = 0.05) -> int:
    """Clusters that a test with one look needs to promote a truly equal candidate with probability `power`.

    n = (z_{1−α}·√(f − M²) + z_power·√f)²/M², and no fewer than z²_{1−α}(1 − M)/M, which the score test needs even if
    nothing flips. f = `flips` = E[x²]: for single items the share whose verdict changes, either way; for clusters the
    mean square of their x, which is smaller (f times the design effect, by the cluster's size).
    After R. J. Connor (1987), "Sample size for testing differences in proportions for the paired-sample design",
    Biometrics 43:207-211, with the margin in the place of no difference.
    ValueError: margin outside (0, 1), flips outside [margin², 1], power or alpha outside (0, 1).
    """
    if not 0 < margin < 1:
        raise ValueError(f"a margin of {margin:g} is outside (0, 1): 0.02 means two points")
    if not margin * margin * (1 - 1e-9) <= flips <= 1:
        raise ValueError(f"flips of {flips:g} are outside [{margin * margin:g}, 1]")
    if not (0 < power < 1 and 0 < alpha < 1):
        raise ValueError(f"power {power:g} or alpha {alpha:g} is outside (0, 1)")
    z = NormalDist().inv_cdf
    root = z(1 - alpha) * math.sqrt(max(0.0, flips - margin * margin)) + z(power) * math.sqrt(flips)
    no_flip = z(1 - alpha) ** 2 * (1 - margin) / margin
    return max(1, math.ceil(no_flip), math.ceil(max(root, 0.0) ** 2 / (margin * margin)))


def smallest_margin(n: int, flips: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest margin that `n` clusters can certify with probability `power` if the candidate is truly equal;
    1.0 where none can. The inverse of `fixed_n`. ValueError as there, or n < 1."""
    if n < 1:
        raise ValueError(f"{n} clusters: need at least one")
    most = min(math.sqrt(flips), 1 - 1e-9)
    if fixed_n(most, flips, power, alpha) > n:
        return 1.0
    low, high = 0.0, most
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if middle > 0 and fixed_n(middle, flips, power, alpha) <= n else (middle, high)
    return high


def cap(margin: float, flips: float, power: float = 0.9, alpha: float = 0.05) -> int:
    """Clusters after which the sequential test gives up: 1.6 times `fixed_n`."""
    return math.ceil(CAP * fixed_n(margin, flips, power, alpha))


class Forecast(NamedTuple):
    """What to expect of a run of the sequential test: clusters asked for, and how it ends; shares of runs."""

    n: float
    promotes: float
    rejects: float


def expected_n(
    margin: float, flips: float, difference: float = 0.0, alpha: float = 0.05, runs: int = 400, seed: int = 0
) -> Forecast:
    """Simulate `runs` runs of stats.sequential.Process on items that are each lost, kept or gained, with E[x] =
    `difference` and E[x²] = `flips`, up to `cap`. A second or less at n < 10,000; needs numpy.

    ValueError: as `fixed_n`, or flips < |difference|.
    """
    limit = cap(margin, flips, alpha=alpha)
    if flips < abs(difference):
        raise ValueError(f"flips of {flips:g} cannot make a difference of {difference:g}")
    process = Process(margin, alpha, runs=runs)
    import numpy as np

    rng = np.random.default_rng(seed)
    lost, gained = (flips - difference) / 2, (flips + difference) / 2
    taken = np.full(runs, limit)
    for n in range(1, limit + 1):
        draw = rng.random(runs)
        process.feed((draw < gained).astype(float) - (draw > 1 - lost))
        ended = process.promotes | process.rejects
        taken[ended & (taken == limit)] = n
        if ended.all():
            break
    return Forecast(float(taken.mean()), float(process.promotes.mean()), float(process.rejects.mean()))
