"""The forecast of hits: from those of the first calls to those of the calls that come after. Numbers in, numbers out.

A cache that is young has few hits and gains them as it fills: what was measured on the first calls, resampled in place,
says little of the rest. So the curve is carried on.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

# What each doubling of the calls gains, as a share of what the doubling before it gained. Set on streams of Banking77
# and of CLINC150 in other orders than those it is checked on (benchmarks/audit.py).
FADES = (0.2, 0.95)
SHOCK = 0.08  # of the rate: what an alarm that closes a route for a while, or a change of traffic, takes
BLOCKS = 24  # runs of calls that are resampled as wholes
DRAWS = 1000
POINTS = 64  # of the curve ahead
FEWEST = 200  # calls to carry a curve on from
SETTLED = 3000  # calls before which the cold start hides how fast hits come; measured: LOG.md


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """`rate` in [`low`, `high`] (95 %) is the share of hits among the `ahead` calls that follow the `n` seen, `seen`
    the share among these, `late` among the last quarter of them."""

    n: int
    ahead: int
    seen: float
    late: float
    rate: float
    low: float
    high: float


def forecast(hits: Sequence[bool], ahead: int, ceiling: float = 1.0, seed: int = 0) -> Forecast:
    """From the `hits` of the first calls in their order. `ceiling` is the most that can hit: the share of calls that
    may be looked up and whose answer was given before, say.

    A line through the rates of blocks over the binary logarithm of time, in the later three quarters of what was seen,
    gives the level at its end and the gain of a doubling. Of each doubling ahead the gain is the one before it times a
    fade drawn from `FADES`; blocks are resampled; what can happen to a cache in service is drawn from `SHOCK` beside
    it. With fewer than 3,000 calls, where most of a cold start lies ahead, the interval reaches from the late rate to
    the ceiling; with fewer than 200 nothing is carried on: [0, ceiling].
    """
    import numpy as np

    flags = np.asarray(hits, dtype=float)
    n = len(flags)
    late = float(flags[-max(1, n // 4) :].mean()) if n else 0.0
    seen = float(flags.mean()) if n else 0.0
    if n < FEWEST or ahead <= 0:
        return Forecast(n=n, ahead=ahead, seen=seen, late=late, rate=min(late, ceiling), low=0.0, high=ceiling)
    edges = np.linspace(n // 4, n, BLOCKS + 1).astype(int)
    rates = np.array([flags[a:b].mean() for a, b in itertools.pairwise(edges)])
    when = np.log2((edges[:-1] + edges[1:]) / 2 / n)
    random = np.random.default_rng(seed)
    steps = np.log2(1 + (np.arange(POINTS) + 0.5) / POINTS * ahead / n)  # doublings from now, evenly over the calls
    fades = random.uniform(*FADES, DRAWS)
    shocks = random.normal(0, SHOCK, DRAWS)
    drawn = np.empty(DRAWS)
    for at in range(DRAWS):
        chosen = random.integers(0, BLOCKS, BLOCKS)
        level, gain = _line(when[chosen], rates[chosen])
        drawn[at] = _mean(level, gain, float(fades[at]), steps, ceiling) * (1 + shocks[at])
    level, gain = _line(when, rates)
    rate = _mean(level, gain, sum(FADES) / 2, steps, ceiling)
    low, high = np.quantile(drawn, [0.025, 0.975])
    if n < SETTLED:
        low, high = min(low, late), ceiling
    return Forecast(
        n=n,
        ahead=ahead,
        seen=seen,
        late=late,
        rate=rate,
        low=min(max(0.0, float(low)), rate),
        high=max(min(ceiling, float(high)), rate),
    )


def _line(when: Array, rates: Array) -> tuple[float, float]:
    """Least squares: the rate now and what a doubling gains, which is not let below 0."""
    middle = float(when.mean())
    spread = float(((when - middle) ** 2).sum())
    gain = float(((when - middle) * rates).sum()) / spread if spread > 0 else 0.0
    if gain <= 0:
        return float(rates.mean()), 0.0
    return max(0.0, float(rates.mean()) - gain * middle), gain


def _mean(level: float, gain: float, fade: float, steps: Array, ceiling: float) -> float:
    """The mean over the calls ahead of level + gain·(fade + fade² + …), a part of a doubling in proportion."""
    import numpy as np

    total = fade * (1 - fade**steps) / (1 - fade)
    return float(np.clip(level + gain * total, 0.0, ceiling).mean()) if math.isfinite(gain) else level
