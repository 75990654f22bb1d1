"""Bets: one criterion's sequential test, fed cluster by cluster in the fixed order; a Finding at any time.

A finding holds the values that were fed, so that `again` comes to the same one from the finding alone.
"""

from __future__ import annotations

import hashlib
import math
from statistics import NormalDist
from typing import Literal

import msgspec

from trimtab.errors import FormatError
from trimtab.stats.intervals import Interval
from trimtab.stats.sequential import Claim, Process, Rate
from trimtab.stats.wealth import low_end
from trimtab.verdict import Criterion, Decision, Finding

# Clusters that set the unit of a claim and then do not count, and how many times the largest of them it is.
_FIRST, _ROOM = 30, 3.0
# Of a claim that was cut at the candidate's side more often than this, the mean is not what it seems.
_CUT = 0.01


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """How a criterion is tested.

    `mean`: E[x] > −margin for x in [−1, 1]; rejected below `harm`. `claim`: E[x] > 0 for x in any unit, cut at ±`unit`
    (0: set by the first clusters). `rate`: the share of misses is below `margin`. A mean may also be that of −missed.
    With fewer than `minimum` clusters a slice is uncertified; with more than `missing` of the items missing nothing is
    concluded. `alpha` is the criterion's own, or less where the judge's calibration takes a share of it. `power` is
    what the run was planned for (0: not said).
    """

    test: Literal["mean", "claim", "rate"]
    margin: float
    alpha: float
    harm: float = 0.0
    unit: float = 0.0
    minimum: int = 0
    missing: float = 0.01
    power: float = 0.0


class Bet:
    """The test of one criterion, for one slice ('' for all). `n` is the number of clusters that count."""

    def __init__(self, criterion: Criterion, rule: Rule, slice_: str = "") -> None:
        self.criterion, self.rule, self.slice = criterion, rule, slice_
        self.items = self.missing = self.cut = 0
        self.unit = rule.unit
        self._raw: list[float] = []
        self._sum = self._squares = 0.0
        self._fed: list[float] = []
        self._path: list[tuple[float, int]] = []
        self._digest = hashlib.sha256()
        self._process = _process(rule)

    @property
    def n(self) -> int:
        return len(self._fed)

    @property
    def wealth(self) -> float:
        return float(self._process.wealth)

    @property
    def harm_wealth(self) -> float:
        return float(self._process.harm_wealth)

    def feed(self, x: float | None, items: int = 1, missing: int = 0) -> None:
        """One cluster's value, made of `items` of which `missing` could not be told; None where none could."""
        self.items += items
        self.missing += missing
        if x is None:
            return
        if self._path and self._path[-1][0] == x:
            self._path[-1] = (x, self._path[-1][1] + 1)
        else:
            self._path.append((x, 1))
        self._raw.append(x)
        self._sum += x
        self._squares += x * x
        if self.rule.test != "claim":
            self._bet(x)
        elif self.unit:
            self._bet(self._within(x))
        elif len(self._raw) == _FIRST:
            # A unit from the past alone, so that later clusters are bet on as if it had been declared.
            self.unit = _ROOM * max(map(abs, self._raw)) or 1.0

    def _within(self, x: float) -> float:
        self.cut += x < -self.unit
        return max(-1.0, min(1.0, x / self.unit))

    def _bet(self, x: float) -> None:
        self._process.feed(x)
        self._fed.append(x)
        self._digest.update(b"%.6e %.6e\n" % (self.wealth, self.harm_wealth))

    @property
    def decision(self) -> Decision:
        return self._concluded()[0]

    def _concluded(self) -> tuple[Decision, str]:
        """The decision, and why if it is neither of the two that the test itself can come to."""
        if self.missing > self.rule.missing * self.items:
            share = self.missing / self.items
            return Decision.INCONCLUSIVE, f"{self.missing} of {self.items} items ({share:.1%}) could not be told"
        if self._process.rejects:
            return Decision.REJECT, ""
        if self.n < self.rule.minimum:
            return Decision.UNCERTIFIED, f"{self.n} clusters, {self.rule.minimum} are the least"
        if self._process.promotes:
            return self._unless_cut()
        needed = 1 / self.rule.alpha
        return Decision.INCONCLUSIVE, f"evidence {self.wealth:.3g} of {needed:g} after {self.n} clusters"

    def _unless_cut(self) -> tuple[Decision, str]:
        if self.rule.test == "claim" and self.cut > _CUT * self.n:
            return Decision.INCONCLUSIVE, f"{self.cut} of {self.n} clusters were beyond the cap: declare a larger one"
        if self.rule.test == "claim" and self._uncut_low() <= 0:
            return Decision.INCONCLUSIVE, "what lies beyond the cap may outweigh the rest: declare a larger one"
        return Decision.PROMOTE, ""

    def _uncut_low(self) -> float:
        """Lower end of the mean of the values as they came, by the normal approximation: no test, but it sees what the
        cap hides, once it has happened."""
        n = len(self._raw)
        mean = self._sum / n
        spread = math.sqrt(max(0.0, self._squares / n - mean * mean))
        return mean - NormalDist().inv_cdf(1 - self.rule.alpha) * spread / math.sqrt(n)

    def interval(self) -> Interval:
        """Anytime-valid, at confidence 1 − 2·alpha: it excludes a null exactly when its test has. Needs numpy."""
        alpha = self.rule.alpha
        if isinstance(self._process, Rate):
            high = -low_end([-x for x in self._fed], self.rule.margin, alpha)
            low = max(0.0, low_end(self._fed, None, alpha))
            return Interval(min(low, high) - self.rule.margin, min(1.0, high) - self.rule.margin)
        found = self._process.interval(1 - 2 * alpha)
        return Interval(found.low * (self.unit or 1), found.high * (self.unit or 1))

    @property
    def difference(self) -> float:
        """The mean of what was fed: of a rate its distance from the limit, of a claim in the claim's own unit."""
        mean = sum(self._fed) / self.n if self.n else 0.0
        return mean - self.rule.margin if self.rule.test == "rate" else mean * (self.unit or 1)

    def finding(self) -> Finding:
        decision, reason = self._concluded()
        low, high = self.interval()
        rule = {name: float(value) for name, value in msgspec.structs.asdict(self.rule).items() if name != "test"}
        counts = {
            **{f"rule_{name}": value for name, value in rule.items()},
            "items": float(self.items),
            "missing": float(self.missing),
            "cut": float(self.cut),
            "gains": float(sum(x > 0 for x in self._fed)),
            "losses": float(sum(x < 0 for x in self._fed)),
            "unit": self.unit,
            "wealth": self.wealth,
            "harm_wealth": self.harm_wealth,
        }
        return Finding(
            decision=decision,
            criterion=self.criterion,
            difference=self.difference,
            low=low,
            high=high,
            n=self.n,
            power=self.rule.power or None,
            counts=counts,
            reason=reason,
            slice=self.slice,
            test=self.rule.test,
            path=tuple(self._path),
            digest=self._digest.hexdigest(),
        )


