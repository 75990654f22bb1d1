"""Forecast: what a run can certify, said before it starts."""

from __future__ import annotations

import msgspec

from trimtab.evals.suite import Suite
from trimtab.gate.criteria import Criteria
from trimtab.stats import power
from trimtab.stats.judged import split


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """`clusters` in the suite; `needed` by one look of 90 % power at the margin, and `cap`, after which a run is
    inconclusive; `smallest` margin that the suite can certify with 80 % power. All at `flips`, for a candidate that is
    truly equal. `short` are the protected slices with too few clusters to be certified at all."""

    clusters: int
    margin: float
    flips: float
    needed: int
    cap: int
    smallest: float
    short: dict[str, int]

    @property
    def enough(self) -> bool:
        return self.smallest <= self.margin and not self.short


def of(suite: Suite, criteria: Criteria, scale: float = 1.0) -> Forecast:
    """The forecast; with an imperfect judge at the margin as it sees it (`scale`)."""
    clusters = len({item.cluster for item in suite.items})
    margin = criteria.margin * scale
    alpha = criteria.alpha if scale == 1 else split(criteria.alpha).alpha
    flips = max(criteria.flips, margin * margin)
    slices = {name: set() for name in dict.fromkeys((*suite.protected, *criteria.slices))}  # type: dict[str, set[str]]
    for item in suite.items:
        for name in slices.keys() & set(item.slices):
            slices[name].add(item.cluster)
    return Forecast(
        clusters=clusters,
        margin=criteria.margin,
        flips=flips,
        needed=power.fixed_n(margin, flips, alpha=alpha),
        cap=min(clusters, criteria.cap or power.cap(margin, flips, alpha=alpha)),
        smallest=power.smallest_margin(clusters, flips, alpha=alpha) / scale,
        short={name: len(held) for name, held in slices.items() if len(held) < criteria.slice_minimum},
    )


def power_of(n: float, margin: float, flips: float, alpha: float) -> float | None:
    """The chance that so many clusters at one look promote a candidate that is truly equal; None where so few answers
    flip that the formula does not hold."""
    if n < 1 or flips < margin * margin:
        return None
    low, high = 0.01, 0.999
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if power.fixed_n(margin, flips, middle, alpha) <= n else (low, middle)
    return round(low, 3)


def lines(forecast: Forecast) -> list[str]:
    """The forecast in words."""
    said = [
        f"{forecast.clusters:,} clusters; with {forecast.flips:.0%} of answers flipping they can certify a margin of "
        f"{forecast.smallest * 100:.1f} points (80 % power)",
        f"a margin of {forecast.margin * 100:g} points needs {forecast.needed:,} clusters at one look of 90 % power; "
        f"this run stops as soon as it is sure, at the latest after {forecast.cap:,}",
    ]
    if forecast.smallest > forecast.margin:
        said.append("the suite is too small for the margin: most likely this will be inconclusive")
    said += [
        f"slice '{name}' has {count} clusters only: it will stay uncertified" for name, count in forecast.short.items()
    ]
    return said
