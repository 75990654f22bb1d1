"""Forecast: which means a run tests, at which margins, and what it can certify: said before it starts."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from trimtab.evals.suite import Suite
from trimtab.gate.criteria import Criteria
from trimtab.stats import power
from trimtab.stats.judged import split

SAFETY = "safety"
# Cost, length and latency have no margin to plan by; with fewer clusters they are seldom told.
_CLAIMS = 400


class Tested(msgspec.Struct, frozen=True, kw_only=True):
    """A mean under test: `margin` in true units, `judged` as the suite's judge sees it, at `alpha`; over `clusters` of
    the suite, with `flips` expected."""

    metric: str
    slice: str
    margin: float
    judged: float
    alpha: float
    flips: float
    clusters: int

    @property
    def name(self) -> str:
        return f"{self.metric} of '{self.slice}'" if self.slice else self.metric

    @property
    def needed(self) -> int:
        """Clusters at one look of 90 % power, for a candidate that is truly equal."""
        return power.fixed_n(self.judged, self.flips, alpha=self.alpha)

    @property
    def smallest(self) -> float:
        """The smallest margin, in true units, that its clusters can certify with 80 % power."""
        if not self.clusters:
            return 1.0
        return min(1.0, power.smallest_margin(self.clusters, self.flips, alpha=self.alpha) * self.margin / self.judged)


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """`clusters` in the suite; `cap`, after which a run is inconclusive; the means under test, the whole first;
    `short` are the protected slices with too few clusters to be certified at all."""

    clusters: int
    cap: int
    tested: tuple[Tested, ...]
    short: dict[str, int]

    @property
    def enough(self) -> bool:
        return all(each.smallest <= each.margin for each in self.tested) and not self.short

    def power_of(self, each: Tested) -> float:
        """The planned power: that of one look at what the cap is so many times the size of."""
        share = each.clusters / self.clusters if self.clusters else 0.0
        return power_of(self.cap * share / power.CAP, each.judged, each.flips, each.alpha) or 0.0


def of(suite: Suite, criteria: Criteria, scale: Mapping[str, float] | None = None) -> Forecast:
    """The forecast; `scale` is how far the judge's noise shrinks a true difference, by slice, '' for the whole."""
    tested = _tested(suite, criteria, scale or {})
    clusters = len({item.cluster for item in suite.items})
    return Forecast(
        clusters=clusters,
        cap=min(clusters, criteria.cap or _cap(tested, clusters, criteria)),
        tested=tuple(tested),
        short={t.slice: t.clusters for t in tested if t.slice and t.clusters < criteria.slice_minimum},
    )


def _tested(suite: Suite, criteria: Criteria, scale: Mapping[str, float]) -> list[Tested]:
    # A calibration may be unlucky: the test leaves it its share of alpha.
    alpha = split(criteria.alpha).alpha if scale else criteria.alpha
    safe = {item.cluster for item in suite.items if suite.judge_of(item).kind == SAFETY}
    judged = [item for item in suite.items if suite.judge_of(item).kind != SAFETY]
    found = []
    for name in ("", *dict.fromkeys((*suite.protected, *criteria.slices))):
        held = {item.cluster for item in judged if not name or name in item.slices}
        if held or name:
            margin, shrink = criteria.margin_of(name), scale.get(name, scale.get("", 1.0))
            found.append(_mean(("quality", name), margin, margin * shrink, alpha, (criteria.flips, len(held))))
    if safe:
        margin = criteria.safety
        found.append(_mean((SAFETY, ""), margin, margin, criteria.alpha, (criteria.flips, len(safe))))
    return found


def _mean(name: tuple[str, str], margin: float, judged: float, alpha: float, size: tuple[float, int]) -> Tested:
    flips = max(size[0], judged * judged)
    return Tested(
        metric=name[0], slice=name[1], margin=margin, judged=judged, alpha=alpha, flips=flips, clusters=size[1]
    )


def _cap(tested: list[Tested], clusters: int, criteria: Criteria) -> int:
    """1.6 times the fixed size of the mean that needs most; one of few clusters needs so many more of all."""
    wanted = [
        power.cap(each.judged, each.flips, alpha=each.alpha) * clusters / each.clusters
        for each in tested
        if each.clusters
    ]
    claims = _CLAIMS if criteria.length or criteria.cost or criteria.latency else 0
    return max(claims, math.ceil(max(wanted, default=0)))


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
    said = []
    for each in forecast.tested:
        finest = f"a margin of {each.smallest * 100:.1f} points" if each.smallest < 1 else "no margin at all"
        said.append(
            f"{each.name}: {each.clusters:,} clusters; with {each.flips:.0%} of answers flipping they can certify "
            f"{finest} (80 % power); {each.margin * 100:g} points need "
            f"{each.needed:,} at one look of 90 % power"
        )
        if each.smallest > each.margin:
            said.append(f"{each.name}: too few clusters for the margin: most likely this will be inconclusive")
    said += [
        f"slice '{name}' has {count} clusters only: it will stay uncertified" for name, count in forecast.short.items()
    ]
    return [*said, f"this run stops as soon as it is sure, at the latest after {forecast.cap:,} clusters"]