def _process(rule: Rule) -> Process | Claim | Rate:
    if rule.test == "mean":
        return Process(rule.margin, rule.alpha, rule.harm)
    return Claim(rule.alpha) if rule.test == "claim" else Rate(rule.margin, rule.alpha)


def again(finding: Finding) -> Finding:
    """The finding computed anew from the values and counts it holds. FormatError where it lacks them."""
    bet = _fed(finding, None)
    bet.items, bet.missing = int(finding.counts["items"]), int(finding.counts["missing"])
    return bet.finding()


def paths(finding: Finding) -> list[tuple[float, float]]:
    """(wealth, harm wealth) after each value that counted; empty for a finding of another kind of test."""
    found: list[tuple[float, float]] = []
    if "rule_alpha" in finding.counts:
        _fed(finding, found)
    return found


def _fed(finding: Finding, paths: list[tuple[float, float]] | None) -> Bet:
    counts = finding.counts
    try:
        held = {name.removeprefix("rule_"): x for name, x in counts.items() if name.startswith("rule_")}
        rule = msgspec.convert({"test": finding.test, **held, "minimum": int(held["minimum"])}, Rule)
        if not {"items", "missing"} <= counts.keys():
            raise ValueError("it does not say how many items there were")
        bet = Bet(finding.criterion, rule, finding.slice)
        for value, times in finding.path:
            for _ in range(times):
                before = bet.n
                bet.feed(value, 0)
                if paths is not None and bet.n > before:
                    paths.append((bet.wealth, bet.harm_wealth))
    except (KeyError, ValueError, msgspec.ValidationError) as error:
        raise FormatError(f"the finding on {finding.criterion.metric} cannot be computed again: {error}") from error
    return bet
